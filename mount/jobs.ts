import type { JobKind } from '../src/frame/operations.ts'
import { EINTR, EINVAL } from '../src/os/errno.ts'
import { fallocate, fdatasync, fsync, pread } from '../src/os/libc.ts'
import { FileCopier } from './copy.ts'

/** What a piece of blocking work is; see `Job` of the tree's operations. */
export interface JobWork {
  kind: JobKind
  descriptor: number
  otherDescriptor: number
  mode: number
  position: number
  otherPosition: number
  length: number
}

/** Does blocking work on the thread that calls it. */
export class JobRunner {
  readonly #copier: FileCopier

  /** `buffer`: native address of `size` bytes that copies may go through. */
  constructor(buffer: number, size: number) {
    this.#copier = new FileCopier(buffer, size)
  }

  /** The system call's result, or `-errno`. Data that a `read` brings is put at `address`, `capacity` bytes at most. */
  run(work: JobWork, address = 0, capacity = 0): number {
    let result: number
    do result = this.#once(work, address, capacity)
    while (result === -EINTR)
    return result
  }

  #once(work: JobWork, address: number, capacity: number): number {
    const { kind, descriptor, otherDescriptor, mode, position, otherPosition, length } = work
    switch (kind) {
      case 'fsync':
        return fsync(descriptor)
      case 'fdatasync':
        return fdatasync(descriptor)
      case 'read':
        return address === 0 ? -EINVAL : pread(descriptor, address, Math.min(length, capacity), position)
      case 'fallocate':
        return fallocate(descriptor, mode, position, length)
      case 'copyRange':
        return this.#copier.copyRange(descriptor, position, otherDescriptor, otherPosition, length)
      case 'copyUp':
        return this.#copier.copyFile(descriptor, otherDescriptor, length)
      case 'produce':
      case 'away':
        // No thread's work: whoever dispatches requests keeps it until it has ended, or has nothing to do with it.
        return -EINVAL
    }
  }
}
