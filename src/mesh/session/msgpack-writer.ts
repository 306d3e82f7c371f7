import { CosmosError } from '../../errors.ts'
import { BATCH, MAX_DEPTH } from './settings.ts'

/** Buffers are cut from pieces of this size. */
const SLAB = 4 * BATCH

/**
 * Writes msgpack values one after the other into a buffer that grows. `take` cuts off what was written: that is the
 * taker's, and is not written to any more.
 */
export class MsgpackWriter {
  #slab: Buffer
  readonly #size: number
  #start = 0
  #at = 0

  /** `size`: of the pieces that buffers are cut from. */
  constructor(size = SLAB) {
    this.#size = size
    this.#slab = Buffer.allocUnsafeSlow(size)
  }

  /** Bytes that were written and not taken. */
  get length(): number {
    return this.#at - this.#start
  }

  /** What was written from `from` on, and the buffer goes on without it. */
  take(from = 0): Buffer {
    const bytes = this.#slab.subarray(this.#start + from, this.#at)
    this.#start = this.#at
    return bytes
  }

  /** Takes back what was written after the first `length` bytes. */
  truncate(length: number): void {
    this.#at = this.#start + length
  }

  /** Room for so many more bytes. */
  #need(size: number): void {
    if (this.#at + size <= this.#slab.length) return
    const length = this.length
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#size, 2 * length + size))
    this.#slab.copy(larger, 0, this.#start, this.#at)
    this.#slab = larger
    this.#start = 0
    this.#at = length
  }

  /** Bytes to be overwritten later. */
  reserve(size: number): void {
    this.#need(size)
    this.#at += size
  }

  array(count: number): void {
    this.#header(count, 0x90, 16, 0xdc)
  }

  /** A type with its count: in its first byte, or in two or four more. */
  #header(count: number, small: number, below: number, type16: number): void {
    this.#need(5)
    if (count < below) this.#slab[this.#at++] = small | count
    else if (count <= 0xffff) this.#put16(type16, count)
    else this.#put32(type16 + 1, count)
  }

  /** A whole number from 0 to 2^53. */
  uint(value: number): void {
    this.#need(9)
    if (value < 0x80) this.#slab[this.#at++] = value
    else if (value <= 0xff) {
      this.#slab[this.#at++] = 0xcc
      this.#slab[this.#at++] = value
    } else if (value <= 0xffff) this.#put16(0xcd, value)
    else if (value <= 0xffffffff) this.#put32(0xce, value)
    else {
      this.#put32(0xcf, Math.floor(value / 0x100000000))
      this.#at = this.#slab.writeUInt32BE(value % 0x100000000, this.#at)
    }
  }

  /** A whole number below 2^32, always in five bytes, so that it can be overwritten. */
  uint32(value: number): void {
    this.#need(5)
    this.#put32(0xce, value)
  }

  bin(bytes: Uint8Array): void {
    const size = bytes.length
    this.#need(size + 5)
    if (size <= 0xff) {
      this.#slab[this.#at++] = 0xc4
      this.#slab[this.#at++] = size
    } else if (size <= 0xffff) this.#put16(0xc5, size)
    else this.#put32(0xc6, size)
    this.#slab.set(bytes, this.#at)
    this.#at += size
  }

  str(text: string): void {
    this.#need(text.length * 3 + 5)
    if (text.length < 32 && this.#shortAscii(text)) return
    const size = Buffer.byteLength(text)
    if (size < 32) this.#slab[this.#at++] = 0xa0 | size
    else if (size <= 0xff) {
      this.#slab[this.#at++] = 0xd9
      this.#slab[this.#at++] = size
    } else if (size <= 0xffff) this.#put16(0xda, size)
    else this.#put32(0xdb, size)
    this.#at += this.#slab.write(text, this.#at, size)
  }

  /** A few characters of ASCII, without the way through C++; false where they are others. */
  #shortAscii(text: string): boolean {
    const slab = this.#slab
    let at = this.#at
    slab[at++] = 0xa0 | text.length
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      if (code >= 0x80) return false
      slab[at++] = code
    }
    this.#at = at
    return true
  }

  /**
   * Any value that the protocol has; undefined is nil, and left out of maps. Throws CosmosError EINVAL for another one,
   * and for what lies deeper than {@link MAX_DEPTH}.
   */
  value(value: unknown, depth = 0): void {
    switch (typeof value) {
      case 'string':
        this.str(value)
        break
      case 'number':
        this.#number(value)
        break
      case 'boolean':
        this.#byte(value ? 0xc3 : 0xc2)
        break
      case 'undefined':
        this.#byte(0xc0)
        break
      case 'bigint':
        this.#bigint(value)
        break
      case 'object':
        if (value === null) this.#byte(0xc0)
        else this.#object(value, depth)
        break
      default:
        throw new CosmosError('EINVAL', 'message', `a ${typeof value} cannot be sent`)
    }
  }

  #object(value: object, depth: number): void {
    if (value instanceof Uint8Array) {
      this.bin(value)
      return
    }
    if (depth >= MAX_DEPTH) throw new CosmosError('EINVAL', 'message', `deeper than ${MAX_DEPTH}`)
    if (Array.isArray(value)) {
      this.array(value.length)
      for (const each of value) this.value(each, depth + 1)
      return
    }
    const map = value as Record<string, unknown>
    let count = 0
    for (const key in map) if (map[key] !== undefined) count++
    this.#header(count, 0x80, 16, 0xde)
    for (const key in map) {
      const each = map[key]
      if (each === undefined) continue
      this.str(key)
      this.value(each, depth + 1)
    }
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
      if (value >= 0) {
        this.uint(value)
        return
      }
      this.#need(9)
      if (value >= -32) this.#slab[this.#at++] = value + 256
      else if (value >= -0x80000000) this.#put32(0xd2, value >>> 0)
      else {
        this.#slab[this.#at++] = 0xd3
        this.#at = this.#slab.writeBigInt64BE(BigInt(value), this.#at)
      }
      return
    }
    this.#need(9)
    this.#slab[this.#at++] = 0xcb
    this.#at = this.#slab.writeDoubleBE(value, this.#at)
  }

  #bigint(value: bigint): void {
    if (BigInt.asUintN(64, value) !== value && BigInt.asIntN(64, value) !== value)
      throw new CosmosError('EINVAL', 'message', `${value} has more than 64 bits`)
    this.#need(9)
    this.#slab[this.#at++] = value < 0n ? 0xd3 : 0xcf
    this.#at =
      value < 0n ? this.#slab.writeBigInt64BE(value, this.#at) : this.#slab.writeBigUInt64BE(value, this.#at)
  }

  #byte(value: number): void {
    this.#need(1)
    this.#slab[this.#at++] = value
  }

  #put16(type: number, value: number): void {
    this.#slab[this.#at++] = type
    this.#slab[this.#at++] = value >>> 8
    this.#slab[this.#at++] = value
  }

  #put32(type: number, value: number): void {
    this.#slab[this.#at++] = type
    this.#at = this.#slab.writeUInt32BE(value, this.#at)
  }
}
