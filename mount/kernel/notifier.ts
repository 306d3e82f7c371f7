import type { Worker } from 'node:worker_threads'
import type { CacheInvalidator, NodeId } from '../../src/frame/operations.ts'
import type { Context } from './context.ts'
import { RING_BYTES, RingWriter } from './notification-ring.ts'
import { startThread } from './threads.ts'

/** A name that the kernel may have cached. */
export interface KnownName {
  parent: NodeId
  bytes: Uint8Array
  offset: number
  length: number
}

/** What the notifying thread is started with. */
export interface NotifyThreadData {
  fuseFd: number
  ring: SharedArrayBuffer
  /** Names are expired, not torn out (FUSE_EXPIRE_ONLY). */
  expireOnly: boolean
}

/**
 * Tells the kernel what of its caches is no longer so. The writing is done by a thread of its own, because such a
 * write waits in the kernel for locks that are held until pending requests are answered.
 */
export class Notifier implements CacheInvalidator {
  readonly #fuseFd: number
  readonly #context: Context
  readonly #everyName: (() => Iterable<KnownName>) | undefined
  #memory = new SharedArrayBuffer(RING_BYTES)
  #ring = new RingWriter(this.#memory)
  #worker: Worker | undefined
  /** Names still to be expired one by one, where the kernel cannot expire all at once. */
  #walk: Iterator<KnownName> | undefined
  #walkAgain = false

  constructor(fuseFd: number, context: Context, everyName: (() => Iterable<KnownName>) | undefined) {
    this.#fuseFd = fuseFd
    this.#context = context
    this.#everyName = everyName
  }

  /** Begins to send; what was noted before INIT is sent too. */
  start(): void {
    if (this.#worker !== undefined) return
    const expireOnly = this.#context.negotiated?.expireOnly === true
    const data: NotifyThreadData = { fuseFd: this.#fuseFd, ring: this.#memory, expireOnly }
    this.#worker = startThread('notify-thread', data)
  }

  /** Nothing is left to be sent. */
  get idle(): boolean {
    return this.#worker === undefined || (this.#ring.idle && this.#walk === undefined)
  }

  node(node: NodeId, data: boolean): void {
    if (!this.#ring.node(node, data)) this.everything()
  }

  name(parent: NodeId, bytes: Uint8Array, offset: number, length: number): void {
    if (!this.#ring.name(parent, bytes, offset, length)) this.everything()
  }

  everything(): void {
    if (this.#context.negotiated === undefined) return
    if (this.#context.negotiated.epoch) this.#ring.everything()
    else if (this.#walk !== undefined) this.#walkAgain = true
    else {
      this.#walk = this.#everyName?.()[Symbol.iterator]()
      this.pump()
    }
  }

  /** Goes on with single names while there is room; called by the loop now and then. */
  pump(): void {
    while (this.#walk !== undefined && this.#ring.roomy) {
      const next = this.#walk.next()
      if (next.done !== true) {
        const { parent, bytes, offset, length } = next.value
        this.#ring.name(parent, bytes, offset, length)
        continue
      }
      this.#walk = this.#walkAgain ? this.#everyName?.()[Symbol.iterator]() : undefined
      this.#walkAgain = false
    }
  }

  stop(): void {
    void this.#worker?.terminate()
  }
}
