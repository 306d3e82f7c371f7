import { CosmosError } from '../../errors.ts'
import type { Timed } from './clock.ts'
import { NONE, type StreamReader, type StreamWriter } from './streams.ts'

/** What a handler knows of a call beside its arguments. */
export interface CallContext {
  /** Peer id of who asks. */
  readonly peer: string
  /** Streams from the caller. */
  readonly readers: readonly StreamReader[]
  /** Streams to the caller. Those that are not ended when the call is answered are ended then. */
  readonly writers: readonly StreamWriter[]
  /** Aborted when nobody waits for the answer any more, with a CosmosError as reason. */
  readonly signal: AbortSignal
  /** Milliseconds that are left; Infinity where the caller has set no deadline. */
  readonly remaining: number
  /** Takes events of this call; to be set before the handler's first `await`. */
  event: ((op: string, args: unknown) => void) | undefined
  /** Sends the caller an event of this call: it comes before the answer. Nothing happens after it. */
  notify(op: string, args: unknown): void
}

/** Answers what the peer asks. */
export interface SessionHandler {
  /** The answer, or a promise of it. What it throws the caller gets: a CosmosError as it is, others as EIO. */
  call(op: string, args: unknown, context: CallContext): unknown
  /** Takes events that belong to no call. */
  event?(op: string, args: unknown): void
}

/** What a call asks of the conversation that it is part of. */
export interface IncomingPort {
  readonly peer: string
  readonly now: number
  notify(op: string, args: unknown, call: IncomingCall): void
  /** Sends the answer; the call is done. */
  answer(call: IncomingCall, value: unknown): void
  failure(call: IncomingCall, error: unknown): void
  /** The handler is at its end, whether its answer is still wanted or not. */
  returned(): void
}

/** A call of the peer. */
export class IncomingCall implements CallContext, Timed {
  readonly id: number
  readonly deadline: number
  /** When it came, for the estimate of how long calls take. */
  readonly since: number
  due = 0
  place = -1
  readers: readonly StreamReader[] = NONE
  writers: readonly StreamWriter[] = NONE
  event: ((op: string, args: unknown) => void) | undefined
  #port: IncomingPort | undefined
  readonly peer: string
  #abort: AbortController | undefined
  #why: CosmosError | undefined
  /** Writers that have not finished, once the handler has. */
  #unfinished = 0
  #outcome: { value: unknown } | { error: unknown } | undefined

  constructor(port: IncomingPort, id: number, deadline: number) {
    this.#port = port
    this.peer = port.peer
    this.id = id
    this.deadline = deadline
    this.since = port.now
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.#why !== undefined) this.#abort.abort(this.#why)
    }
    return this.#abort.signal
  }

  get remaining(): number {
    return this.#port === undefined ? 0 : Math.max(0, this.deadline - this.#port.now)
  }

  notify(op: string, args: unknown): void {
    this.#port?.notify(op, args, this)
  }

  /** Runs the handler. */
  run(handler: SessionHandler, op: string, args: unknown): void {
    const port = this.#port!
    try {
      const answer = handler.call(op, args, this)
      if (answer instanceof Promise)
        answer.then(
          (value: unknown) => this.#settled(port, { value }),
          (error: unknown) => this.#settled(port, { error }),
        )
      else this.#settled(port, { value: answer })
    } catch (error) {
      this.#settled(port, { error })
    }
  }

  /** The caller waits no longer, or the peer is lost: the handler is told, its answer will be dropped. */
  drop(why: CosmosError): void {
    if (this.#port === undefined) return
    this.#port = undefined
    this.#why = why
    for (const reader of this.readers) reader.close(why)
    for (const writer of this.writers) writer.halt(why)
    this.#abort?.abort(why)
  }

  /** Its deadline has come. */
  lapse(): void {
    const error = new CosmosError('ETIMEDOUT', 'call', 'its deadline has come')
    this.#port?.failure(this, error)
    this.drop(error)
  }

  /** The answer is sent when the streams of this side have ended: a program's exit comes after its output. */
  #settled(port: IncomingPort, outcome: { value: unknown } | { error: unknown }): void {
    port.returned()
    if (this.#port === undefined) return
    this.#outcome = outcome
    this.#unfinished = 1
    for (const writer of this.writers) {
      if (writer.over) continue
      this.#unfinished++
      writer.finished = () => this.#finished()
      if ('error' in outcome && !writer.ending) writer.abort('the call has failed')
      else writer.end()
    }
    this.#finished()
  }

  #finished(): void {
    if (--this.#unfinished > 0 || this.#port === undefined || this.#outcome === undefined) return
    const port = this.#port
    if ('error' in this.#outcome) port.failure(this, this.#outcome.error)
    else port.answer(this, this.#outcome.value)
    this.#port = undefined
    if (this.readers.length === 0) return
    const why = new CosmosError('EPIPE', 'stream', 'the call was answered')
    for (const reader of this.readers) reader.close(why)
  }
}
