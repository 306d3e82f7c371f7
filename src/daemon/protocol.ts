import { Packr, Unpackr } from 'msgpackr'
import { CosmosError } from '../errors.ts'

/**
 * The control protocol's frames: a length of 4 bytes, big-endian, and a msgpack map. See docs/protocol.md.
 */

/** Version that both sides tell in their first frame; another version's peer is refused. */
export const PROTOCOL_VERSION = 1
/** Largest payload of a frame. */
export const MAX_FRAME_SIZE = 16 * 1024 * 1024
/** Maps and arrays inside each other. */
export const MAX_DEPTH = 16

/**
 * A path or name as it is sent: text, or its bytes where they are not UTF-8.
 * Whoever prints it writes it with {@link wireBytes}.
 */
export type WireText = string | Uint8Array

/** First frame of both sides. */
interface HelloMessage {
  version: number
  /** The sender, for logs: `cosmos/0.1.0`. */
  software?: string
}
/** Asks for an operation. `id` is the client's choice, a whole number above 0 that is not in use. */
interface RequestMessage {
  id: number
  op: string
  args: unknown
}
/** The answer of an operation that answers once. */
interface ResponseMessage {
  id: number
  ok: unknown
}
/** What went wrong, as in {@link CosmosError}. */
export interface WireError {
  code: string
  subject: string
  message: string
  hint?: string
}
/** The last frame of a request that failed. With id 0: the connection itself failed and is closed. */
interface ErrorMessage {
  id: number
  error: WireError
}
/** A part of the answer of an operation that streams. */
interface ChunkMessage {
  id: number
  chunk: unknown
}
/** The last frame of a stream that is complete. */
interface EndMessage {
  id: number
  end: true
}
/** The client no longer wants the answer; an error ECANCELED or the answer's last frame still comes. */
interface CancelMessage {
  id: number
  cancel: true
}
/** What a client sends, and what a server does. */
export type ClientMessage = HelloMessage | RequestMessage | CancelMessage
export type ServerMessage = HelloMessage | ResponseMessage | ErrorMessage | ChunkMessage | EndMessage

const packr = new Packr({ useRecords: false, variableMapSize: true, encodeUndefinedAsNil: true })
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

/** A whole frame with this message. Throws CosmosError EMSGSIZE when it is larger than a frame may be. */
export function encodeFrame(message: ClientMessage | ServerMessage): Buffer {
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

/** The error of a peer that does not keep to the protocol. */
export function protocolError(why: string): CosmosError {
  return new CosmosError('EPROTO', 'control protocol', why)
}

/** An error as it is sent. */
export function toWireError(error: unknown): WireError {
  if (error instanceof CosmosError) {
    const { code, subject, message, hint } = error
    return hint === undefined ? { code, subject, message } : { code, subject, message, hint }
  }
  const why = error instanceof Error ? error.message : String(error)
  return { code: 'EIO', subject: 'daemon', message: `daemon: internal error: ${why}`, hint: 'cosmos log' }
}

/** The error that was sent. What is missing in it is filled in. */
export function fromWireError(sent: unknown): CosmosError {
  const fields = isMap(sent) ? sent : {}
  const subject = typeof fields.subject === 'string' ? fields.subject : 'daemon'
  const message = typeof fields.message === 'string' ? fields.message : 'failed'
  const why = message.startsWith(`${subject}: `) ? message.slice(subject.length + 2) : message
  const code = typeof fields.code === 'string' ? fields.code : 'EIO'
  return new CosmosError(code, subject, why, typeof fields.hint === 'string' ? fields.hint : undefined)
}

/** A path or name for the wire, from text with one character a byte. */
export function toWire(bytesText: string): WireText {
  const bytes = Buffer.from(bytesText, 'latin1')
  const text = bytes.toString('utf8')
  return Buffer.from(text, 'utf8').equals(bytes) ? text : bytes
}

/** A sent path or name as text with one character a byte, as the tree has it. */
export function fromWire(sent: WireText): string {
  return wireBytes(sent).toString('latin1')
}

/** The bytes of a sent path or name. */
export function wireBytes(sent: WireText): Buffer {
  return typeof sent === 'string'
    ? Buffer.from(sent, 'utf8')
    : Buffer.from(sent.buffer, sent.byteOffset, sent.length)
}

/** A sent path or name for people: bytes that are not UTF-8 show as U+FFFD. */
export function wireReadable(sent: WireText): string {
  return typeof sent === 'string' ? sent : wireBytes(sent).toString('utf8')
}
