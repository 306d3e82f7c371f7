import type { Dispatcher } from 'undici'
import { CosmosError } from '../../errors.ts'
import { type Body, pour, Silence, type Sink } from './body.ts'

/** What a server is asked. */
export interface Question {
  readonly method: 'GET' | 'HEAD'
  readonly origin: string
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  /** For people, without credentials. */
  readonly display: string
  /** Milliseconds. */
  readonly headerTimeout: number
  readonly idleTimeout: number
}

/** What it answers: the head, and a body that waits. */
export interface Answer {
  readonly status: number
  /** By lower-case name; the first where there are several. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Body
}

/** Asks through a dispatcher of undici. Rejects with what undici says; an abort ends the connection. */
export function ask(dispatcher: Dispatcher, question: Question, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const exchange = new Exchange(question, resolve, reject)
    const onAbort = () => exchange.abandon(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    exchange.onHead = () => signal.removeEventListener('abort', onAbort)
    const { method, origin, target: path, headers, headerTimeout: headersTimeout } = question
    // Silence amid the body is the exchange's own to see: undici's clock is coarse.
    // A connection is kept after a HEAD: a server that sends a body to it is found out by the next request.
    dispatcher.dispatch(
      { method, origin, path, headers: { ...headers }, headersTimeout, bodyTimeout: 0, reset: false },
      exchange,
    )
  })
}

class Exchange implements Dispatcher.DispatchHandler, Body {
  onHead: () => void = () => {}
  readonly #question: Question
  readonly #resolve: (answer: Answer) => void
  readonly #reject: (error: unknown) => void
  readonly #silence: Silence
  #controller: Dispatcher.DispatchController | undefined
  #gaveUp: Error | undefined
  #sink: Sink | undefined
  #pending: Uint8Array | undefined
  #ended = false
  #stopped = false
  #failed: CosmosError | undefined

  constructor(question: Question, resolve: (answer: Answer) => void, reject: (error: unknown) => void) {
    this.#question = question
    this.#resolve = resolve
    this.#reject = reject
    this.#silence = new Silence(question.idleTimeout, () => {
      const sink = this.#sink
      this.stop()
      sink?.fail(new CosmosError('ETIMEDOUT', question.display, 'the server fell silent'))
    })
  }

  /** Nobody waits for the answer any more. */
  abandon(reason: unknown): void {
    this.#gaveUp = reason instanceof Error ? reason : new Error('given up')
    this.#reject(this.#gaveUp)
    this.stop()
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#gaveUp) controller.abort(this.#gaveUp)
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200) return
    this.onHead()
    controller.pause()
    const map = new Map<string, string>()
    for (const [name, value] of Object.entries(headers)) {
      const first = Array.isArray(value) ? value[0] : value
      if (first !== undefined) map.set(name.toLowerCase(), first)
    }
    this.#resolve({ status, headers: map, body: this })
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#stopped) return
    // Through a proxy undici sends a chunk although it was told to wait.
    const waits = !this.#sink || this.#pending !== undefined
    if (this.#sink && !waits) this.#silence.heard()
    this.#pending = waits
      ? Buffer.concat([this.#pending ?? Buffer.alloc(0), chunk])
      : this.#sink && pour(chunk, this.#sink)
    if (!this.#pending) return
    controller.pause()
    this.#silence.stop()
  }

  onResponseEnd(): void {
    this.#ended = true
    this.#silence.stop()
    if (this.#sink && !this.#pending) this.#sink.end()
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.onHead()
    this.#silence.stop()
    this.#reject(error)
    this.#failed = new CosmosError('EIO', this.#question.display, 'the connection was lost amid the answer')
    if (!this.#pending) this.#sink?.fail(this.#failed)
  }

  start(sink: Sink): void {
    this.#sink = sink
    this.flow()
  }

  flow(): void {
    const sink = this.#sink
    if (!sink || (!this.#controller?.paused && !this.#ended && !this.#failed)) return
    if (this.#pending) this.#pending = pour(this.#pending, sink)
    if (!this.#pending) this.#go(sink)
  }

  #go(sink: Sink): void {
    if (this.#ended || this.#failed) {
      this.#silence.stop()
      if (this.#failed) sink.fail(this.#failed)
      else sink.end()
    } else {
      this.#silence.heard()
      this.#controller?.resume()
    }
  }

  stop(): void {
    this.#stopped = true
    this.#sink = undefined
    this.#pending = undefined
    this.#silence.stop()
    if (!this.#ended) this.#controller?.abort(new Error('no more is wanted'))
  }
}
