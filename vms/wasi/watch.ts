import { Worker } from 'node:worker_threads'
import { CosmosError } from '../../src/errors.ts'
import { eventfd, exitNow, timerfdCreate, timerfdSet, write } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { prepareStop } from './process.ts'

/**
 * The watch: a thread that looks after the session while this one is inside a module, where it hears nothing. It
 * ends the process when the daemon or the client is gone, at a deadline, and by a signal that is sent to a program.
 *
 * Who reads the connection is decided by `mode`, which each side changes only from what it knows it to be.
 */

/** The session is between requests: this thread reads the connection. */
export const IDLE = 0
/** A function is called; the watch reads nothing, but a client that is gone ends the process. */
export const CALLING = 1
/** A program runs; the watch may read. */
export const RUNNING = 2
/** The watch reads, answers or ends the process; this thread has to wait before it goes on. */
export const READING = 3

/** Slots of the shared integers. */
export const MODE = 0
/** Descriptor of the session's connection; -1: none. */
export const CONNECTION = 1
/** Set when the watch is there. */
export const READY = 2

/** What the thread is started with. */
export interface WatchData {
  readonly state: Int32Array<SharedArrayBuffer>
  /** The request that runs. */
  readonly request: Float64Array<SharedArrayBuffer>
  readonly wakeFd: number
  readonly timerFd: number
  /** See {@link prepareStop}. */
  readonly stopSignal: number
}

/** How long a thread may take to start on a machine that is busy. */
const START_MS = 60_000
const EFD_CLOEXEC = 0o2000000
const EFD_NONBLOCK = 0o4000
const CLOCK_MONOTONIC = 1
const one = allocateNative(8)
one.view.setBigUint64(0, 1n, true)

export class Watch {
  readonly #state = new Int32Array(new SharedArrayBuffer(12))
  readonly #request = new Float64Array(new SharedArrayBuffer(8))
  readonly #wakeFd = check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
  readonly #timerFd = check(timerfdCreate(CLOCK_MONOTONIC, EFD_CLOEXEC | EFD_NONBLOCK))
  readonly #times = allocateNative(32)
  #timed = false

  /** Starts the thread and waits until it watches. Throws CosmosError. */
  constructor() {
    Atomics.store(this.#state, CONNECTION, -1)
    const workerData: WatchData = {
      state: this.#state,
      request: this.#request,
      wakeFd: this.#wakeFd,
      timerFd: this.#timerFd,
      stopSignal: prepareStop(),
    }
    new Worker(new URL('./watch-thread.ts', import.meta.url), { workerData }).unref()
    if (Atomics.wait(this.#state, READY, 0, START_MS) === 'timed-out')
      throw new CosmosError('ETIMEDOUT', 'watch', 'its thread does not start')
    // Node's own way out would wait for the thread, which waits for ever, and the client with it.
    process.on('uncaughtException', (error) => {
      process.stderr.write(`ends: ${error instanceof Error ? error.stack : error}\n`)
      exitNow(1)
    })
  }

  /** The session has this connection; -1: there is none. */
  attend(connection: number): void {
    Atomics.store(this.#state, CONNECTION, connection)
    this.#wake()
  }

  /** A function is called, for so many seconds at most. */
  beginCall(seconds: number | undefined): void {
    this.#setTimer(seconds)
    Atomics.store(this.#state, MODE, CALLING)
  }

  endCall(): void {
    this.#end(CALLING)
  }

  /** The program of this request runs, for so many seconds at most. */
  beginRun(request: number, seconds: number | undefined): void {
    this.#request[0] = request
    this.#setTimer(seconds)
    Atomics.store(this.#state, MODE, RUNNING)
    this.#wake()
  }

  /** It has ended. When this returns, the watch does not read any more. */
  endRun(): void {
    this.#end(RUNNING)
    this.#wake()
  }

  #end(mode: number): void {
    while (Atomics.compareExchange(this.#state, MODE, mode, IDLE) === READING)
      Atomics.wait(this.#state, MODE, READING)
    this.#setTimer(undefined)
  }

  #wake(): void {
    write(this.#wakeFd, one.address, 8)
  }

  #setTimer(seconds: number | undefined): void {
    if (seconds === undefined && !this.#timed) return
    this.#timed = seconds !== undefined
    const nanoseconds = BigInt(Math.max(1, Math.round((seconds ?? 0) * 1e9)))
    const { view, address } = this.#times
    view.setBigInt64(16, this.#timed ? nanoseconds / 1_000_000_000n : 0n, true)
    view.setBigInt64(24, this.#timed ? nanoseconds % 1_000_000_000n : 0n, true)
    check(timerfdSet(this.#timerFd, 0, address, 0))
  }
}

function check(result: number): number {
  if (result < 0) throw CosmosError.fromErrno(result, 'watch')
  return result
}
