import { CosmosError } from '../../src/errors.ts'
import type { TreeOperations } from '../../src/frame/operations.ts'
import { POLLIN, POLLPRI } from '../../src/os/constants.ts'
import { EAGAIN, EINTR, ENODEV, ENOENT, errnoName } from '../../src/os/errno.ts'
import { poll, read } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { IN_HEADER_SIZE, NOTIFY_RESEND, WRITE_IN_SIZE } from './abi.ts'
import { BlockingPool } from './blocking.ts'
import { createContext } from './context.ts'
import { Dispatcher } from './dispatch.ts'
import { type Log, logToStandardError } from './log.ts'
import { allocateMessage } from './message-buffer.ts'
import {
  allowedByProcess,
  driverPart,
  loadNegotiated,
  MAX_WRITE,
  type Negotiated,
  storeNegotiated,
} from './negotiate.ts'
import { type KnownName, Notifier } from './notifier.ts'
import { KernelPassthrough } from './passthrough.ts'
import { ReplyWriter } from './reply.ts'
import { RequestReader } from './request.ts'
import { Spinner } from './spinner.ts'

/** Answered where the connection was aborted (/sys/fs/fuse/connections). */
const ECONNABORTED = 103

/** Requests between two looks at what else may have come, while requests never pause. */
const LOOK_EVERY = 16

/** Milliseconds that a stop waits for jobs and notifications under way. */
const STOP_PATIENCE = 500

export interface KernelLoopOptions {
  /** /dev/fuse, mounted, O_NONBLOCK. */
  fuseFd: number
  /** An eventfd: readable when `onWake` is to be called. */
  wakeFd: number
  tree: TreeOperations
  /** The state memory; the driver uses its part of the header. */
  state: { readonly words: Uint32Array }
  /** Answers false to end the loop between two requests. */
  onWake(): boolean
  /** Threads for what blocks, started ahead. */
  pool?: BlockingPool
  /** The tree can be used: INIT is answered, or this daemon has taken over. */
  onReady?(negotiated: Negotiated): void
  /** Names that the kernel may have cached, for kernels that cannot expire all at once (before 7.44). */
  everyName?(): Iterable<KnownName>
  /** Standard error where not given. */
  log?: Log
}

/**
 * Serves the kernel's requests; holds its thread until the daemon is to stop, or the mount is gone. Where an earlier
 * daemon has served the mount, what it left unanswered is asked for again and the kernel's cached names are expired.
 */
export function runKernelLoop(options: KernelLoopOptions): 'stopped' | 'unmounted' {
  return new KernelLoop(options).run()
}

class KernelLoop {
  readonly #options: KernelLoopOptions
  readonly #log: Log
  readonly #part: Uint32Array
  readonly #request: RequestReader
  readonly #reply: ReplyWriter
  readonly #pool: BlockingPool
  readonly #notifier: Notifier
  readonly #dispatcher: Dispatcher
  readonly #spinner = new Spinner()
  /** struct pollfd (fd 0, events 4, revents 6) of: fuse, wake, watch, done, mounts, timer. */
  readonly #polled = allocateNative(48)
  readonly #counter = allocateNative(8)

  constructor(options: KernelLoopOptions) {
    const { fuseFd, tree } = options
    this.#options = options
    this.#log = options.log ?? logToStandardError
    this.#part = driverPart(options.state)
    // The data of a write lies at a page's start.
    const beforeData = IN_HEADER_SIZE + WRITE_IN_SIZE
    this.#request = new RequestReader(allocateMessage(beforeData + MAX_WRITE + 4096, beforeData))
    this.#reply = new ReplyWriter(fuseFd, this.#log)
    this.#pool = options.pool ?? new BlockingPool(fuseFd)
    const allowed = allowedByProcess()
    const context = createContext(tree, this.#request, this.#reply, this.#log, allowed, (negotiated) => {
      context.negotiated = negotiated
      storeNegotiated(this.#part, negotiated)
      this.#ready(negotiated)
    })
    this.#notifier = new Notifier(fuseFd, context, options.everyName?.bind(options))
    this.#dispatcher = new Dispatcher(context, this.#pool)
    context.negotiated = loadNegotiated(this.#part)
    tree.attach({ invalidate: this.#notifier, passthrough: new KernelPassthrough(fuseFd, context) })
    const { watchDescriptor, mountsDescriptor, timerDescriptor } = tree
    const polled = [
      fuseFd,
      options.wakeFd,
      watchDescriptor,
      this.#pool.doneFd,
      mountsDescriptor,
      timerDescriptor,
    ]
    for (const [index, fd] of polled.entries()) {
      this.#polled.view.setInt32(index * 8, fd, true)
      this.#polled.view.setInt16(index * 8 + 4, fd === mountsDescriptor ? POLLPRI : POLLIN, true)
    }
    // An INIT that an earlier daemon did not answer is asked for again too.
    if (allowed.resend) this.#askAgain()
    if (context.negotiated) {
      this.#ready(context.negotiated)
      this.#notifier.everything()
    }
  }

  run(): 'stopped' | 'unmounted' {
    let sinceLook = 0
    for (;;) {
      const gone = this.#serveOne()
      if (gone < 0) {
        this.#end()
        return 'unmounted'
      }
      if (gone > 0) {
        this.#spinner.found()
        if (++sinceLook < LOOK_EVERY) continue
        sinceLook = 0
        if (this.#look(0)) continue
      } else {
        if (this.#spinner.again()) continue
        sinceLook = 0
        if (this.#look(-1)) continue
      }
      this.#drain()
      this.#end()
      return 'stopped'
    }
  }

  /** Reads and answers one request: 1; 0 for none there; -1 when the mount is gone. */
  #serveOne(): number {
    const { buffer } = this.#request
    const size = read(this.#options.fuseFd, buffer.address, buffer.size)
    if (size > 0) {
      this.#dispatcher.handle(size)
      return 1
    }
    switch (-size) {
      case EAGAIN:
        return 0
      case EINTR:
      // The request was interrupted before it was read.
      case ENOENT:
        return 1
      case 0:
      case ENODEV:
        return -1
      case ECONNABORTED:
        this.#log('the connection was aborted (/sys/fs/fuse/connections)')
        return -1
      default:
        throw CosmosError.fromErrno(size, '/dev/fuse', 'cosmos down; cosmos up')
    }
  }

  /**
   * Sees to everything but requests, after waiting for something to come (`timeout` -1) or at once (0).
   * False when the loop is to end.
   */
  #look(timeout: number): boolean {
    this.#notifier.pump()
    const { view, address } = this.#polled
    // Requests are read anyway where there is no waiting.
    const count = timeout < 0 ? poll(address, 6, timeout) : poll(address + 8, 5, timeout)
    if (count < 0) {
      if (count !== -EINTR) this.#log(`poll: ${errnoName(-count)}`)
      return true
    }
    if (timeout < 0) this.#spinner.slept()
    if (count === 0) return true
    if (view.getInt16(3 * 8 + 6, true) !== 0) this.#takeDone()
    if (view.getInt16(2 * 8 + 6, true) !== 0) this.#options.tree.drainWatches()
    if (view.getInt16(4 * 8 + 6, true) !== 0) this.#options.tree.mountsChanged()
    if (view.getInt16(5 * 8 + 6, true) !== 0) this.#options.tree.giveBack()
    if (view.getInt16(1 * 8 + 6, true) === 0) return true
    this.#empty(this.#options.wakeFd)
    const goesOn = this.#options.onWake()
    this.#dispatcher.resume()
    return goesOn
  }

  #takeDone(): void {
    this.#empty(this.#pool.doneFd)
    for (let done = this.#pool.take(); done !== undefined; done = this.#pool.take()) {
      this.#dispatcher.finish(done)
    }
  }

  #empty(eventFd: number): void {
    read(eventFd, this.#counter.address, 8)
  }

  #ready(negotiated: Negotiated): void {
    this.#notifier.start()
    this.#pool.start()
    this.#options.onReady?.(negotiated)
  }

  #askAgain(): void {
    const result = this.#reply.notify(NOTIFY_RESEND)
    if (result < 0) this.#log(`the kernel does not send requests again: ${errnoName(-result)}`)
  }

  /**
   * Before a stop: jobs under way end and are answered, and a notification that waits for a request's answer gets
   * it; otherwise its thread would keep the process. In bounded time: what is left, the next daemon is asked again.
   */
  #drain(): void {
    const end = performance.now() + STOP_PATIENCE
    while ((this.#pool.busy || !this.#notifier.idle) && performance.now() < end) {
      if (this.#serveOne() < 0) return
      this.#notifier.pump()
      poll(this.#polled.address, 1, 1)
      if (this.#pool.busy) this.#takeDone()
    }
  }

  #end(): void {
    this.#pool.stop()
    this.#notifier.stop()
  }
}
