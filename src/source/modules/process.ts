import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Duplex, Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { CosmosError } from '../../errors.ts'
import { decodePayload, encodeFrame, FrameReader, isMap } from '../../form/msgpack.ts'
import type { SourceContext } from '../service.ts'
import { receivedError } from './answers.ts'

const PROGRAM = fileURLToPath(new URL('./main.ts', import.meta.url))
/** Memory of a module's JavaScript, MiB. */
const MEMORY = 512
/** How long a process may take to load its module, to answer a ping, and to end, milliseconds. */
const LOADING = 10_000
const PING = 2000
const ENDING = 2000
/** Longest line of a module's output that is logged. */
const MAX_LINE = 1000

interface Waiting {
  /** What it is about, for people. */
  readonly subject: string
  resolve(value: unknown): void
  reject(error: Error): void
}

/**
 * The process of a user's module. What it is asked rejects with the module's own error, ETIMEDOUT for what takes too long,
 * and EIO when the process ends meanwhile. It never outlives the daemon: see life-thread.ts.
 */
export class ModuleProcess {
  /** Why it ended; undefined while it lives. */
  ended: CosmosError | undefined
  /** Rejects when the module cannot be loaded. */
  readonly ready: Promise<void>
  readonly pid: number | undefined
  readonly started = performance.now()

  readonly #scheme: string
  readonly #frames: Duplex
  readonly #reader = new FrameReader()
  readonly #waiting = new Map<number, Waiting>()
  readonly #patience: number
  readonly #context: SourceContext
  readonly #loaded = Promise.withResolvers<void>()
  readonly #gone = Promise.withResolvers<void>()
  readonly #pings = new Map<number, () => void>()
  #lastId = 0
  #calls = 0

  /** `patience`: how long a call may take, milliseconds. */
  constructor(scheme: string, path: string, context: SourceContext, patience: number) {
    this.#scheme = scheme
    this.#patience = patience
    this.#context = context
    const { NODE_OPTIONS: _, ...environment } = context.environment
    const child = spawn(process.execPath, [`--max-old-space-size=${MEMORY}`, PROGRAM], {
      cwd: '/',
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      // A process group of its own, so that what the module starts ends with it.
      detached: true,
    })
    this.pid = child.pid
    this.#frames = child.stdio[3] as Duplex
    child.on('error', (error) => {
      this.#end(`cannot be started: ${error.message}`)
      if (child.pid === undefined) this.#gone.resolve()
    })
    child.on('exit', (code, signal) => {
      this.#killGroup()
      this.#end(`its process ended (${signal ?? `exit ${code}`})`)
      this.#gone.resolve()
    })
    for (const stream of [this.#frames, child.stdio[4] as Duplex]) stream.on('error', () => {})
    this.#frames.on('data', (bytes: Buffer) => this.#receive(bytes))
    for (const output of [child.stdout, child.stderr]) this.#log(output)

    this.ready = this.#loaded.promise
    this.ready.catch(() => {})
    const late = setTimeout(() => this.kill(`is not loaded within ${LOADING / 1000} s`), LOADING)
    const settled = () => clearTimeout(late)
    this.ready.then(settled, settled)
    const { home, settings } = context
    this.#send({ start: { path, home, environment: context.environment, settings } })
  }

  /** Asks something; `subject` is what it is about, for people. An aborted signal tells the module, and rejects at once. */
  async call(op: string, args: readonly unknown[], subject: string, signal?: AbortSignal): Promise<unknown> {
    this.#calls++
    try {
      return await this.#ask(op, args, subject, signal)
    } finally {
      this.#calls--
    }
  }

  async #ask(op: string, args: readonly unknown[], subject: string, signal?: AbortSignal): Promise<unknown> {
    await this.ready
    if (this.ended) throw this.ended
    signal?.throwIfAborted()
    const id = ++this.#lastId
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const cancel = (reason: unknown) => {
      if (this.#waiting.delete(id)) this.#send({ cancel: id })
      reject(reason)
    }
    const abort = () => cancel(signal?.reason)
    signal?.addEventListener('abort', abort)
    const late = setTimeout(() => {
      cancel(new CosmosError('ETIMEDOUT', subject, `is not answered within ${this.#patience / 1000} s`))
      this.#ping()
    }, this.#patience)
    this.#waiting.set(id, { subject, resolve, reject })
    try {
      this.#send({ id, op, args })
      return await promise
    } finally {
      this.#waiting.delete(id)
      clearTimeout(late)
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Whether something is being asked, or will be once the module is loaded. */
  get busy(): boolean {
    return this.#calls > 0
  }

  /** Lets the module close its service, and ends it. */
  async end(): Promise<void> {
    if (!this.ended) this.#send({ end: true })
    this.#end('is closed')
    const late = setTimeout(() => this.#killGroup(), ENDING)
    await this.#gone.promise
    clearTimeout(late)
  }

  /** Ends the process and what it started. */
  kill(why: string): void {
    this.#end(why)
    this.#killGroup()
  }

  #killGroup(): void {
    if (this.pid === undefined) return
    try {
      process.kill(-this.pid, 'SIGKILL')
    } catch {
      // It has ended already.
    }
  }

  /** A process that does not answer this is in a loop. */
  #ping(): void {
    const id = ++this.#lastId
    const late = setTimeout(() => this.kill('does not answer: its process was ended'), PING)
    this.#pings.set(id, () => {
      clearTimeout(late)
      this.#pings.delete(id)
    })
    this.#send({ ping: id })
  }

  #send(message: object): void {
    if (this.#frames.writable) this.#frames.write(encodeFrame(message))
  }

  #receive(bytes: Buffer): void {
    try {
      for (const payload of this.#reader.push(bytes)) this.#handle(decodePayload(payload))
    } catch (error) {
      this.kill(`answers what is no message: ${(error as Error).message}`)
    }
  }

  #handle(message: Record<string, unknown>): void {
    const waiting = this.#waiting.get(message.id as number)
    if (typeof message.log === 'string') this.#context.log(this.#line(message.log))
    else if (typeof message.pong === 'number') this.#pings.get(message.pong)?.()
    else if (message.ready === true) this.#loaded.resolve()
    else if ('failed' in message)
      this.kill(`cannot be loaded: ${receivedError(message.failed, '').message.slice(2)}`)
    // What was cancelled may answer still, and nobody waits for it.
    else if (isMap(message.error)) waiting?.reject(receivedError(message.error, waiting.subject))
    else waiting?.resolve(message.ok ?? undefined)
  }

  #end(why: string): void {
    if (this.ended) return
    this.ended = new CosmosError('EIO', `${this.#scheme}:/`, why)
    this.#loaded.reject(this.ended)
    for (const settle of this.#pings.values()) settle()
    for (const { reject } of this.#waiting.values()) reject(this.ended)
    this.#waiting.clear()
  }

  #log(output: Readable | null): void {
    if (output) createInterface(output).on('line', (line) => this.#context.log(this.#line(line)))
  }

  #line(text: string): string {
    return `source ${this.#scheme}: ${text.slice(0, MAX_LINE)}`
  }
}
