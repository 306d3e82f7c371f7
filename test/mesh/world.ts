import { setImmediate as turn } from 'node:timers/promises'
import type { CosmosError } from '../../src/errors.ts'
import { type MemoryFaults, type MemoryLinks, memoryLinks } from '../../src/mesh/memory-link.ts'
import type { Clock } from '../../src/mesh/session/clock.ts'
import type { SessionHandler } from '../../src/mesh/session/incoming-call.ts'
import { Session } from '../../src/mesh/session/session.ts'
import type { SessionSettings } from '../../src/mesh/session/settings.ts'

interface Event {
  readonly at: number
  readonly order: number
  readonly act: () => void
}

/** Time that passes only when nothing else is left to do: what would take minutes takes none, and is always the same. */
export class World {
  now = 0
  #order = 0
  #events: Event[] = []

  /** A clock of this world that shows another time and runs at another speed. */
  clock(offset = 0, rate = 1): Clock {
    return {
      now: () => offset + this.now * rate,
      after: (milliseconds, act) => this.#add(this.now + milliseconds / rate, act),
      cancel: (timer) => {
        this.#events = this.#events.filter((each) => each !== timer)
      },
      soon: (act) => {
        this.#add(this.now, act)
      },
    }
  }

  #add(at: number, act: () => void): Event {
    const event = { at, order: this.#order++, act }
    this.#events.push(event)
    return event
  }

  /** Timers and turns that somebody waits for. */
  get pending(): number {
    return this.#events.length
  }

  /** Goes on until so many milliseconds have passed. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.now + milliseconds
    await this.#run(end, () => false)
    this.now = end
  }

  /** Goes on until it is true. Throws where nothing more happens, or an hour has passed. */
  async until(what: string, condition: () => boolean): Promise<void> {
    await this.#run(this.now + 3_600_000, condition)
    if (!condition()) throw new Error(`in vain, after ${this.now} ms: ${what}`)
  }

  /** The outcome of a promise, when it is there. */
  async outcome(promise: Promise<unknown>): Promise<{ value: unknown } | { error: CosmosError }> {
    let outcome: { value: unknown } | { error: CosmosError } | undefined
    promise.then(
      (value) => {
        outcome = { value }
      },
      (error: CosmosError) => {
        outcome = { error }
      },
    )
    await this.until('the promise is settled', () => outcome !== undefined)
    return outcome!
  }

  async #run(end: number, done: () => boolean): Promise<void> {
    for (;;) {
      await turn()
      if (done()) return
      let first: Event | undefined
      for (const each of this.#events)
        if (first === undefined || each.at < first.at || (each.at === first.at && each.order < first.order))
          first = each
      if (first === undefined || first.at > end) return
      this.#events.splice(this.#events.indexOf(first), 1)
      this.now = Math.max(this.now, first.at)
      first.act()
    }
  }
}

export const A = 'a'.repeat(64)
export const B = 'b'.repeat(64)

/** Two hosts with a session each. A is the one that leads. */
export class Pair {
  readonly world = new World()
  readonly clockA: Clock
  readonly clockB: Clock
  readonly reports: unknown[] = []
  readonly #settings: Partial<SessionSettings>
  a: Session
  b: Session
  /** The last ones that were made. */
  links: MemoryLinks | undefined
  readonly #all: MemoryLinks[] = []
  #lives = 0

  constructor(settings: Partial<SessionSettings> = {}, clockB?: { offset: number; rate: number }) {
    this.#settings = settings
    this.clockA = this.world.clock()
    this.clockB = this.world.clock(clockB?.offset, clockB?.rate)
    this.a = this.#session(A, B, this.clockA)
    this.b = this.#session(B, A, this.clockB)
  }

  #session(self: string, peer: string, clock: Clock): Session {
    const epoch = (++this.#lives).toString(16).padStart(32, '0')
    const report = (error: unknown) => this.reports.push(error)
    return new Session({
      self,
      peer,
      software: 'test',
      epoch,
      clock,
      settings: this.#settings,
      report,
    })
  }

  /** A process is killed and started again; what it knew is gone. */
  restartB(handler: SessionHandler): void {
    for (const links of this.#all.splice(0)) links.cut()
    this.b = this.#session(B, A, this.clockB)
    this.b.handler = handler
  }

  /** A link between the two. */
  connect(faults: MemoryFaults = {}): MemoryLinks {
    const links = memoryLinks(A, B, faults, this.world.clock())
    this.links = links
    this.#all.push(links)
    this.b.attach(links.b)
    this.a.attach(links.a)
    return links
  }

  /** A link, and both have said hello. */
  async opened(faults: MemoryFaults = {}): Promise<MemoryLinks> {
    const links = this.connect(faults)
    await this.world.until('open', () => this.a.state === 'open' && this.b.state === 'open')
    await this.world.pass(0)
    return links
  }

  close(): void {
    this.a.close()
    this.b.close()
  }

  /** What is left of the two after their end: has to be nothing. */
  get leftovers(): object {
    const of = ({ figures }: Session) => ({
      running: figures.running,
      timers: figures.timers,
      outgoing: figures.outgoing,
      incoming: figures.incoming,
      streams: figures.streams,
      waiting: figures.waiting,
      queued: figures.queued,
    })
    return { a: of(this.a), b: of(this.b) }
  }
}

const NOTHING = { running: 0, timers: 0, outgoing: 0, incoming: 0, streams: 0, waiting: 0, queued: 0 }
export const NO_LEFTOVERS = { a: NOTHING, b: NOTHING }
