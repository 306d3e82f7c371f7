import { openSync } from 'node:fs'
import { constants } from 'node:os'
import { call, ioctl, setrlimit } from '../src/os/libc.ts'
import { allocateNative } from '../src/os/memory.ts'
import { exit } from './failure.ts'
import { isIgnored } from './inherited.ts'

/** Signals of this process. */

const kill = call<(pid: number, signal: number) => number>('int kill(int, int)')
const setHandler = call<(signal: number, handler: number) => number>('intptr_t signal(int, uintptr_t)')
const getProcessGroup = call<(pid: number) => number>('int getpgid(int)')
const prctl = call<(option: number, argument: number) => number>('int prctl(int, long)')

const { SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTSTP, SIGWINCH } = constants.signals
/** Those that a terminal sends. */
const OF_TERMINAL = [SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGWINCH]
const MAX_SIGNAL = 64
const SIG_IGN = 1
const TIOCGPGRP = 0x540f
const RLIMIT_CORE = 4
const PR_SET_DUMPABLE = 4

/**
 * Calls `take` for every signal but those that the caller ignores. `group`: it is for the program's process group.
 * Node does not tell who sent a signal, so one that a terminal may send counts as the terminal's while this process is
 * in its foreground.
 */
export function catchSignals(take: (signal: number, group: boolean) => void): void {
  // Some have two names.
  const names = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]))
  for (let number = 1; number <= MAX_SIGNAL; number++) {
    const name = names.get(number)
    // Node has set those that were ignored to their defaults.
    if (isIgnored(number)) setHandler(number, SIG_IGN)
    if (name === undefined || number === SIGKILL || number === SIGSTOP || isIgnored(number)) continue
    process.on(name, () => {
      take(number, number === SIGCONT || (OF_TERMINAL.includes(number) && isForeground()))
    })
  }
}

let terminal: number | undefined

function isForeground(): boolean {
  const group = allocateNative(4)
  try {
    terminal ??= openSync('/dev/tty', 'r')
  } catch {
    return false
  }
  return (
    ioctl(terminal, TIOCGPGRP, group.address) === 0 && group.view.getInt32(0, true) === getProcessGroup(0)
  )
}

/** Stops this process until SIGCONT. */
export function stop(): void {
  kill(process.pid, SIGSTOP)
}

/** Kills a process group. */
export function killGroup(pid: number): void {
  kill(-pid, SIGKILL)
}

/** Ends by a signal, without a core file: the program's own is enough. */
export function dieBy(signal: number): never {
  setrlimit(RLIMIT_CORE, allocateNative(16).address)
  prctl(PR_SET_DUMPABLE, 0)
  setHandler(signal, 0)
  kill(process.pid, signal)
  exit(128 + signal)
}
