import type { Link, LinkReceiver } from './link.ts'
import { type Clock, systemClock } from './session/clock.ts'

/** What a pair of memory links does to messages. Everything is decided by the seed, so that a failure replays. */
export interface MemoryFaults {
  /** Of the random numbers. */
  readonly seed?: number
  /** Milliseconds that a message is on its way, at least and at most; order is kept. */
  readonly delay?: readonly [least: number, most: number]
  /** Bytes a second, each direction for itself. */
  readonly rate?: number
  /** Share of messages that come after the one behind them. No honest link does this, nor the next two. */
  readonly reorder?: number
  /** Share of messages that come twice. */
  readonly duplicate?: number
  /** Share of messages that do not come. */
  readonly drop?: number
  /** The link is cut when so many messages have been sent, both directions together: this one does not arrive. */
  readonly cutBefore?: number
  /** The same, but this one arrives. */
  readonly cutAfter?: number
  /** A cut is told to nobody. */
  readonly silent?: boolean
}

/** A pair of links in this process. */
export interface MemoryLinks {
  readonly a: Link
  readonly b: Link
  /** Messages that were sent so far, both directions together. */
  readonly sent: number
  /** Whether it has ended. */
  readonly over: boolean
  /** Ends both; what is on its way is lost. */
  cut(): void
}

/** Two connected links between the peers `a` and `b`, for tests and for sessions within one process. */
export function memoryLinks(
  a: string,
  b: string,
  faults: MemoryFaults = {},
  clock = systemClock,
): MemoryLinks {
  return new MemoryPair(a, b, faults, clock)
}

class MemoryPair implements MemoryLinks {
  readonly a: MemoryLink
  readonly b: MemoryLink
  readonly clock: Clock
  readonly faults: MemoryFaults
  readonly random: () => number
  sent = 0
  over = false

  constructor(a: string, b: string, faults: MemoryFaults, clock: Clock) {
    this.clock = clock
    this.faults = faults
    this.random = randomNumbers(faults.seed ?? 1)
    this.a = new MemoryLink(this, b)
    this.b = new MemoryLink(this, a)
    this.a.other = this.b
    this.b.other = this.a
  }

  cut(): void {
    this.end('cut')
  }

  end(why: string): void {
    if (this.over) return
    this.over = true
    for (const link of [this.a, this.b]) link.lose(this.faults.silent === true ? undefined : why)
  }
}

class MemoryLink implements Link {
  readonly peer: string
  readonly address = 'memory'
  receiver: LinkReceiver | undefined
  buffered = 0
  other!: MemoryLink
  readonly #pair: MemoryPair
  /** Messages on their way to the other end, first one first. */
  #queue: { message: Uint8Array; at: number }[] = []
  #moving = false
  #wasFull = false

  constructor(pair: MemoryPair, peer: string) {
    this.#pair = pair
    this.peer = peer
  }

  send(message: Uint8Array): void {
    const pair = this.#pair
    if (pair.over) return
    const { cutBefore, cutAfter } = pair.faults
    pair.sent++
    if (pair.sent === cutBefore) {
      pair.end('cut')
      return
    }
    this.#put(message)
    if (pair.sent !== cutAfter) return
    this.#deliver(Number.POSITIVE_INFINITY)
    pair.end('cut')
  }

  /** Puts a message on its way, as the faults have it. */
  #put(message: Uint8Array): void {
    const { clock, faults, random } = this.#pair
    if (faults.drop !== undefined && random() < faults.drop) return
    const [least, most] = faults.delay ?? [0, 0]
    const last = this.#queue.at(-1)?.at ?? 0
    const way = least + (most > least ? random() * (most - least) : 0)
    const transfer = faults.rate === undefined ? 0 : (message.length / faults.rate) * 1000
    const at = Math.max(last, clock.now() + way) + transfer
    const item = { message, at }
    this.#queue.push(item)
    if (faults.duplicate !== undefined && random() < faults.duplicate) this.#queue.push({ ...item })
    const place = this.#queue.length - 1
    if (faults.reorder !== undefined && place > 0 && random() < faults.reorder)
      this.#queue.splice(place - 1, 0, this.#queue.pop()!)
    this.buffered += message.length
    if (this.buffered > HIGH) this.#wasFull = true
    this.#move()
  }

  /** Whether messages take time. */
  get #late(): boolean {
    const { delay, rate } = this.#pair.faults
    return delay !== undefined || rate !== undefined
  }

  #move(): void {
    if (this.#moving || this.#queue.length === 0) return
    this.#moving = true
    const { clock } = this.#pair
    const act = () => {
      this.#moving = false
      this.#deliver(clock.now())
      this.#move()
    }
    if (!this.#late) clock.soon(act)
    else clock.after(Math.max(0, Math.ceil(this.#queue[0]!.at - clock.now())), act)
  }

  /** Gives the other end what has arrived by then. */
  #deliver(now: number): void {
    while (this.#queue.length > 0 && !this.#pair.over) {
      if (this.#late && this.#queue[0]!.at > now) break
      const { message } = this.#queue.shift()!
      this.buffered = Math.max(0, this.buffered - message.length)
      this.other.receiver?.message(message)
    }
    if (!this.#wasFull || this.buffered > HIGH / 2) return
    this.#wasFull = false
    this.receiver?.drained()
  }

  close(why = 'closed'): void {
    this.#pair.clock.soon(() => {
      this.#deliver(Number.POSITIVE_INFINITY)
      this.#pair.end(why)
    })
  }

  /** The pair has ended; `why` where this end is told. */
  lose(why: string | undefined): void {
    this.#queue = []
    this.buffered = 0
    if (why === undefined) return
    this.#pair.clock.soon(() => {
      const receiver = this.receiver
      this.receiver = undefined
      receiver?.ended(why)
    })
  }
}

/** Bytes on their way beyond which a link asks for patience. */
const HIGH = 512 * 1024

/** Numbers from 0 to below 1, the same ones for the same seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
