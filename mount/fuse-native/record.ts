import koffi from 'koffi'
import type { Attributes, FileSystemStatistics } from '../../src/frame/operations.ts'
import { allocateNative } from '../../src/os/memory.ts'

/**
 * The library's request record (`fuse_thread_locals_t` in its C source): what libfuse has asked, in memory that the
 * library hands over whole with every operation. Its JavaScript interface loses much of it: the time of
 * modification, bytes of names, open flags, 64-bit inode numbers, nanoseconds. They are read and answered here,
 * where the layout is known: Linux on x86-64, which is the only Linux that the library ships a binary for.
 */

/** Bytes of the record in version 2.2; another size is another layout. */
const SIZE = 360
const OP = 8
/** Pointers. */
export const FIRST_TEXT = 24
export const SECOND_TEXT = 32
const LINK_BUFFER = 40
const FILE_INFO = 48
const LENGTH = 72
/** Milliseconds since 1970, signed. */
const ATIME = 104
const MTIME = 112
export const XATTR_NAME = 128
const STAT = 168
const STATVFS = 176
const FILLER = 184
const DIRECTORY_BUFFER = 56

// struct fuse_file_info: `flags` is its first field.
const INFO_BITS = 20
const DIRECT_IO = 1

const STAT_SIZE = 144
const STATVFS_SIZE = 88
const MOST_TEXT = 65_536

type Filler = (buffer: number, name: number, stat: number, offset: number) => number

/** Reads and answers through a request record. */
export class RecordAccess {
  readonly #memcpy: (to: number, from: number, size: number) => number
  readonly #strlen: (text: number, most: number) => number
  readonly #fillerType = koffi.proto('int', ['uintptr_t', 'uintptr_t', 'uintptr_t', 'int64_t'])
  readonly #scratch = allocateNative(MOST_TEXT)
  readonly #stat = allocateNative(STAT_SIZE)
  #filler: Filler | undefined
  #fillerAddress = 0
  #record: DataView = new DataView(new ArrayBuffer(0))

  constructor() {
    const libc = koffi.load(null)
    this.#memcpy = libc.func('uintptr_t memcpy(uintptr_t, uintptr_t, size_t)')
    this.#strlen = libc.func('size_t strnlen(uintptr_t, size_t)')
  }

  /** Whether records can be read on this machine. */
  static get possible(): boolean {
    return process.platform === 'linux' && process.arch === 'x64'
  }

  /** Takes a record in hand; false when it is not what is expected. */
  begin(record: Buffer, op: number): boolean {
    if (record.length !== SIZE || record.readUInt32LE(OP) !== op) return false
    this.#record = new DataView(record.buffer, record.byteOffset, SIZE)
    return true
  }

  /** A text of the request, one character a byte. */
  text(at: number): string {
    const address = this.#pointer(at)
    const length = this.#strlen(address, MOST_TEXT)
    this.#memcpy(this.#scratch.address, address, length)
    return this.#scratch.bytes.toString('latin1', 0, length)
  }

  /** Times to be set, in milliseconds. */
  get accessTime(): number {
    return Number(this.#record.getBigInt64(ATIME, true))
  }
  get modificationTime(): number {
    return Number(this.#record.getBigInt64(MTIME, true))
  }

  /** O_* flags of an open or create. */
  get openFlags(): number {
    this.#memcpy(this.#scratch.address, this.#pointer(FILE_INFO), 4)
    return this.#scratch.view.getInt32(0, true)
  }

  /** The opened file is read and written without the page cache: its size is not known. */
  setDirectIo(): void {
    this.#scratch.bytes[0] = DIRECT_IO
    this.#memcpy(this.#pointer(FILE_INFO) + INFO_BITS, this.#scratch.address, 1)
  }

  putAttributes(attributes: Attributes): void {
    const { view, address } = this.#stat
    view.setUint32(8, attributes.inoLow, true)
    view.setUint32(12, attributes.inoHigh, true)
    view.setUint32(16, attributes.nlink, true)
    view.setUint32(24, attributes.mode, true)
    view.setUint32(28, attributes.uid, true)
    view.setUint32(32, attributes.gid, true)
    view.setUint32(40, attributes.rdev, true)
    this.#putWide(48, attributes.size)
    view.setUint32(56, attributes.blksize, true)
    this.#putWide(64, attributes.blocks)
    this.#putWide(72, attributes.atime)
    view.setUint32(80, attributes.atimensec, true)
    this.#putWide(88, attributes.mtime)
    view.setUint32(96, attributes.mtimensec, true)
    this.#putWide(104, attributes.ctime)
    view.setUint32(112, attributes.ctimensec, true)
    this.#memcpy(this.#pointer(STAT), address, STAT_SIZE)
  }

  putStatistics(s: FileSystemStatistics): void {
    const { view } = this.#scratch
    const fields = [
      s.blockSize,
      s.fragmentSize,
      s.blocks,
      s.freeBlocks,
      s.availableBlocks,
      s.files,
      s.freeFiles,
      s.freeFiles,
      0,
      0,
      s.nameLength,
    ]
    for (const [i, field] of fields.entries()) view.setBigInt64(i * 8, BigInt(field), true)
    this.#memcpy(this.#pointer(STATVFS), this.#scratch.address, STATVFS_SIZE)
  }

  /** A symbolic link's target; cut where there is no room for it. */
  putLink(target: Uint8Array): void {
    const room = Number(this.#record.getBigUint64(LENGTH, true)) - 1
    const length = Math.min(room, target.length)
    this.#scratch.bytes.set(target.subarray(0, length))
    this.#scratch.bytes[length] = 0
    this.#memcpy(this.#pointer(LINK_BUFFER), this.#scratch.address, length + 1)
  }

  /** One directory entry; false when there is no memory for it. */
  putEntry(
    name: Uint8Array,
    offset: number,
    length: number,
    inoLow: number,
    inoHigh: number,
    type: number,
  ): boolean {
    const { bytes, address } = this.#scratch
    for (let i = 0; i < length; i++) bytes[i] = name[offset + i]!
    bytes[length] = 0
    const { view } = this.#stat
    view.setUint32(8, inoLow, true)
    view.setUint32(12, inoHigh, true)
    view.setUint32(24, type << 12, true)
    return this.#fill(this.#pointer(DIRECTORY_BUFFER), address, this.#stat.address, 0) === 0
  }

  get #fill(): Filler {
    const address = this.#pointer(FILLER)
    if (this.#filler === undefined || this.#fillerAddress !== address) {
      this.#filler = koffi.decode(BigInt(address), this.#fillerType) as Filler
      this.#fillerAddress = address
    }
    return this.#filler
  }

  #pointer(at: number): number {
    return Number(this.#record.getBigUint64(at, true))
  }

  #putWide(at: number, value: number): void {
    this.#stat.view.setBigInt64(at, BigInt(value), true)
  }
}
