import type { NodeId } from './operations.ts'
import { CONTEXT, DEVICE, FLAG_UNINDEXED, FLAGS, INO_HIGH, INO_LOW, NEXT } from './record-layout.ts'

/** Frames by identity (context, device, backing inode): a hash table whose chains go through the records. */
export class FrameIndex {
  readonly #words: Uint32Array
  #buckets = new Uint32Array(1 << 12)
  #indexed = 0

  constructor(words: Uint32Array) {
    this.#words = words
  }

  /** A frame with this identity, 0 for none. */
  find(context: NodeId, device: number, low: number, high: number): NodeId {
    const head = this.#buckets[this.#bucket(context, device, low, high)]!
    return this.#along(head, context, device, low, high)
  }

  /** Another frame with the same identity after one that was found, 0 for none. */
  findNext(found: NodeId, context: NodeId, device: number, low: number, high: number): NodeId {
    return this.#along(this.#words[found * 32 + NEXT]!, context, device, low, high)
  }

  /** Puts a frame with an identity into the index. */
  add(slot: NodeId): void {
    const at = slot * 32
    if ((this.#words[at + FLAGS]! & FLAG_UNINDEXED) === 0) return
    if (this.#indexed > this.#buckets.length) this.#rehash(this.#buckets.length * 2)
    const bucket = this.#bucketOf(slot)
    this.#words[at + NEXT] = this.#buckets[bucket]!
    this.#buckets[bucket] = slot
    this.#indexed++
    this.#words[at + FLAGS]! &= ~FLAG_UNINDEXED
  }

  /** Takes a frame out, before its identity changes. */
  remove(slot: NodeId): void {
    const at = slot * 32
    if ((this.#words[at + FLAGS]! & FLAG_UNINDEXED) !== 0) return
    const bucket = this.#bucketOf(slot)
    if (this.#buckets[bucket] === slot) this.#buckets[bucket] = this.#words[at + NEXT]!
    else {
      let before = this.#buckets[bucket]! * 32
      while (before !== 0 && this.#words[before + NEXT] !== slot) before = this.#words[before + NEXT]! * 32
      if (before !== 0) this.#words[before + NEXT] = this.#words[at + NEXT]!
    }
    this.#words[at + NEXT] = 0
    this.#indexed--
    this.#words[at + FLAGS]! |= FLAG_UNINDEXED
    if (this.#buckets.length > 1 << 12 && this.#indexed < this.#buckets.length >> 3)
      this.#rehash(this.#buckets.length >> 2)
  }

  /** The first frame of a chain that has this identity. */
  #along(from: NodeId, context: NodeId, device: number, low: number, high: number): NodeId {
    let slot = from
    while (slot !== 0) {
      const at = slot * 32
      if (
        this.#words[at + INO_LOW] === low &&
        this.#words[at + DEVICE] === device &&
        this.#words[at + CONTEXT] === context &&
        this.#words[at + INO_HIGH] === high
      )
        return slot
      slot = this.#words[at + NEXT]!
    }
    return 0
  }

  #bucketOf(slot: NodeId): number {
    const at = slot * 32
    const words = this.#words
    return this.#bucket(
      words[at + CONTEXT]!,
      words[at + DEVICE]!,
      words[at + INO_LOW]!,
      words[at + INO_HIGH]!,
    )
  }

  #bucket(context: number, device: number, low: number, high: number): number {
    let hash = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1)
    hash = Math.imul(hash ^ (hash >>> 15) ^ device, 0x85ebca77)
    hash = Math.imul(hash ^ (hash >>> 13) ^ context, 0xc2b2ae3d)
    return ((hash ^ (hash >>> 16)) >>> 0) & (this.#buckets.length - 1)
  }

  #rehash(size: number): void {
    const old = this.#buckets
    this.#buckets = new Uint32Array(size)
    for (const head of old) {
      let slot = head
      while (slot !== 0) {
        const next = this.#words[slot * 32 + NEXT]!
        const bucket = this.#bucketOf(slot)
        this.#words[slot * 32 + NEXT] = this.#buckets[bucket]!
        this.#buckets[bucket] = slot
        slot = next
      }
    }
  }
}
