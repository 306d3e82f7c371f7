import { constants } from 'node:os'

const { SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU } = constants.signals

const IGNORED: ReadonlySet<number> = new Set([0, SIGCHLD, SIGURG, SIGWINCH])
const STOPPING: ReadonlySet<number> = new Set([SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU])

/** What a signal does to a program that handles none, which is every WASI program (signal(7)). */
export function effectOf(signal: number): 'end' | 'stop' | 'continue' | 'none' {
  if (IGNORED.has(signal)) return 'none'
  if (STOPPING.has(signal)) return 'stop'
  return signal === SIGCONT ? 'continue' : 'end'
}
