import { close, getrlimit, setrlimit } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import type { Borrowed } from './borrowed.ts'
import { FLAG_NAMELESS, type FrameTable } from './frames.ts'
import type { NodeId } from './operations.ts'

const RLIMIT_NOFILE = 7

/** Raises the limit of open files to what the system allows; answers it. */
export function raiseDescriptorLimit(): number {
  const limits = allocateNative(16)
  if (getrlimit(RLIMIT_NOFILE, limits.address) < 0) return 1024
  const hard = limits.view.getBigUint64(8, true)
  limits.view.setBigUint64(0, hard, true)
  setrlimit(RLIMIT_NOFILE, limits.address)
  getrlimit(RLIMIT_NOFILE, limits.address)
  return Number(limits.view.getBigUint64(0, true))
}

/**
 * The O_PATH descriptors that frames have cached, oldest first. Closing waits until an operation is over
 * (`trim`), so that an operation may use every descriptor that it got.
 */
export class DescriptorCache {
  readonly #frames: FrameTable
  readonly #borrowed: Borrowed
  readonly #capacity: number
  #queue: NodeId[] = []
  /** Frames with borrowed descriptors. */
  #lent: NodeId[] = []
  #head = 0

  constructor(frames: FrameTable, borrowed: Borrowed, capacity: number) {
    this.#frames = frames
    this.#borrowed = borrowed
    this.#capacity = capacity
  }

  add(slot: NodeId, fd: number): void {
    this.#frames.setDescriptor(slot, fd)
    this.#queue.push(slot)
    if (this.#borrowed.isBorrowed(this.#frames.device(slot))) this.#lent.push(slot)
  }

  /** Between operations: closes the borrowed ones, but what nameless frames have, and open files while they are. */
  giveBack(): void {
    const open: NodeId[] = []
    for (const slot of this.#lent) {
      if (!this.#frames.exists(slot) || this.#frames.hasFlag(slot, FLAG_NAMELESS)) continue
      if (this.#frames.opens(slot) > 0) open.push(slot)
      else this.drop(slot)
    }
    this.#lent = open
  }

  /** Closes a frame's descriptor, whatever it is kept for. */
  drop(slot: NodeId): void {
    const fd = this.#frames.descriptor(slot)
    if (fd < 0) return
    this.#frames.setDescriptor(slot, -1)
    close(fd)
  }

  /** Closes all but what nameless frames have; between operations only. */
  dropAll(): void {
    for (const slot of this.#queue.slice(this.#head))
      if (this.#frames.exists(slot) && !this.#frames.hasFlag(slot, FLAG_NAMELESS)) this.drop(slot)
    this.#queue = []
    this.#head = 0
  }

  /** Between operations: closes the oldest beyond the capacity; those of nameless frames are all that is left of them. */
  trim(): void {
    while (this.#queue.length - this.#head > this.#capacity) {
      const slot = this.#queue[this.#head++]!
      if (this.#frames.exists(slot) && !this.#frames.hasFlag(slot, FLAG_NAMELESS)) this.drop(slot)
    }
    if (this.#head > 4096 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }
}
