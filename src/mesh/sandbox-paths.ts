import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises'
import { CosmosError } from '../errors.ts'
import { pathBytes, readable } from '../frame/paths.ts'
import { O_PATH } from '../os/constants.ts'
import type { Grants } from './grants.ts'
import { covers, leads, type Pattern, splitPath } from './grants-pattern.ts'

/** Which files of this host a sandbox shows. Paths have one character a byte. */

/** A path as it was when it was opened: where its links led, and the thing itself (O_PATH), whatever is renamed after. */
export interface OpenedPath {
  readonly handle: FileHandle
  readonly resolved: string
  readonly isDirectory: boolean
}

/**
 * Follows all links of a path, once: what the answer names is what the handle is. On a thread of Node's pool, since
 * the path may lie below the daemon's own mount. Throws an error of the file system.
 */
export async function openPath(path: string): Promise<OpenedPath> {
  const handle = await open(pathBytes(path), O_PATH)
  try {
    const link = await readlink(`/proc/self/fd/${handle.fd}`, { encoding: 'buffer' })
    const isDirectory = (await handle.stat()).isDirectory()
    return { handle, resolved: link.toString('latin1'), isDirectory }
  } catch (error) {
    await handle.close()
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
 * below them. Every answer's handle is the caller's to close. Throws CosmosError E2BIG for patterns whose paths are too
 * many to be found.
 */
export async function shownPaths(grants: Grants, secrets: readonly string[]): Promise<ShownPath[]> {
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
        const found = await openPath(path).catch(() => undefined)
        if (!found) continue
        // A link leads where the rules say nothing of, or what they deny: there is nothing to show or hide.
        const isOf = effect === 'deny' ? found.resolved === path : stateOf(found.resolved) !== 'hidden'
        if (isOf && !opened.has(found.resolved)) opened.set(found.resolved, found)
        else await found.handle.close()
      }
    }
    for (const secret of secrets) {
      const found = opened.has(secret) ? undefined : await openPath(secret).catch(() => undefined)
      if (found) opened.set(secret, found)
    }
    for (const [path, each] of [...opened].sort(([a], [b]) => depth(a) - depth(b))) {
      const above = shown.findLast((other) => isWithin(path, other.path))?.as
      const around = above ?? (SYSTEM.some((system) => isWithin(path, system)) ? 'read' : 'hidden')
      const as = stateOf(path)
      const isOwn = [...SYSTEM, ...OWN].includes(path) || path.startsWith('/proc/')
      if (as === around || (as !== 'hidden' && isOwn)) await each.handle.close()
      else shown.push({ path, as, opened: each })
      opened.delete(path)
    }
    return shown
  } catch (error) {
    await Promise.all([...opened.values(), ...shown.map((each) => each.opened)].map(closePath))
    throw error
  }
}

/** Gives a path's handle back. */
export async function closePath({ handle }: OpenedPath): Promise<void> {
  await handle.close()
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
