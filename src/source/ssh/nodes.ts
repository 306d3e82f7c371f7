import type { SourceNode, SourceType } from '../service.ts'
import type { Attributes } from './packets.ts'

/** How long a node is believed, milliseconds. */
export const FRESH = 1000

const TYPE_BITS = 0o170000
const TYPES: ReadonlyMap<number, SourceType> = new Map([
  [0o010000, 'fifo'],
  [0o020000, 'character'],
  [0o040000, 'directory'],
  [0o060000, 'block'],
  [0o100000, 'file'],
  [0o120000, 'link'],
  [0o140000, 'socket'],
])

/** What attributes say a thing is; a file where they do not tell. */
export function typeOf({ mode = 0 }: Attributes): SourceType {
  return TYPES.get(mode & TYPE_BITS) ?? 'file'
}

/**
 * The node of attributes. SFTP's version 3 knows whole seconds only, no inode and no count of links. `written` marks what
 * was written here in the second that its time does not tell apart.
 */
export function toNode(path: string, attributes: Attributes, target?: string, written = ''): SourceNode {
  const { size = 0, owner, mode, times } = attributes
  const type = typeOf(attributes)
  return {
    type,
    size: type === 'file' && isLive(path) ? undefined : type === 'link' ? (target?.length ?? size) : size,
    ...(mode === undefined ? {} : { mode: mode & 0o7777 }),
    ...owner,
    ...(times ? { mtime: times.mtime * 1000, generation: `${size}-${times.mtime}${written}` } : {}),
    ...(target === undefined ? {} : { target }),
    fresh: FRESH,
  }
}

/** Whether a path's files are made when they are read: what their size says is not so. */
function isLive(path: string): boolean {
  return path.startsWith('/proc/') || path.startsWith('/sys/')
}
