import { type BigIntStats, closeSync, fstat, fstatSync, open, readlinkSync, statSync } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { promisify } from 'node:util'
import { CosmosError } from '../errors.ts'
import { pathBytes, readable } from '../frame/paths.ts'
import { O_PATH } from '../os/constants.ts'
import type { Grants } from './grants.ts'
import { covers, leads, type Pattern, splitPath } from './grants-pattern.ts'
import type { SandboxUser } from './sandbox.ts'

/** Which files of this host a sandbox shows. Paths have one character a byte. */

/** A path as it was when it was opened: where its links led, and the thing itself (O_PATH), whatever is renamed after. */
export interface OpenedPath {
  readonly fd: number
  readonly resolved: string
  readonly stat: BigIntStats
}

const openFile = promisify(open)
const statFile = promisify(fstat) as (fd: number, options: { bigint: true }) => Promise<BigIntStats>

/**
 * Follows all links of a path, once: what the answer names is what the descriptor is. On a thread of Node's pool, since
 * the path may lie below the daemon's own mount; what lies outside of `mounts` is looked at here, which is faster.
 * Throws an error of the file system.
 */
export async function openPath(path: string, mounts: readonly string[]): Promise<OpenedPath> {
  const fd = await openFile(pathBytes(path), O_PATH)
  try {
    const resolved = readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }).toString('latin1')
    const isSlow = mounts.some((mount) => isWithin(resolved, mount))
    const stat = isSlow ? await statFile(fd, { bigint: true }) : fstatSync(fd, { bigint: true })
    return { fd, resolved, stat }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** What a sandbox makes of a path of this host. */
export interface ShownPath {
  readonly path: string
  readonly as: 'read' | 'write' | 'hidden'
  readonly opened: OpenedPath
}

/** The host's programs: every sandbox shows them, read-only. */
export const SYSTEM = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32']
/** Every sandbox has its own. */
const OWN = ['/proc', '/dev']
/** Entries that are looked at for patterns with wildcards, before it is given up. */
const MAX_ENTRIES = 20_000

/**
 * The granted paths that a sandbox shows beside the system, parents first. `secrets` are never shown, nor is anything
 * below them. Every answer's descriptor is the caller's to close. Throws CosmosError E2BIG for patterns whose paths are too
 * many to be found.
 */
export async function shownPaths(
  grants: Grants,
  secrets: readonly string[],
  user?: SandboxUser,
): Promise<ShownPath[]> {
  const opened = new Map<string, OpenedPath>()
  const isSecret = (path: string) => secrets.some((secret) => isWithin(path, secret))
  const stateOf = (path: string): ShownPath['as'] =>
    isSecret(path) || !grants.allows('read', path)
      ? 'hidden'
      : grants.allows('write', path)
        ? 'write'
        : 'read'
  const shown: ShownPath[] = []
  try {
    const budget = { left: MAX_ENTRIES }
    for (const { effect, pattern } of [...grants.patterns('read'), ...grants.patterns('write')]) {
      for (const path of await expand(pattern, isSecret, budget)) {
        const found = await openPath(path, secrets).catch(() => undefined)
        if (!found) continue
        // A link leads where the rules say nothing of, or what they deny: there is nothing to show or hide.
        const isOf = effect === 'deny' ? found.resolved === path : stateOf(found.resolved) !== 'hidden'
        if (isOf && !opened.has(found.resolved)) opened.set(found.resolved, found)
        else closePath(found)
      }
    }
    for (const secret of secrets) {
      const found = opened.has(secret) ? undefined : await openPath(secret, secrets).catch(() => undefined)
      if (found) opened.set(secret, found)
    }
    for (const [path, each] of [...opened].sort(([a], [b]) => depth(a) - depth(b))) {
      const above = shown.findLast((other) => isWithin(path, other.path))
      const around = above?.as ?? (SYSTEM.some((system) => isWithin(path, system)) ? 'read' : 'hidden')
      const as = stateOf(path)
      const isOwn = [...SYSTEM, ...OWN].includes(path) || path.startsWith('/proc/')
      opened.delete(path)
      const place = as === 'hidden' && user ? reachable(path, above?.path ?? '/', user) : path
      if (as === around || (as !== 'hidden' && isOwn)) closePath(each)
      else if (place === path) shown.push({ path, as, opened: each })
      else {
        closePath(each)
        shown.push({ path: place, as, opened: await openPath(place, secrets) })
      }
    }
    return shown
  } catch (error) {
    for (const each of [...opened.values(), ...shown.map((other) => other.opened)]) closePath(each)
    throw error
  }
}

/**
 * Where a path is hidden from a user: there, or at the first directory on the way that the user may not enter, beyond
 * which nothing can be mounted as that user. `shown` is the directory that it would show in.
 */
function reachable(path: string, shown: string, { uid, gid }: SandboxUser): string {
  for (let end = path.indexOf('/', 1); end > 0; end = path.indexOf('/', end + 1)) {
    const directory = path.slice(0, end)
    const found = statSync(pathBytes(directory), { throwIfNoEntry: false })
    if (!found) break
    const bit = found.uid === uid ? 0o100 : found.gid === gid ? 0o010 : 0o001
    if ((found.mode & bit) === 0 && isWithin(directory, shown)) return directory
  }
  return path
}

/** Gives a path's descriptor back. */
export function closePath({ fd }: OpenedPath): void {
  closeSync(fd)
}

/** Whether a path is this directory or lies below it. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || directory === '/' || path.startsWith(`${directory}/`)
}

function depth(path: string): number {
  return path === '/' ? 0 : path.split('/').length
}

interface Budget {
  left: number
}

/** The paths of this host that a pattern names, as far as no directory on the way is one of `skips`. */
async function expand(
  pattern: Pattern,
  skips: (path: string) => boolean,
  budget: Budget,
): Promise<readonly string[]> {
  if (pattern.literal === '/')
    return (await names('/', budget))
      .map((name) => `/${name}`)
      .filter((path) => ![...SYSTEM, ...OWN].includes(path))
  if (pattern.literal !== undefined) return [pattern.literal]
  const found: string[] = []
  const visit = async (directory: string): Promise<void> => {
    for (const name of await names(directory, budget)) {
      const path = directory === '/' ? `/${name}` : `${directory}/${name}`
      if (skips(path) || path === '/proc') continue
      const split = splitPath(path)
      if (covers(pattern, split)) found.push(path)
      else if (leads(pattern, split)) await visit(path)
    }
  }
  await visit('/')
  return found
}

/** The names in a directory; none where it is none, a link, or cannot be read. */
async function names(directory: string, budget: Budget): Promise<string[]> {
  const found = await lstat(pathBytes(directory)).catch(() => undefined)
  if (!found?.isDirectory()) return []
  const entries = await readdir(pathBytes(directory), { encoding: 'buffer' }).catch(() => [])
  budget.left -= entries.length
  if (budget.left < 0)
    throw new CosmosError(
      'E2BIG',
      readable(directory),
      'holds too many files for a sandbox to be made by grants with wildcards',
      'grant directories by their names',
    )
  return entries.map((name) => name.toString('latin1'))
}
