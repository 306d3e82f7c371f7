import { CosmosError } from '../errors.ts'
import { O_CLOEXEC, O_CREAT, O_NOFOLLOW, O_RDWR } from '../os/constants.ts'
import { EAGAIN } from '../os/errno.ts'
import { close, flock, open } from '../os/libc.ts'
import { cString } from '../os/memory.ts'

const LOCK_EX = 2
const LOCK_NB = 4
const RETRY_MS = 10

/** A lock that a process holds until it lets go or ends. Children do not hold it. */
export interface Lock {
  release(): void
}

/** Takes a lock (flock(2)) if it is free. Throws CosmosError when its file cannot be opened. */
export function tryLock(path: string): Lock | undefined {
  const fd = open(cString(path).address, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
  if (fd < 0) throw CosmosError.fromErrno(fd, path)
  const locked = flock(fd, LOCK_EX | LOCK_NB)
  if (locked === 0) return { release: () => void close(fd) }
  close(fd)
  if (locked !== -EAGAIN) throw CosmosError.fromErrno(locked, path)
  return undefined
}

/** Whether somebody holds a lock. */
export function isLocked(path: string): boolean {
  const lock = tryLock(path)
  lock?.release()
  return lock === undefined
}

/** Waits for a lock; undefined when it did not come free within the time. */
export async function waitForLock(path: string, milliseconds: number): Promise<Lock | undefined> {
  const deadline = performance.now() + milliseconds
  for (;;) {
    const lock = tryLock(path)
    if (lock || performance.now() > deadline) return lock
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}
