import { FrameIndex } from './frame-index.ts'
import type { Name, NodeId } from './operations.ts'
import {
  BACKING,
  BIRTH,
  BIRTH_NSEC,
  CHILDREN,
  CONTEXT,
  DESCRIPTOR,
  DEVICE,
  FLAG_UNINDEXED,
  FLAGS,
  FREE,
  INLINE_NAME,
  INO_HIGH,
  INO_LOW,
  KIND,
  LAYER,
  LOOKUPS,
  NAME_LENGTH,
  NAME_REST,
  NEXT,
  NUMBER_HIGH,
  NUMBER_LOW,
  OPENS,
  PARENT,
  REST,
  TYPE,
  WATCH,
} from './record-layout.ts'
import { Records } from './records.ts'
import { FRAMES_OFFSET, MAX_FRAMES, type StateMemory } from './state-memory.ts'

/**
 * The table of access frames. A frame is a record of 128 bytes in the state memory; its number is the node id
 * that the kernel holds. What is needed to reach its dcel is in the record, so that the next daemon can go on.
 *
 * Records are found by identity: context, device, backing inode and birth time (an inode number that the disk
 * used again is another file). A page of 32 records whose frames are all forgotten is given back to the system.
 */

/** Kinds of frames. */
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
/** A shared library of a cosm's `lib`, a directory of functions. */
export const LIBRARY = 8
/** A function of a library, an executable file. */
export const FUNCTION = 9
/** A file that is made of another (`a.json.to-yaml`), or that could not be. */
export const PRODUCED = 10
/** What a source has that must be waited for: anything below `https:` or a peer's directory. */
export const REMOTE = 11

/** Flags of a frame, kept in the record. */
/** Its name is gone: it can be reached by a kept descriptor only. */
export const FLAG_NAMELESS = 1
/** The kernel reads or writes its backing file by itself. */
export const FLAG_PASSTHROUGH = 2
/** Some handle of it may write. */
export const FLAG_WRITABLE = 4
/** Its descriptor was handed to the keep. */
export const FLAG_KEPT = 16
/** The kernel may hold attributes of it for long. */
export const FLAG_ANSWERED = 32
/** It is known to have no file capabilities, for as long as its directory is watched. */
export const FLAG_NO_CAPABILITIES = 128
/** Copied up while the kernel read the lower file: a write needs another node. */
export const FLAG_SUPERSEDED = 64

const INLINE_BYTES = (NEXT - INLINE_NAME) * 4
const REST_BYTES = 120

export class FrameTable {
  /** Frames in use, without the records that hold the rest of long names. */
  live = 0
  readonly #words: Uint32Array
  readonly #bytes: Buffer
  readonly #records: Records
  readonly #index: FrameIndex

  constructor(memory: StateMemory) {
    this.#words = memory.words.subarray(FRAMES_OFFSET / 4)
    this.#bytes = memory.bytes.subarray(FRAMES_OFFSET)
    this.#records = new Records(memory)
    this.#index = new FrameIndex(this.#words)
    if (memory.inherited) this.#inherit()
  }

  /** Makes a frame with no lookups, opens or name. 0 when the table is full. */
  allocate(kind: number, parent: NodeId, context: NodeId): NodeId {
    const slot = this.#records.take()
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
    this.#records.give(slot)
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
      const rest = this.#records.take()
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
    return this.#index.find(context, device, low, high)
  }

  /** The same among frames with one identity: the one at this place. */
  findPlaced(context: NodeId, device: number, low: number, high: number, parent: NodeId, name: Name): NodeId {
    let slot = this.#index.find(context, device, low, high)
    while (
      slot !== 0 &&
      !(this.parent(slot) === parent && this.sameName(slot, name.bytes, name.offset, name.length))
    )
      slot = this.#index.findNext(slot, context, device, low, high)
    return slot
  }

  /** Puts a frame with an identity into the index. */
  index(slot: NodeId): void {
    this.#index.add(slot)
  }

  unindex(slot: NodeId): void {
    this.#index.remove(slot)
  }

  /** Every frame, for rare work that must see all. */
  *all(): Generator<NodeId> {
    for (const slot of this.#records.inUse()) if (this.exists(slot)) yield slot
  }

  #copyName(to: number, bytes: Uint8Array, from: number, count: number): void {
    for (let i = 0; i < count; i++) this.#bytes[to + i] = bytes[from + i]!
  }

  #freeRest(slot: NodeId): void {
    let rest = this.#words[slot * 32 + REST]!
    this.#words[slot * 32 + REST] = 0
    while (rest !== 0) {
      const next = this.#words[rest * 32 + 1]!
      this.#records.give(rest)
      rest = next
    }
  }

  /** Takes over the frames of an earlier daemon: only what means something beyond its life is believed. */
  #inherit(): void {
    const rests = new Set<number>()
    const frames: NodeId[] = []
    for (let slot = 1; slot < this.#records.end; slot++) {
      if (!this.exists(slot)) continue
      frames.push(slot)
      const at = slot * 32
      this.#words.fill(0, at + NEXT, at + 32)
      this.setFlag(slot, FLAG_UNINDEXED)
      this.clearFlag(slot, FLAG_NO_CAPABILITIES)
      for (let rest = this.#words[at + REST]!; rest !== 0; rest = this.#words[rest * 32 + 1]!) rests.add(rest)
    }
    rests.add(0)
    for (let slot = 0; slot < this.#records.end; slot++)
      if (this.#words[slot * 32 + KIND] === NAME_REST && !rests.has(slot))
        this.#words[slot * 32 + KIND] = FREE
    this.#records.count()
    for (const slot of frames) {
      this.live++
      const parent = this.parent(slot)
      if (parent !== 0 && parent !== slot) this.#words[parent * 32 + CHILDREN]! += 1
      if (this.kind(slot) === BACKED && !this.hasFlag(slot, FLAG_NAMELESS)) this.index(slot)
    }
  }
}
