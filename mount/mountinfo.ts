import { readFileSync } from 'node:fs'

/** The type of every cosmos mount, whichever driver serves it. */
export const COSMOS_TYPE = 'fuse.cosmos'

/** One mount, as proc_pid_mountinfo(5) has it. Bytes that are not UTF-8 are U+FFFD in these texts. */
export interface MountEntry {
  readonly id: number
  /** Id of the mount that this one lies on. */
  readonly parent: number
  /** `major:minor`. */
  readonly device: string
  /** The directory of the file system that is seen at `path`. */
  readonly root: string
  /** The mount point, relative to the process's root directory. */
  readonly path: string
  /** Options of this mount. */
  readonly options: string
  /** `ext4`, `fuse.cosmos`, … */
  readonly type: string
  readonly source: string
  /** Options of the file system. */
  readonly superOptions: string
}

/** Parses the content of a mountinfo file. A line that is none is left out. */
export function parseMountinfo(bytes: Uint8Array): MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of Buffer.from(bytes).toString('latin1').split('\n')) {
    const fields = line.split(' ')
    // The optional fields, any number of them, end with a single dash.
    const dash = fields.indexOf('-', 6)
    if (dash < 0 || fields.length < dash + 4) continue
    const text = (at: number) => unescapeField(fields[at] ?? '')
    entries.push({
      id: Number(fields[0]),
      parent: Number(fields[1]),
      device: text(2),
      root: text(3),
      path: text(4),
      options: text(5),
      type: text(dash + 1),
      source: text(dash + 2),
      superOptions: text(dash + 3),
    })
  }
  return entries
}

/** A field's text: `\040` and its like are single bytes (the kernel's mangle()). */
function unescapeField(field: string): string {
  const bytes = field.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** The mounts that a process sees. Touches no file system but proc. Throws ENOENT when there is no such process. */
export function readMountinfo(pid: number | 'self' = 'self'): MountEntry[] {
  return parseMountinfo(readFileSync(`/proc/${pid}/mountinfo`))
}

/**
 * The mount that holds an absolute path without links, by the mounts' tree alone: nothing is asked of a file
 * system, so a dead or hanging one does no harm.
 */
export function mountOf(path: string, mounts: readonly MountEntry[]): MountEntry | undefined {
  const ids = new Set(mounts.map((mount) => mount.id))
  let found: MountEntry | undefined
  for (const prefix of prefixes(path)) {
    for (;;) {
      // Mounts can lie on each other at one point: the one that lies on the last is seen.
      const next = mounts.find((mount) => {
        if (mount.path !== prefix || mount === found) return false
        // The first: its parent lies outside of what this process sees, or is itself.
        return found ? mount.parent === found.id : mount.parent === mount.id || !ids.has(mount.parent)
      })
      if (!next) break
      found = next
    }
  }
  return found
}

/** `/`, `/a`, `/a/b` of `/a/b`. */
function prefixes(path: string): string[] {
  const all = ['/']
  for (let at = path.indexOf('/', 1); at > 0; at = path.indexOf('/', at + 1)) all.push(path.slice(0, at))
  if (path !== '/') all.push(path)
  return all
}

/** The cosmos mount that a path lies in, or whose mount point it is. */
export function cosmosMountOf(path: string, mounts: readonly MountEntry[]): MountEntry | undefined {
  const mount = mountOf(path, mounts)
  return mount?.type === COSMOS_TYPE ? mount : undefined
}

/** Whether a path is a directory or lies in it, as text; both absolute. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || directory === '/' || path.startsWith(`${directory}/`)
}
