import type { Attributes, FileSystemStatistics, Opened, Validity } from '../../src/frame/operations.ts'
import { STATX_BASIC_STATS, STATX_BTIME } from '../../src/os/constants.ts'
import { EINTR, EIO, ENODEV, ENOENT, errnoName } from '../../src/os/errno.ts'
import { write } from '../../src/os/libc.ts'
import {
  ATTR_OUT_SIZE,
  ENTRY_OUT_SIZE,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FOPEN_PARALLEL_DIRECT_WRITES,
  FOPEN_PASSTHROUGH,
  OPEN_OUT_SIZE,
  OUT_HEADER_SIZE,
  STATFS_OUT_SIZE,
  STATX_OUT_SIZE,
} from './abi.ts'
import type { Log } from './log.ts'
import { allocateMessage, type MessageBuffer } from './message-buffer.ts'
import { MAX_WRITE } from './negotiate.ts'

const TWO_32 = 0x100000000
/** Word of the buffer where the payload begins. */
const PAYLOAD = OUT_HEADER_SIZE / 4

/**
 * Writes replies: the payload is put together in one buffer that is used again for every request, then goes to
 * the kernel with its header in one write(2). The `put` methods answer the payload's bytes.
 */
export class ReplyWriter {
  readonly buffer: MessageBuffer = allocateMessage(OUT_HEADER_SIZE + MAX_WRITE + 4096, OUT_HEADER_SIZE)
  /** Most bytes of a payload. */
  readonly capacity = MAX_WRITE
  readonly #fd: number
  readonly #log: Log
  readonly #words = this.buffer.words

  constructor(fd: number, log: Log) {
    this.#fd = fd
    this.#log = log
  }

  /** Sends a notification without a body: what was written, or `-errno`. */
  notify(code: number): number {
    const words = this.#words
    words[0] = OUT_HEADER_SIZE
    words[1] = code
    words[2] = 0
    words[3] = 0
    return write(this.#fd, this.buffer.address, OUT_HEADER_SIZE)
  }

  /** Native address of the payload. */
  get address(): number {
    return this.buffer.address + OUT_HEADER_SIZE
  }

  /**
   * Sends the reply of a request: `result` bytes of payload, or `-errno` (without payload). Answers what write(2)
   * did; -ENOENT says that the kernel has given the request up, which is as it should be.
   */
  send(uniqueLow: number, uniqueHigh: number, result: number): number {
    const words = this.#words
    const size = result < 0 ? OUT_HEADER_SIZE : OUT_HEADER_SIZE + result
    words[0] = size
    words[1] = Math.min(result, 0)
    words[2] = uniqueLow
    words[3] = uniqueHigh
    let written = write(this.#fd, this.buffer.address, size)
    while (written === -EINTR) written = write(this.#fd, this.buffer.address, size)
    if (written === size || written === -ENOENT || written === -ENODEV) return written
    this.#log(
      `a reply of ${size} bytes was not taken: ${written < 0 ? errnoName(-written) : `${written} bytes`}`,
    )
    // The caller must not wait for ever: what can always be sent is an error.
    if (size > OUT_HEADER_SIZE) return this.send(uniqueLow, uniqueHigh, -EIO)
    return written
  }

  /** Word `index` of the payload. */
  setWord(index: number, value: number): void {
    this.#words[PAYLOAD + index] = value
  }

  word(index: number): number {
    return this.#words[PAYLOAD + index]!
  }

  /** A 64-bit word of two. */
  setWide(index: number, value: number): void {
    setWide(this.#words, PAYLOAD + index, value)
  }

  /** struct fuse_entry_out; node 0 is a name that does not exist. */
  putEntry(node: number, validity: Validity, attributes: Attributes): number {
    writeEntry(this.#words, PAYLOAD, node, validity, attributes)
    return ENTRY_OUT_SIZE
  }

  /** struct fuse_entry_out of a name that does not exist, to be believed for `seconds`. */
  putNothing(seconds: number): number {
    this.#words.fill(0, PAYLOAD, PAYLOAD + ENTRY_OUT_SIZE / 4)
    setWide(this.#words, PAYLOAD + 4, seconds)
    return ENTRY_OUT_SIZE
  }

  /** struct fuse_attr_out. */
  putAttributes(validity: Validity, attributes: Attributes): number {
    const words = this.#words
    setWide(words, PAYLOAD, validity.attributes)
    words[PAYLOAD + 2] = 0
    words[PAYLOAD + 3] = 0
    writeAttributes(words, PAYLOAD + 4, attributes)
    return ATTR_OUT_SIZE
  }

  /** struct fuse_open_out, behind `before` bytes of payload. */
  putOpened(opened: Opened, before: number): number {
    const at = PAYLOAD + (before >>> 2)
    const words = this.#words
    words[at] = opened.handle
    words[at + 1] = 0
    words[at + 2] = openFlags(opened)
    words[at + 3] = opened.backingId
    return before + OPEN_OUT_SIZE
  }

  /** struct fuse_statx_out. */
  putStatx(validity: Validity, attributes: Attributes): number {
    const words = this.#words
    words.fill(0, PAYLOAD, PAYLOAD + STATX_OUT_SIZE / 4)
    setWide(words, PAYLOAD, validity.attributes)
    const at = PAYLOAD + 8
    const birth = attributes.btime !== 0 || attributes.btimensec !== 0
    words[at] = birth ? STATX_BASIC_STATS | STATX_BTIME : STATX_BASIC_STATS
    words[at + 1] = attributes.blksize
    words[at + 4] = attributes.nlink
    words[at + 5] = attributes.uid
    words[at + 6] = attributes.gid
    words[at + 7] = attributes.mode & 0xffff
    words[at + 8] = attributes.inoLow
    words[at + 9] = attributes.inoHigh
    setWide(words, at + 10, attributes.size)
    setWide(words, at + 12, attributes.blocks)
    setWide(words, at + 16, attributes.atime)
    words[at + 18] = attributes.atimensec
    setWide(words, at + 20, attributes.btime)
    words[at + 22] = attributes.btimensec
    setWide(words, at + 24, attributes.ctime)
    words[at + 26] = attributes.ctimensec
    setWide(words, at + 28, attributes.mtime)
    words[at + 30] = attributes.mtimensec
    // The kernel's new_encode_dev: minor 0-7, major 8-19, minor's rest 20-31.
    words[at + 32] = (attributes.rdev & 0xfff00) >>> 8
    words[at + 33] = (attributes.rdev & 0xff) | ((attributes.rdev >>> 12) & 0xfff00)
    return STATX_OUT_SIZE
  }

  /** struct fuse_statfs_out. */
  putStatistics(statistics: FileSystemStatistics): number {
    const words = this.#words
    words.fill(0, PAYLOAD, PAYLOAD + STATFS_OUT_SIZE / 4)
    setWide(words, PAYLOAD, statistics.blocks)
    setWide(words, PAYLOAD + 2, statistics.freeBlocks)
    setWide(words, PAYLOAD + 4, statistics.availableBlocks)
    setWide(words, PAYLOAD + 6, statistics.files)
    setWide(words, PAYLOAD + 8, statistics.freeFiles)
    words[PAYLOAD + 10] = statistics.blockSize
    words[PAYLOAD + 11] = statistics.nameLength
    words[PAYLOAD + 12] = statistics.fragmentSize
    return STATFS_OUT_SIZE
  }
}

/**
 * FOPEN_*: close(2) need not ask us but where the tree says so: nothing is kept back by the driver, and the kernel writes
 * mapped pages out at munmap. With passthrough the kernel takes none of the cache flags.
 */
function openFlags(opened: Opened): number {
  const atClose = opened.flush ? 0 : FOPEN_NOFLUSH
  if (opened.backingId !== 0) return FOPEN_PASSTHROUGH | atClose
  if (opened.directIo) return FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES | atClose
  return opened.keepCache ? FOPEN_KEEP_CACHE | atClose : atClose
}

/** struct fuse_entry_out at word `at`. */
export function writeEntry(
  words: Uint32Array,
  at: number,
  node: number,
  validity: Validity,
  attributes: Attributes,
): void {
  words[at] = node
  words[at + 1] = 0
  words[at + 2] = 0
  words[at + 3] = 0
  setWide(words, at + 4, validity.entry)
  setWide(words, at + 6, validity.attributes)
  words[at + 8] = 0
  words[at + 9] = 0
  writeAttributes(words, at + 10, attributes)
}

/** struct fuse_attr at word `at`. */
function writeAttributes(words: Uint32Array, at: number, attributes: Attributes): void {
  words[at] = attributes.inoLow
  words[at + 1] = attributes.inoHigh
  setWide(words, at + 2, attributes.size)
  setWide(words, at + 4, attributes.blocks)
  setWide(words, at + 6, attributes.atime)
  setWide(words, at + 8, attributes.mtime)
  setWide(words, at + 10, attributes.ctime)
  words[at + 12] = attributes.atimensec
  words[at + 13] = attributes.mtimensec
  words[at + 14] = attributes.ctimensec
  words[at + 15] = attributes.mode
  words[at + 16] = attributes.nlink
  words[at + 17] = attributes.uid
  words[at + 18] = attributes.gid
  words[at + 19] = attributes.rdev
  words[at + 20] = attributes.blksize
  words[at + 21] = 0
}

/** A number as two words, low first; a negative one in two's complement. */
function setWide(words: Uint32Array, at: number, value: number): void {
  words[at] = value
  words[at + 1] = value >= 0 && value < TWO_32 ? 0 : Math.floor(value / TWO_32)
}
