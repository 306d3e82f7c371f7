import type { Passthrough } from '../../src/frame/operations.ts'
import { ioctl } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { IOC_BACKING_CLOSE, IOC_BACKING_OPEN } from './abi.ts'
import type { Context } from './context.ts'

/**
 * Hands files to the kernel, which then reads, writes and maps them without us. A backing id lives as long as the
 * mount: the next daemon can release what this one registered.
 */
export class KernelPassthrough implements Passthrough {
  readonly #fd: number
  readonly #context: Context
  /** struct fuse_backing_map: fd 0, flags 4, padding 8; for a close the id alone. */
  readonly #map = allocateNative(16)

  constructor(fd: number, context: Context) {
    this.#fd = fd
    this.#context = context
  }

  get available(): boolean {
    return this.#context.negotiated?.passthrough === true
  }

  register(fd: number): number {
    this.#map.view.setInt32(0, fd, true)
    return ioctl(this.#fd, IOC_BACKING_OPEN, this.#map.address)
  }

  release(backingId: number): void {
    this.#map.view.setInt32(0, backingId, true)
    ioctl(this.#fd, IOC_BACKING_CLOSE, this.#map.address)
    this.#map.view.setInt32(0, 0, true)
  }
}
