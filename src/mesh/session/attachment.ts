import { CosmosError } from '../../errors.ts'
import type { Link, LinkReceiver } from '../link.ts'
import type { Clock, Timed, Timers } from './clock.ts'
import { Gap, Violation } from './errors.ts'
import * as frames from './frames.ts'
import type { Hello } from './hello.ts'
import { MsgpackReader } from './msgpack-reader.ts'
import { MsgpackWriter } from './msgpack-writer.ts'
import { MAX_MESSAGE } from './settings.ts'
import { RoundTrip, Transit } from './transit.ts'

/** What a link's messages and its end mean to the session. */
export interface AttachmentOwner {
  readonly clock: Clock
  readonly timers: Timers
  readonly heartbeat: number
  /** Number of the last message that has come, which every message says. */
  readonly received: number
  acknowledged(link: Attachment, sequence: number): void
  hello(link: Attachment, map: unknown): void
  /** `delay`: milliseconds by which lifetimes in the message are shorter. */
  numbered(link: Attachment, sequence: number, reader: MsgpackReader, size: number, delay: number): void
  bye(link: Attachment, why: string): void
  drained(link: Attachment): void
  beat(link: Attachment): void
  /** It is gone, closed here or there. */
  gone(link: Attachment, why: string): void
  /** The peer does not keep to the protocol. */
  failed(link: Attachment, error: CosmosError): void
}

/** One link of a session: heartbeats, and what is not numbered. */
export class Attachment implements LinkReceiver, Timed {
  readonly link: Link
  readonly since: number
  /** What was said on it; undefined before. */
  said: Hello | undefined
  /** Whether both hellos are there. */
  open = false
  readonly roundTrip = new RoundTrip()
  due = 0
  place = -1
  readonly #owner: AttachmentOwner
  readonly #transit = new Transit()
  #over = false
  /** The message that comes in parts, and the bytes of it that have not come. */
  #parts: { sequence: number; whole: Buffer; missing: number } | undefined
  #heard: number
  #nextPing: number

  constructor(owner: AttachmentOwner, link: Link) {
    this.#owner = owner
    this.link = link
    this.since = owner.clock.now()
    this.#heard = this.since
    this.#nextPing = this.since
    link.receiver = this
    this.#watch()
  }

  /** Both hellos are there. */
  opened(): void {
    if (this.#over) return
    this.open = true
    this.#ping(this.#owner.clock.now())
    this.#watch()
  }

  /** Sends a message that has no number, and so is not repeated, with one frame or none. */
  send(put?: (writer: MsgpackWriter) => void): void {
    const writer = new MsgpackWriter(256)
    writer.reserve(frames.HEADER_SIZE)
    put?.(writer)
    const message = writer.take()
    frames.putHeader(message, 0, this.#owner.received, this.#owner.clock.now())
    this.link.send(message)
  }

  /** Ends the link; its owner is not told. */
  close(why: string): void {
    if (this.#over) return
    this.#forget()
    this.link.close(why)
  }

  #forget(): void {
    this.#over = true
    this.#owner.timers.remove(this)
    this.link.receiver = undefined
  }

  message(message: Uint8Array): void {
    if (this.#over) return
    try {
      this.#read(message)
    } catch (error) {
      if (!(error instanceof CosmosError)) throw error
      this.#owner.failed(this, error)
    }
  }

  drained(): void {
    if (!this.#over) this.#owner.drained(this)
  }

  ended(why: string): void {
    if (this.#over) return
    this.#forget()
    this.#owner.gone(this, why)
  }

  #read(message: Uint8Array): void {
    if (message.length > MAX_MESSAGE) throw new Violation(`a message of ${message.length} bytes`)
    const now = this.#owner.clock.now()
    this.#heard = now
    const reader = new MsgpackReader(message)
    const count = reader.frame(3)
    const sequence = reader.uint()
    const acknowledged = reader.uint()
    const sent = reader.uint()
    const left = count > 3 ? reader.uint() : 0
    for (let i = 4; i < count; i++) reader.value()
    if (sent > 0xffffffff) throw new Violation('a time above 2^32')
    const delay = this.#transit.delay(sent, now) + this.roundTrip.least / 2
    if (this.open) this.#owner.acknowledged(this, acknowledged)
    if (sequence === 0) while (!reader.done && !this.#over) this.#frame(reader)
    else if (!this.open) throw new Violation('a message before the hello')
    else if (left === 0 && this.#parts === undefined)
      this.#owner.numbered(this, sequence, reader, message.length, delay)
    else this.#part(sequence, reader.rest(), left, delay)
  }

  /** A part of a numbered message, which is acted upon when it is whole. */
  #part(sequence: number, bytes: Buffer, left: number, delay: number): void {
    if (left + bytes.length > MAX_MESSAGE) throw new Violation('parts of too large a message')
    this.#parts ??= { sequence, whole: Buffer.allocUnsafe(left + bytes.length), missing: left + bytes.length }
    const { whole, missing } = this.#parts
    if (this.#parts.sequence !== sequence || left + bytes.length !== missing || bytes.length === 0)
      throw new Gap('a part that does not fit')
    bytes.copy(whole, whole.length - missing)
    this.#parts.missing = left
    if (left > 0) return
    this.#parts = undefined
    this.#owner.numbered(this, sequence, new MsgpackReader(whole), whole.length, delay)
  }

  #frame(reader: MsgpackReader): void {
    const count = reader.frame(2)
    const type = reader.uint()
    if (!this.open && type !== frames.HELLO) throw new Violation('a frame before the hello')
    switch (type) {
      case frames.HELLO:
        this.#owner.hello(this, reader.value())
        break
      case frames.PING: {
        const number = reader.uint()
        this.send((writer) => frames.putNumbers(writer, frames.PONG, number))
        break
      }
      case frames.PONG: {
        const took = this.#owner.clock.now() - this.since - reader.uint() / 1000
        if (took >= 0) this.roundTrip.measured(took)
        break
      }
      case frames.BYE:
        this.#owner.bye(this, reader.str())
        break
      default:
        throw new Violation(`frame type ${type} cannot be here`)
    }
    for (let i = 2; i < count; i++) reader.value()
  }

  /** A heartbeat, or the end of patience. */
  lapse(): void {
    const { clock, heartbeat } = this.#owner
    const now = clock.now()
    // This process was stopped or busy: what the peer has sent meanwhile is still to be read.
    if (now - this.due > heartbeat / 2) this.#heard = Math.max(this.#heard, now - heartbeat)
    if (now - this.#heard >= 2 * heartbeat) {
      const why = `silent for ${Math.round(now - this.#heard)} ms`
      this.close(why)
      this.#owner.gone(this, why)
      return
    }
    if (this.open && now >= this.#nextPing) {
      this.#ping(now)
      this.#owner.beat(this)
    }
    if (!this.#over) this.#watch()
  }

  #ping(now: number): void {
    this.#nextPing = now + this.#owner.heartbeat
    const number = Math.floor((now - this.since) * 1000)
    this.send((writer) => frames.putNumbers(writer, frames.PING, number))
  }

  #watch(): void {
    const silent = this.#heard + 2 * this.#owner.heartbeat
    this.#owner.timers.set(this, this.open ? Math.min(this.#nextPing, silent) : silent)
  }
}
