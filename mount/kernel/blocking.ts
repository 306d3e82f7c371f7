import type { Worker } from 'node:worker_threads'
import type { Job, JobKind } from '../../src/frame/operations.ts'
import { close, eventfd, fcntl } from '../../src/os/libc.ts'
import { IN_HEADER_SIZE } from './abi.ts'
import type { RequestReader } from './request.ts'
import { startThread } from './threads.ts'

/** Threads; more would only wait for the same disk. */
const THREADS = 2

const F_DUPFD_CLOEXEC = 1030
const EFD_CLOEXEC_NONBLOCK = 0o2004000

/**
 * The mailbox of a thread: 32-bit words, then doubles, in memory that both threads see. One job at a time; whose
 * turn it is says the state word, on which the thread sleeps.
 */
const MAILBOX_SIZE = 64
export const BOX_STATE = 0
export const BOX_KIND = 1
export const BOX_FD = 2
export const BOX_OTHER_FD = 3
export const BOX_MODE = 4
/** The request that the thread answers itself; 0 and 0 for none. */
export const BOX_UNIQUE_LOW = 5
export const BOX_UNIQUE_HIGH = 6
/** Doubles, counted in doubles. */
export const BOX_POSITION = 4
export const BOX_OTHER_POSITION = 5
export const BOX_LENGTH = 6
export const BOX_RESULT = 7

/** The thread has not come up yet; work that is posted waits for it. */
export const STATE_STARTING = 3
export const STATE_IDLE = 0
export const STATE_POSTED = 1
export const STATE_DONE = 2

export const JOB_KINDS: readonly JobKind[] = [
  'fsync',
  'fdatasync',
  'read',
  'fallocate',
  'copyRange',
  'copyUp',
]

/** What a blocking thread is started with. */
export interface BlockingThreadData {
  fuseFd: number
  /** Written when a job is done. */
  doneFd: number
  box: SharedArrayBuffer
}

/** A job that has ended, and the request that it was for. */
export interface FinishedJob {
  /** The request's bytes: all of them where it begins again, else its header. */
  message: Buffer
  again: boolean
  token: number
  result: number
  /** The thread has written the reply. */
  replied: boolean
}

interface WaitingJob extends FinishedJob {
  kind: number
  fd: number
  otherFd: number
  position: number
  otherPosition: number
  length: number
  mode: number
  uniqueLow: number
  uniqueHigh: number
}

interface Thread {
  readonly words: Int32Array
  readonly doubles: Float64Array
  readonly worker: Worker
  job: WaitingJob | undefined
}

/**
 * Runs the work that could hold up the tree thread. Until its reply is written a request stays unanswered for the
 * kernel, so a daemon that dies on the way loses nothing. A thread takes a tenth of a second to start: the first is
 * started ahead (`start`), the other when it is needed.
 */
export class BlockingPool {
  /** Readable when a job is done. */
  readonly doneFd: number = eventfd(0, EFD_CLOEXEC_NONBLOCK)
  readonly #fuseFd: number
  readonly #threads: Thread[] = []
  #waiting: WaitingJob[] = []

  constructor(fuseFd: number) {
    this.#fuseFd = fuseFd
  }

  /** Starts the first thread, if there is none. */
  start(): void {
    if (this.#threads.length === 0) this.#addThread()
  }

  /** Whether a thread has come up: before that what is submitted waits for longer than it takes. */
  get up(): boolean {
    return this.#threads.some(({ words }) => Atomics.load(words, BOX_STATE) !== STATE_STARTING)
  }

  /** Jobs that have not been taken back. */
  get busy(): boolean {
    return this.#waiting.length > 0 || this.#threads.some((thread) => thread.job !== undefined)
  }

  /** Takes a job of the request in hand: 0, or `-errno` where no descriptor is left for it. */
  submit(request: RequestReader, job: Job): number {
    const fd = fcntl(job.descriptor, F_DUPFD_CLOEXEC, 3)
    if (fd < 0) return fd
    const hasOther = job.kind === 'copyRange' || job.kind === 'copyUp'
    const otherFd = hasOther ? fcntl(job.otherDescriptor, F_DUPFD_CLOEXEC, 3) : -1
    if (hasOther && otherFd < 0) {
      close(fd)
      return otherFd
    }
    const replied = job.kind === 'read' && !job.again
    this.#waiting.push({
      message: Buffer.from(request.buffer.bytes.subarray(0, job.again ? request.size : IN_HEADER_SIZE)),
      again: job.again,
      token: job.token,
      result: 0,
      replied,
      kind: JOB_KINDS.indexOf(job.kind),
      fd,
      otherFd,
      position: job.position,
      otherPosition: job.otherPosition,
      length: job.length,
      mode: job.mode,
      uniqueLow: replied ? request.uniqueLow : 0,
      uniqueHigh: replied ? request.uniqueHigh : 0,
    })
    this.#assign()
    return 0
  }

  /** A job that has ended; undefined for none. Gives the freed thread its next one. */
  take(): FinishedJob | undefined {
    for (const thread of this.#threads) {
      const { job, words } = thread
      if (job === undefined || Atomics.load(words, BOX_STATE) !== STATE_DONE) continue
      job.result = thread.doubles[BOX_RESULT]!
      thread.job = undefined
      Atomics.store(words, BOX_STATE, STATE_IDLE)
      close(job.fd)
      if (job.otherFd >= 0) close(job.otherFd)
      // The kept request has its header's length in it: a header alone is one whole message.
      if (!job.again) job.message.writeUInt32LE(job.message.length, 0)
      this.#assign()
      return job
    }
    return undefined
  }

  /** Ends the threads; a job under way is cut loose. */
  stop(): void {
    // The descriptor stays open: a thread may still be about to write to it.
    for (const thread of this.#threads) void thread.worker.terminate()
  }

  #assign(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#idleThread()
      if (thread === undefined) return
      const job = this.#waiting.shift()!
      const { words, doubles } = thread
      words[BOX_KIND] = job.kind
      words[BOX_FD] = job.fd
      words[BOX_OTHER_FD] = job.otherFd
      words[BOX_MODE] = job.mode
      words[BOX_UNIQUE_LOW] = job.uniqueLow
      words[BOX_UNIQUE_HIGH] = job.uniqueHigh
      doubles[BOX_POSITION] = job.position
      doubles[BOX_OTHER_POSITION] = job.otherPosition
      doubles[BOX_LENGTH] = job.length
      thread.job = job
      Atomics.store(words, BOX_STATE, STATE_POSTED)
      Atomics.notify(words, BOX_STATE)
    }
  }

  #idleThread(): Thread | undefined {
    const idle = this.#threads.find((thread) => thread.job === undefined)
    if (idle !== undefined || this.#threads.length >= THREADS) return idle
    return this.#addThread()
  }

  #addThread(): Thread {
    const box = new SharedArrayBuffer(MAILBOX_SIZE)
    new Int32Array(box)[BOX_STATE] = STATE_STARTING
    const data: BlockingThreadData = { fuseFd: this.#fuseFd, doneFd: this.doneFd, box }
    const thread: Thread = {
      words: new Int32Array(box),
      doubles: new Float64Array(box),
      worker: startThread('blocking-thread', data),
      job: undefined,
    }
    this.#threads.push(thread)
    return thread
  }
}
