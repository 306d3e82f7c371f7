import { EINTR, errnoNumber } from '../../src/os/errno.ts'
import { writev } from '../../src/os/libc.ts'
import { addressOf, allocateNative } from '../../src/os/memory.ts'
import { OUT_HEADER_SIZE } from './abi.ts'

/** struct fuse_write_out. */
const WRITE_OUT_SIZE = 8

/**
 * Answers requests of the kernel from a thread that has no loop of its own: what the tree has left to it (`away`). The
 * data of a read goes to the kernel from where it lies.
 */
export class AwayReply {
  readonly #fd: number
  readonly #header = allocateNative(OUT_HEADER_SIZE + WRITE_OUT_SIZE)
  /** Two struct iovec. */
  readonly #vectors = allocateNative(32)

  constructor(fd: number) {
    this.#fd = fd
    this.#vectors.view.setBigUint64(0, BigInt(this.#header.address), true)
  }

  /** The data of a read. */
  bytes(uniqueLow: number, uniqueHigh: number, bytes: Uint8Array): void {
    const { view } = this.#vectors
    view.setBigUint64(8, BigInt(OUT_HEADER_SIZE), true)
    view.setBigUint64(16, BigInt(bytes.length === 0 ? 0 : addressOf(bytes)), true)
    view.setBigUint64(24, BigInt(bytes.length), true)
    this.#write(uniqueLow, uniqueHigh, 0, bytes.length, bytes.length === 0 ? 1 : 2)
  }

  /** So many bytes were written. */
  written(uniqueLow: number, uniqueHigh: number, count: number): void {
    this.#vectors.view.setBigUint64(8, BigInt(OUT_HEADER_SIZE + WRITE_OUT_SIZE), true)
    this.#header.view.setUint32(OUT_HEADER_SIZE, count, true)
    this.#header.view.setUint32(OUT_HEADER_SIZE + 4, 0, true)
    this.#write(uniqueLow, uniqueHigh, 0, WRITE_OUT_SIZE, 1)
  }

  done(uniqueLow: number, uniqueHigh: number): void {
    this.#vectors.view.setBigUint64(8, BigInt(OUT_HEADER_SIZE), true)
    this.#write(uniqueLow, uniqueHigh, 0, 0, 1)
  }

  /** An errno name. */
  failed(uniqueLow: number, uniqueHigh: number, code: string): void {
    this.#vectors.view.setBigUint64(8, BigInt(OUT_HEADER_SIZE), true)
    this.#write(uniqueLow, uniqueHigh, -errnoNumber(code), 0, 1)
  }

  /** What the kernel says of it is not looked at: it may have given the request up, or the mount may be gone. */
  #write(uniqueLow: number, uniqueHigh: number, error: number, size: number, vectors: number): void {
    const { view } = this.#header
    view.setUint32(0, OUT_HEADER_SIZE + size, true)
    view.setInt32(4, error, true)
    view.setUint32(8, uniqueLow, true)
    view.setUint32(12, uniqueHigh, true)
    let written: number
    do written = writev(this.#fd, this.#vectors.address, vectors)
    while (written === -EINTR)
  }
}
