import { toWire } from '../form/wire.ts'
import { readable } from '../frame/paths.ts'
import type { Mesh } from '../mesh/mesh.ts'
import type { ControlHandlers } from './handlers.ts'
import type { MeshHost } from './mesh-host.ts'

/** The control socket's operations of the mesh. */
export type MeshHandlers = Pick<
  ControlHandlers,
  'listen' | 'invite' | 'join' | 'peers' | 'grant' | 'revoke' | 'leave' | 'where'
>

/**
 * Handlers over the mesh of a host that is called `self`. One that was in none has an identity when it first wants
 * something of others: looking is not enough.
 */
export function meshHandlers(host: MeshHost, self: string): MeshHandlers {
  const mesh = (): Promise<Mesh> => host.get()
  const wanted = async (): Promise<Mesh | undefined> => (host.isWanted ? host.get() : undefined)
  return {
    async listen({ texts }) {
      return (await mesh()).listen(texts)
    },
    async invite({ texts }) {
      return (await mesh()).invite(texts)
    },
    async join({ name, texts }) {
      return (await mesh()).join(name, texts)
    },
    async peers() {
      return (await wanted())?.peers() ?? []
    },
    async grant({ name, texts }) {
      return [...(await mesh()).grant(name, texts)]
    },
    async revoke({ name, texts }) {
      return [...(await mesh()).revoke(name, texts)]
    },
    async leave({ name }) {
      await (await mesh()).leave(name)
      return {}
    },
    async where({ name }) {
      const path = (await host.programs.all()).get(Buffer.from(name).toString('latin1'))
      const here = path === undefined ? [] : [{ host: readable(self), local: true, path: toWire(path) }]
      const peers = (await wanted())?.offering(name) ?? []
      return [...here, ...peers.map((name) => ({ host: name, local: false }))]
    },
  }
}
