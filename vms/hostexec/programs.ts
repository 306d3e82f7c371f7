import { CosmosError } from '../../src/errors.ts'
import { close } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { kill, P_PID, WEXITED, WNOHANG, waitId } from '../../src/os/processes.ts'
import { systemCall } from './calls.ts'
import type { Epoll } from './epoll.ts'
import { type Program, spawnProgram } from './spawn.ts'
import { INFO_SIZE, SI_STATUS, Stops } from './stops.ts'

/** How a program ended. */
export type Exit = { readonly code: number } | { readonly signal: number; readonly core: boolean }

/** Who is told of a program. */
export interface Watcher {
  stopped(signal: number): void
  exited(exit: Exit): void
}

/** How long a program that is told to end may take, milliseconds. */
const GRACE = 1000
/** A program that ends sooner needs nobody who waits for its stops; milliseconds. */
const RING_AFTER = 20

/** pidfd_open(2) has this number on every architecture. */
/** The most that epoll_wait(2) takes, milliseconds. */
const MAX_WAIT_MS = 0x7fff_ffff
const SYS_PIDFD_OPEN = 434
const SIGHUP = 1
const SIGKILL = 9
const SIGTERM = 15
const SIGCONT = 18
/** si_code of SIGCHLD (sigaction(2)). */
const CLD_EXITED = 1
const CLD_DUMPED = 3

interface Running {
  readonly pid: number
  readonly pidfd: number
  readonly watcher: Watcher
  /** When something is done to it, and what: told to end because its time is over, or killed. */
  due: number
  killed: boolean
}

/** The programs that run: each is a child and the first of its process group. */
export class Programs {
  started = 0
  failed = 0
  readonly #epoll: Epoll
  readonly #stops = new Stops()
  readonly #running = new Map<number, Running>()
  /** Those to which something is due. */
  readonly #due = new Set<Running>()
  readonly #info = allocateNative(INFO_SIZE)
  /** When those who wait for stops are told that there are programs. */
  #ringAt = Number.POSITIVE_INFINITY

  constructor(epoll: Epoll) {
    this.#epoll = epoll
    epoll.add(this.#stops.fd, () => {
      const { pid, signal } = this.#stops.next()
      this.#running.get(pid)?.watcher.stopped(signal)
    })
  }

  get running(): number {
    return this.#running.size
  }

  /** Starts a program and answers its pid. Throws CosmosError. It is told to end after `seconds`, if there are any. */
  start(program: Program, seconds: number | undefined, watcher: Watcher): number {
    let pid: number
    try {
      pid = spawnProgram(program)
    } catch (error) {
      this.failed++
      throw error
    }
    this.started++
    const pidfd = systemCall(SYS_PIDFD_OPEN, pid, 0)
    if (pidfd < 0) {
      kill(-pid, SIGKILL)
      waitId(P_PID, pid, this.#info.address, WEXITED)
      throw CosmosError.fromErrno(pidfd, 'pidfd_open')
    }
    const running: Running = { pid, pidfd, watcher, due: Number.POSITIVE_INFINITY, killed: false }
    this.#running.set(pid, running)
    this.#epoll.add(pidfd, () => this.#reap(running))
    this.#ringAt = Math.min(this.#ringAt, performance.now() + RING_AFTER)
    if (seconds) this.#setDue(running, seconds * 1000)
    return pid
  }

  /** Sends a signal to a program's group, or to it alone. */
  signal(pid: number, signal: number, group: boolean): void {
    if (!this.#running.has(pid)) return
    // A program that has made itself a session is in another group.
    if (!group || kill(-pid, signal) < 0) kill(pid, signal)
  }

  /** Ends a program that nobody waits for any more: SIGHUP, and SIGKILL if it is slow. */
  hangUp(pid: number): void {
    this.#tellToEnd(this.#running.get(pid), SIGHUP)
  }

  /** Ends all at once. */
  killAll(): void {
    for (const { pid } of this.#running.values()) this.signal(pid, SIGKILL, true)
  }

  /** Milliseconds until something is due; -1: never. */
  get patience(): number {
    let next = this.#ringAt
    for (const { due } of this.#due) next = Math.min(next, due)
    return Number.isFinite(next)
      ? Math.min(MAX_WAIT_MS, Math.max(0, Math.ceil(next - performance.now())))
      : -1
  }

  /** Does what is due. */
  doDue(): void {
    if (this.#due.size === 0 && !Number.isFinite(this.#ringAt)) return
    const now = performance.now()
    if (this.#running.size === 0 || this.#ringAt <= now) {
      if (this.#running.size > 0) this.#stops.ring()
      this.#ringAt = Number.POSITIVE_INFINITY
    }
    for (const running of this.#due) {
      if (running.due > now) continue
      if (running.killed) {
        this.#due.delete(running)
        this.signal(running.pid, SIGKILL, true)
      } else this.#tellToEnd(running, SIGTERM)
    }
  }

  #tellToEnd(running: Running | undefined, signal: number): void {
    if (!running || running.killed) return
    this.signal(running.pid, signal, true)
    this.signal(running.pid, SIGCONT, true)
    running.killed = true
    this.#setDue(running, GRACE)
  }

  #setDue(running: Running, milliseconds: number): void {
    running.due = performance.now() + milliseconds
    this.#due.add(running)
  }

  #reap(running: Running): void {
    const { pid, pidfd, watcher } = running
    // What it leaves in its group goes too, where it was ended; the pid is its own until it is waited for.
    if (running.killed) kill(-pid, SIGKILL)
    waitId(P_PID, pid, this.#info.address, WEXITED | WNOHANG)
    this.#epoll.remove(pidfd)
    close(pidfd)
    this.#running.delete(pid)
    this.#due.delete(running)
    const { view } = this.#info
    const code = view.getInt32(8, true)
    const status = view.getInt32(SI_STATUS, true)
    watcher.exited(code === CLD_EXITED ? { code: status } : { signal: status, core: code === CLD_DUMPED })
  }
}
