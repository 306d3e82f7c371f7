import type { MsgpackWriter } from './msgpack-writer.ts'

/** The first element of each frame (docs/mesh-protocol.md, Frames). */
export const HELLO = 0
export const CALL = 1
export const ANSWER = 2
export const FAILURE = 3
export const CANCEL = 4
export const EVENT = 5
export const DATA = 6
export const END = 7
export const ABORT = 8
export const STOP = 9
export const CREDIT = 10
export const PIECE = 11
export const PING = 12
export const PONG = 13
export const BYE = 14

/** A lifetime without end. */
export const FOREVER = 0xffffffff
/** Bytes of a message's header: `[sequence, acknowledged, time]`, always in msgpack's longest forms. */
export const HEADER_SIZE = 24
/** Bytes of the header of a message that comes in parts: `[sequence, acknowledged, time, left]`. */
const PART_HEADER_SIZE = 29

/**
 * Writes a header over the first {@link HEADER_SIZE} bytes: number of the message, from 1 on, or 0 for one that is not
 * repeated; number of the last message that has come from the other side; the sender's clock, milliseconds modulo 2^32.
 */
export function putHeader(bytes: Buffer, sequence: number, acknowledged: number, now: number): void {
  bytes[0] = 0x93
  put64(bytes, 1, sequence)
  put64(bytes, 10, acknowledged)
  bytes[19] = 0xce
  bytes.writeUInt32BE(Math.floor(now) >>> 0, 20)
}

/** A part of a message, after which `left` bytes of it follow in further ones. */
export function partOf(
  part: Buffer,
  left: number,
  sequence: number,
  acknowledged: number,
  now: number,
): Buffer {
  const bytes = Buffer.allocUnsafe(PART_HEADER_SIZE + part.length)
  putHeader(bytes, sequence, acknowledged, now)
  bytes[0] = 0x94
  bytes[24] = 0xce
  bytes.writeUInt32BE(left, 25)
  part.copy(bytes, PART_HEADER_SIZE)
  return bytes
}

function put64(bytes: Buffer, at: number, value: number): void {
  bytes[at] = 0xcf
  bytes.writeUInt32BE(Math.floor(value / 0x100000000), at + 1)
  bytes.writeUInt32BE(value % 0x100000000, at + 5)
}

/** Milliseconds from `now` until `due` as a message tells them: at least 0, a fraction counts as one. */
export function lifetime(due: number, now: number): number {
  if (due === Number.POSITIVE_INFINITY) return FOREVER
  return Math.min(Math.max(0, Math.ceil(due - now)), FOREVER - 1)
}

/** Writes a frame whose elements are whole numbers. */
export function putNumbers(writer: MsgpackWriter, type: number, a: number, b?: number, c?: number): void {
  writer.array(c !== undefined ? 4 : b !== undefined ? 3 : 2)
  writer.uint(type)
  writer.uint(a)
  if (b !== undefined) writer.uint(b)
  if (c !== undefined) writer.uint(c)
}
