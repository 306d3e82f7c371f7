import { CosmosError } from '../errors.ts'
import { readable } from '../frame/paths.ts'
import { environmentFor } from './environment.ts'
import type { Mesh } from './mesh.ts'
import type { NetrunOpen, NetrunRequest } from './netrun/run.ts'
import type { Call } from './session/outgoing-call.ts'

/** Has a peer run a program for a launcher here: what it is told, and what it is lent meanwhile (design §7). */

/** The host path of a directory of the caller's, which may lie in the tree; undefined where it has none. */
export type HostPathOf = (directory: string) => Promise<string | undefined>

/** Directories that are never lent as a working directory: a program in one of these has one of its own. */
const NEVER_LENT = /^\/(?:$|(?:usr|bin|sbin|lib\w*|etc|proc|sys|dev|boot|run)(?:\/|$))/

/** How a launcher's request becomes a call of the peer. */
export function openOnPeer(mesh: () => Promise<Mesh>, hostPathOf: HostPathOf): NetrunOpen {
  return async (request) => {
    const host = await mesh()
    const lends = await lend(host, request, hostPathOf)
    const end = (): void => {
      for (const each of lends) each.end()
    }
    try {
      const call = callFor(host, request, lends)
      call.result.then(end, end)
      return call
    } catch (error) {
      end()
      throw error
    }
  }
}

function callFor(host: Mesh, request: NetrunRequest, lends: readonly Lent[]): Call {
  const { environment } = environmentFor(request.env, {})
  const isLent = lends.some(({ at }) => at === request.cwd)
  return host.open(
    request.peer.id,
    'exec',
    {
      program: request.program,
      argv: request.argv,
      env: environment,
      ...(isLent && { cwd: request.cwd }),
      lent: lends.map(({ token, at, writable, path }) => ({ token, at, writable, path })),
      ...(request.terminal && { terminal: request.terminal }),
    },
    {
      sends: 1,
      receives: 2,
      event: request.event,
    },
  )
}

interface Lent {
  readonly token: string
  readonly at: string
  readonly path: string
  readonly writable: boolean
  end(): void
}

async function lend(mesh: Mesh, request: NetrunRequest, hostPathOf: HostPathOf): Promise<Lent[]> {
  const { cwd, lend: others, peer } = request
  const wanted = new Set([...(NEVER_LENT.test(cwd) ? [] : [cwd]), ...others])
  const paths: { at: string; path: string }[] = []
  for (const at of wanted) {
    const path = await hostPathOf(at)
    if (path === undefined)
      throw new CosmosError('EINVAL', readable(at), 'cannot be lent: it is no directory of one host')
    paths.push({ at, path })
  }
  return paths.map(({ at, path }) => ({ at, path, writable: true, ...mesh.lend(peer.id, path, true) }))
}
