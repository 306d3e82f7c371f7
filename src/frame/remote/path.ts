import { hidePassword } from '../../source/passwords.ts'
import type { SourcePath } from '../../source/service.ts'

/** A path from the mount's root as a service has it. */
export function sourcePathOf(path: string): SourcePath {
  const [root = '', ...segments] = path.slice(1).split('/')
  return { scheme: root.endsWith(':') ? root.slice(0, -1) : root, segments }
}

/** Name in the root that a path lies below. */
export function rootOf(path: string): string {
  const end = path.indexOf('/', 1)
  return path.slice(1, end < 0 ? undefined : end)
}

/** A path from the mount's root as people write it: `https://example.org/a`, without a password. */
export function urlOf(path: string): string {
  const { scheme, segments } = sourcePathOf(path)
  if (!rootOf(path).endsWith(':')) return path.slice(1)
  const [authority = '', ...rest] = segments
  return [`${scheme}:/`, hidePassword(authority), ...rest].join('/')
}

/**
 * Where an absolute link of a host leads in the tree: below that host's own directory. `mount` is where the tree is.
 */
export function linkTarget(target: string, path: string, mount: string): string {
  const root = rootOf(path)
  // What is lent to a program shows at its own path, where its links are right as they are.
  if (!target.startsWith('/') || root.startsWith('.')) return target
  const host = root.endsWith(':') ? `${root}/${sourcePathOf(path).segments[0] ?? ''}` : root
  return `${mount}/${host}${target}`
}
