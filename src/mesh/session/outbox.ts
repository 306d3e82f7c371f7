import { CosmosError } from '../../errors.ts'
import { Violation } from './errors.ts'
import { DATA, HEADER_SIZE, lifetime, PIECE, partOf, putHeader } from './frames.ts'
import { MsgpackWriter } from './msgpack-writer.ts'
import { BATCH, FIRST_BATCH, FRAGMENT, LEAST_BATCH } from './settings.ts'

/** A message that the peer has not acknowledged. */
interface Batch {
  readonly bytes: Buffer
  /** Where lifetimes stand in it: offset and time it is due, one after the other; the offset is that of the number. */
  readonly stamps: number[] | undefined
  /** When a link got it: it may not be written to any more. */
  sent: number | undefined
}

/** A frame's lifetimes: where the first stands in it, and when they are due. */
interface Stamp {
  readonly offset: number
  readonly due: number
  readonly due2: number | undefined
}

/** Where a frame's first lifetime stands. */
export interface Stamped {
  /** Number of its message. */
  readonly sequence: number
  readonly offset: number
}

/**
 * What goes to the peer: frames are collected in a message, messages are numbered and kept until they are
 * acknowledged, and handed to one link after the other. It knows neither links nor what frames mean.
 */
export class Outbox {
  readonly #writer = new MsgpackWriter()
  readonly #limit: number
  readonly #heartbeat: number
  /** Messages from `#first` on; those before `#head` are gone. */
  #batches: (Batch | undefined)[] = []
  #head = 0
  #first = 1
  /** Number of the message that is being written. */
  #open = 1
  /** Number of the next one that this link gets. */
  #next = 1
  /** Number of the last one that any link got. */
  #handed = 0
  #stamps: number[] | undefined
  #kept = 0
  /** Size that a message should have: what this link takes in well under a heartbeat. */
  #batch = FIRST_BATCH
  /** Bytes of the next message that the link has got as parts. */
  #part = 0

  /** `limit`: bytes of a frame that the peer takes. `heartbeat`: milliseconds. */
  constructor(limit: number, heartbeat: number) {
    this.#limit = limit
    this.#heartbeat = heartbeat
    this.#writer.reserve(HEADER_SIZE)
  }

  /** Bytes of a stream that one frame holds. */
  get fragment(): number {
    return Math.min(FRAGMENT, this.#batch)
  }

  /** Bytes that are kept. */
  get size(): number {
    return this.#kept + this.#writer.length
  }

  /** Number of the message that the next frame will be in. */
  get sequence(): number {
    return this.#open
  }

  /** Number of the last message that a link was given: what is in a later one has not been sent. */
  get handed(): number {
    return this.#handed
  }

  /** Whether a message is complete, and this link was not given it. */
  get ready(): boolean {
    return this.#next < this.#open
  }

  /** Bytes of the message that is being written. */
  get open(): number {
    return this.#writer.length - HEADER_SIZE
  }

  /**
   * Adds a frame; `put` writes it. Throws what `put` throws, and CosmosError EMSGSIZE for a frame that is too large;
   * then nothing is added.
   */
  add(put: (writer: MsgpackWriter) => void): void {
    const from = this.#writer.length
    try {
      put(this.#writer)
    } catch (error) {
      this.#writer.truncate(from)
      throw error
    }
    this.#added(from)
  }

  /**
   * Adds a frame with lifetimes, which are right whenever it is sent: `put` writes them as `uint32`, and answers where
   * the first stands in what was written. `due2`: when the second is due, which follows it, where there is one.
   * Throws as {@link add}.
   */
  addStamped(put: (writer: MsgpackWriter) => number, due: number, due2?: number): Stamped {
    const from = this.#writer.length
    let offset: number
    try {
      offset = put(this.#writer)
    } catch (error) {
      this.#writer.truncate(from)
      throw error
    }
    const stamp = { offset: offset - from, due, due2 }
    if (this.#writer.length - from > this.fragment) return this.#pieces(from, stamp)
    const stamped = this.#stamp(stamp, from)
    if (this.#writer.length >= this.#batch) this.#seal()
    return stamped
  }

  /** Remembers the lifetimes of a frame that begins at `from` of the message. */
  #stamp({ offset, due, due2 }: Stamp, from: number): Stamped {
    const at = from + offset + 1
    this.#stamps ??= []
    this.#stamps.push(at, due)
    if (due2 !== undefined) this.#stamps.push(at + 5, due2)
    return { sequence: this.#open, offset: at }
  }

  /** Adds a fragment of a stream, not longer than {@link fragment}. */
  addData(call: number, stream: number, bytes: Uint8Array): void {
    const writer = this.#writer
    if (writer.length + bytes.length + 32 > this.#batch && writer.length > HEADER_SIZE) this.#seal()
    writer.array(4)
    writer.uint(DATA)
    writer.uint(call)
    writer.uint(stream)
    writer.bin(bytes)
    if (writer.length >= this.#batch) this.#seal()
  }

  #added(from: number): void {
    if (this.#writer.length - from > this.fragment) this.#pieces(from, undefined)
    else if (this.#writer.length >= this.#batch) this.#seal()
  }

  /** The last frame is too long for one: it goes in pieces. Its lifetimes are in the first. */
  #pieces(from: number, stamp: Stamp): Stamped
  #pieces(from: number, stamp: undefined): undefined
  #pieces(from: number, stamp: Stamp | undefined): Stamped | undefined {
    const size = this.#writer.length - from
    if (size > this.#limit) {
      this.#writer.truncate(from)
      throw new CosmosError('EMSGSIZE', 'message', `${size} bytes, and the peer takes ${this.#limit}`)
    }
    const frame = this.#writer.take(from)
    // What was before it is in the same buffer, but no more in the writer: it is a message now.
    this.#sealed(Buffer.from(frame.buffer, frame.byteOffset - from, from))
    const piece = this.fragment
    let stamped: Stamped | undefined
    for (let at = 0; at < size; at += piece) {
      if (this.#writer.length + piece + 32 > this.#batch && this.#writer.length > HEADER_SIZE) this.#seal()
      const part = frame.subarray(at, at + piece)
      this.#writer.array(3)
      this.#writer.uint(PIECE)
      this.#writer.uint(size - at - part.length)
      this.#writer.bin(part)
      if (at === 0 && stamp !== undefined) stamped = this.#stamp(stamp, this.#writer.length - part.length)
    }
    return stamped
  }

  /** Ends the message that is being written. */
  #seal(): void {
    this.#sealed(this.#writer.take())
  }

  #sealed(bytes: Buffer): void {
    if (bytes.length > HEADER_SIZE) {
      this.#batches.push({ bytes, stamps: this.#stamps, sent: undefined })
      this.#kept += bytes.length
      this.#open++
      this.#stamps = undefined
    }
    this.#writer.reserve(HEADER_SIZE)
  }

  /** The next message for the link, with this acknowledgement, lifetimes as of now; undefined where there is none. */
  next(acknowledged: number, now: number): Buffer | undefined {
    if (this.#next === this.#open) {
      if (this.#writer.length === HEADER_SIZE) return undefined
      this.#seal()
    }
    const batch = this.#head + this.#next - this.#first
    const message = this.#part > 0 ? this.#batches[batch]! : this.#stampedBatch(batch, now)
    if (this.#next > this.#handed) this.#handed = this.#next
    const { bytes } = message
    // What was made for a faster link goes in parts.
    const left = bytes.length - HEADER_SIZE - this.#part
    if (this.#part > 0 || left > 2 * this.#batch) {
      const from = HEADER_SIZE + this.#part
      const part = bytes.subarray(from, from + this.#batch)
      const rest = left - part.length
      const sequence = this.#next
      this.#part += part.length
      if (rest === 0) this.#advance()
      return partOf(part, rest, sequence, acknowledged, now)
    }
    putHeader(bytes, this.#next, acknowledged, now)
    this.#advance()
    return bytes
  }

  /** A message whose lifetimes are as of now: a copy, where a link may still hold what it was. */
  #stampedBatch(place: number, now: number): Batch {
    let batch = this.#batches[place]!
    if (batch.sent !== undefined) {
      batch = { bytes: Buffer.from(batch.bytes), stamps: batch.stamps, sent: now }
      this.#batches[place] = batch
    }
    batch.sent = now
    const { bytes, stamps } = batch
    if (stamps !== undefined)
      for (let i = 0; i < stamps.length; i += 2) bytes.writeUInt32BE(lifetime(stamps[i + 1]!, now), stamps[i])
    return batch
  }

  #advance(): void {
    this.#next++
    this.#part = 0
  }

  /** Number of the last message that was acknowledged. */
  get acknowledged(): number {
    return this.#first - 1
  }

  /** The peer has everything up to this message. Throws Violation where it was never sent. */
  acknowledge(sequence: number, now: number): void {
    if (sequence > this.#handed) throw new Violation('an acknowledgement of what was not sent')
    if (sequence < this.#first) return
    this.#measure(this.#batches[this.#head + sequence - this.#first]!, now)
    for (; this.#first <= sequence; this.#first++) {
      this.#kept -= this.#batches[this.#head]!.bytes.length
      this.#batches[this.#head++] = undefined
    }
    if (this.#next < this.#first) {
      this.#next = this.#first
      this.#part = 0
    }
    if (this.#head > 64 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head)
      this.#head = 0
    }
  }

  /** How long a large message took says how large the next may be: none may be on its way for a heartbeat. */
  #measure({ bytes, sent }: Batch, now: number): void {
    if (sent === undefined || bytes.length * 2 < this.#batch) return
    const took = now - sent
    if (took < this.#heartbeat / 4) this.#batch = Math.min(BATCH, 2 * this.#batch)
    else if (took > 1.5 * this.#heartbeat) this.#batch = Math.max(LEAST_BATCH, this.#batch / 2)
  }

  /** A new link: it gets everything that was not acknowledged. */
  rewind(): void {
    this.#next = this.#first
    this.#part = 0
    this.#batch = FIRST_BATCH
  }

  /**
   * The frame that stands there is not wanted any more. Where it has not been sent, its lifetime is over now, and the
   * peer will not act on it: true.
   */
  expire(frame: Stamped): boolean {
    if (frame.sequence <= this.#handed) return false
    const stamps =
      frame.sequence === this.#open
        ? this.#stamps
        : this.#batches[this.#head + frame.sequence - this.#first]?.stamps
    for (let i = 0; stamps !== undefined && i < stamps.length; i += 2)
      if (stamps[i] === frame.offset) stamps[i + 1] = Number.NEGATIVE_INFINITY
    return true
  }
}
