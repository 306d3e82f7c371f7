import { protocolError } from '../../form/msgpack.ts'

/**
 * Packets of SFTP, version 3 (draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL for its extensions). Names are bytes
 * there: text has one character a byte.
 */

export const INIT = 1
export const VERSION = 2
export const OPEN = 3
export const CLOSE = 4
export const READ = 5
export const WRITE = 6
export const LSTAT = 7
export const SETSTAT = 9
export const FSETSTAT = 10
export const OPENDIR = 11
export const READDIR = 12
export const REMOVE = 13
export const MKDIR = 14
export const RMDIR = 15
export const STAT = 17
export const RENAME = 18
export const READLINK = 19
export const SYMLINK = 20
export const STATUS = 101
export const HANDLE = 102
export const DATA = 103
export const NAME = 104
export const ATTRS = 105
export const EXTENDED = 200
export const EXTENDED_REPLY = 201

/** How OPEN opens. */
export const FOR_READ = 1
export const FOR_WRITE = 2
export const CREATE = 8
export const TRUNCATE = 16
export const EXCLUSIVE = 32

/** What a STATUS says. */
export const OK = 0
export const END_OF_FILE = 1
export const NO_SUCH_FILE = 2
export const PERMISSION_DENIED = 3
export const BAD_MESSAGE = 5
export const UNSUPPORTED = 8

/** Attributes of a file; times are seconds. `mode` has the type's bits too. */
export interface Attributes {
  readonly size?: number
  readonly owner?: { readonly uid: number; readonly gid: number }
  readonly mode?: number
  readonly times?: { readonly atime: number; readonly mtime: number }
}

const HAS_SIZE = 1
const HAS_OWNER = 2
const HAS_MODE = 4
const HAS_TIMES = 8
const HAS_EXTENDED = 0x80000000

/** A number is a uint32, a bigint a uint64; text and bytes have their length before them. */
export type Field = number | bigint | string | Uint8Array | Attributes

/** A whole packet, its length before it. INIT has its version where others have their id. */
export function encodePacket(type: number, id: number, fields: readonly Field[]): Buffer {
  let length = 9
  for (const field of fields) length += sizeOf(field)
  const packet = Buffer.allocUnsafe(length)
  packet.writeUInt32BE(length - 4, 0)
  packet[4] = type
  packet.writeUInt32BE(id, 5)
  let at = 9
  for (const field of fields) at = write(packet, at, field)
  return packet
}

function sizeOf(field: Field): number {
  if (typeof field === 'number') return 4
  if (typeof field === 'bigint') return 8
  if (typeof field === 'string' || field instanceof Uint8Array) return 4 + field.length
  return (
    4 +
    (field.size === undefined ? 0 : 8) +
    (field.owner ? 8 : 0) +
    (field.mode === undefined ? 0 : 4) +
    (field.times ? 8 : 0)
  )
}

function write(packet: Buffer, at: number, field: Field): number {
  if (typeof field === 'number') return packet.writeUInt32BE(field, at)
  if (typeof field === 'bigint') return packet.writeBigUInt64BE(field, at)
  if (typeof field === 'string')
    return packet.writeUInt32BE(field.length, at) + packet.write(field, at + 4, 'latin1')
  if (field instanceof Uint8Array) {
    packet.set(field, packet.writeUInt32BE(field.length, at))
    return at + 4 + field.length
  }
  const { size, owner, mode, times } = field
  const flags =
    (size === undefined ? 0 : HAS_SIZE) |
    (owner ? HAS_OWNER : 0) |
    (mode === undefined ? 0 : HAS_MODE) |
    (times ? HAS_TIMES : 0)
  let next = packet.writeUInt32BE(flags, at)
  if (size !== undefined) next = packet.writeBigUInt64BE(BigInt(size), next)
  if (owner) next = packet.writeUInt32BE(owner.gid, packet.writeUInt32BE(owner.uid, next))
  if (mode !== undefined) next = packet.writeUInt32BE(mode, next)
  if (times) next = packet.writeUInt32BE(times.mtime, packet.writeUInt32BE(times.atime, next))
  return next
}

/** Reads a packet from its start. Throws CosmosError EPROTO where it is shorter than it says. */
export class PacketReader {
  readonly #packet: Buffer
  #at = 0

  constructor(packet: Buffer) {
    this.#packet = packet
  }

  get left(): number {
    return this.#packet.length - this.#at
  }

  byte(): number {
    return this.#packet[this.#take(1)] as number
  }

  uint32(): number {
    return this.#packet.readUInt32BE(this.#take(4))
  }

  /** Throws too for what is no exact number. */
  uint64(): number {
    const value = this.#packet.readBigUInt64BE(this.#take(8))
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolError(`a number of ${value}`)
    return Number(value)
  }

  /** Bytes of the packet itself. */
  bytes(): Buffer {
    const length = this.uint32()
    const start = this.#take(length)
    return this.#packet.subarray(start, start + length)
  }

  text(): string {
    return this.bytes().toString('latin1')
  }

  attributes(): Attributes {
    const flags = this.uint32()
    const size = flags & HAS_SIZE ? { size: this.uint64() } : {}
    const owner = flags & HAS_OWNER ? { owner: { uid: this.uint32(), gid: this.uint32() } } : {}
    const mode = flags & HAS_MODE ? { mode: this.uint32() } : {}
    const times = flags & HAS_TIMES ? { times: { atime: this.uint32(), mtime: this.uint32() } } : {}
    if (flags & HAS_EXTENDED) for (let count = this.uint32(); count > 0; count--) this.bytes() && this.bytes()
    return { ...size, ...owner, ...mode, ...times }
  }

  #take(length: number): number {
    const start = this.#at
    if (length > this.left) throw protocolError('the packet is cut short')
    this.#at += length
    return start
  }
}
