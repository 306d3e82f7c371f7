/** Time as a session sees it. Tests give one of their own, so that they wait for nothing. */
export interface Clock {
  /** Milliseconds since some moment, never going back. No two machines agree on it, and none needs to. */
  now(): number
  /** Calls once, not before so many milliseconds have passed. */
  after(milliseconds: number, act: () => void): object
  /** Takes back what `after` answered. */
  cancel(timer: object): void
  /** Calls once, when what this turn of the event loop brought is done. */
  soon(act: () => void): void
}

/** The clock of this process: CLOCK_MONOTONIC and the event loop. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after: (milliseconds, act) => setTimeout(act, milliseconds),
  cancel: (timer) => clearTimeout(timer as NodeJS.Timeout),
  soon: (act) => {
    setImmediate(act)
  },
}

/** Something that is due at a time. */
export interface Timed {
  /** On the clock of its {@link Timers}. */
  due: number
  /** Where it stands there; -1 where it does not. */
  place: number
  /** It is due, and stands there no more. */
  lapse(): void
}

/**
 * All deadlines of a session: a binary heap whose entries know their places, so that one that is answered is taken
 * out at once. The clock is asked for one timer, for the first of them.
 */
export class Timers {
  readonly #clock: Clock
  readonly #heap: Timed[] = []
  #timer: object | undefined
  /** When `#timer` rings. */
  #rings = Number.POSITIVE_INFINITY

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#heap.length
  }

  /** Puts it in, or moves it to another time. */
  set(entry: Timed, due: number): void {
    this.remove(entry)
    entry.due = due
    this.#rise(entry, this.#heap.length)
    if (due < this.#rings) this.#arm()
  }

  /** Takes it out; one that is not in is left alone. */
  remove(entry: Timed): void {
    const place = entry.place
    if (place < 0) return
    entry.place = -1
    const last = this.#heap.pop()!
    if (last !== entry) {
      this.#rise(last, place)
      this.#sink(last)
    }
    if (this.#heap.length === 0) this.#disarm()
  }

  #rise(entry: Timed, from: number): void {
    let place = from
    while (place > 0) {
      const up = (place - 1) >> 1
      const parent = this.#heap[up]!
      if (parent.due <= entry.due) break
      this.#heap[place] = parent
      parent.place = place
      place = up
    }
    this.#heap[place] = entry
    entry.place = place
  }

  #sink(entry: Timed): void {
    let place = entry.place
    for (;;) {
      let child = 2 * place + 1
      const right = this.#heap[child + 1]
      if (right !== undefined && right.due < this.#heap[child]!.due) child++
      const lower = this.#heap[child]
      if (lower === undefined || lower.due >= entry.due) break
      this.#heap[place] = lower
      lower.place = place
      place = child
    }
    this.#heap[place] = entry
    entry.place = place
  }

  #disarm(): void {
    if (this.#timer !== undefined) this.#clock.cancel(this.#timer)
    this.#timer = undefined
    this.#rings = Number.POSITIVE_INFINITY
  }

  #arm(): void {
    this.#disarm()
    const first = this.#heap[0]
    if (first === undefined) return
    this.#rings = first.due
    const wait = Math.max(0, Math.ceil(first.due - this.#clock.now()))
    this.#timer = this.#clock.after(Math.min(wait, 0x7fffffff), () => {
      this.#timer = undefined
      this.#rings = Number.POSITIVE_INFINITY
      this.#ring()
      if (this.#timer === undefined) this.#arm()
    })
  }

  #ring(): void {
    const now = this.#clock.now()
    for (let first = this.#heap[0]; first !== undefined && first.due <= now; first = this.#heap[0]) {
      this.remove(first)
      first.lapse()
    }
  }
}
