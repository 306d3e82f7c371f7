import { Worker } from 'node:worker_threads'
import { CosmosError } from '../../src/errors.ts'
import { eventfd, read, write } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { pipe2 } from '../../src/os/processes.ts'

/**
 * Stops of children. A pidfd tells only the end of a process, and SIGCHLD cannot be waited for in Node: its other
 * threads take it, and whoever takes a signal that is ignored drops it. So a thread waits in waitid(2) for stops, and
 * writes each into a pipe that the loop polls. It leaves ends to the loop, which therefore knows that a pid that it
 * signals is still that child's.
 */

/** siginfo_t (sigaction(2)). */
export const INFO_SIZE = 128
/** Where si_pid and si_status lie in it, for SIGCHLD. */
export const SI_PID = 16
export const SI_STATUS = 24

/** Descriptors between the loop and the thread. */
export interface StopsPipes {
  /** eventfd: a child was made. */
  readonly bell: number
  /** Pipe of siginfo_t, one for each stop. */
  readonly told: number
}

const O_CLOEXEC = 0o2000000
const EFD_CLOEXEC = O_CLOEXEC

export class Stops {
  /** Readable when a child was stopped. */
  readonly fd: number
  readonly #bell: number
  readonly #one = allocateNative(8)
  readonly #info = allocateNative(INFO_SIZE)

  constructor() {
    const ends = allocateNative(8)
    this.#bell = eventfd(0, EFD_CLOEXEC)
    const piped = pipe2(ends.address, O_CLOEXEC)
    if (this.#bell < 0 || piped < 0) throw CosmosError.fromErrno(Math.min(this.#bell, piped), 'pipe')
    this.fd = ends.view.getInt32(0, true)
    this.#one.view.setBigUint64(0, 1n, true)
    const pipes: StopsPipes = { bell: this.#bell, told: ends.view.getInt32(4, true) }
    new Worker(new URL('./stops-thread.ts', import.meta.url), { workerData: pipes })
  }

  /** To be called after a child was made: where there was none, nobody waits for it. */
  ring(): void {
    write(this.#bell, this.#one.address, 8)
  }

  /** The next stop; the descriptor must be readable. */
  next(): { pid: number; signal: number } {
    read(this.fd, this.#info.address, INFO_SIZE)
    const { view } = this.#info
    return { pid: view.getInt32(SI_PID, true), signal: view.getInt32(SI_STATUS, true) }
  }
}
