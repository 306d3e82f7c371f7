import { accessSync, closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs'
import { CosmosError } from '../errors.ts'
import { DeviceTable } from '../frame/devices.ts'
import { pathBytes, readable } from '../frame/paths.ts'
import { type HostPlace, resolveHostPath } from '../source/host-path.ts'

/** How long a reading of the table of mounts is believed, milliseconds. */
const MOUNTS_FRESH = 100
/** Distance of the pieces of a file that are kept; each is two of them long, so that short reads never span. */
const STRIDE = 16 * 1024
const MAX_PIECES = 8
/** The most that is read at once. */
const MAX_READ = 64 * 1024 * 1024

const MAX_DIRECTORIES = 256

const devices = new DeviceTable()
const directories = new Map<string, { place: HostPlace; at: number }>()

/** What an absolute host path (one character a byte) leads to, or an errno name; never into a cosmos mount. */
export function placeOf(path: string): HostPlace | string {
  const cut = path.lastIndexOf('/')
  const directory = directoryAt(path.slice(0, cut))
  if (typeof directory === 'string') return directory
  return resolveHostPath(path.slice(cut + 1), isTree, directory.path === '/' ? '' : directory.path)
}

/** Most paths are in few directories: where those lead is believed as long as the table of mounts. */
function directoryAt(path: string): HostPlace | string {
  const now = performance.now()
  const known = directories.get(path)
  if (known && now - known.at < MOUNTS_FRESH) return known.place
  const place = resolveHostPath(path, isTree)
  if (typeof place === 'string') return place
  if (directories.size === MAX_DIRECTORIES) directories.clear()
  directories.set(path, { place, at: now })
  return place
}

function isTree(directory: string): boolean {
  return devices.isCosmosMountPoint(directory, MOUNTS_FRESH)
}

/** Whether this process may execute what is at a resolved path: an x bit, on a mount without noexec. */
export function isExecutable({ path, stats }: HostPlace): boolean {
  try {
    accessSync(pathBytes(path), constants.X_OK)
    return stats.isFile()
  } catch {
    return false
  }
}

/** What tells a file, and its content, from every other: device, inode, size and times. */
export function identityOf(stats: Stats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}:${stats.ctimeMs}`
}

/** A regular file of the host that is read in pieces; nothing outside of it is ever asked for. */
export class HostFile {
  /** For messages. */
  readonly subject: string
  readonly size: number
  readonly #fd: number
  readonly #pieces = new Map<number, Buffer>()

  private constructor(subject: string, fd: number, size: number) {
    this.subject = subject
    this.#fd = fd
    this.size = size
  }

  /**
   * Opens a host path, hands the file over, and closes it. A FIFO or device is not opened.
   * Throws CosmosError: the errno of the path or the opening; EISDIR, EACCES for what is no regular file.
   */
  static use<T>(path: string, work: (file: HostFile, place: HostPlace) => T): T {
    const subject = readable(path)
    const place = placeOf(path)
    if (typeof place === 'string') throw new CosmosError(place, subject, reasonOf(place))
    if (place.stats.isDirectory()) throw new CosmosError('EISDIR', subject, 'is a directory')
    if (!place.stats.isFile()) throw new CosmosError('EACCES', subject, 'is no regular file')
    const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = constants
    const fd = attempt(subject, () => openSync(pathBytes(place.path), O_RDONLY | O_NONBLOCK | O_NOFOLLOW))
    try {
      const stats = attempt(subject, () => fstatSync(fd))
      if (!stats.isFile()) throw new CosmosError('EACCES', subject, 'is no regular file')
      return work(new HostFile(subject, fd, stats.size), place)
    } finally {
      closeSync(fd)
    }
  }

  /** Bytes of the file. Throws CosmosError ENOEXEC where it has not so many, or they are absurdly many. */
  at(offset: number, length: number): Buffer {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.size))
      throw this.invalid(`is truncated: ${offset + length} bytes wanted of ${this.size}`)
    if (length > MAX_READ) throw this.invalid(`has a table of ${length} bytes`)
    if (length > STRIDE) return this.#read(offset, length)
    const start = offset - (offset % STRIDE)
    let piece = this.#pieces.get(start)
    if (!piece) {
      piece = this.#read(start, Math.min(2 * STRIDE, this.size - start))
      if (this.#pieces.size === MAX_PIECES) this.#pieces.clear()
      this.#pieces.set(start, piece)
    }
    return piece.subarray(offset - start, offset - start + length)
  }

  /** The beginning of the file, `length` bytes or fewer. */
  head(length: number): Buffer {
    return this.at(0, Math.min(length, this.size))
  }

  /** The error of a file whose content can't be. */
  invalid(why: string): CosmosError {
    return new CosmosError('ENOEXEC', this.subject, why)
  }

  #read(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let done = 0; done < length; ) {
      const count = attempt(this.subject, () => readSync(this.#fd, bytes, done, length - done, offset + done))
      if (count === 0) throw this.invalid('became shorter while it was read')
      done += count
    }
    return bytes
  }
}

/** The whole of a small file as text with one character a byte. Throws CosmosError; EFBIG over `limit` bytes. */
export function readSmallFile(path: string, limit: number): string {
  return HostFile.use(path, (file) => {
    if (file.size > limit) throw new CosmosError('EFBIG', file.subject, `is longer than ${limit} bytes`)
    return file.at(0, file.size).toString('latin1')
  })
}

function attempt<T>(subject: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
    throw new CosmosError(code, subject, reasonOf(code), undefined, { cause: error })
  }
}

/** What an errno of a path means, in words. */
function reasonOf(code: string): string {
  if (code === 'ENOENT') return 'is not there'
  if (code === 'EACCES') return 'may not be read'
  return code
}

/** What an error says beside its subject. */
export function whyOf({ subject, message }: CosmosError): string {
  return message.slice(subject.length + 2)
}
