import { CosmosError } from '../../src/errors.ts'
import { EAGAIN, EINTR, errnoName } from '../../src/os/errno.ts'
import { poll, read, write } from '../../src/os/libc.ts'
import { addressOf, allocateNative } from '../../src/os/memory.ts'

/** Reading and writing descriptors that somebody else may have made non-blocking. */

/** A stream that was handed over cannot be read or written. */
export class StreamError extends CosmosError {}

const POLLIN = 1
const POLLOUT = 4
const polled = allocateNative(8)

/** read(2); waits for what is not there yet. 0 at the end. Throws StreamError. */
export function readSome(fd: number, bytes: Uint8Array): number {
  for (;;) {
    const size = read(fd, addressOf(bytes), bytes.length)
    if (size >= 0) return size
    waitOrThrow(fd, POLLIN, size)
  }
}

/** write(2) until all is written. Throws StreamError. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  let at = 0
  while (at < bytes.length) {
    const size = write(fd, addressOf(bytes) + at, bytes.length - at)
    if (size >= 0) at += size
    else waitOrThrow(fd, POLLOUT, size)
  }
}

function waitOrThrow(fd: number, events: number, result: number): void {
  if (result === -EINTR) return
  if (result !== -EAGAIN) throw new StreamError(errnoName(-result), `descriptor ${fd}`, errnoName(-result))
  polled.view.setInt32(0, fd, true)
  polled.view.setInt16(4, events, true)
  poll(polled.address, 1, -1)
}
