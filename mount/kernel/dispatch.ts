import { constants } from 'node:os'
import { format } from 'node:util'
import createDebug from 'debug'
import { describeError } from '../../src/errors.ts'
import { PENDING } from '../../src/frame/operations.ts'
import { EINTR, EIO, ENOENT, ENOSYS } from '../../src/os/errno.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { JobRunner } from '../jobs.ts'
import { UNIQUE_RESEND_HIGH } from './abi.ts'
import type { BlockingPool, FinishedJob } from './blocking.ts'
import { type Context, NO_REPLY, type Operation } from './context.ts'
import { logToStandardError } from './log.ts'
import { OPERATIONS } from './operations-table.ts'

/** `DEBUG=cosmos:fuse` in the daemon's environment logs every request with its answer. */
const trace = createDebug('cosmos:fuse')
// The tree thread never gets to the event loop that its console would need.
trace.log = (...parts: unknown[]) => logToStandardError(format(...parts))

/** Where a request's number lies in its header (fuse_in_header). */
const UNIQUE = 8

/** Takes requests apart, has the tree answer them, and sends one reply for each that wants one. */
export class Dispatcher {
  readonly #context: Context
  readonly #pool: BlockingPool
  /** Requests that wait for a production, by its key. */
  readonly #waiting = new Map<string, Buffer[]>()
  readonly #copyBuffer = allocateNative(128 * 1024)
  readonly #runner = new JobRunner(this.#copyBuffer.address, this.#copyBuffer.bytes.length)

  constructor(context: Context, pool: BlockingPool) {
    this.#context = context
    this.#pool = pool
    context.interrupted = (low, high) => this.#interrupted(low, high)
  }

  /** Answers the message of `size` bytes in the request buffer. Never throws. */
  handle(size: number): void {
    const { request, tree, log } = this.#context
    const whole = request.begin(size)
    const operation = OPERATIONS[request.opcode]
    if (!whole) {
      this.#refuse(size, 'is not one whole message')
      return
    }
    if (operation === undefined) {
      this.#identify()
      this.#send(undefined, -ENOSYS)
      return
    }
    if (!request.hasBody(operation.size)) {
      this.#refuse(size, `is too short for ${operation.name}`)
      return
    }
    this.#identify()
    let result: number
    try {
      result = operation.handle(this.#context)
    } catch (error) {
      result = errnoOf(error)
      log(`${operation.name} failed: ${describeError(error)}`)
    }
    if (trace.enabled) trace('%s node %d by %d: %d', operation.name, request.node, request.pid, result)
    if (result === PENDING && (tree.job.kind === 'produce' || tree.job.kind === 'away')) {
      if (tree.job.kind === 'produce') this.#wait(tree.job.key, request.size)
      tree.answered()
      return
    }
    if (result === PENDING) {
      // A daemon that takes over may be killed again before its threads are up: what it was sent again goes first.
      if (tree.request.resent && !this.#pool.up && tree.job.kind !== 'read') {
        this.#runHere(operation)
        return
      }
      result = this.#pool.submit(request, tree.job)
      if (result === 0) return
    }
    if (result !== NO_REPLY && operation.silent === undefined) this.#send(operation, result)
    tree.answered()
  }

  /** Another thread has ended a request's work: answers it, or begins it once more. */
  finish(done: FinishedJob): void {
    const { request, tree } = this.#context
    const { message } = done
    message.copy(request.buffer.bytes)
    if (done.again) {
      tree.jobEnded(done.token, done.result)
      this.handle(message.length)
      return
    }
    request.begin(message.length)
    this.#identify()
    if (!done.replied) {
      const operation = OPERATIONS[request.opcode]
      const finish = operation?.finish
      // Only the header was kept: handlers' fields are not there, and `finish` needs none.
      if (done.result < 0 || finish === undefined) this.#send(operation, Math.min(done.result, 0))
      else this.#send(operation, finish(this.#context, done.result))
    }
    tree.answered()
  }

  /** Keeps a request until what it waits for has ended; for the kernel it is unanswered until then. */
  #wait(key: string, size: number): void {
    const { request } = this.#context
    const message = Buffer.from(request.buffer.bytes.subarray(0, size))
    const others = this.#waiting.get(key)
    if (others) others.push(message)
    else this.#waiting.set(key, [message])
  }

  /** Begins the requests once more that waited for what has ended. */
  resume(): void {
    const { request, tree } = this.#context
    for (let key = tree.nextEnded(); key !== undefined; key = tree.nextEnded()) {
      const messages = this.#waiting.get(key) ?? []
      this.#waiting.delete(key)
      for (const message of messages) {
        message.copy(request.buffer.bytes)
        this.handle(message.length)
      }
    }
  }

  /** Answers a waiting request EINTR: its caller was interrupted. One that is answered elsewhere is told of. */
  #interrupted(uniqueLow: number, uniqueHigh: number): void {
    for (const [key, messages] of this.#waiting) {
      const index = messages.findIndex(
        (each) => each.readUInt32LE(UNIQUE) === uniqueLow && each.readUInt32LE(UNIQUE + 4) === uniqueHigh,
      )
      if (index < 0) continue
      messages.splice(index, 1)
      this.#context.reply.send(uniqueLow, uniqueHigh, -EINTR)
      if (messages.length > 0) return
      this.#waiting.delete(key)
      this.#context.tree.abandoned(key)
      return
    }
    this.#context.tree.interrupted(uniqueLow, uniqueHigh)
  }

  /** Does the tree's job on this thread, and answers its request. */
  #runHere(operation: Operation): void {
    const { tree, request } = this.#context
    const { again, token } = tree.job
    const result = this.#runner.run(tree.job)
    if (again) {
      tree.jobEnded(token, result)
      this.handle(request.size)
      return
    }
    const { finish } = operation
    this.#send(
      operation,
      result < 0 || finish === undefined ? Math.min(result, 0) : finish(this.#context, result),
    )
    tree.answered()
  }

  /** Tells the tree who asks. */
  #identify(): void {
    const { request, tree } = this.#context
    const who = tree.request
    who.uid = request.uid
    who.gid = request.gid
    who.pid = request.pid
    who.umask = 0
    who.uniqueLow = request.uniqueLow
    const high = request.uniqueHigh
    who.resent = high >= UNIQUE_RESEND_HIGH
    who.uniqueHigh = high >= UNIQUE_RESEND_HIGH ? high - UNIQUE_RESEND_HIGH : high
  }

  #send(operation: Operation | undefined, result: number): void {
    const { request, reply } = this.#context
    const written = reply.send(request.uniqueLow, request.uniqueHigh, result)
    if (written === -ENOENT && result > 0) operation?.undo?.(this.#context)
  }

  /** A message that cannot be read: logged; answered with EIO where it says which request it is. */
  #refuse(size: number, why: string): void {
    const { request, reply, log } = this.#context
    const named = size >= 16
    log(`a request of ${size} bytes ${named ? `(opcode ${request.opcode}) ` : ''}${why}`)
    if (!named || OPERATIONS[request.opcode]?.silent) return
    if (request.uniqueLow !== 0 || request.uniqueHigh !== 0) {
      reply.send(request.uniqueLow, request.uniqueHigh, -EIO)
    }
  }
}

/** Negated errno of an error that the tree threw; EIO where it names none. */
function errnoOf(error: unknown): number {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return -EIO
  const numbers: Record<string, number | undefined> = constants.errno
  return -(numbers[error.code] ?? EIO)
}
