import type { HandleId, NodeId } from './operations.ts'
import { HANDLES_OFFSET, MAX_HANDLES, type StateMemory } from './state-memory.ts'

// Words of a record.
const NODE = 0
const FLAGS = 1
const DESCRIPTOR = 2
const NEXT_FREE = 3
/** Word of record 0, which is no handle: one more than the highest number that was used. */
const HIGH_WATER = 3

/**
 * The table of open files. A handle's record says which frame was opened and how, so that the next daemon can
 * open it again; its descriptor is opened at the first use that needs one and means nothing to the next daemon.
 */
export class HandleTable {
  readonly #words: Uint32Array
  #free: HandleId = 0

  constructor(memory: StateMemory) {
    this.#words = memory.words.subarray(HANDLES_OFFSET / 4, HANDLES_OFFSET / 4 + MAX_HANDLES * 4)
    if (!memory.inherited) this.#words[HIGH_WATER] = 1
    for (let handle = this.#words[HIGH_WATER]! - 1; handle > 0; handle--) {
      this.#words[handle * 4 + DESCRIPTOR] = 0
      if (this.#words[handle * 4 + NODE] === 0) this.#pushFree(handle)
    }
  }

  /** A new handle of a frame; 0 when the table is full. */
  allocate(node: NodeId, flags: number): HandleId {
    let handle = this.#free
    if (handle !== 0) this.#free = this.#words[handle * 4 + NEXT_FREE]!
    else {
      handle = this.#words[HIGH_WATER]!
      if (handle >= MAX_HANDLES) return 0
      this.#words[HIGH_WATER] = handle + 1
    }
    const at = handle * 4
    this.#words[at + FLAGS] = flags
    this.#words[at + DESCRIPTOR] = 0
    this.#words[at + NODE] = node
    return handle
  }

  free(handle: HandleId): void {
    this.#words[handle * 4 + NODE] = 0
    this.#pushFree(handle)
  }

  exists(handle: HandleId): boolean {
    return handle > 0 && handle < this.#words[HIGH_WATER]! && this.#words[handle * 4 + NODE] !== 0
  }
  node(handle: HandleId): NodeId {
    return this.#words[handle * 4 + NODE]!
  }
  /** O_* flags that the file was opened with. */
  flags(handle: HandleId): number {
    return this.#words[handle * 4 + FLAGS]!
  }
  setFlags(handle: HandleId, flags: number): void {
    this.#words[handle * 4 + FLAGS] = flags
  }
  /** -1 for none yet. */
  descriptor(handle: HandleId): number {
    return this.#words[handle * 4 + DESCRIPTOR]! - 1
  }
  setDescriptor(handle: HandleId, fd: number): void {
    this.#words[handle * 4 + DESCRIPTOR] = fd + 1
  }

  /** Handles of a frame; scans, for rare work. */
  *of(node: NodeId): Generator<HandleId> {
    const end = this.#words[HIGH_WATER]!
    for (let handle = 1; handle < end; handle++) if (this.#words[handle * 4 + NODE] === node) yield handle
  }

  /** The frame of each handle. */
  *nodes(): Generator<NodeId> {
    const end = this.#words[HIGH_WATER]!
    for (let handle = 1; handle < end; handle++) {
      const node = this.#words[handle * 4 + NODE]!
      if (node !== 0) yield node
    }
  }

  #pushFree(handle: HandleId): void {
    this.#words[handle * 4 + NEXT_FREE] = this.#free
    this.#free = handle
  }
}
