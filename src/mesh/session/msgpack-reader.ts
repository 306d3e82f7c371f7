import { Violation } from './errors.ts'
import { MAX_DEPTH, MAX_VALUES } from './settings.ts'

/**
 * Reads msgpack values one after the other. It believes nothing: every length is compared with what is there, depth and
 * number of values are bounded. All methods throw Violation for what the protocol does not have.
 */
export class MsgpackReader {
  readonly #bytes: Buffer
  #at: number
  /** Whether the bytes stay as they are for as long as what is read of them. */
  readonly #lasting: boolean
  #values = 0

  /** `lasting`: nobody else writes to the bytes, so bin values of arguments need no copy. */
  constructor(bytes: Uint8Array, lasting = false) {
    this.#bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#at = 0
    this.#lasting = lasting
  }

  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  /** A frame begins: it has its own {@link MAX_VALUES}. The number of its elements. */
  frame(least: number): number {
    this.#values = 0
    const type = this.#byte()
    const count = type >= 0x90 && type <= 0x9f ? type & 15 : -1
    if (count < least) throw new Violation('a frame that is no array, or a short one')
    return count
  }

  uint(): number {
    const type = this.#byte()
    if (type < 0x80) return type
    switch (type) {
      case 0xcc:
        return this.#byte()
      case 0xcd:
        return this.#size(2)
      case 0xce:
        return this.#size(4)
      case 0xcf: {
        const value = this.#size(4) * 0x100000000 + this.#size(4)
        if (value > Number.MAX_SAFE_INTEGER) throw new Violation('a number above 2^53')
        return value
      }
      default:
        throw new Violation('no whole number where one has to be')
    }
  }

  str(): string {
    const type = this.#byte()
    if (type >= 0xa0 && type <= 0xbf) return this.#text(type & 31)
    if (type === 0xd9) return this.#text(this.#byte())
    if (type === 0xda) return this.#text(this.#size(2))
    if (type === 0xdb) return this.#text(this.#size(4))
    throw new Violation('no text where one has to be')
  }

  /** The bytes themselves, not a copy. */
  bin(): Buffer {
    const type = this.#byte()
    if (type === 0xc4) return this.#span(this.#byte())
    if (type === 0xc5) return this.#span(this.#size(2))
    if (type === 0xc6) return this.#span(this.#size(4))
    throw new Violation('no bytes where they have to be')
  }

  /** Any value. A 64-bit integer is a number where 53 bits hold it, else a bigint. */
  value(depth = 0): unknown {
    if (++this.#values > MAX_VALUES) throw new Violation(`more than ${MAX_VALUES} values in a frame`)
    const type = this.#byte()
    if (type <= 0x7f) return type
    if (type >= 0xe0) return type - 256
    if (type <= 0x8f) return this.#map(type & 15, depth)
    if (type <= 0x9f) return this.#list(type & 15, depth)
    if (type <= 0xbf) return this.#text(type & 31)
    switch (type) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc4:
        return this.#owned(this.#byte())
      case 0xc5:
        return this.#owned(this.#size(2))
      case 0xc6:
        return this.#owned(this.#size(4))
      case 0xca:
        return this.#bytes.readFloatBE(this.#skip(4))
      case 0xcb:
        return this.#bytes.readDoubleBE(this.#skip(8))
      case 0xcc:
        return this.#byte()
      case 0xcd:
        return this.#size(2)
      case 0xce:
        return this.#size(4)
      case 0xcf:
        return narrow(this.#bytes.readBigUInt64BE(this.#skip(8)))
      case 0xd0:
        return this.#bytes.readInt8(this.#skip(1))
      case 0xd1:
        return this.#bytes.readInt16BE(this.#skip(2))
      case 0xd2:
        return this.#bytes.readInt32BE(this.#skip(4))
      case 0xd3:
        return narrow(this.#bytes.readBigInt64BE(this.#skip(8)))
      case 0xd9:
        return this.#text(this.#byte())
      case 0xda:
        return this.#text(this.#size(2))
      case 0xdb:
        return this.#text(this.#size(4))
      case 0xdc:
        return this.#list(this.#size(2), depth)
      case 0xdd:
        return this.#list(this.#size(4), depth)
      case 0xde:
        return this.#map(this.#size(2), depth)
      case 0xdf:
        return this.#map(this.#size(4), depth)
      default:
        throw new Violation(`type 0x${type.toString(16)} is not of this protocol`)
    }
  }

  /** All bytes that were not read, which are read by this. */
  rest(): Buffer {
    return this.#span(this.#bytes.length - this.#at)
  }

  #list(count: number, depth: number): unknown[] {
    this.#enter(count, depth)
    const list: unknown[] = []
    for (let i = 0; i < count; i++) list.push(this.value(depth + 1))
    return list
  }

  #map(count: number, depth: number): Record<string, unknown> {
    this.#enter(2 * count, depth)
    const map: Record<string, unknown> = {}
    for (let i = 0; i < count; i++) {
      const key = this.str()
      const value = this.value(depth + 1)
      if (key === '__proto__')
        Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true })
      else map[key] = value
    }
    return map
  }

  /** Each of so many values takes a byte at least. */
  #enter(count: number, depth: number): void {
    if (depth >= MAX_DEPTH) throw new Violation(`deeper than ${MAX_DEPTH}`)
    if (count > this.#bytes.length - this.#at) throw new Violation('the message is cut short')
  }

  #text(size: number): string {
    const at = this.#skip(size)
    if (size > 12) return this.#bytes.toString('utf8', at, at + size)
    // A few characters of ASCII, as names of operations and keys are, without the way through C++.
    let text = ''
    for (let i = at; i < at + size; i++) {
      const byte = this.#bytes[i]!
      if (byte >= 0x80) return this.#bytes.toString('utf8', at, at + size)
      text += ASCII[byte]
    }
    return text
  }

  #span(size: number): Buffer {
    const at = this.#skip(size)
    return this.#bytes.subarray(at, at + size)
  }

  #owned(size: number): Buffer {
    const bytes = this.#span(size)
    return this.#lasting ? bytes : Buffer.from(bytes)
  }

  #byte(): number {
    return this.#bytes[this.#skip(1)]!
  }

  #size(size: 2 | 4): number {
    const at = this.#skip(size)
    return size === 2 ? this.#bytes.readUInt16BE(at) : this.#bytes.readUInt32BE(at)
  }

  /** Steps over so many bytes; where they begin. */
  #skip(size: number): number {
    const at = this.#at
    if (at + size > this.#bytes.length) throw new Violation('the message is cut short')
    this.#at = at + size
    return at
  }
}

const ASCII = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code))

function narrow(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
