import {
  type BigIntStats,
  chmodSync,
  closeSync,
  fstatSync,
  fsync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  read,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  write,
} from 'node:fs'
import { promisify } from 'node:util'
import { CosmosError } from '../errors.ts'
import { pathBytes, readable } from '../frame/paths.ts'
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  RENAME_NOREPLACE,
} from '../os/constants.ts'
import { renameat2 } from '../os/libc.ts'
import { cString } from '../os/memory.ts'
import { openWithoutLinks } from '../os/openat2.ts'
import type {
  SourceAccess,
  SourceChange,
  SourceEntry,
  SourceFile,
  SourceNode,
  SourcePath,
  SourceService,
  SourceType,
} from './service.ts'

/**
 * This host's files as a source, for peers: what `me@HOST` shows of it to them. No link is followed on the way to
 * anything: whoever asks reads links and follows them by itself, and a grant for a path is for what lies there.
 */
export interface HostServiceParts {
  /** Whether a directory shows as an empty one: a cosmos mount, which would make two daemons wait for each other. */
  readonly isTree: (path: string) => boolean
}

const readBytes = promisify(read)
const writeBytes = promisify(write)
const syncFile = promisify(fsync)
/** What is told may be believed so long, milliseconds. */
const FRESH = 1000
/** Entries that are looked at before others get their turn. */
const TURN = 512

export function hostService({ isTree }: HostServiceParts): SourceService {
  /** Does something to a name in the directory that holds it: `/proc/self/fd/N/NAME` is there and nowhere else. */
  const at = <T>(path: SourcePath, effect: (place: Buffer) => T): T => {
    const text = textOf(path)
    const slash = text.lastIndexOf('/')
    if (text === '/') return guard(text, () => effect(pathBytes('/')))
    const parent = text.slice(0, slash) || '/'
    if (isInTree(parent)) throw CosmosError.fromErrno(-2, readable(text))
    const fd = openWithoutLinks(pathBytes(parent), O_PATH | O_DIRECTORY | O_CLOEXEC)
    if (fd < 0) throw CosmosError.fromErrno(fd, readable(text))
    try {
      return guard(text, () => effect(pathBytes(`/proc/self/fd/${fd}/${text.slice(slash + 1)}`)))
    } finally {
      closeSync(fd)
    }
  }
  const isInTree = (path: string): boolean => {
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1))
      if (isTree(path.slice(0, end))) return true
    return false
  }
  const nodeOf = (path: SourcePath): SourceNode => at(path, describe)
  const open = (path: SourcePath, flags: number, mode: number): HostFile => {
    const text = textOf(path)
    if (isInTree(text)) throw CosmosError.fromErrno(-2, readable(text))
    return at(path, (place) => {
      // Opening anything else could wait for ever, or do something.
      if (lstatSync(place, { throwIfNoEntry: false })?.isFile() === false)
        throw new CosmosError('EACCES', readable(text), 'is no file to be read or written over a link')
      return new HostFile(openSync(place, flags | O_NOFOLLOW | O_NONBLOCK, mode), text)
    })
  }

  return {
    async stat(path) {
      return nodeOf(path)
    },
    async list(path, signal) {
      const text = textOf(path)
      if (isInTree(text)) return []
      const fd = openWithoutLinks(pathBytes(text), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      if (fd < 0) throw CosmosError.fromErrno(fd, readable(text))
      try {
        const names = guard(text, () => readdirSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }))
        const entries: SourceEntry[] = []
        for (const [index, bytes] of names.entries()) {
          const name = bytes.toString('latin1')
          const node = describeIfThere(pathBytes(`/proc/self/fd/${fd}/${name}`))
          if (node) entries.push({ name, node })
          if (index % TURN === TURN - 1) await new Promise(setImmediate)
          signal.throwIfAborted()
        }
        return entries
      } finally {
        closeSync(fd)
      }
    },
    async open(path, access) {
      return open(path, flagsOf(access), 0)
    },
    async create(path, mode, access) {
      return open(path, flagsOf(access) | O_CREAT | O_EXCL, mode)
    },
    async mkdir(path, mode) {
      at(path, (place) => mkdirSync(place, mode))
      return nodeOf(path)
    },
    async symlink(path, target) {
      at(path, (place) => symlinkSync(pathBytes(target), place))
      return nodeOf(path)
    },
    async link(path, to) {
      at(path, (from) => at(to, (place) => linkSync(from, place)))
      return nodeOf(to)
    },
    async unlink(path) {
      at(path, unlinkSync)
    },
    async rmdir(path) {
      at(path, (place) => rmdirSync(place))
    },
    async rename(path, to, keep) {
      at(path, (from) =>
        at(to, (place) => {
          if (!keep) return renameSync(from, place)
          const [source, target] = [cString(from), cString(place)]
          const result = renameat2(AT_FDCWD, source.address, AT_FDCWD, target.address, RENAME_NOREPLACE)
          if (result < 0) throw CosmosError.fromErrno(result, readable(textOf(to)))
        }),
      )
    },
    async change(path, change) {
      at(path, (place) => apply(place, change))
      return nodeOf(path)
    },
  }
}

class HostFile implements SourceFile {
  readonly node: SourceNode
  readonly #fd: number
  readonly #path: string

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
    this.node = nodeFrom(fstatSync(fd, { bigint: true }), undefined)
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafeSlow(length)
    const { bytesRead } = await this.#guard(readBytes(this.#fd, buffer, 0, length, position))
    return bytesRead === length ? buffer : buffer.subarray(0, bytesRead)
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const rest = bytes.length - done
      done += (await this.#guard(writeBytes(this.#fd, bytes, done, rest, position + done))).bytesWritten
    }
  }

  async sync(): Promise<void> {
    await this.#guard(syncFile(this.#fd))
  }

  async close(): Promise<void> {
    closeSync(this.#fd)
  }

  async #guard<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      throw named(error, this.#path)
    }
  }
}

function apply(place: Buffer, { mode, uid, gid, size, atime, mtime }: SourceChange): void {
  const before = lstatSync(place)
  if (uid !== undefined || gid !== undefined) lchownSync(place, uid ?? before.uid, gid ?? before.gid)
  // A link has no mode of its own, and what it leads to is not meant.
  if (mode !== undefined && !before.isSymbolicLink()) chmodSync(place, mode)
  if (size !== undefined) {
    const fd = openSync(place, O_WRONLY | O_NOFOLLOW | O_CLOEXEC)
    try {
      ftruncateSync(fd, size)
    } finally {
      closeSync(fd)
    }
  }
  if (atime !== undefined || mtime !== undefined)
    lutimesSync(place, (atime ?? before.atimeMs) / 1000, (mtime ?? before.mtimeMs) / 1000)
}

function describe(place: Buffer): SourceNode {
  const stats = lstatSync(place, { bigint: true })
  return nodeFrom(stats, stats.isSymbolicLink() ? readlinkSync(place, 'latin1') : undefined)
}

function describeIfThere(place: Buffer): SourceNode | undefined {
  const stats = lstatSync(place, { bigint: true, throwIfNoEntry: false })
  return stats && nodeFrom(stats, stats.isSymbolicLink() ? readlinkSync(place, 'latin1') : undefined)
}

function nodeFrom(stats: BigIntStats, target: string | undefined): SourceNode {
  const size = Number(stats.size)
  const mtime = Number(stats.mtimeNs / 1000n) / 1000
  return {
    type: typeOf(stats),
    size,
    mode: Number(stats.mode) & 0o7777,
    mtime,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    links: Number(stats.nlink),
    ...(target !== undefined && { target }),
    generation: `${stats.dev}:${stats.ino}:${size}:${stats.mtimeNs}:${stats.ctimeNs}`,
    identity: `${stats.dev}:${stats.ino}`,
    fresh: FRESH,
  }
}

function typeOf(stats: BigIntStats): SourceType {
  if (stats.isDirectory()) return 'directory'
  if (stats.isSymbolicLink()) return 'link'
  if (stats.isFIFO()) return 'fifo'
  if (stats.isSocket()) return 'socket'
  if (stats.isBlockDevice()) return 'block'
  return stats.isCharacterDevice() ? 'character' : 'file'
}

function flagsOf({ read: reads, write: writes, truncate }: SourceAccess): number {
  const access = writes ? (reads ? O_RDWR : O_WRONLY) : O_RDONLY
  return access | O_CLOEXEC | (truncate ? O_TRUNC : 0)
}

/** The host path of segments. Throws CosmosError EINVAL for what is no name. */
function textOf({ segments }: SourcePath): string {
  for (const name of segments)
    if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name))
      throw new CosmosError('EINVAL', readable(name), 'is no name')
  return `/${segments.join('/')}`
}

function guard<T>(path: string, effect: () => T): T {
  try {
    return effect()
  } catch (error) {
    throw named(error, path)
  }
}

function named(error: unknown, path: string): unknown {
  const { errno } = error as NodeJS.ErrnoException
  if (error instanceof CosmosError || errno === undefined) return error
  return CosmosError.fromErrno(errno, readable(path))
}
