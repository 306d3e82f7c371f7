import type { OnReadOpts, Socket } from 'node:net'
import { buildConnector, Client } from 'undici'
import { CosmosError } from '../../errors.ts'
import { type Body, pour, Silence, type Sink } from './body.ts'
import { type Answer, ask, type Question } from './exchange.ts'

/** Bytes that are read at once while undici reads the head. */
const HEAD = 64 * 1024

/**
 * Asks for something long over a connection of its own. undici connects and reads the head; then its body is read
 * from the socket straight into the sink's memory, which is several times as fast as through undici's parser: that
 * copies what Node allocated for it anew. Only a body whose length is told is read so; others stay undici's.
 */
export async function askDirectly(
  question: Question,
  options: buildConnector.BuildOptions,
  signal: AbortSignal,
): Promise<Answer> {
  const tap = new Tap()
  const connect = buildConnector({ ...options, onread: tap.onread } as buildConnector.BuildOptions)
  const client = new Client(question.origin, {
    connect: (target, callback) =>
      connect(target, (...[error, socket]) => {
        if (socket) tap.socket = socket
        if (error) callback(error, null)
        else callback(null, socket as Socket)
      }),
  })
  const onAbort = () => void client.destroy().catch(() => {})
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const answer = await ask(client, question, signal)
    const length = Number(answer.headers.get('content-length') ?? 'none')
    const long = (answer.status === 200 || answer.status === 206) && length > HEAD
    if (long && tap.socket) return { ...answer, body: new DirectBody(tap, tap.socket, length, question) }
    // It ends when what it is asked has ended.
    void client.close().catch(() => {})
    return answer
  } catch (error) {
    onAbort()
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** A socket's bytes: undici's while it reads the head, a sink's afterwards. */
class Tap {
  socket: Socket | undefined
  /** Takes bytes that are already where `next` said; false: no more for now. */
  receive: ((bytes: Uint8Array) => boolean) | undefined
  /** Where the next bytes shall be written. */
  next: Uint8Array | undefined
  readonly scratch = Buffer.allocUnsafeSlow(HEAD)

  readonly onread: OnReadOpts = {
    buffer: () => this.next ?? this.scratch,
    callback: (count, memory) => {
      const bytes = memory.subarray(0, count)
      if (this.receive) return this.receive(bytes)
      return this.socket ? this.socket.push(Buffer.from(bytes)) : true
    },
  }
}

class DirectBody implements Body {
  readonly #tap: Tap
  readonly #socket: Socket
  readonly #silence: Silence
  readonly #display: string
  #rest: number
  #sink: Sink | undefined
  #pending: Uint8Array | undefined
  #lost = false

  constructor(tap: Tap, socket: Socket, length: number, question: Question) {
    this.#tap = tap
    this.#socket = socket
    this.#rest = length
    this.#display = question.display
    this.#silence = new Silence(question.idleTimeout, () => this.#fail('ETIMEDOUT', 'the server fell silent'))
    // From here on the connection is not undici's.
    for (const event of ['readable', 'end', 'error', 'close', 'drain']) socket.removeAllListeners(event)
    const onLoss = () => {
      this.#lost = true
      if (!this.#pending) this.#fail('EIO', 'the connection was lost amid the answer')
    }
    socket.on('end', onLoss).on('error', onLoss).on('close', onLoss)
  }

  start(sink: Sink): void {
    this.#sink = sink
    for (let early = this.#socket.read(); early !== null; early = this.#socket.read()) this.#take(early)
    if (!this.#sink) return
    this.#tap.receive = (bytes) => this.#receive(bytes)
    if (!this.#pending) this.#go()
  }

  flow(): void {
    if (!this.#sink || !this.#pending) return
    this.#pending = pour(this.#pending, this.#sink)
    if (!this.#pending) this.#go()
  }

  stop(): void {
    this.#sink = undefined
    this.#pending = undefined
    this.#silence.stop()
    this.#socket.destroy()
  }

  #go(): void {
    if (this.#lost && this.#rest > 0) this.#fail('EIO', 'the connection was lost amid the answer')
    this.#done()
    if (!this.#sink) return
    this.#silence.heard()
    this.#socket.resume()
  }

  #receive(bytes: Uint8Array): boolean {
    const sink = this.#sink
    if (!sink) return false
    this.#silence.heard()
    const { next } = this.#tap
    if (next) {
      const count = Math.min(bytes.length, this.#rest)
      this.#rest -= count
      sink.filled(count)
    } else this.#take(bytes)
    this.#tap.next = undefined
    if (this.#pending) {
      this.#silence.stop()
      return false
    }
    this.#done()
    if (this.#sink) this.#tap.next = this.#sink.slot()
    // Without room the next bytes wait in the scratch: at most 64 KiB more than the sink has room for.
    return this.#sink !== undefined
  }

  /** Bytes that are elsewhere than in the sink. */
  #take(bytes: Uint8Array): void {
    const own = bytes.length > this.#rest ? bytes.subarray(0, this.#rest) : bytes
    this.#rest -= own.length
    if (!this.#sink || own.length === 0) return
    if (this.#pending) this.#pending = Buffer.concat([this.#pending, own])
    else {
      const pending = pour(own, this.#sink)
      // The scratch is written over.
      this.#pending = pending && Buffer.from(pending)
      if (!pending) this.#done()
    }
  }

  #done(): void {
    if (this.#rest > 0 || !this.#sink) return
    const sink = this.#sink
    this.stop()
    sink.end()
  }

  #fail(code: string, why: string): void {
    const sink = this.#sink
    this.stop()
    sink?.fail(new CosmosError(code, this.#display, why))
  }
}
