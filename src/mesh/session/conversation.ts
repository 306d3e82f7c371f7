import { CosmosError } from '../../errors.ts'
import type { Clock, Timers } from './clock.ts'
import {
  errorOf,
  failureOf,
  Gap,
  hostDown,
  OverloadError,
  outcomeUnknown,
  Violation,
  words,
} from './errors.ts'
import { FrameReader, type FrameSink, type IncomingFrame } from './frame-reader.ts'
import * as frames from './frames.ts'
import { IncomingCall, type IncomingPort, type SessionHandler } from './incoming-call.ts'
import type { MsgpackReader } from './msgpack-reader.ts'
import { Outbox } from './outbox.ts'
import type { OutgoingCall, OutgoingPort } from './outgoing-call.ts'
import { MAX_CALL_STREAMS, type SessionSettings } from './settings.ts'
import { NONE, type StreamPort, StreamReader, StreamWriter } from './streams.ts'

/** What a conversation needs of its session. */
export interface ConversationHost {
  readonly peer: string
  readonly clock: Clock
  readonly timers: Timers
  readonly settings: SessionSettings
  readonly handler: SessionHandler | undefined
  /** Handlers of the peer's calls that run, of this conversation and of former ones. */
  running: number
  /** Whether a link is there that takes more, beside so many bytes that will go to it. */
  takes(bytes: number): boolean
  /** Gives the link what is there: at once, or when this turn of the event loop is done. */
  flush(): void
  flushSoon(): void
  /** More waits for the peer than may. */
  overflowed(): void
  report(error: unknown): void
}

/** The limits that the peer has told. */
export type PeerLimits = Pick<SessionSettings, 'calls' | 'streams' | 'window' | 'frame'>

/** Received bytes after which an acknowledgement is due, even where nothing else is to be sent. */
const ACKNOWLEDGE_AFTER = 256 * 1024

/**
 * What two processes have in common that talk to each other: numbered messages, calls, streams. It outlives links; when
 * one of the two has lost it, it is over, and what it had sent has an unknown outcome.
 */
export class Conversation implements StreamPort, OutgoingPort, IncomingPort, FrameSink {
  /** What both sides call it: hexadecimal. */
  readonly name: string
  readonly outbox: Outbox
  readonly #host: ConversationHost
  readonly #limits: PeerLimits
  readonly #outgoing = new Map<number, OutgoingCall>()
  readonly #incoming = new Map<number, IncomingCall>()
  readonly #waiting = new Set<StreamWriter>()
  /** Whether this side's calls have the odd numbers. */
  readonly #odd: boolean
  #nextId: number
  #highestIncoming = 0
  #outgoingStreams = 0
  #incomingStreams = 0
  #held = 0
  #received = 0
  #unacknowledged = 0
  readonly #frames: FrameReader
  /** Milliseconds by which lifetimes of the present message are shorter. */
  #delay = 0
  /** Milliseconds that a call of the peer takes, smoothed. */
  #duration = 10
  #over = false

  constructor(host: ConversationHost, name: string, odd: boolean, limits: PeerLimits) {
    this.#host = host
    this.name = name
    this.#odd = odd
    this.#nextId = odd ? 1 : 2
    this.#limits = limits
    this.outbox = new Outbox(limits.frame, host.settings.heartbeat)
    this.#frames = new FrameReader(this, host.settings.frame)
  }

  get peer(): string {
    return this.#host.peer
  }

  get now(): number {
    return this.#host.clock.now()
  }

  /** Number of the last message that has come. */
  get received(): number {
    return this.#received
  }

  /** Whether so much has come that the peer should know. */
  get owesAcknowledgement(): boolean {
    return this.#unacknowledged >= ACKNOWLEDGE_AFTER
  }

  /** A message that goes out says what has come. */
  acknowledged(): void {
    this.#unacknowledged = 0
  }

  /** What is open, for tests and for `cosmos peers`. */
  get figures(): { outgoing: number; incoming: number; streams: number; waiting: number; queued: number } {
    return {
      outgoing: this.#outgoing.size,
      incoming: this.#incoming.size,
      streams: this.#outgoingStreams + this.#incomingStreams,
      waiting: this.#waiting.size,
      queued: this.outbox.size - frames.HEADER_SIZE + this.#held,
    }
  }

  // What this side asks.

  /** Sends a call, or fails it. */
  open(call: OutgoingCall): void {
    const { sends = 0, receives = 0 } = call.options
    const refusal = this.#refusal(sends, receives)
    if (refusal !== undefined) {
      call.fail(refusal)
      return
    }
    const id = this.#nextId
    try {
      const now = this.now
      call.frame = this.outbox.addStamped(
        (writer) => {
          writer.array(8)
          writer.uint(frames.CALL)
          writer.uint(id)
          const at = writer.length
          writer.uint32(frames.lifetime(call.begin, now))
          writer.uint32(frames.lifetime(call.deadline, now))
          writer.uint(sends)
          writer.uint(receives)
          writer.str(call.op)
          writer.value(call.args)
          return at
        },
        call.begin,
        call.deadline,
      )
    } catch (error) {
      call.fail(error as CosmosError)
      return
    }
    this.#nextId += 2
    call.id = id
    call.port = this
    call.writers = this.#writers(id, sends)
    call.readers = this.#readers(id, receives)
    this.#outgoingStreams += sends + receives
    this.#outgoing.set(id, call)
    if (call.deadline !== Number.POSITIVE_INFINITY) this.#host.timers.set(call, call.deadline)
    this.#queued()
  }

  #refusal(sends: number, receives: number): CosmosError | undefined {
    if (sends > MAX_CALL_STREAMS || receives > MAX_CALL_STREAMS)
      return new CosmosError('EINVAL', 'call', `more than ${MAX_CALL_STREAMS} streams`)
    const busy = (why: string) => new OverloadError(this.peer, why, Math.ceil(this.#duration))
    if (this.#outgoing.size >= this.#limits.calls) return busy(`${this.#limits.calls} calls are open`)
    if (this.#outgoingStreams + sends + receives > this.#limits.streams)
      return busy(`${this.#limits.streams} streams are open`)
    if (this.#full) return busy('too much waits to be sent')
    return undefined
  }

  get #full(): boolean {
    return this.outbox.size + this.#held >= this.#host.settings.queue
  }

  /** Sends an event, of a call or of none. Throws OverloadError, and CosmosError EMSGSIZE and EINVAL. */
  notify(op: string, args: unknown, call?: OutgoingCall | IncomingCall, lifetime?: number): void {
    if (this.#full) throw new OverloadError(this.peer, 'too much waits to be sent', Math.ceil(this.#duration))
    const now = this.now
    const due = now + (lifetime ?? this.#host.settings.resumeWindow)
    this.outbox.addStamped((writer) => {
      writer.array(5)
      writer.uint(frames.EVENT)
      writer.uint(call?.id ?? 0)
      const at = writer.length
      writer.uint32(frames.lifetime(due, now))
      writer.str(op)
      writer.value(args)
      return at
    }, due)
    this.#queued()
  }

  withdraw(call: OutgoingCall): boolean {
    this.#forget(call)
    if (this.outbox.expire(call.frame!)) return false
    this.#numbers(frames.CANCEL, call.id)
    return true
  }

  #forget(call: OutgoingCall): void {
    this.#outgoing.delete(call.id)
    this.#outgoingStreams -= call.writers.length + call.readers.length
    this.#host.timers.remove(call)
  }

  #writers(id: number, count: number): readonly StreamWriter[] {
    if (count === 0) return NONE
    return Array.from({ length: count }, (_, i) => new StreamWriter(this, id, i, this.#limits.window))
  }

  #readers(id: number, count: number): readonly StreamReader[] {
    if (count === 0) return NONE
    const { window } = this.#host.settings
    return Array.from({ length: count }, (_, i) => new StreamReader(this, id, i, window))
  }

  // What this side answers.

  answer(call: IncomingCall, value: unknown): void {
    try {
      this.outbox.add((writer) => {
        writer.array(3)
        writer.uint(frames.ANSWER)
        writer.uint(call.id)
        writer.value(value)
      })
    } catch (error) {
      this.failure(call, error)
      return
    }
    this.#done(call)
    this.#queued()
  }

  failure(call: IncomingCall, error: unknown): void {
    this.#done(call)
    this.#fail(call.id, error)
  }

  returned(): void {
    this.#host.running--
  }

  #fail(id: number, error: unknown): void {
    const failure = failureOf(error)
    this.outbox.add((writer) => {
      writer.array(3)
      writer.uint(frames.FAILURE)
      writer.uint(id)
      writer.value(failure)
    })
    this.#queued()
  }

  #done(call: IncomingCall): void {
    if (!this.#incoming.delete(call.id)) return
    this.#incomingStreams -= call.writers.length + call.readers.length
    this.#host.timers.remove(call)
    this.#duration += (Math.min(1000, Math.max(5, this.now - call.since)) - this.#duration) / 16
  }

  // What streams ask.

  get room(): boolean {
    return (
      !this.outbox.ready &&
      this.outbox.size * 2 < this.#host.settings.queue &&
      this.#host.takes(this.outbox.open)
    )
  }

  get fragment(): number {
    return this.outbox.fragment
  }

  send(call: number, stream: number, bytes: Uint8Array): void {
    this.outbox.addData(call, stream, bytes)
    this.#queued()
  }

  sendEnd(call: number, stream: number): void {
    this.#numbers(frames.END, call, stream)
  }

  sendAbort(call: number, stream: number, why: string): void {
    this.#words(frames.ABORT, call, stream, why)
  }

  sendStop(call: number, stream: number, why: string): void {
    this.#words(frames.STOP, call, stream, why)
  }

  sendCredit(call: number, stream: number, bytes: number): void {
    this.#numbers(frames.CREDIT, call, stream, bytes)
  }

  wait(writer: StreamWriter): void {
    this.#waiting.add(writer)
  }

  unwait(writer: StreamWriter): void {
    this.#waiting.delete(writer)
  }

  held(bytes: number): void {
    this.#held += bytes
  }

  report(error: unknown): void {
    this.#host.report(error)
  }

  /** There may be room: streams send in turns, a fragment each. */
  pump(): void {
    for (const writer of this.#waiting) {
      if (!this.room) return
      this.#waiting.delete(writer)
      writer.pump()
    }
  }

  #numbers(type: number, a: number, b?: number, c?: number): void {
    this.outbox.add((writer) => frames.putNumbers(writer, type, a, b, c))
    this.#queued()
  }

  #words(type: number, call: number, stream: number, why: string): void {
    this.outbox.add((writer) => {
      writer.array(4)
      writer.uint(type)
      writer.uint(call)
      writer.uint(stream)
      writer.str(words(why))
    })
    this.#queued()
  }

  /** A frame was added. */
  #queued(): void {
    if (this.#over) return
    if (this.outbox.size > 2 * this.#host.settings.queue) this.#host.overflowed()
    else if (this.outbox.ready) this.#host.flush()
    else this.#host.flushSoon()
  }

  // What comes.

  /**
   * A numbered message. `reader` stands behind its header; `delay`: milliseconds by which lifetimes in it are shorter.
   * One that came before is ignored. Throws Gap, and Violation.
   */
  receive(sequence: number, reader: MsgpackReader, size: number, delay: number): void {
    if (sequence <= this.#received) return
    if (sequence !== this.#received + 1)
      throw new Gap(`number ${this.#received + 1} is missing, this is ${sequence}`)
    this.#received = sequence
    this.#unacknowledged += size
    this.#delay = delay
    while (!reader.done && !this.#over) this.#frames.read(reader)
    if (this.owesAcknowledgement) this.#host.flushSoon()
  }

  called({ id, lifetime, deadline, sends, receives, op, args }: IncomingFrame): void {
    if (id <= this.#highestIncoming || (id % 2 === 1) === this.#odd)
      throw new Violation(`call ${id} is not a new one`)
    this.#highestIncoming = id
    const { calls, streams } = this.#host.settings
    if (this.#incoming.size >= calls) throw new Violation(`more than ${calls} calls`)
    if (sends > MAX_CALL_STREAMS || receives > MAX_CALL_STREAMS)
      throw new Violation(`more than ${MAX_CALL_STREAMS} streams of a call`)
    if (this.#incomingStreams + sends + receives > streams)
      throw new Violation(`more than ${streams} streams`)
    const now = this.now
    if (lifetime - this.#delay <= 0 || deadline - this.#delay <= 0) {
      this.#fail(id, new CosmosError('ETIMEDOUT', op, 'it had expired before it came, and was not begun'))
      return
    }
    const refusal = this.#overload(op)
    if (refusal !== undefined) {
      this.#fail(id, refusal)
      return
    }
    const due = deadline === frames.FOREVER ? Number.POSITIVE_INFINITY : now + deadline - this.#delay
    const call = new IncomingCall(this, id, due)
    call.readers = this.#readers(id, sends)
    call.writers = this.#writers(id, receives)
    this.#incomingStreams += sends + receives
    this.#incoming.set(id, call)
    if (due !== Number.POSITIVE_INFINITY) this.#host.timers.set(call, due)
    this.#host.running++
    call.run(this.#host.handler!, op, args)
  }

  /** Why a call is not begun although it may be asked. */
  #overload(op: string): CosmosError | undefined {
    if (this.#host.handler === undefined) return new CosmosError('ENOSYS', op, 'nothing is offered here')
    const retry = Math.ceil(this.#duration)
    // Handlers of cancelled calls may be slow to end.
    if (this.#host.running >= 2 * this.#host.settings.calls)
      return new OverloadError(op, 'too many run', retry)
    if (this.#full) return new OverloadError(op, 'too many answers wait to be fetched', retry)
    return undefined
  }

  answered(id: number, value: unknown): void {
    const call = this.#asked(id)
    if (call === undefined) return
    for (const reader of call.readers)
      if (!reader.over) throw new Violation(`call ${id} was answered before its streams have ended`)
    this.#forget(call)
    call.answer(value)
  }

  failed(id: number, failure: unknown): void {
    const error = errorOf(failure)
    const call = this.#asked(id)
    if (call === undefined) return
    this.#forget(call)
    call.fail(error)
  }

  #asked(id: number): OutgoingCall | undefined {
    if (!this.#isOwn(id)) throw new Violation(`an answer to call ${id}, which is not of this side`)
    return this.#outgoing.get(id)
  }

  cancelled(id: number): void {
    if (this.#isOwn(id)) throw new Violation(`call ${id} was cancelled by who was asked`)
    const call = this.#incoming.get(id)
    if (call === undefined) return
    this.#done(call)
    call.drop(new CosmosError('ECANCELED', 'call', 'the caller has cancelled it'))
  }

  event(id: number, lifetime: number, op: string, args: unknown): void {
    if (lifetime - this.#delay <= 0) return
    try {
      if (id === 0) this.#host.handler?.event?.(op, args)
      else if (this.#isOwn(id)) this.#outgoing.get(id)?.options.event?.(op, args)
      else this.#incoming.get(id)?.event?.(op, args)
    } catch (error) {
      this.report(error)
    }
  }

  data(id: number, stream: number, bytes: Uint8Array): void {
    this.#reader(id, stream)?.push(bytes)
  }

  ended(id: number, stream: number): void {
    this.#reader(id, stream)?.complete()
  }

  aborted(id: number, stream: number, why: string): void {
    this.#reader(id, stream)?.complete(new CosmosError('EIO', 'stream', why))
  }

  stopped(id: number, stream: number, why: string): void {
    this.#writer(id, stream)?.halt(new CosmosError('EPIPE', 'stream', why))
  }

  credited(id: number, stream: number, bytes: number): void {
    this.#writer(id, stream)?.credited(bytes)
  }

  /** A stream that comes; undefined where its call is over. */
  #reader(id: number, stream: number): StreamReader | undefined {
    const call = this.#isOwn(id) ? this.#outgoing.get(id) : this.#incoming.get(id)
    if (call === undefined) return undefined
    return call.readers[stream] ?? noStream(id, stream)
  }

  #writer(id: number, stream: number): StreamWriter | undefined {
    const call = this.#isOwn(id) ? this.#outgoing.get(id) : this.#incoming.get(id)
    if (call === undefined) return undefined
    return call.writers[stream] ?? noStream(id, stream)
  }

  /** Whether a call is of this side. Throws Violation for a number that no call has had. */
  #isOwn(id: number): boolean {
    const own = (id % 2 === 1) === this.#odd
    if (own ? id >= this.#nextId : id > this.#highestIncoming)
      throw new Violation(`call ${id} was never made`)
    return own
  }

  /**
   * It is over. Answers the calls that another conversation may go on with: those that the peer has not been sent, and
   * those that may be done twice. Others fail with what `why` says; the peer's are dropped.
   */
  close(why: string): OutgoingCall[] {
    this.#over = true
    const again: OutgoingCall[] = []
    for (const call of this.#outgoing.values()) {
      this.#host.timers.remove(call)
      const sent = call.frame!.sequence <= this.outbox.handed
      if (call.streamless && (!sent || call.repeatable)) {
        call.port = undefined
        again.push(call)
      } else call.fail(sent ? outcomeUnknown(this.peer, call.op, why) : hostDown(this.peer, why))
    }
    this.#outgoing.clear()
    for (const call of this.#incoming.values()) {
      this.#host.timers.remove(call)
      call.drop(hostDown(this.peer, why))
    }
    this.#incoming.clear()
    this.#waiting.clear()
    return again
  }
}

function noStream(id: number, stream: number): never {
  throw new Violation(`call ${id} has no stream ${stream}`)
}
