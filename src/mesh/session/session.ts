import { randomBytes } from 'node:crypto'
import { CosmosError } from '../../errors.ts'
import type { Link } from '../link.ts'
import { Attachment, type AttachmentOwner } from './attachment.ts'
import { type Clock, systemClock, type Timed, Timers } from './clock.ts'
import { Conversation, type ConversationHost } from './conversation.ts'
import { Gap, hostDown, Violation, words } from './errors.ts'
import * as frames from './frames.ts'
import { type Hello, helloMap, limitsOf, MAJOR, MINOR, parseHello } from './hello.ts'
import type { SessionHandler } from './incoming-call.ts'
import type { MsgpackReader } from './msgpack-reader.ts'
import { type Call, type CallOptions, OutgoingCall } from './outgoing-call.ts'
import { DEFAULT_SETTINGS, LINK_HIGH_WATER, type SessionSettings } from './settings.ts'

/**
 * `open`: a link is there. `lost`: it has ended a moment ago, and all is kept for the next. `down`: there is none, and
 * nothing is kept. `closed`: it is over.
 */
export type SessionState = 'open' | 'lost' | 'down' | 'closed'

export interface SessionOptions {
  /** Peer ids of this side and of the other. */
  readonly self: string
  readonly peer: string
  /** Name and version of this program. */
  readonly software: string
  /** 16 random bytes, hexadecimal, of this life of the process; left out: made when the module is loaded. */
  readonly epoch?: string
  readonly handler?: SessionHandler
  readonly settings?: Partial<SessionSettings>
  readonly clock?: Clock
  /** Told whenever the state is another one, and why. */
  readonly changed?: (state: SessionState, why: string) => void
  /** Told when nothing is left of what the peer had here: it goes on, or was started, anew. */
  readonly began?: () => void
  /** Takes what callbacks throw, and what the peer does wrong. */
  readonly report: (error: unknown) => void
}

const EPOCH = randomBytes(16).toString('hex')
/** Links on which the peer has not said hello; one more, and the oldest is ended. */
const MOST_GUESTS = 4

/**
 * All that goes on between this process and one peer, over one link after another (docs/mesh-protocol.md). Of the two
 * sides the one with the smaller peer id leads: it says hello first, and so says which link is used.
 */
export class Session implements AttachmentOwner, ConversationHost {
  readonly peer: string
  readonly clock: Clock
  readonly timers: Timers
  readonly settings: SessionSettings
  handler: SessionHandler | undefined
  running = 0
  readonly #options: SessionOptions
  readonly #leads: boolean
  readonly #epoch: string
  #state: SessionState = 'down'
  #why = 'there was no link so far'
  #since: number
  #link: Attachment | undefined
  /** Links without the peer's hello, oldest first. */
  readonly #guests: Attachment[] = []
  #conversation: Conversation | undefined
  #peerHello: Hello | undefined
  #flushing = false
  /** The end of the resume window. */
  readonly #patience: Timed = { due: 0, place: -1, lapse: () => this.#giveUp() }

  constructor(options: SessionOptions) {
    if (options.self === options.peer)
      throw new CosmosError('EINVAL', options.peer, 'that is this host itself')
    this.#options = options
    this.peer = options.peer
    this.handler = options.handler
    this.settings = { ...DEFAULT_SETTINGS, ...options.settings }
    this.clock = options.clock ?? systemClock
    this.timers = new Timers(this.clock)
    this.#leads = options.self < options.peer
    this.#epoch = options.epoch ?? EPOCH
    this.#since = this.clock.now()
  }

  get state(): SessionState {
    return this.#state
  }

  /** Why the state is what it is, for people. */
  get why(): string {
    return this.#why
  }

  /** For `cosmos peers`: milliseconds in this state, round trip in milliseconds, the peer's program, what is open. */
  get figures() {
    return {
      state: this.#state,
      since: this.clock.now() - this.#since,
      address: this.#link?.link.address,
      roundTrip: this.#link?.roundTrip.smoothed,
      software: this.#peerHello?.software,
      running: this.running,
      timers: this.timers.size,
      ...(this.#conversation?.figures ?? { outgoing: 0, incoming: 0, streams: 0, waiting: 0, queued: 0 }),
    }
  }

  // What is asked of it.

  /** Calls an operation of the peer, and answers its answer; see {@link Call.result}. */
  call(op: string, args: unknown, options: CallOptions = {}): Promise<unknown> {
    return this.open(op, args, options).result
  }

  /** Calls an operation of the peer. What goes wrong, the result tells. */
  open(op: string, args: unknown, options: CallOptions = {}): Call {
    const call = new OutgoingCall(op, args, options, this.clock.now(), this.settings.resumeWindow)
    if (options.signal?.aborted) call.cancel()
    else if (this.#conversation === undefined) call.fail(hostDown(this.peer, this.#why))
    else this.#conversation.open(call)
    return call
  }

  /**
   * Tells the peer something that has no answer. It is dropped when it could not be delivered within `lifetime`
   * milliseconds (left out: the resume window). Throws CosmosError EHOSTDOWN, EMSGSIZE, EINVAL, and OverloadError.
   */
  notify(op: string, args: unknown, lifetime?: number): void {
    if (this.#conversation === undefined) throw hostDown(this.peer, this.#why)
    this.#conversation.notify(op, args, undefined, lifetime)
  }

  /** Goes on over this link. Throws CosmosError EINVAL for another peer's. */
  attach(link: Link): void {
    if (link.peer !== this.peer) throw new CosmosError('EINVAL', link.peer, `it is not ${this.peer}`)
    if (this.#state === 'closed') {
      link.close(this.#why)
      return
    }
    const most = this.#leads ? 0 : MOST_GUESTS - 1
    while (this.#guests.length > most) this.#guests.shift()!.close('another link came')
    const attachment = new Attachment(this, link)
    this.#guests.push(attachment)
    if (this.#leads) this.#greet(attachment)
  }

  /** Ends it, and tells the peer. What was sent and is not answered has an unknown outcome. */
  close(why = 'the session was closed'): void {
    if (this.#state === 'closed') return
    this.flush()
    if (this.#link?.open) this.#link.send((writer) => putWords(writer, frames.BYE, words(why)))
    this.#turn('closed', why)
    this.#link?.close(why)
    this.#link = undefined
    for (const guest of this.#guests.splice(0)) guest.close(why)
    this.#drop(why)
  }

  // What the conversation asks.

  takes(bytes: number): boolean {
    return this.#link !== undefined && this.#link.link.buffered + bytes < LINK_HIGH_WATER
  }

  flush(): void {
    const [conversation, attachment] = [this.#conversation, this.#link]
    if (conversation === undefined || attachment === undefined) return
    const { link } = attachment
    while (this.#link === attachment && link.buffered < LINK_HIGH_WATER) {
      const message = conversation.outbox.next(conversation.received, this.clock.now())
      if (message === undefined) break
      conversation.acknowledged()
      link.send(message)
    }
    if (!conversation.owesAcknowledgement || this.#link !== attachment) return
    conversation.acknowledged()
    attachment.send()
  }

  flushSoon(): void {
    if (this.#flushing || this.#link === undefined) return
    this.#flushing = true
    this.clock.soon(() => {
      this.#flushing = false
      this.flush()
      this.#conversation?.pump()
    })
  }

  overflowed(): void {
    const why = 'more waits for the peer than may'
    this.#link?.close(why)
    this.#link = undefined
    this.report(new CosmosError('EAGAIN', this.peer, why))
    this.#turn('down', why)
    this.#drop(why)
  }

  report(error: unknown): void {
    this.#options.report(error)
  }

  // What links tell.

  get heartbeat(): number {
    return this.settings.heartbeat
  }

  get received(): number {
    return this.#conversation?.received ?? 0
  }

  acknowledged(link: Attachment, sequence: number): void {
    if (link === this.#link) this.#conversation?.outbox.acknowledge(sequence, this.clock.now())
  }

  numbered(link: Attachment, sequence: number, reader: MsgpackReader, size: number, delay: number): void {
    if (link !== this.#link) return
    this.#conversation?.receive(sequence, reader, size, delay)
    this.#conversation?.pump()
  }

  drained(link: Attachment): void {
    if (link !== this.#link) return
    this.flush()
    this.#conversation?.pump()
  }

  beat(link: Attachment): void {
    this.drained(link)
  }

  bye(link: Attachment, why: string): void {
    link.close('goodbye')
    if (link !== this.#link) return
    this.#link = undefined
    this.#turn('down', `the peer has ended the session: ${why}`)
    this.#drop(this.#why)
  }

  gone(link: Attachment, why: string): void {
    this.#leave(link)
    if (link !== this.#link) return
    this.#link = undefined
    this.#turn('lost', `the link was lost: ${why}`)
    this.timers.set(this.#patience, this.clock.now() + this.settings.resumeWindow)
  }

  failed(link: Attachment, error: CosmosError): void {
    this.report(new CosmosError(error.code, this.peer, error.message, error.hint, { cause: error }))
    link.close(error.message)
    if (error instanceof Gap) {
      this.gone(link, error.message)
      return
    }
    this.#leave(link)
    if (link !== this.#link) {
      if (this.#state === 'down') this.#turn('down', error.message)
      return
    }
    this.#link = undefined
    this.#turn('down', `the peer has broken the protocol: ${error.message}`)
    this.#drop(this.#why)
  }

  #leave(link: Attachment): void {
    const place = this.#guests.indexOf(link)
    if (place >= 0) this.#guests.splice(place, 1)
  }

  // Hello.

  #greet(link: Attachment): void {
    link.said = {
      version: [MAJOR, MINOR],
      software: this.#options.software,
      epoch: this.#epoch,
      nonce: randomBytes(16).toString('hex'),
      resume: this.#conversation?.name,
      received: this.received,
      limits: limitsOf(this.settings),
    }
    const map = helloMap(link.said)
    link.send((writer) => {
      writer.array(2)
      writer.uint(frames.HELLO)
      writer.value(map)
    })
  }

  hello(link: Attachment, map: unknown): void {
    if (link.open) {
      // A link that repeats messages repeats this one too.
      if (parseHello(map, this.peer).nonce === this.#peerHello?.nonce) return
      throw new Violation('a second hello')
    }
    if (!this.#leads) this.#greet(link)
    const said = link.said!
    const hello = parseHello(map, this.peer)
    this.#leave(link)
    const resumed = said.resume !== undefined && said.resume === hello.resume
    if (resumed && said.resume !== this.#conversation?.name) {
      link.close('the conversation is over')
      return
    }
    this.#link?.close('another link is used')
    this.#link = link
    if (resumed) this.#resume(this.#conversation!, hello.received)
    else this.#begin(said, hello)
    this.#peerHello = hello
    this.timers.remove(this.#patience)
    this.#turn('open', resumed ? 'the session goes on' : 'the session has begun')
    link.opened()
    this.drained(link)
  }

  #resume(conversation: Conversation, received: number): void {
    const { outbox } = conversation
    if (received < outbox.acknowledged) throw new Violation('the peer has forgotten what it had acknowledged')
    outbox.acknowledge(received, this.clock.now())
    outbox.rewind()
  }

  #begin(said: Hello, hello: Hello): void {
    const former = this.#peerHello?.epoch
    const restarted = former !== undefined && former !== hello.epoch
    const why = restarted ? 'the peer was restarted' : 'the peer has given up waiting'
    const again = this.#conversation?.close(why) ?? []
    const name = this.#leads ? said.nonce + hello.nonce : hello.nonce + said.nonce
    this.#conversation = new Conversation(this, name, this.#leads, hello.limits)
    this.#options.began?.()
    const now = this.clock.now()
    for (const call of again) {
      if (call.begin > now) this.#conversation.open(call)
      else call.fail(new CosmosError('ETIMEDOUT', call.op, 'it could not be sent in time'))
    }
  }

  // Ends.

  #turn(state: SessionState, why: string): void {
    const same = state === this.#state
    this.#state = state
    this.#why = why
    if (!same) this.#since = this.clock.now()
    this.#options.changed?.(state, why)
  }

  #giveUp(): void {
    this.#turn('down', this.#why)
    this.#drop(this.#why)
  }

  /** Nothing is kept any more. */
  #drop(why: string): void {
    this.timers.remove(this.#patience)
    const conversation = this.#conversation
    this.#conversation = undefined
    for (const call of conversation?.close(why) ?? []) call.fail(hostDown(this.peer, why))
  }
}

function putWords(
  writer: { array(n: number): void; uint(n: number): void; str(text: string): void },
  type: number,
  text: string,
): void {
  writer.array(2)
  writer.uint(type)
  writer.str(text)
}
