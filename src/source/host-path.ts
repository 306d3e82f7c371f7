import { lstatSync, readlinkSync, type Stats } from 'node:fs'
import { pathBytes } from '../frame/paths.ts'

/** Links that one path may lead over (path_resolution(7)). */
const MAX_LINKS = 40

/** What a host path leads to. */
export interface HostPlace {
  /** The path without links, one character a byte. */
  readonly path: string
  readonly stats: Stats
}

/**
 * Follows an absolute host path (one character a byte) by hand, links and all; answers an errno name where it
 * leads nowhere. A path that reaches what `isTree` says is a cosmos tree is ENOENT: one that leads into the tree
 * itself would make the tree thread wait for itself, and two trees that lead into each other for each other.
 * A relative path starts at `from`, a directory's path without links.
 */
export function resolveHostPath(
  path: string,
  isTree: (directory: string) => boolean,
  from = '',
): HostPlace | string {
  let links = 0
  let done = from
  const rest = path.split('/').filter(Boolean)
  try {
    for (;;) {
      const part = rest.shift()
      if (part === undefined) return { path: done || '/', stats: lstatSync(pathBytes(done || '/')) }
      if (part === '.') continue
      if (part === '..') {
        done = done.slice(0, Math.max(0, done.lastIndexOf('/')))
        continue
      }
      const at = `${done}/${part}`
      if (isTree(at)) return 'ENOENT'
      const stats = lstatSync(pathBytes(at))
      if (!stats.isSymbolicLink()) {
        if (rest.length === 0) return { path: at, stats }
        done = at
        continue
      }
      if (++links > MAX_LINKS) return 'ELOOP'
      const target = readlinkSync(pathBytes(at), { encoding: 'latin1' })
      rest.unshift(...target.split('/').filter(Boolean))
      if (target.startsWith('/')) done = ''
    }
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'EIO'
  }
}
