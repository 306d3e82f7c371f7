import { EINVAL, ENOSYS, ENXIO, EOPNOTSUPP, EXDEV } from '../src/os/errno.ts'
import { copyFileRange, ftruncate, lseek, pread, pwrite } from '../src/os/libc.ts'
import { allocateNative } from '../src/os/memory.ts'

const SEEK_DATA = 3
const SEEK_HOLE = 4

/** Copies between open files, in the kernel where it can, else through a buffer. */
export class FileCopier {
  readonly #buffer: number
  readonly #size: number
  /** Two int64: the positions that copy_file_range(2) moves. */
  readonly #positions = allocateNative(16)

  /** `buffer`: native address of `size` bytes. */
  constructor(buffer: number, size: number) {
    this.#buffer = buffer
    this.#size = size
  }

  /** Copies up to `length` bytes: how many were copied, or `-errno` where none was. */
  copyRange(from: number, position: number, to: number, otherPosition: number, length: number): number {
    let done = 0
    while (done < length) {
      const copied = this.#some(from, position + done, to, otherPosition + done, length - done)
      if (copied < 0) return done > 0 ? done : copied
      if (copied === 0) break
      done += copied
    }
    return done
  }

  /** Makes `to` (empty) equal to the first `length` bytes of `from`, holes kept: `length`, or `-errno`. */
  copyFile(from: number, to: number, length: number): number {
    let at = 0
    while (at < length) {
      let start = lseek(from, at, SEEK_DATA)
      if (start === -ENXIO) break
      // A file system without holes: all of it is data.
      if (start < 0) start = at
      let end = lseek(from, start, SEEK_HOLE)
      if (end < 0 || end > length) end = length
      if (start >= length) break
      const copied = this.copyRange(from, start, to, start, end - start)
      if (copied < 0) return copied
      // The file has become shorter meanwhile.
      if (copied === 0) break
      at = start + copied
    }
    const sized = ftruncate(to, length)
    return sized < 0 ? sized : length
  }

  #some(from: number, position: number, to: number, otherPosition: number, length: number): number {
    const { view, address } = this.#positions
    view.setBigInt64(0, BigInt(position), true)
    view.setBigInt64(8, BigInt(otherPosition), true)
    const copied = copyFileRange(from, address, to, address + 8, length, 0)
    // Some file systems (proc) answer 0 although there is something to read.
    const elsewhere = copied === -EXDEV || copied === -EINVAL || copied === -ENOSYS || copied === -EOPNOTSUPP
    if (!elsewhere && copied !== 0) return copied
    const got = pread(from, this.#buffer, Math.min(length, this.#size), position)
    if (got <= 0) return got
    let put = 0
    while (put < got) {
      const written = pwrite(to, this.#buffer + put, got - put, otherPosition + put)
      if (written < 0) return put > 0 ? put : written
      put += written
    }
    return put
  }
}
