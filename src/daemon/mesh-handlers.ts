import { toWire } from '../form/wire.ts'
import { readable } from '../frame/paths.ts'
import type { Mesh } from '../mesh/mesh.ts'
import type { ControlHandlers } from './handlers.ts'

/** The control socket's operations of the mesh. */
export type MeshHandlers = Pick<
  ControlHandlers,
  'listen' | 'invite' | 'join' | 'peers' | 'grant' | 'revoke' | 'leave' | 'where'
>

/** Handlers over the mesh, which is made at the first use where this host has no peers. */
export function meshHandlers(
  mesh: () => Promise<Mesh>,
  self: string,
  programs: () => Promise<ReadonlyMap<string, string>>,
): MeshHandlers {
  return {
    async listen({ texts }) {
      return { addresses: await (await mesh()).listen(texts) }
    },
    async invite({ texts }) {
      return (await mesh()).invite(texts)
    },
    async join({ name, texts }) {
      return (await mesh()).join(name, texts)
    },
    async peers() {
      return (await mesh()).peers()
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
      const path = (await programs()).get(Buffer.from(name).toString('latin1'))
      const here = path === undefined ? [] : [{ host: readable(self), local: true, path: toWire(path) }]
      const peers = (await mesh()).offering(name).map((host) => ({ host, local: false }))
      return [...here, ...peers]
    },
  }
}
