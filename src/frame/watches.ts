import { readFileSync } from 'node:fs'
import {
  IN_ATTRIB,
  IN_CREATE,
  IN_DELETE,
  IN_IGNORED,
  IN_MODIFY,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  IN_ONLYDIR,
  IN_Q_OVERFLOW,
  IN_UNMOUNT,
} from '../os/constants.ts'
import { ENOSPC } from '../os/errno.ts'
import { inotifyAddWatch, inotifyInit, inotifyRemoveWatch, read } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import type { FrameTable } from './frames.ts'
import type { Name, NodeId } from './operations.ts'
import { descriptorPath } from './paths.ts'

const IN_NONBLOCK_CLOEXEC = 0o2004000
const MASK = (IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR) >>> 0
const BUFFER_SIZE = 64 * 1024
/** Frame's watch word when it has several watches. */
const SEVERAL = 0xffffffff

/** What is told of a watched directory. */
export interface WatchListener {
  /** Something happened to `name` in the directory of a frame. */
  changed(slot: NodeId, mask: number, name: Name): void
  /** Events were lost. */
  overflowed(): void
}

/**
 * Watched directories (inotify(7)). A frame of a merged directory has one watch for each layer's directory;
 * one directory may be watched for several frames.
 */
export class WatchTable {
  readonly descriptor: number
  readonly #frames: FrameTable
  #limit: number
  readonly #buffer = allocateNative(BUFFER_SIZE)
  readonly #name: Name = { bytes: this.#buffer.bytes, offset: 0, length: 0, address: 0 }
  readonly #slots = new Map<number, NodeId | NodeId[]>()
  readonly #several = new Map<NodeId, number[]>()

  constructor(frames: FrameTable) {
    this.#frames = frames
    this.descriptor = inotifyInit(IN_NONBLOCK_CLOEXEC)
    this.#limit = Math.floor(watchLimit() / 2)
  }

  isWatched(slot: NodeId): boolean {
    return this.#frames.watch(slot) !== 0
  }

  /** Watches the directory of a descriptor for a frame. False when the system has no watch left. */
  add(slot: NodeId, fd: number): boolean {
    if (this.descriptor < 0 || this.#slots.size >= this.#limit) return false
    const watch = inotifyAddWatch(this.descriptor, descriptorPath(fd), MASK)
    if (watch < 0) {
      if (watch === -ENOSPC) this.#limit = this.#slots.size
      return false
    }
    const known = this.#slots.get(watch)
    if (known === undefined) this.#slots.set(watch, slot)
    else if (typeof known !== 'number') {
      if (!known.includes(slot)) known.push(slot)
    } else if (known !== slot) this.#slots.set(watch, [known, slot])
    const former = this.#frames.watch(slot)
    if (former === 0) this.#frames.setWatch(slot, watch)
    else if (former === SEVERAL) {
      const several = this.#several.get(slot)
      if (several && !several.includes(watch)) several.push(watch)
    } else if (former !== watch) {
      this.#several.set(slot, [former, watch])
      this.#frames.setWatch(slot, SEVERAL)
    }
    return true
  }

  /** A frame needs its watches no more. */
  remove(slot: NodeId): void {
    const watch = this.#frames.watch(slot)
    if (watch === 0) return
    this.#frames.setWatch(slot, 0)
    if (watch !== SEVERAL) this.#release(slot, watch)
    else for (const each of this.#several.get(slot) ?? []) this.#release(slot, each)
    this.#several.delete(slot)
  }

  /** Reads events, at most `rounds` buffers of them, and tells them. */
  drain(listener: WatchListener, rounds: number): void {
    const { bytes, view, address } = this.#buffer
    const name = this.#name
    for (let round = 0; round < rounds; round++) {
      const size = read(this.descriptor, address, BUFFER_SIZE)
      if (size <= 0) return
      for (let at = 0; at + 16 <= size; ) {
        const watch = view.getInt32(at, true)
        const mask = view.getUint32(at + 4, true)
        const space = view.getUint32(at + 12, true)
        let length = 0
        while (length < space && bytes[at + 16 + length] !== 0) length++
        if ((mask & IN_Q_OVERFLOW) !== 0) listener.overflowed()
        else if ((mask & (IN_IGNORED | IN_UNMOUNT)) !== 0) this.#lost(watch)
        else {
          const slots = this.#slots.get(watch)
          name.offset = at + 16
          name.length = length
          name.address = address + at + 16
          if (typeof slots === 'number') listener.changed(slots, mask, name)
          else if (slots) for (const slot of slots) listener.changed(slot, mask, name)
        }
        at += 16 + space
      }
      if (size < BUFFER_SIZE / 2) return
    }
  }

  #release(slot: NodeId, watch: number): void {
    const slots = this.#slots.get(watch)
    if (typeof slots === 'object' && slots.length > 1) {
      const at = slots.indexOf(slot)
      if (at >= 0) slots.splice(at, 1)
      return
    }
    this.#slots.delete(watch)
    inotifyRemoveWatch(this.descriptor, watch)
  }

  /** The system ended a watch: its directory is gone. */
  #lost(watch: number): void {
    const slots = this.#slots.get(watch)
    this.#slots.delete(watch)
    for (const slot of typeof slots === 'number' ? [slots] : (slots ?? []))
      if (this.#frames.watch(slot) === watch) this.#frames.setWatch(slot, 0)
  }
}

function watchLimit(): number {
  try {
    return Number(readFileSync('/proc/sys/fs/inotify/max_user_watches', 'latin1'))
  } catch {
    return 8192
  }
}
