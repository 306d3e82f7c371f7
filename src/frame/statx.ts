import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_NO_AUTOMOUNT,
  AT_STATX_DONT_SYNC,
  AT_SYMLINK_NOFOLLOW,
  STATX_BASIC_STATS,
  STATX_BTIME,
} from '../os/constants.ts'
import { statx } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import type { Attributes } from './operations.ts'

/** Result of statx(2), decoded without allocation; `struct statx` of linux/stat.h. */
export class Stat {
  readonly #memory = allocateNative(256)
  readonly #words = new Uint32Array(this.#memory.bytes.buffer)

  /** statx(2) of a name below a directory descriptor. A FUSE or network file system answers what it has cached. */
  child(directory: number, nameAddress: number): number {
    return statx(directory, nameAddress, FLAGS | AT_STATX_DONT_SYNC, MASK, this.#memory.address)
  }
  /** statx(2) of what a path leads to, links followed. */
  path(address: number): number {
    return statx(AT_FDCWD, address, AT_NO_AUTOMOUNT, MASK, this.#memory.address)
  }
  /** The same, but a network file system is asked. */
  childSynced(directory: number, nameAddress: number): number {
    return statx(directory, nameAddress, FLAGS, MASK, this.#memory.address)
  }
  /** statx(2) of a descriptor itself, as cached. */
  descriptor(fd: number): number {
    return statx(fd, EMPTY.address, FLAGS | AT_EMPTY_PATH | AT_STATX_DONT_SYNC, MASK, this.#memory.address)
  }
  descriptorSynced(fd: number): number {
    return statx(fd, EMPTY.address, FLAGS | AT_EMPTY_PATH, MASK, this.#memory.address)
  }

  get mode(): number {
    return this.#words[7]! & 0xffff
  }
  get nlink(): number {
    return this.#words[4]!
  }
  get uid(): number {
    return this.#words[5]!
  }
  get gid(): number {
    return this.#words[6]!
  }
  get inoLow(): number {
    return this.#words[8]!
  }
  get inoHigh(): number {
    return this.#words[9]!
  }
  get size(): number {
    return this.#words[10]! + this.#words[11]! * 0x100000000
  }
  /** Device as one word: major in the upper 12 bits, minor in the lower 20 (the kernel's dev_t). */
  get device(): number {
    return ((this.#words[34]! << 20) | this.#words[35]!) >>> 0
  }
  get birth(): number {
    return this.#words[20]!
  }
  get birthNsec(): number {
    return this.#words[22]!
  }

  /** Takes this mtime and ctime where they are later. */
  newer(into: Attributes): void {
    const words = this.#words
    const mtime = seconds(words[28]!, words[29]!)
    const mtimensec = words[30]!
    if (mtime > into.mtime || (mtime === into.mtime && mtimensec > into.mtimensec)) {
      into.mtime = mtime
      into.mtimensec = mtimensec
      into.ctime = seconds(words[24]!, words[25]!)
      into.ctimensec = words[26]!
    }
  }

  /** Everything but the inode number. */
  decode(into: Attributes): void {
    const words = this.#words
    into.blksize = words[1]!
    into.nlink = words[4]!
    into.uid = words[5]!
    into.gid = words[6]!
    into.mode = words[7]! & 0xffff
    into.size = words[10]! + words[11]! * 0x100000000
    into.blocks = words[12]! + words[13]! * 0x100000000
    into.atime = seconds(words[16]!, words[17]!)
    into.atimensec = words[18]!
    into.btime = seconds(words[20]!, words[21]!)
    into.btimensec = words[22]!
    into.ctime = seconds(words[24]!, words[25]!)
    into.ctimensec = words[26]!
    into.mtime = seconds(words[28]!, words[29]!)
    into.mtimensec = words[30]!
    const major = words[32]!
    const minor = words[33]!
    into.rdev = ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
  }
}

const FLAGS = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT
const MASK = STATX_BASIC_STATS | STATX_BTIME
const EMPTY = allocateNative(1)

function seconds(low: number, high: number): number {
  return low + (high | 0) * 0x100000000
}

/** Attributes of nothing, to be filled. */
export function emptyAttributes(): Attributes {
  return {
    inoLow: 0,
    inoHigh: 0,
    mode: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    size: 0,
    blocks: 0,
    blksize: 4096,
    atime: 0,
    atimensec: 0,
    mtime: 0,
    mtimensec: 0,
    ctime: 0,
    ctimensec: 0,
    btime: 0,
    btimensec: 0,
  }
}
