import { MADV_REMOVE } from '../os/constants.ts'
import { madvise } from '../os/libc.ts'
import type { Name, NodeId } from './operations.ts'
import { FRAMES_OFFSET, MAX_FRAMES, type StateMemory } from './state-memory.ts'

/**
 * The table of access frames. A frame is a record of 128 bytes in the state memory; its number is the node id
 * that the kernel holds. What is needed to reach its dcel is in the record, so that the next daemon can go on.
 *
 * Records are found by identity: context, device, backing inode and birth time (an inode number that the disk
 * used again is another file). A page of 32 records whose frames are all forgotten is given back to the system.
 */

/** Kinds of frames. */
export const FREE = 0
/** Root of a stack of layers; see `AnchorType`. */
export const ANCHOR = 1
/** A file or directory of the stack's layers. */
export const BACKED = 2
/** `name:prop`, a file with a property of its neighbour `name`. */
export const PROPERTY = 3
/** `name:`, the directory of a node's properties. */
export const PROPERTIES = 4
/** Another cosmos mount, shown as an empty directory. */
export const HIDDEN_MOUNT = 5
/** A symbolic link that no disk holds: a program of the PATH. */
export const PROGRAM_LINK = 6
/** Rest of a name that is too long for its record. */
const NAME_REST = 7

/** Flags of a frame, kept in the record. */
/** Its name is gone: it can be reached by a kept descriptor only. */
export const FLAG_NAMELESS = 1
/** The kernel reads or writes its backing file by itself. */
export const FLAG_PASSTHROUGH = 2
/** Some handle of it may write. */
export const FLAG_WRITABLE = 4
/** It is not in the identity index. */
export const FLAG_UNINDEXED = 8
/** Its descriptor was handed to the keep. */
export const FLAG_KEPT = 16
/** The kernel may hold attributes of it for long. */
export const FLAG_ANSWERED = 32
/** It is known to have no file capabilities, for as long as its directory is watched. */
export const FLAG_NO_CAPABILITIES = 128
/** Copied up while the kernel read the lower file: a write needs another node. */
export const FLAG_SUPERSEDED = 64

// Words of a record.
const KIND = 0
const PARENT = 1
const LOOKUPS = 2
const CONTEXT = 3
const DEVICE = 4
const INO_LOW = 5
const INO_HIGH = 6
const OPENS = 7
const BACKING = 8
const LAYER = 9
const NAME_LENGTH = 10
const REST = 11
const BIRTH = 12
const BIRTH_NSEC = 13
const NUMBER_LOW = 14
const NUMBER_HIGH = 15
const FLAGS = 16
const TYPE = 17
const INLINE_NAME = 18
// Words that mean nothing to the next daemon.
const NEXT = 28
const DESCRIPTOR = 29
const CHILDREN = 30
const WATCH = 31

const INLINE_BYTES = (NEXT - INLINE_NAME) * 4
const REST_BYTES = 120
const PER_PAGE = 32

export class FrameTable {
  /** Frames in use, without the records that hold the rest of long names. */
  live = 0
  readonly #words: Uint32Array
  readonly #bytes: Buffer
  readonly #address: number
  #buckets = new Uint32Array(1 << 12)
  #indexed = 0
  /** Records in use by page. */
  readonly #pageLive = new Uint8Array(MAX_FRAMES / PER_PAGE)
  /** Pages with free records, each at most once. */
  readonly #partial: number[] = []
  readonly #isPartial = new Uint8Array(MAX_FRAMES / PER_PAGE)
  #nextPage = 0

  constructor(memory: StateMemory) {
    this.#words = memory.words.subarray(FRAMES_OFFSET / 4)
    this.#bytes = memory.bytes.subarray(FRAMES_OFFSET)
    this.#address = memory.address + FRAMES_OFFSET
    // Record 0 is no frame.
    this.#words[KIND] = NAME_REST
    if (memory.inherited) this.#inherit()
    else {
      this.#pageLive[0] = 1
      this.#nextPage = 1
      this.#words[HIGH_WATER] = 1
      this.#markPartial(0)
    }
  }

  /** Makes a frame with no lookups, opens or name. 0 when the table is full. */
  allocate(kind: number, parent: NodeId, context: NodeId): NodeId {
    const slot = this.#takeRecord()
    if (slot === 0) return 0
    const at = slot * 32
    this.#words.fill(0, at, at + 32)
    this.#words[at + PARENT] = parent
    this.#words[at + CONTEXT] = context
    this.#words[at + DESCRIPTOR] = 0
    this.#words[at + FLAGS] = FLAG_UNINDEXED
    this.#words[at + KIND] = kind
    if (parent !== 0 && parent !== slot) this.#words[parent * 32 + CHILDREN]! += 1
    this.live++
    return slot
  }

  /** Frees a frame that nothing refers to. The parent's count of children is taken back. */
  free(slot: NodeId): void {
    const at = slot * 32
    this.unindex(slot)
    this.#freeRest(slot)
    const parent = this.#words[at + PARENT]!
    if (parent !== 0 && parent !== slot) this.#words[parent * 32 + CHILDREN]! -= 1
    this.live--
    this.#giveRecord(slot)
  }

  exists(slot: NodeId): boolean {
    if (!(slot > 0 && slot < MAX_FRAMES)) return false
    const kind = this.#words[slot * 32 + KIND]!
    return kind !== FREE && kind !== NAME_REST
  }
  kind(slot: NodeId): number {
    return this.#words[slot * 32 + KIND]!
  }
  setKind(slot: NodeId, kind: number): void {
    this.#words[slot * 32 + KIND] = kind
  }
  parent(slot: NodeId): NodeId {
    return this.#words[slot * 32 + PARENT]!
  }
  /** The anchor frame of the stack that it belongs to. */
  context(slot: NodeId): NodeId {
    return this.#words[slot * 32 + CONTEXT]!
  }
  setContext(slot: NodeId, context: NodeId): void {
    this.#words[slot * 32 + CONTEXT] = context
  }
  lookups(slot: NodeId): number {
    return this.#words[slot * 32 + LOOKUPS]!
  }
  setLookups(slot: NodeId, count: number): void {
    this.#words[slot * 32 + LOOKUPS] = count
  }
  device(slot: NodeId): number {
    return this.#words[slot * 32 + DEVICE]!
  }
  inoLow(slot: NodeId): number {
    return this.#words[slot * 32 + INO_LOW]!
  }
  inoHigh(slot: NodeId): number {
    return this.#words[slot * 32 + INO_HIGH]!
  }
  opens(slot: NodeId): number {
    return this.#words[slot * 32 + OPENS]!
  }
  setOpens(slot: NodeId, count: number): void {
    this.#words[slot * 32 + OPENS] = count
  }
  backing(slot: NodeId): number {
    return this.#words[slot * 32 + BACKING]!
  }
  setBacking(slot: NodeId, id: number): void {
    this.#words[slot * 32 + BACKING] = id
  }
  /** For a backed frame the index of the layer that holds it; for an anchor its type. */
  layer(slot: NodeId): number {
    return this.#words[slot * 32 + LAYER]!
  }
  setLayer(slot: NodeId, layer: number): void {
    this.#words[slot * 32 + LAYER] = layer
  }
  /** File type, S_IFMT bits. */
  type(slot: NodeId): number {
    return this.#words[slot * 32 + TYPE]!
  }
  setType(slot: NodeId, type: number): void {
    this.#words[slot * 32 + TYPE] = type
  }
  hasFlag(slot: NodeId, flag: number): boolean {
    return (this.#words[slot * 32 + FLAGS]! & flag) !== 0
  }
  setFlag(slot: NodeId, flag: number): void {
    this.#words[slot * 32 + FLAGS]! |= flag
  }
  clearFlag(slot: NodeId, flag: number): void {
    this.#words[slot * 32 + FLAGS]! &= ~flag
  }
  /** Inode number that it keeps although its backing inode is another (copied up); 0, 0 for none. */
  numberLow(slot: NodeId): number {
    return this.#words[slot * 32 + NUMBER_LOW]!
  }
  numberHigh(slot: NodeId): number {
    return this.#words[slot * 32 + NUMBER_HIGH]!
  }
  setNumber(slot: NodeId, low: number, high: number): void {
    this.#words[slot * 32 + NUMBER_LOW] = low
    this.#words[slot * 32 + NUMBER_HIGH] = high
  }
  children(slot: NodeId): number {
    return this.#words[slot * 32 + CHILDREN]!
  }
  /** Cached O_PATH descriptor, -1 for none. */
  descriptor(slot: NodeId): number {
    return this.#words[slot * 32 + DESCRIPTOR]! - 1
  }
  setDescriptor(slot: NodeId, fd: number): void {
    this.#words[slot * 32 + DESCRIPTOR] = fd + 1
  }
  /** A number of the watch table, 0 for not watched. */
  watch(slot: NodeId): number {
    return this.#words[slot * 32 + WATCH]!
  }
  setWatch(slot: NodeId, watch: number): void {
    this.#words[slot * 32 + WATCH] = watch
  }

  /** Gives a frame another place: parent and name. False when there is no room for the name. */
  place(slot: NodeId, parent: NodeId, bytes: Uint8Array, offset: number, length: number): boolean {
    const at = slot * 32
    const former = this.#words[at + PARENT]!
    if (former !== parent) {
      if (former !== 0 && former !== slot) this.#words[former * 32 + CHILDREN]! -= 1
      if (parent !== 0 && parent !== slot) this.#words[parent * 32 + CHILDREN]! += 1
      this.#words[at + PARENT] = parent
    }
    if (this.sameName(slot, bytes, offset, length)) return true
    this.#freeRest(slot)
    this.#words[at + NAME_LENGTH] = 0
    this.#copyName(at * 4 + INLINE_NAME * 4, bytes, offset, Math.min(length, INLINE_BYTES))
    let owner = at + REST
    for (let done = INLINE_BYTES; done < length; done += REST_BYTES) {
      const rest = this.#takeRecord()
      if (rest === 0) return false
      this.#words.fill(0, rest * 32, rest * 32 + 32)
      this.#copyName(rest * 128 + 8, bytes, offset + done, Math.min(length - done, REST_BYTES))
      this.#words[rest * 32 + KIND] = NAME_REST
      this.#words[owner] = rest
      owner = rest * 32 + 1
    }
    this.#words[at + NAME_LENGTH] = length
    return true
  }

  nameLength(slot: NodeId): number {
    return this.#words[slot * 32 + NAME_LENGTH]!
  }

  /** Copies the name to `target` at `offset`, with a NUL after it; answers its length. */
  copyNameTo(slot: NodeId, target: Uint8Array, offset: number): number {
    const length = this.nameLength(slot)
    const inline = slot * 128 + INLINE_NAME * 4
    const first = Math.min(length, INLINE_BYTES)
    for (let i = 0; i < first; i++) target[offset + i] = this.#bytes[inline + i]!
    let rest = this.#words[slot * 32 + REST]!
    for (let done = first; done < length && rest !== 0; done += REST_BYTES) {
      const count = Math.min(length - done, REST_BYTES)
      for (let i = 0; i < count; i++) target[offset + done + i] = this.#bytes[rest * 128 + 8 + i]!
      rest = this.#words[rest * 32 + 1]!
    }
    target[offset + length] = 0
    return length
  }

  /** The name as text with one character a byte (latin1), which no byte is lost in. */
  nameText(slot: NodeId): string {
    const target = Buffer.allocUnsafe(256)
    return target.toString('latin1', 0, this.copyNameTo(slot, target, 0))
  }

  sameName(slot: NodeId, bytes: Uint8Array, offset: number, length: number): boolean {
    if (this.nameLength(slot) !== length || length === 0) return false
    const inline = slot * 128 + INLINE_NAME * 4
    const first = Math.min(length, INLINE_BYTES)
    for (let i = 0; i < first; i++) if (bytes[offset + i] !== this.#bytes[inline + i]) return false
    let rest = this.#words[slot * 32 + REST]!
    for (let done = first; done < length; done += REST_BYTES) {
      const count = Math.min(length - done, REST_BYTES)
      for (let i = 0; i < count; i++)
        if (bytes[offset + done + i] !== this.#bytes[rest * 128 + 8 + i]) return false
      rest = this.#words[rest * 32 + 1]!
    }
    return true
  }

  /** Sets whose backing inode the frame is, without indexing it. */
  setIdentity(slot: NodeId, device: number, low: number, high: number, birth: number, nsec: number): void {
    const at = slot * 32
    this.#words[at + DEVICE] = device
    this.#words[at + INO_LOW] = low
    this.#words[at + INO_HIGH] = high
    this.#words[at + BIRTH] = birth
    this.#words[at + BIRTH_NSEC] = nsec
  }

  sameBirth(slot: NodeId, birth: number, nsec: number): boolean {
    const at = slot * 32
    return this.#words[at + BIRTH] === birth >>> 0 && this.#words[at + BIRTH_NSEC] === nsec >>> 0
  }

  /** The frame of a backing inode in a context, 0 when there is none. The caller compares birth and type. */
  find(context: NodeId, device: number, low: number, high: number): NodeId {
    let slot = this.#buckets[this.#bucket(context, device, low, high)]!
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

  /** The same among frames with one identity: the one at this place. */
  findPlaced(context: NodeId, device: number, low: number, high: number, parent: NodeId, name: Name): NodeId {
    let slot = this.find(context, device, low, high)
    for (; slot !== 0; slot = this.#words[slot * 32 + NEXT]!)
      if (
        this.parent(slot) === parent &&
        this.inoLow(slot) === low &&
        this.inoHigh(slot) === high &&
        this.device(slot) === device &&
        this.context(slot) === context &&
        this.sameName(slot, name.bytes, name.offset, name.length)
      )
        return slot
    return 0
  }

  /** Puts a frame with an identity into the index. */
  index(slot: NodeId): void {
    if (!this.hasFlag(slot, FLAG_UNINDEXED)) return
    if (this.#indexed > this.#buckets.length) this.#rehash(this.#buckets.length * 2)
    const at = slot * 32
    const bucket = this.#bucketOf(slot)
    this.#words[at + NEXT] = this.#buckets[bucket]!
    this.#buckets[bucket] = slot
    this.#indexed++
    this.clearFlag(slot, FLAG_UNINDEXED)
  }

  unindex(slot: NodeId): void {
    if (this.hasFlag(slot, FLAG_UNINDEXED)) return
    const bucket = this.#bucketOf(slot)
    let at = slot * 32
    if (this.#buckets[bucket] === slot) this.#buckets[bucket] = this.#words[at + NEXT]!
    else {
      let before = this.#buckets[bucket]! * 32
      while (before !== 0 && this.#words[before + NEXT] !== slot) before = this.#words[before + NEXT]! * 32
      if (before !== 0) this.#words[before + NEXT] = this.#words[at + NEXT]!
    }
    at = slot * 32
    this.#words[at + NEXT] = 0
    this.#indexed--
    this.setFlag(slot, FLAG_UNINDEXED)
    if (this.#buckets.length > 1 << 12 && this.#indexed < this.#buckets.length >> 3)
      this.#rehash(this.#buckets.length >> 2)
  }

  /** Every frame, for rare work that must see all. */
  *all(): Generator<NodeId> {
    for (let page = 0; page < this.#nextPage; page++) {
      if (this.#pageLive[page] === 0) continue
      for (let slot = page * PER_PAGE; slot < (page + 1) * PER_PAGE; slot++) if (this.exists(slot)) yield slot
    }
  }

  #copyName(to: number, bytes: Uint8Array, from: number, count: number): void {
    for (let i = 0; i < count; i++) this.#bytes[to + i] = bytes[from + i]!
  }

  #bucketOf(slot: NodeId): number {
    return this.#bucket(this.context(slot), this.device(slot), this.inoLow(slot), this.inoHigh(slot))
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

  #freeRest(slot: NodeId): void {
    let rest = this.#words[slot * 32 + REST]!
    this.#words[slot * 32 + REST] = 0
    while (rest !== 0) {
      const next = this.#words[rest * 32 + 1]!
      this.#giveRecord(rest)
      rest = next
    }
  }

  #takeRecord(): number {
    for (;;) {
      const page = this.#partial[this.#partial.length - 1]
      if (page === undefined) {
        if (this.#nextPage >= MAX_FRAMES / PER_PAGE) return 0
        this.#markPartial(this.#nextPage++)
        this.#words[HIGH_WATER] = this.#nextPage
        continue
      }
      for (let slot = page * PER_PAGE; slot < (page + 1) * PER_PAGE; slot++) {
        if (this.#words[slot * 32 + KIND] !== FREE) continue
        // The record is taken by its caller, which sets a kind at once.
        this.#words[slot * 32 + KIND] = NAME_REST
        if (++this.#pageLive[page]! === PER_PAGE) {
          this.#partial.pop()
          this.#isPartial[page] = 0
        }
        return slot
      }
      this.#partial.pop()
      this.#isPartial[page] = 0
    }
  }

  #giveRecord(slot: number): void {
    this.#words[slot * 32 + KIND] = FREE
    const page = (slot / PER_PAGE) | 0
    if (--this.#pageLive[page]! === 0) madvise(this.#address + page * 4096, 4096, MADV_REMOVE)
    this.#markPartial(page)
  }

  #markPartial(page: number): void {
    if (this.#isPartial[page] === 1) return
    this.#isPartial[page] = 1
    this.#partial.push(page)
  }

  /** Takes over the frames of an earlier daemon: only what means something beyond its life is believed. */
  #inherit(): void {
    this.#nextPage = Math.max(1, this.#words[HIGH_WATER]!)
    const rests = new Set<number>()
    const frames: NodeId[] = []
    for (let slot = 1; slot < this.#nextPage * PER_PAGE; slot++) {
      if (!this.exists(slot)) continue
      frames.push(slot)
      const at = slot * 32
      this.#words.fill(0, at + NEXT, at + 32)
      this.setFlag(slot, FLAG_UNINDEXED)
      this.clearFlag(slot, FLAG_NO_CAPABILITIES)
      for (let rest = this.#words[at + REST]!; rest !== 0; rest = this.#words[rest * 32 + 1]!) rests.add(rest)
    }
    rests.add(0)
    for (let slot = 0; slot < this.#nextPage * PER_PAGE; slot++) {
      const kind = this.#words[slot * 32 + KIND]
      if (kind === NAME_REST && !rests.has(slot)) this.#words[slot * 32 + KIND] = FREE
      if (this.#words[slot * 32 + KIND] !== FREE) this.#pageLive[(slot / PER_PAGE) | 0]! += 1
    }
    for (let page = 0; page < this.#nextPage; page++) {
      // Looking at a page that had been given back has brought it in again.
      if (this.#pageLive[page] === 0) madvise(this.#address + page * 4096, 4096, MADV_REMOVE)
      if (this.#pageLive[page]! < PER_PAGE) this.#markPartial(page)
    }
    for (const slot of frames) {
      this.live++
      const parent = this.parent(slot)
      if (parent !== 0 && parent !== slot) this.#words[parent * 32 + CHILDREN]! += 1
      if (this.kind(slot) === BACKED && !this.hasFlag(slot, FLAG_NAMELESS)) this.index(slot)
    }
  }
}

/** Word of record 0, which is no frame: the highest page that was ever used. */
const HIGH_WATER = 31
