import type { Name } from '../../src/frame/operations.ts'
import { EINVAL, EIO, ENAMETOOLONG } from '../../src/os/errno.ts'
import { IN_HEADER_SIZE, NAME_MAX, TARGET_MAX, UNIQUE_RESEND_HIGH } from './abi.ts'
import type { MessageBuffer } from './message-buffer.ts'

const SLASH = 0x2f
const DOT = 0x2e
const TWO_32 = 0x100000000

/** A Name that a cursor fills. */
export function emptyName(buffer: MessageBuffer): Name {
  return { bytes: buffer.bytes, offset: 0, length: 0, address: 0 }
}

/**
 * A bounded cursor over one request. Fixed fields are read by their offset in the operation's structure, whose
 * size has been checked against the message (`hasBody`); what follows it is taken piece by piece (`name`,
 * `target`, `data`), each checked against the end. Nothing throws and nothing is allocated.
 */
export class RequestReader {
  readonly buffer: MessageBuffer
  readonly #words: Uint32Array
  readonly #bytes: Buffer
  /** Bytes of the message. */
  #size = 0
  /** Where the next name or data begins, bytes from the message's start. */
  #at = 0

  constructor(buffer: MessageBuffer) {
    this.buffer = buffer
    this.#words = buffer.words
    this.#bytes = buffer.bytes
  }

  /** Begins with the message of `size` bytes that lies in the buffer. False when it is not one whole message. */
  begin(size: number): boolean {
    this.#size = size
    this.#at = IN_HEADER_SIZE
    return size >= IN_HEADER_SIZE && this.#words[0] === size
  }

  /** Whether the structure after the header is there; the cursor then stands behind it. */
  hasBody(size: number): boolean {
    this.#at = IN_HEADER_SIZE + size
    return this.#size >= this.#at
  }

  /** Bytes of the message; bytes left behind the cursor. */
  get size(): number {
    return this.#size
  }
  get left(): number {
    return this.#size - this.#at
  }

  get opcode(): number {
    return this.#words[1]!
  }
  /** The request's number as the kernel sent it: the reply must carry exactly this. */
  get uniqueLow(): number {
    return this.#words[2]!
  }
  get uniqueHigh(): number {
    return this.#words[3]!
  }
  /** The kernel marks a request that it sends again; its number is the same but for the mark. */
  get resent(): boolean {
    return this.#words[3]! >= UNIQUE_RESEND_HIGH
  }
  get node(): number {
    return this.#words[4]! + this.#words[5]! * TWO_32
  }
  get uid(): number {
    return this.#words[6]!
  }
  get gid(): number {
    return this.#words[7]!
  }
  get pid(): number {
    return this.#words[8]!
  }

  /** An unsigned 32-bit field at `offset` of the structure. */
  u32(offset: number): number {
    return this.#words[(IN_HEADER_SIZE + offset) >>> 2]!
  }
  /** An unsigned 64-bit field; above 2^53 the nearest double, which is refused as too big wherever it matters. */
  u64(offset: number): number {
    const at = (IN_HEADER_SIZE + offset) >>> 2
    return this.#words[at]! + this.#words[at + 1]! * TWO_32
  }
  /** A signed 64-bit field. */
  i64(offset: number): number {
    const at = (IN_HEADER_SIZE + offset) >>> 2
    return this.#words[at]! + (this.#words[at + 1]! | 0) * TWO_32
  }

  /** Moves the cursor back to `offset` bytes behind the header: a structure shorter than the usual one. */
  seek(offset: number): void {
    this.#at = IN_HEADER_SIZE + offset
  }

  /**
   * Takes the name of a directory entry: 0, or -ENAMETOOLONG, or -EIO where it is not NUL-terminated inside the
   * message, -EINVAL where it is no name (empty, `.`, `..`, a slash in it): those would lead out of the directory.
   */
  name(into: Name): number {
    const error = this.#take(into, NAME_MAX, true)
    if (error < 0) return error
    const { length } = into
    const bytes = this.#bytes
    const at = into.offset
    if (length === 0 || (length === 1 && bytes[at] === DOT)) return -EINVAL
    if (length === 2 && bytes[at] === DOT && bytes[at + 1] === DOT) return -EINVAL
    return 0
  }

  /** Takes the name of an extended attribute: any bytes but NUL. */
  attributeName(into: Name): number {
    const error = this.#take(into, NAME_MAX, false)
    return error === 0 && into.length === 0 ? -EINVAL : error
  }

  /** Takes the target of a symbolic link: any bytes but NUL. */
  target(into: Name): number {
    return this.#take(into, TARGET_MAX, false)
  }

  /** Address of the `size` bytes behind the cursor; 0 where the message has not so many. */
  data(size: number): number {
    return size <= this.left ? this.buffer.address + this.#at : 0
  }

  #take(into: Name, longest: number, single: boolean): number {
    const bytes = this.#bytes
    const start = this.#at
    const end = this.#size
    let slashes = 0
    let at = start
    for (; at < end; at++) {
      const byte = bytes[at]
      if (byte === 0) break
      if (byte === SLASH) slashes++
    }
    if (at >= end) return -EIO
    into.offset = start
    into.length = at - start
    into.address = this.buffer.address + start
    this.#at = at + 1
    if (into.length > longest) return -ENAMETOOLONG
    return single && slashes > 0 ? -EINVAL : 0
  }
}
