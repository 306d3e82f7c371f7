import { CosmosError } from '../../errors.ts'
import type { Body, Sink } from './body.ts'
import { Window } from './window.ts'

/** Bytes that a cursor holds: what it reads ahead, and what it keeps for reads that come late. */
const CAPACITY = 4 * 1024 * 1024
/** Bytes behind the furthest read that are kept: the kernel's reads arrive a little out of order. */
const BEHIND = 1024 * 1024
/** Bytes that are read ahead before anybody has read. */
const UNREAD = 1024 * 1024
/** Room that makes a paused body flow again. */
const RESUME = 512 * 1024
/** Bytes that are copied to a reader at once: what has just come is still in the processor's cache. */
const STEP = 128 * 1024

/** A body from some place of a file on. */
export interface Flow {
  readonly body: Body
  /** Bytes before the place that was wanted: the server knows no ranges. */
  readonly skip: number
  /** Position where it ends; undefined: nobody knows. */
  readonly until: number | undefined
}

/** What a cursor needs of its file. */
export interface CursorFile {
  readonly display: string
  /** Bytes; undefined where that is not known. */
  readonly size: number | undefined
  /** More than this may not come. */
  readonly maxSize: number | undefined
  /** A new request from a position on. `lost`: the last one broke there. Undefined: there is none. */
  readonly again?: (position: number, first: boolean, lost: boolean, signal: AbortSignal) => Promise<Flow>
}

interface Waiter {
  readonly until: number
  readonly wake: () => void
}

/** One place of a file where somebody reads on: bytes come ahead of them, as many as the window holds. */
export class Cursor {
  /** When it was read last, `performance.now()`. */
  used = performance.now()
  readonly #file: CursorFile
  readonly #window: Window
  readonly #waiters = new Set<Waiter>()
  readonly #origin: number
  readonly #unread: number
  /** Position behind the last byte that was read. */
  #reached: number
  #body: Body | undefined
  #until: number | undefined
  #asking: AbortController | undefined
  #error: CosmosError | undefined
  #complete = false
  #lostAt: number | undefined
  #wasLost = false

  /** Starts with a request of its own, or takes a body that flows already; `unread` are bytes to hold before a read. */
  constructor(file: CursorFile, position: number, flow?: Flow, unread = UNREAD) {
    this.#file = file
    this.#origin = position
    this.#reached = position
    this.#unread = unread
    this.#window = new Window(position, Math.max(CAPACITY, unread), unread)
    if (flow) this.#begin(flow)
    else if (position === file.size) this.#complete = true
  }

  get start(): number {
    return this.#window.start
  }

  get end(): number {
    return this.#window.end
  }

  /** Somebody waits for its bytes. */
  get busy(): boolean {
    return this.#waiters.size > 0
  }

  get failed(): boolean {
    return this.#error !== undefined
  }

  /** Everything up to the end of the file has come. */
  get complete(): boolean {
    return this.#complete
  }

  /**
   * Fills `target` with what is at a position: fewer bytes only at the file's end. Undefined where the cursor has gone
   * on. Rejects with the CosmosError of the body, ETIMEDOUT or EIO.
   */
  async read(position: number, target: Uint8Array, signal: AbortSignal): Promise<number | undefined> {
    let done = 0
    while (done < target.length) {
      signal.throwIfAborted()
      const at = position + done
      if (at < this.#window.start) return undefined
      done += this.#window.copy(at, done === 0 ? target : target.subarray(done))
      this.used = performance.now()
      this.#moveTo(position + done)
      if (done === target.length || (this.#complete && position + done >= this.end)) break
      await this.#more(Math.min(position + target.length, Math.max(this.end, position + done) + STEP), signal)
    }
    return done
  }

  /**
   * Everything, if it comes before it is more than is held unread, and in so many milliseconds; else undefined, and
   * it can be read from its start on as before.
   */
  async whole(limit: number, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const late = Number.isFinite(limit) ? AbortSignal.timeout(limit) : undefined
    try {
      await this.#more(this.#origin + this.#unread + 1, late ? AbortSignal.any([signal, late]) : signal)
    } catch (error) {
      if (!late?.aborted || signal.aborted) throw error
    }
    if (!this.#complete) return undefined
    const bytes = new Uint8Array(this.end - this.#origin)
    this.#window.copy(this.#origin, bytes)
    return bytes
  }

  /** Ends its connection; who waits is told. */
  stop(error: CosmosError): void {
    this.#error ??= error
    this.#asking?.abort(error)
    this.#body?.stop()
    this.#body = undefined
    this.#wake()
  }

  /** Waits until the window has what is before a position, or as much as there will be. */
  async #more(until: number, signal: AbortSignal): Promise<void> {
    if (this.end >= until) return
    if (this.#error) throw this.#error
    if (this.#complete) return
    signal.throwIfAborted()
    if (!this.#body && !this.#asking) void this.#ask()
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        this.#waiters.delete(waiter)
        if (!this.busy) this.#rest()
        reject(signal.reason)
      }
      const wake = () => {
        signal.removeEventListener('abort', onAbort)
        this.#waiters.delete(waiter)
        resolve()
      }
      const waiter = { until, wake }
      this.#waiters.add(waiter)
      signal.addEventListener('abort', onAbort, { once: true })
    })
    if (this.#error && this.end < until) throw this.#error
  }

  /** Nobody waits any more: the connection ends where another can take up what it leaves. */
  #rest(): void {
    if (!this.#file.again || this.#file.size === undefined) return
    this.#asking?.abort(new Error('nobody waits'))
    this.#asking = undefined
    this.#body?.stop()
    this.#body = undefined
  }

  async #ask(): Promise<void> {
    const { again } = this.#file
    if (!again) {
      this.#fail(new CosmosError('EIO', this.#file.display, 'the connection was lost'))
      return
    }
    const asking = new AbortController()
    this.#asking = asking
    try {
      const flow = await again(this.end, this.end === this.#origin, this.#wasLost, asking.signal)
      if (asking.signal.aborted) flow.body.stop()
      else {
        this.#asking = undefined
        this.#begin(flow)
      }
    } catch (error) {
      if (asking.signal.aborted) return
      this.#asking = undefined
      this.#fail(
        error instanceof CosmosError ? error : new CosmosError('EIO', this.#file.display, String(error)),
      )
    }
  }

  #begin({ body, skip, until }: Flow): void {
    this.#body = body
    this.#until = until
    this.#wasLost = false
    body.start(new CursorSink(this, body, skip))
  }

  /** For its sink: memory for the next bytes. */
  slot(): Uint8Array | undefined {
    const isUnread = this.#reached === this.#origin
    const room = isUnread ? this.#unread - (this.end - this.#origin) : Number.POSITIVE_INFINITY
    if (room <= 0) {
      // Who waits for all of it need not wait on.
      this.#wake()
      return undefined
    }
    this.#window.drop(this.#reached - BEHIND)
    return this.#window.slot(room)
  }

  /** For its sink: bytes have come. */
  filled(body: Body, count: number): void {
    this.#window.filled(count)
    const { maxSize, display } = this.#file
    if (maxSize !== undefined && this.end > maxSize) {
      body.stop()
      this.#fail(new CosmosError('EFBIG', display, `is larger than ${maxSize} bytes`, 'raise max_size'))
    } else for (const waiter of this.#waiters) if (this.end >= waiter.until) waiter.wake()
  }

  /** For its sink: the body has ended, as it should (no error) or not. */
  ended(body: Body, error: CosmosError | undefined): void {
    if (body !== this.#body) return
    this.#body = undefined
    const { size, again, display } = this.#file
    if (!error && size === undefined) this.#complete = true
    else if (size !== undefined && this.end >= size) this.#complete = true
    else if (error || this.end < (this.#until ?? size ?? 0)) {
      const why = error ?? new CosmosError('EIO', display, `it ended at ${this.end} of ${size} bytes`)
      // One more try for each stretch: what brings nothing is not repeated.
      const isFirst = this.#lostAt === undefined || this.end >= this.#lostAt + CAPACITY
      this.#lostAt = this.end
      this.#wasLost = true
      if (!again || size === undefined || !isFirst || why.code !== 'EIO') this.#fail(why)
      else if (this.busy) void this.#ask()
      return
    }
    this.#wake()
  }

  #fail(error: CosmosError): void {
    this.#error = error
    this.#wake()
  }

  #wake(): void {
    for (const waiter of this.#waiters) waiter.wake()
  }

  #moveTo(position: number): void {
    this.#reached = Math.max(this.#reached, position)
    const held = this.end - Math.max(this.start, this.#reached - BEHIND)
    if (CAPACITY - held >= RESUME) this.#body?.flow()
  }
}

/** Takes a body's bytes into a cursor, without those that were not wanted. */
class CursorSink implements Sink {
  readonly #cursor: Cursor
  readonly #body: Body
  #skip: number
  #skipping: Buffer | undefined

  constructor(cursor: Cursor, body: Body, skip: number) {
    this.#cursor = cursor
    this.#body = body
    this.#skip = skip
  }

  slot(): Uint8Array | undefined {
    if (this.#skip === 0) return this.#cursor.slot()
    this.#skipping ??= Buffer.allocUnsafeSlow(64 * 1024)
    return this.#skip < this.#skipping.length ? this.#skipping.subarray(0, this.#skip) : this.#skipping
  }

  filled(count: number): void {
    if (this.#skip === 0) this.#cursor.filled(this.#body, count)
    else {
      this.#skip -= count
      if (this.#skip === 0) this.#skipping = undefined
    }
  }

  end(): void {
    this.#cursor.ended(this.#body, undefined)
  }

  fail(error: CosmosError): void {
    this.#cursor.ended(this.#body, error)
  }
}
