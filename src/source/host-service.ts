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
  type Stats,
  statSync,
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
  /**
   * What is not there for peers, whatever they are granted, with all below it: the daemon's state, its runtime
   * directory. Resolved paths, one character a byte.
   */
  readonly secrets: readonly string[]
}

/** Processes, and their memory: the daemon's has its key. */
const PROCESSES = '/proc'

const readBytes = promisify(read)
const writeBytes = promisify(write)
const syncFile = promisify(fsync)
/** What is told may be believed so long, milliseconds. */
const FRESH = 1000
/** Entries that are looked at before others get their turn. */
const TURN = 512

export function hostService({ isTree, secrets }: HostServiceParts): SourceService {
  const processes = statSync(PROCESSES).dev
  /** Of the secret directories, for where they are reached by other paths: renamed, or bound elsewhere. */
  const identities = new Set(secrets.map(identityOf).filter((each) => each !== undefined))
  const isSecret = (path: string): boolean =>
    isWithin(path, PROCESSES) || secrets.some((secret) => isWithin(path, secret))
  /** Opens a directory. Throws CosmosError ENOENT for one that is not there for peers. */
  const openDirectory = (path: string, flags: number, asked: string): number => {
    if (isSecret(asked)) throw CosmosError.fromErrno(-2, readable(asked))
    const fd = openWithoutLinks(pathBytes(path), flags | O_DIRECTORY | O_CLOEXEC)
    if (fd < 0) throw CosmosError.fromErrno(fd, readable(asked))
    const { dev, ino } = fstatSync(fd)
    if (dev !== processes && !identities.has(`${dev}:${ino}`)) return fd
    closeSync(fd)
    throw CosmosError.fromErrno(-2, readable(asked))
  }
  /** Does something to a name in the directory that holds it: `/proc/self/fd/N/NAME` is there and nowhere else. */
  const at = <T>(path: SourcePath, effect: (place: Buffer) => T): T => {
    const text = textOf(path)
    const slash = text.lastIndexOf('/')
    if (text === '/') return guard(text, () => effect(pathBytes('/')))
    const parent = text.slice(0, slash) || '/'
    if (isInTree(parent)) throw CosmosError.fromErrno(-2, readable(text))
    const fd = openDirectory(parent, O_PATH, text)
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
      if ((flags & O_CREAT) !== 0) return new HostFile(openSync(place, flags | O_NOFOLLOW, mode), text)
      return atNode(place, (node, stats) => {
        // Opening anything else could wait for ever, or do something.
        if (!stats.isFile() || stats.dev === processes)
          throw new CosmosError('EACCES', readable(text), 'is no file to be read or written over a link')
        return new HostFile(openSync(node, flags | O_NONBLOCK), text)
      })
    })
  }
  /** What lies in it would be known by another path, or be gone. */
  const checkHoldsNothing = (path: SourcePath): void => {
    const text = textOf(path)
    if (secrets.some((secret) => secret !== text && isWithin(secret, text)))
      throw new CosmosError('EBUSY', readable(text), 'holds what cosmos needs, and stays where it is')
  }

  return {
    async stat(path) {
      return nodeOf(path)
    },
    async list(path, signal) {
      const text = textOf(path)
      if (isInTree(text)) return []
      const fd = openDirectory(text, O_RDONLY, text)
      try {
        const names = guard(text, () => readdirSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }))
        const entries: SourceEntry[] = []
        for (const [index, bytes] of names.entries()) {
          const name = bytes.toString('latin1')
          if (isSecret(text === '/' ? `/${name}` : `${text}/${name}`)) continue
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
      checkHoldsNothing(path)
      checkHoldsNothing(to)
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
  /** Reads and writes under way. */
  readonly #working = new Set<Promise<unknown>>()
  #writing: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
    this.node = nodeFrom(fstatSync(fd, { bigint: true }), undefined)
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafeSlow(length)
    const { bytesRead } = await this.#do(() => readBytes(this.#fd, buffer, 0, length, position))
    return bytesRead === length ? buffer : buffer.subarray(0, bytesRead)
  }

  /** One after the other: what is written last is what is there. */
  write(position: number, bytes: Uint8Array): Promise<void> {
    const written = this.#writing.then(() => this.#do(() => this.#write(position, bytes)))
    this.#writing = written.catch(() => {})
    return written
  }

  async #write(position: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; )
      done += (await writeBytes(this.#fd, bytes, done, bytes.length - done, position + done)).bytesWritten
  }

  async sync(): Promise<void> {
    await this.#writing
    await this.#do(() => syncFile(this.#fd))
  }

  /** The descriptor's number is the next file's when it is free: what is under way would reach that one. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await Promise.allSettled(this.#working)
    closeSync(this.#fd)
  }

  async #do<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new CosmosError('EBADF', readable(this.#path), 'was closed')
    const working = work()
    this.#working.add(working)
    try {
      return await working
    } catch (error) {
      throw named(error, this.#path)
    } finally {
      this.#working.delete(working)
    }
  }
}

/** Does something to what a name is now, whoever renames it meanwhile: `/proc/self/fd/N` is that and nothing else. */
function atNode<T>(place: Buffer, effect: (node: string, stats: Stats) => T): T {
  const fd = openSync(place, O_PATH | O_NOFOLLOW | O_CLOEXEC)
  try {
    return effect(`/proc/self/fd/${fd}`, fstatSync(fd))
  } finally {
    closeSync(fd)
  }
}

function apply(place: Buffer, change: SourceChange): void {
  atNode(place, (node, before) => applyTo(place, node, before, change))
}

function applyTo(
  place: Buffer,
  node: string,
  before: Stats,
  { mode, uid, gid, size, atime, mtime }: SourceChange,
): void {
  if (uid !== undefined || gid !== undefined) lchownSync(place, uid ?? before.uid, gid ?? before.gid)
  // A link has no mode of its own, and what it leads to is not meant.
  if (mode !== undefined && !before.isSymbolicLink()) chmodSync(node, mode)
  if (size !== undefined) {
    if (!before.isFile()) throw CosmosError.fromErrno(-22, readable(place.toString('latin1')))
    const fd = openSync(node, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
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
    if (name === '' || name === '.' || name === '..' || /[/\0]|[^\0-\xff]/.test(name))
      throw new CosmosError('EINVAL', readable(name), 'is no name')
  return `/${segments.join('/')}`
}

/** Whether a path is this directory or lies below it. */
function isWithin(path: string, directory: string): boolean {
  return path === directory || directory === '/' || path.startsWith(`${directory}/`)
}

function identityOf(path: string): string | undefined {
  const found = statSync(pathBytes(path), { throwIfNoEntry: false })
  return found?.isDirectory() ? `${found.dev}:${found.ino}` : undefined
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
