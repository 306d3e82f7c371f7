import { CosmosError } from '../errors.ts'
import { MAX_DEPTH, MAX_FRAME_SIZE, protocolError } from './msgpack.ts'

/**
 * msgpack in memory that is used again and again, both ways in one pass: where a hundred thousand small messages
 * a second are taken and sent, none can afford a buffer and a check of its own for each. What it takes and refuses is as in
 * `src/form/msgpack.ts`.
 */

const KEYS = 256
/** Keys that were seen, by their hash: a message's are always the same few. */
const keys = new Array<string>(KEYS).fill('')

let bytes: Buffer
let view: DataView
let at = 0
let end = 0

/** The message that lies in a part of a buffer. Throws CosmosError EPROTO for what is none. */
export function decodeMessage(
  from: Buffer,
  of: DataView,
  start: number,
  size: number,
): Record<string, unknown> {
  bytes = from
  view = of
  at = start
  end = start + size
  const type = byte()
  if ((type & 0xf0) !== 0x80 && type !== 0xde && type !== 0xdf)
    throw protocolError('the message is not a map')
  at = start
  const message = decode(0) as Record<string, unknown>
  if (at !== end) throw protocolError('bytes after the message')
  return message
}

function byte(): number {
  if (at >= end) throw protocolError('the message is cut short')
  return bytes[at++]!
}

/** Where the next `size` bytes are. */
function skip(size: number): number {
  const start = at
  if (size > end - at) throw protocolError('the message is cut short')
  at += size
  return start
}

function decode(depth: number): unknown {
  if (depth > MAX_DEPTH) throw protocolError(`deeper than ${MAX_DEPTH}`)
  const type = byte()
  if (type <= 0x7f) return type
  if (type >= 0xe0) return type - 0x100
  if (type <= 0x8f) return decodeMap(type & 15, depth)
  if (type <= 0x9f) return decodeList(type & 15, depth)
  if (type <= 0xbf) return decodeText(type & 31)
  switch (type) {
    case 0xc0:
      return null
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xc4:
      return decodeBytes(byte())
    case 0xc5:
      return decodeBytes(view.getUint16(skip(2)))
    case 0xc6:
      return decodeBytes(view.getUint32(skip(4)))
    case 0xca:
      return view.getFloat32(skip(4))
    case 0xcb:
      return view.getFloat64(skip(8))
    case 0xcc:
      return byte()
    case 0xcd:
      return view.getUint16(skip(2))
    case 0xce:
      return view.getUint32(skip(4))
    case 0xcf:
      return narrow(view.getBigUint64(skip(8)))
    case 0xd0:
      return view.getInt8(skip(1))
    case 0xd1:
      return view.getInt16(skip(2))
    case 0xd2:
      return view.getInt32(skip(4))
    case 0xd3:
      return narrow(view.getBigInt64(skip(8)))
    case 0xd9:
      return decodeText(byte())
    case 0xda:
      return decodeText(view.getUint16(skip(2)))
    case 0xdb:
      return decodeText(view.getUint32(skip(4)))
    case 0xdc:
      return decodeList(view.getUint16(skip(2)), depth)
    case 0xdd:
      return decodeList(view.getUint32(skip(4)), depth)
    case 0xde:
      return decodeMap(view.getUint16(skip(2)), depth)
    case 0xdf:
      return decodeMap(view.getUint32(skip(4)), depth)
    default:
      throw protocolError(`type 0x${type.toString(16)} is not of this protocol`)
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

function decodeText(size: number): string {
  const start = skip(size)
  return bytes.toString('utf8', start, at)
}

/** A copy: the memory is used again. */
function decodeBytes(size: number): Buffer {
  const start = skip(size)
  return Buffer.from(bytes.subarray(start, at))
}

function decodeList(count: number, depth: number): unknown[] {
  const list: unknown[] = []
  for (let i = 0; i < count; i++) list.push(decode(depth + 1))
  return list
}

function decodeMap(count: number, depth: number): Record<string, unknown> {
  const map: Record<string, unknown> = {}
  for (let i = 0; i < count; i++) {
    const key = decodeKey()
    const value = decode(depth + 1)
    // Nothing of the protocol is called so, and an assignment would set the prototype.
    if (key !== '__proto__') map[key] = value
  }
  return map
}

function decodeKey(): string {
  const type = byte()
  if (type < 0xa0 || type > 0xbf) {
    if (type < 0xd9 || type > 0xdb) throw protocolError('a key that is not a string')
    at--
    return decode(0) as string
  }
  const size = type & 31
  const start = skip(size)
  let hash = size
  for (let i = start; i < at; i++) hash = (hash * 31 + bytes[i]!) % KEYS
  const known = keys[hash]!
  if (isText(known, start, size)) return known
  const key = bytes.toString('utf8', start, at)
  keys[hash] = key
  return key
}

/** Whether a text is ASCII and lies here. */
function isText(text: string, start: number, size: number): boolean {
  if (text.length !== size) return false
  for (let i = 0; i < size; i++) if (text.charCodeAt(i) !== bytes[start + i]) return false
  return true
}

/**
 * Writes a message to a buffer; answers where it ends. Throws CosmosError EMSGSIZE when it is larger than a frame
 * may be, for which there must be room, and ERANGE for an integer of more than 64 bits.
 */
export function encodeMessage(message: object, to: Buffer, of: DataView, start: number): number {
  bytes = to
  view = of
  at = start
  end = start + MAX_FRAME_SIZE
  encode(message)
  return at
}

/** Where the next `size` bytes go. */
function room(size: number): number {
  if (size > end - at) throw new CosmosError('EMSGSIZE', 'message', 'is more than a frame holds')
  at += size
  return at - size
}

function encode(value: unknown): void {
  switch (typeof value) {
    case 'number':
      encodeNumber(value)
      return
    case 'string':
      encodeText(value)
      return
    case 'boolean':
      bytes[room(1)] = value ? 0xc3 : 0xc2
      return
    case 'bigint': {
      if (value >= 1n << 64n || value < -(1n << 63n))
        throw new CosmosError('ERANGE', 'message', `${value} has more than 64 bits`)
      const place = room(9)
      bytes[place] = value < 0n ? 0xd3 : 0xcf
      view.setBigUint64(place + 1, BigInt.asUintN(64, value))
      return
    }
    case 'object':
      if (value === null) break
      if (Array.isArray(value)) {
        encodeSize(value.length, 0x90, 15, 0xdc)
        for (const item of value) encode(item)
      } else if (value instanceof Uint8Array) {
        encodeSize(value.length, 0, -1, 0xc5)
        bytes.set(value, room(value.length))
      } else {
        const names = Object.keys(value)
        encodeSize(names.length, 0x80, 15, 0xde)
        for (const name of names) {
          encodeText(name)
          encode((value as Record<string, unknown>)[name])
        }
      }
      return
  }
  bytes[room(1)] = 0xc0
}

/** A size: in the type's byte up to `most`, else in 2 bytes behind `wide`, or in 4 behind the next type. */
function encodeSize(size: number, type: number, most: number, wide: number): void {
  if (size <= most) bytes[room(1)] = type | size
  else if (size <= 0xffff) {
    const place = room(3)
    bytes[place] = wide
    view.setUint16(place + 1, size)
  } else {
    const place = room(5)
    bytes[place] = wide + 1
    view.setUint32(place + 1, size)
  }
}

/** Whole numbers of up to 32 bits in their shortest forms, all else (-0 too) as float 64. */
function encodeNumber(value: number): void {
  if (value === (value | 0) && !Object.is(value, -0)) {
    if (value >= -32 && value < 128) bytes[room(1)] = value & 0xff
    else {
      const place = room(5)
      bytes[place] = 0xd2
      view.setInt32(place + 1, value)
    }
    return
  }
  const place = room(9)
  bytes[place] = 0xcb
  view.setFloat64(place + 1, value)
}

function encodeText(text: string): void {
  if (text.length < 32 && encodeAscii(text)) return
  const size = Buffer.byteLength(text)
  encodeSize(size, 0xa0, 31, 0xda)
  bytes.write(text, room(size))
}

function encodeAscii(text: string): boolean {
  const size = text.length
  const place = room(size + 1)
  for (let i = 0; i < size; i++) {
    const code = text.charCodeAt(i)
    if (code > 0x7f) {
      at = place
      return false
    }
    bytes[place + 1 + i] = code
  }
  bytes[place] = 0xa0 | size
  return true
}
