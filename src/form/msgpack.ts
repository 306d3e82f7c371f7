import { Packr, Unpackr } from 'msgpackr'
import { CosmosError } from '../errors.ts'

/**
 * Frames of the control protocol and of the VM protocol: a length of 4 bytes, big-endian, and a msgpack map. See
 * docs/protocol.md.
 */

/** Largest payload of a frame. */
export const MAX_FRAME_SIZE = 16 * 1024 * 1024
/** Maps and arrays inside each other. */
export const MAX_DEPTH = 16

const packr = new Packr({ useRecords: false, variableMapSize: true, encodeUndefinedAsNil: true })
/** `auto`: a 64-bit integer is a number where 53 bits hold it, else a bigint; the package's types do not list it. */
const INTEGERS: { int64AsType: 'number' } = { int64AsType: 'auto' as 'number' }
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, ...INTEGERS })

/** A whole frame with this message. Throws CosmosError EMSGSIZE when it is larger than a frame may be. */
export function encodeFrame(message: object): Buffer {
  const payload = packr.pack(message)
  if (payload.length > MAX_FRAME_SIZE)
    throw new CosmosError('EMSGSIZE', 'message', `${payload.length} bytes are more than a frame holds`)
  const frame = Buffer.allocUnsafe(payload.length + 4)
  frame.writeUInt32BE(payload.length)
  payload.copy(frame, 4)
  return frame
}

/** The message of a frame's payload. Throws CosmosError EPROTO for what is no message. */
export function decodePayload(payload: Buffer): Record<string, unknown> {
  checkMsgpack(payload)
  const message: unknown = unpackr.unpack(payload)
  if (!isMap(message)) throw protocolError('the message is not a map')
  return message
}

/** Whether a decoded value is a map. */
export function isMap(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  )
}

/** Cuts a stream of bytes into the payloads of frames. */
export class FrameReader {
  #parts: Buffer[] = []
  #length = 0

  /** Whether a frame has begun and not ended. */
  get partial(): boolean {
    return this.#length > 0
  }

  /** The first part, with at least `size` bytes in it. */
  #head(size: number): Buffer {
    if (this.#parts[0]!.length < size) this.#parts = [Buffer.concat(this.#parts)]
    return this.#parts[0]!
  }

  /** Payloads that are complete with these bytes. Throws CosmosError EPROTO for a length that no frame has. */
  *push(bytes: Buffer): Generator<Buffer> {
    this.#parts.push(bytes)
    this.#length += bytes.length
    for (;;) {
      if (this.#length < 4) return
      const size = this.#head(4).readUInt32BE()
      if (size === 0 || size > MAX_FRAME_SIZE) throw protocolError(`a frame of ${size} bytes`)
      if (this.#length < size + 4) return
      const all = this.#head(size + 4)
      const rest = this.#parts[0]!.subarray(size + 4)
      if (rest.length > 0) this.#parts[0] = rest
      else this.#parts.shift()
      this.#length -= size + 4
      yield all.subarray(4, size + 4)
    }
  }
}

/**
 * Checks that bytes are exactly one msgpack value of the kinds that the protocol has: no extension types, map keys
 * that are strings, not deeper than {@link MAX_DEPTH}. Throws CosmosError EPROTO. Never recurses deeper than that.
 */
export function checkMsgpack(bytes: Buffer): void {
  const end = checkValue(bytes, 0, 0)
  if (end !== bytes.length) throw protocolError('bytes after the message')
}

function checkValue(bytes: Buffer, at: number, depth: number): number {
  if (depth > MAX_DEPTH) throw protocolError(`deeper than ${MAX_DEPTH}`)
  const type = byteAt(bytes, at)
  if (type <= 0x7f || type >= 0xe0) return at + 1
  if (type <= 0x8f) return checkItems(bytes, at + 1, type & 15, true, depth)
  if (type <= 0x9f) return checkItems(bytes, at + 1, type & 15, false, depth)
  if (type <= 0xbf) return skip(bytes, at + 1, type & 31)
  switch (type) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return at + 1
    case 0xc4: // bin 8, str 8
    case 0xd9:
      return skip(bytes, at + 2, byteAt(bytes, at + 1))
    case 0xc5: // bin 16, str 16
    case 0xda:
      return skip(bytes, at + 3, sizeAt(bytes, at + 1, 2))
    case 0xc6: // bin 32, str 32
    case 0xdb:
      return skip(bytes, at + 5, sizeAt(bytes, at + 1, 4))
    case 0xcc: // uint 8, int 8
    case 0xd0:
      return skip(bytes, at + 1, 1)
    case 0xcd: // uint 16, int 16
    case 0xd1:
      return skip(bytes, at + 1, 2)
    case 0xca: // float 32, uint 32, int 32
    case 0xce:
    case 0xd2:
      return skip(bytes, at + 1, 4)
    case 0xcb: // float 64, uint 64, int 64
    case 0xcf:
    case 0xd3:
      return skip(bytes, at + 1, 8)
    case 0xdc: // array 16, 32
      return checkItems(bytes, at + 3, sizeAt(bytes, at + 1, 2), false, depth)
    case 0xdd:
      return checkItems(bytes, at + 5, sizeAt(bytes, at + 1, 4), false, depth)
    case 0xde: // map 16, 32
      return checkItems(bytes, at + 3, sizeAt(bytes, at + 1, 2), true, depth)
    case 0xdf:
      return checkItems(bytes, at + 5, sizeAt(bytes, at + 1, 4), true, depth)
    default:
      throw protocolError(`type 0x${type.toString(16)} is not of this protocol`)
  }
}

function checkItems(bytes: Buffer, at: number, count: number, keyed: boolean, depth: number): number {
  let next = at
  for (let i = 0; i < count; i++) {
    if (keyed) {
      const type = byteAt(bytes, next)
      const isText = (type >= 0xa0 && type <= 0xbf) || (type >= 0xd9 && type <= 0xdb)
      if (!isText) throw protocolError('a key that is not a string')
      next = checkValue(bytes, next, depth)
    }
    next = checkValue(bytes, next, depth + 1)
  }
  return next
}

function skip(bytes: Buffer, at: number, size: number): number {
  if (at + size > bytes.length) throw protocolError('the message is cut short')
  return at + size
}

function byteAt(bytes: Buffer, at: number): number {
  const byte = bytes[at]
  if (byte === undefined) throw protocolError('the message is cut short')
  return byte
}

function sizeAt(bytes: Buffer, at: number, size: 2 | 4): number {
  skip(bytes, at, size)
  return bytes.readUIntBE(at, size)
}

/** The error of a peer that does not keep to a protocol of frames. */
export function protocolError(why: string): CosmosError {
  return new CosmosError('EPROTO', 'message', why)
}
