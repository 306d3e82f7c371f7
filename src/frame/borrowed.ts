import { read, timerfdCreate, timerfdSet } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'

const CLOCK_MONOTONIC = 1
const NONBLOCK_CLOEXEC = 0o2004000
/** How long a disk is held after it was used, seconds. */
const HELD = 1

/**
 * Descriptors on other file systems than the root's are borrowed: one that the tree has cached would keep a disk
 * from being unmounted by its owner. They are given back a moment later, and opened again at the next use.
 */
export class Borrowed {
  /** Readable when it is time to give back. */
  readonly descriptor: number = timerfdCreate(CLOCK_MONOTONIC, NONBLOCK_CLOEXEC)
  readonly #rootDevice: number
  readonly #times = allocateNative(32)
  readonly #expirations = allocateNative(8)
  #pending = false

  constructor(rootDevice: number) {
    this.#rootDevice = rootDevice
    this.#times.view.setBigInt64(16, BigInt(HELD), true)
  }

  /** Whether a descriptor on a device is borrowed; if so, the time runs. */
  isBorrowed(device: number): boolean {
    if (!this.isForeign(device)) return false
    if (!this.#pending) this.#pending = timerfdSet(this.descriptor, 0, this.#times.address, 0) === 0
    return true
  }

  isForeign(device: number): boolean {
    return device !== this.#rootDevice
  }

  /** All is given back: the next one begins a time of its own. */
  begin(): void {
    read(this.descriptor, this.#expirations.address, 8)
    this.#pending = false
  }
}
