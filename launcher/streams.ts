import { closeSync, createReadStream, createWriteStream, fstatSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { isatty, ReadStream, WriteStream } from 'node:tty'
import { O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDONLY, O_WRONLY } from '../src/os/constants.ts'
import { fcntl } from '../src/os/libc.ts'

/** The caller's streams, shared with others: none of them may find them non-blocking afterwards. See flow.h. */

const F_GETFL = 3
const F_SETFL = 4
const F_DUPFD_CLOEXEC = 1030
const STDERR = 2
const flagsBefore = new Map<number, number>()

/** A stream that reads a descriptor of the caller's. */
export function readerOf(number: number): Readable {
  if (isatty(number)) return new ReadStream(number)
  const { fd, waits } = ownOf(number, O_RDONLY)
  return waits ? new Socket({ fd, readable: true, writable: false }) : createReadStream('', { fd })
}

/** A stream that writes to one. */
export function writerOf(number: number): Writable {
  if (isatty(number)) return new WriteStream(number)
  const { fd, waits } = ownOf(number, O_WRONLY)
  return waits ? new Socket({ fd, readable: false, writable: true }) : createWriteStream('', { fd })
}

/**
 * A descriptor of this process's own, which the stream may close, and whether it makes anybody wait, as files do not.
 * A pipe is opened once more. A socket cannot be, nor another user's pipe: they are set back in the end.
 */
function ownOf(number: number, flags: number): { fd: number; waits: boolean } {
  const stat = fstatSync(number)
  if (stat.isFIFO()) {
    try {
      const fd = openSync(`/proc/self/fd/${number}`, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
      return { fd, waits: true }
    } catch {
      // As a socket.
    }
  }
  const waits = stat.isSocket() || stat.isFIFO()
  if (waits) flagsBefore.set(number, fcntl(number, F_GETFL, 0))
  return { fd: fcntl(number, F_DUPFD_CLOEXEC, STDERR + 1), waits }
}

/** Sets shared descriptors back. */
export function restoreStreams(): void {
  for (const number of flagsBefore.keys()) restore(number)
}

function restore(number: number): void {
  const flags = flagsBefore.get(number)
  if (flags !== undefined) fcntl(number, F_SETFL, flags)
  flagsBefore.delete(number)
}

/** Closes a descriptor of the caller's, whose number stays taken: who is at its other end is told. */
export function release(number: number): void {
  restore(number)
  closeSync(number)
  while (openSync('/dev/null', 'r+') <= STDERR);
}
