import { readFileSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { CosmosError } from '../errors.ts'
import { decodePayload, encodeFrame, FrameReader, isMap, protocolError } from '../form/msgpack.ts'
import { fromWireError } from '../form/wire.ts'
import {
  type Answer,
  type CallName,
  OPERATIONS,
  type OperationName,
  type StreamName,
  type WireArguments,
} from './handlers.ts'
import type { Instance } from './instance.ts'
import { type ClientMessage, PROTOCOL_VERSION } from './protocol.ts'
import { readRecord } from './record.ts'

/** How long a daemon that is being replaced is waited for. */
const PATIENCE_MS = 2000
const RETRY_MS = 25
/** Answers of one stream that may wait for a slow consumer. */
const MAX_WAITING = 16

/** How a client reaches its daemon. */
export interface ClientOptions {
  /** Whether a daemon is to come, so that it is worth waiting for. By default: a supervisor keeps one. */
  readonly expected?: () => boolean
  readonly patience?: number
}

/** A client of an instance's daemon: it connects when it is first used. */
export class ControlClient {
  readonly #instance: Instance
  readonly #expected: () => boolean
  readonly #patience: number
  #wire: Promise<Wire> | undefined

  constructor(instance: Instance, options: ClientOptions = {}) {
    this.#instance = instance
    this.#expected = options.expected ?? (() => isSupervised(instance))
    this.#patience = options.patience ?? PATIENCE_MS
  }

  /**
   * Connects. Throws CosmosError ENOTCONN when no daemon runs, EPERM when it is somebody else's,
   * EPROTO when it speaks another version.
   */
  async connect(): Promise<void> {
    await this.#connected()
  }

  /**
   * Asks for an operation that answers once. Throws the daemon's CosmosError, or ECONNRESET when the daemon ended
   * before it answered an operation that may not be asked twice.
   */
  async call<O extends CallName>(operation: O, args: WireArguments[O]): Promise<Answer<O>> {
    for await (const answer of this.#ask(operation, args)) return answer as Answer<O>
    throw protocolError('an answer without a result')
  }

  /** Asks for an operation that streams. Leaving the loop cancels it. */
  stream<O extends StreamName>(operation: O, args: WireArguments[O]): AsyncGenerator<Answer<O>> {
    return this.#ask(operation, args) as AsyncGenerator<Answer<O>>
  }

  /** Ends the connection; what is at hand is cancelled. */
  close(): void {
    this.#wire?.then((wire) => wire.close()).catch(() => {})
    this.#wire = undefined
  }

  /** Asks, and asks the next daemon when this one ended before its first answer. */
  async *#ask(operation: OperationName, args: unknown): AsyncGenerator<unknown> {
    let asked = 0
    let answered = false
    for (;;) {
      const wire = await this.#connected()
      asked++
      try {
        for await (const answer of wire.ask(operation, args)) {
          answered = true
          yield answer
        }
        return
      } catch (error) {
        const lost = error instanceof CosmosError && error === wire.lost
        if (lost) this.#wire = undefined
        if (!lost || answered || asked > 3 || !OPERATIONS[operation].repeatable) throw error
      }
    }
  }

  #connected(): Promise<Wire> {
    this.#wire ??= this.#connect()
    this.#wire.catch(() => {
      this.#wire = undefined
    })
    return this.#wire
  }

  async #connect(): Promise<Wire> {
    const deadline = performance.now() + this.#patience
    for (;;) {
      try {
        return await Wire.open(this.#instance.controlSocket)
      } catch (error) {
        if (error instanceof CosmosError) throw error
        const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
        if (code === 'EACCES' || code === 'EPERM')
          throw new CosmosError('EPERM', this.#instance.controlSocket, 'belongs to another user')
        if (performance.now() > deadline || !this.#expected())
          throw new CosmosError('ENOTCONN', this.#instance.home, 'no daemon runs', 'cosmos up')
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      }
    }
  }
}

/** Whether an instance's supervisor is there and means to stay. */
function isSupervised(instance: Instance): boolean {
  const record = readRecord(instance)
  return record !== undefined && record.state !== 'ending' && isAlive(record.supervisor)
}

/** Whether a process is there, ours or not; one that has ended and that nobody waited for is not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  if (process.platform !== 'linux') return true
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

interface Pending {
  readonly answers: unknown[]
  done: boolean
  failure: CosmosError | undefined
  wake: (() => void) | undefined
}

/** One connection. It keeps its process from ending only as long as an answer is waited for. */
class Wire {
  /** Why nothing more comes. */
  lost: CosmosError | undefined
  readonly #socket: Socket
  readonly #frames = new FrameReader()
  readonly #pending = new Map<number, Pending>()
  readonly #greeted: (error?: Error) => void
  #lastId = 0
  #heard = false

  private constructor(socket: Socket, greeted: (error?: Error) => void) {
    this.#socket = socket
    this.#greeted = greeted
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', (error) => {
      if (!this.#heard) greeted(error)
      this.#lose('ended before it answered')
    })
    socket.on('close', () => this.#lose('ended before it answered'))
    this.#write({ version: PROTOCOL_VERSION, software: 'cosmos' })
  }

  /** Connects and waits for the daemon's hello. */
  static open(path: string): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const wire: Wire = new Wire(createConnection(path), (error) => (error ? reject(error) : resolve(wire)))
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  async *ask(op: string, args: unknown): AsyncGenerator<unknown> {
    if (this.lost) throw this.lost
    const id = ++this.#lastId
    const pending: Pending = { answers: [], done: false, failure: undefined, wake: undefined }
    this.#pending.set(id, pending)
    this.#socket.ref()
    this.#write({ id, op, args })
    try {
      for (;;) {
        while (pending.answers.length > 0) {
          yield pending.answers.shift()
          this.#flow()
        }
        if (pending.failure) throw pending.failure
        if (pending.done) return
        await new Promise<void>((resolve) => {
          pending.wake = resolve
        })
      }
    } finally {
      this.#pending.delete(id)
      this.#flow()
      if (!pending.done) this.#write({ id, cancel: true })
      if (this.#pending.size === 0) this.#socket.unref()
    }
  }

  #write(message: ClientMessage): void {
    if (!this.#socket.destroyed) this.#socket.write(encodeFrame(message))
  }

  #receive(bytes: Buffer): void {
    try {
      for (const payload of this.#frames.push(bytes)) this.#take(decodePayload(payload))
    } catch (error) {
      this.#lose(error instanceof CosmosError ? error : 'sent what cannot be read')
      this.#socket.destroy()
    }
    this.#flow()
  }

  #take(message: Record<string, unknown>): void {
    if (message.id === 0 && 'error' in message) throw fromWireError(message.error)
    if (!this.#heard) {
      if (message.version !== PROTOCOL_VERSION)
        throw new CosmosError(
          'EPROTO',
          'daemon',
          `speaks version ${String(message.version)}`,
          'cosmos reload',
        )
      this.#heard = true
      if (this.#pending.size === 0) this.#socket.unref()
      this.#greeted()
      return
    }
    const pending = typeof message.id === 'number' ? this.#pending.get(message.id) : undefined
    // The last frames of what was cancelled.
    if (!pending) return
    if ('chunk' in message) pending.answers.push(message.chunk)
    else {
      pending.done = true
      if ('error' in message) pending.failure = fromWireError(isMap(message.error) ? message.error : {})
      else if ('ok' in message) pending.answers.push(message.ok)
    }
    pending.wake?.()
  }

  /** Reads on only while every consumer keeps up. */
  #flow(): void {
    for (const pending of this.#pending.values()) {
      if (pending.answers.length <= MAX_WAITING) continue
      this.#socket.pause()
      return
    }
    if (this.#socket.isPaused()) this.#socket.resume()
  }

  #lose(why: string | CosmosError): void {
    if (this.lost) return
    this.lost = typeof why === 'string' ? new CosmosError('ECONNRESET', 'daemon', why, 'cosmos log') : why
    if (!this.#heard) this.#greeted(typeof why === 'string' ? new Error(why) : why)
    for (const pending of this.#pending.values()) {
      if (pending.done) continue
      pending.done = true
      pending.failure = this.lost
      pending.wake?.()
    }
  }
}
