import { CosmosError } from '../../errors.ts'
import type { Timed } from './clock.ts'
import type { Stamped } from './outbox.ts'
import { NONE, type StreamReader, type StreamWriter } from './streams.ts'

/** How a call is made. */
export interface CallOptions {
  /** Milliseconds until it is answered ETIMEDOUT; left out: it may take as long as the peer is there. */
  readonly deadline?: number
  /** Milliseconds within which the peer has to begin with it; left out: the resume window. Never beyond `deadline`. */
  readonly lifetime?: number
  /** It may be done twice: it is sent again to a peer that was restarted. Only where it has no streams. */
  readonly idempotent?: boolean
  /** Cancels it: the call is answered ECANCELED at once, and the peer is told. */
  readonly signal?: AbortSignal
  /** Byte streams from here to the peer. */
  readonly sends?: number
  /** Byte streams from the peer. */
  readonly receives?: number
  /** Takes events of this call, in the order in which its other frames come. */
  readonly event?: (op: string, args: unknown) => void
}

/** A call that was made and not answered. */
export interface Call {
  /**
   * The answer, after the ends of the streams that the call receives. Rejects with CosmosError: what the peer answers;
   * ETIMEDOUT; ECANCELED; EHOSTDOWN where the peer cannot be reached and has not been asked; ECOMM, outcome unknown;
   * EAGAIN ({@link OverloadError}); EMSGSIZE and EINVAL for arguments that cannot be sent.
   */
  readonly result: Promise<unknown>
  readonly writers: readonly StreamWriter[]
  readonly readers: readonly StreamReader[]
  /** Sends an event of this call: it comes after what was sent before. Nothing happens after the answer. */
  notify(op: string, args: unknown): void
  cancel(): void
}

/** What a call asks of the conversation that it is part of. */
export interface OutgoingPort {
  notify(op: string, args: unknown, call: OutgoingCall): void
  /** It is answered here, without the peer. Whether the peer may have had it. */
  withdraw(call: OutgoingCall): boolean
}

/** A call of this side. Its conversation fills in what depends on it: a call may go on in another one. */
export class OutgoingCall implements Call, Timed {
  readonly op: string
  readonly args: unknown
  readonly options: CallOptions
  readonly result: Promise<unknown>
  /** Times of this side's clock: of the whole call, and until which it has to have begun. */
  readonly deadline: number
  readonly begin: number
  due = 0
  place = -1
  id = 0
  frame: Stamped | undefined
  writers: readonly StreamWriter[] = NONE
  readers: readonly StreamReader[] = NONE
  port: OutgoingPort | undefined
  #resolve!: (value: unknown) => void
  #reject!: (error: CosmosError) => void
  #settled = false
  #aborted: (() => void) | undefined

  /** `patience`: milliseconds within which it begins where the options say nothing. */
  constructor(op: string, args: unknown, options: CallOptions, now: number, patience: number) {
    this.op = op
    this.args = args
    this.options = options
    this.deadline = now + (options.deadline ?? Number.POSITIVE_INFINITY)
    this.begin = Math.min(this.deadline, now + (options.lifetime ?? patience))
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    const { signal } = options
    if (signal !== undefined) {
      this.#aborted = () => this.cancel()
      signal.addEventListener('abort', this.#aborted)
    }
  }

  /** Whether it can be asked once more of a peer that may have had it already. */
  get repeatable(): boolean {
    return this.options.idempotent === true && this.streamless
  }

  get streamless(): boolean {
    return this.writers.length === 0 && this.readers.length === 0
  }

  notify(op: string, args: unknown): void {
    if (!this.#settled) this.port?.notify(op, args, this)
  }

  cancel(): void {
    if (this.#settled) return
    this.port?.withdraw(this)
    this.fail(new CosmosError('ECANCELED', this.op, 'the caller has cancelled it'))
  }

  /** Its deadline has come. */
  lapse(): void {
    const sent = this.port?.withdraw(this)
    const why = sent ? 'outcome unknown: no answer within its deadline' : 'it could not be sent in time'
    this.fail(new CosmosError('ETIMEDOUT', this.op, why))
  }

  answer(value: unknown): void {
    this.#end(this.streamless ? undefined : new CosmosError('EPIPE', 'stream', 'the call was answered'))
    this.#resolve(value)
  }

  fail(error: CosmosError): void {
    this.#end(error)
    this.#reject(error)
  }

  /** `why`: for its streams, where it has any. */
  #end(why: CosmosError | undefined): void {
    this.#settled = true
    this.port = undefined
    if (this.#aborted !== undefined) this.options.signal!.removeEventListener('abort', this.#aborted)
    if (why === undefined) return
    for (const reader of this.readers) reader.close(why)
    for (const writer of this.writers) writer.halt(why)
  }
}
