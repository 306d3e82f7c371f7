import koffi from 'koffi'
import { allocateNative } from '../../src/os/memory.ts'

/** System calls and C library functions that only this VM needs. */

const libc = koffi.load('libc.so.6')

/** kill(2). */
export const kill: (pid: number, signal: number) => number = libc.func('int kill(int, int)')
/** dup2(2). */
export const dup2: (from: number, to: number) => number = libc.func('int dup2(int, int)')
const onExit: (handler: bigint, argument: number) => number = libc.func('int on_exit(uintptr_t, uintptr_t)')
const fflush: (stream: number) => number = libc.func('int fflush(uintptr_t)')
const signal: (number: number, handler: number) => number = libc.func('uintptr_t signal(int, uintptr_t)')
const setvbuf: (stream: unknown, buffer: number, mode: number, size: number) => number = libc.func(
  'int setvbuf(void *, uintptr_t, int, size_t)',
)
const timerCreate: (clock: number, event: number, timer: number) => number = libc.func(
  'int timer_create(int, uintptr_t, uintptr_t)',
)
const timerSettime: (timer: number | bigint, flags: number, value: number, former: number) => number =
  libc.func('int timer_settime(uintptr_t, int, uintptr_t, uintptr_t)')

const SIGPIPE = 13
const SIGALRM = 14
const SIGKILL = 9
const SIG_DFL = 0
const IOLBF = 1
const CLOCK_MONOTONIC = 1

/** Writes out what functions have printed with stdio. */
export function flushOutput(): void {
  fflush(0)
}

/**
 * Makes exit(3) in a function end the process at once, with its output written: what Node has registered to be done
 * at exit does not bear its other threads still running. on_exit(3) hands the code to _exit(2); the last comes first.
 */
export function exitAtOnce(): void {
  onExit(libc.symbol('_exit'), 0)
  onExit(libc.symbol('fcloseall'), 0)
}

/** stdio's standard output by lines, as what functions print is the error log's. */
export function bufferByLine(): void {
  setvbuf(koffi.decode(libc.symbol('stdout'), 'void *'), 0, IOLBF, 0)
}

/** Makes a broken pipe end this process, as it ends any program; Node has it ignored. */
export function endByBrokenPipe(): void {
  signal(SIGPIPE, SIG_DFL)
}

/** How long after its SIGALRM a process that is still there is killed, seconds. */
const GRACE = 1

/**
 * Ends this process when a call takes too long: by SIGALRM, and should the function have that ignored or blocked, by
 * SIGKILL. Both are timers of the kernel (timer_create(2)): they need no thread here, and functions that use alarm(2)
 * or setitimer(2) do not change them.
 */
export class Deadline {
  readonly #alarm = createTimer(SIGALRM)
  readonly #kill = createTimer(SIGKILL)
  #isSet = false

  /** Sets it, seconds from now. */
  set(seconds: number): void {
    setTimer(this.#alarm, seconds)
    setTimer(this.#kill, seconds + GRACE)
    this.#isSet = true
  }

  clear(): void {
    if (!this.#isSet) return
    setTimer(this.#alarm, 0)
    setTimer(this.#kill, 0)
    this.#isSet = false
  }
}

function createTimer(signalNumber: number): bigint {
  // struct sigevent: the signal at 8, SIGEV_SIGNAL (0) at 12. Behind it the timer's id.
  const memory = allocateNative(64 + 8)
  memory.view.setInt32(8, signalNumber, true)
  timerCreate(CLOCK_MONOTONIC, memory.address, memory.address + 64)
  return memory.view.getBigUint64(64, true)
}

/** struct itimerspec: the interval, then the value. */
const times = allocateNative(32)

function setTimer(timer: bigint, seconds: number): void {
  const whole = Math.floor(seconds)
  times.view.setBigInt64(16, BigInt(whole), true)
  // All zero would turn it off.
  const nanoseconds = Math.floor((seconds - whole) * 1e9)
  times.view.setBigInt64(
    24,
    BigInt(seconds > 0 && whole === 0 ? Math.max(1, nanoseconds) : nanoseconds),
    true,
  )
  timerSettime(timer, 0, times.address, 0)
}
