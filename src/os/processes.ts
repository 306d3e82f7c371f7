import { call } from './libc.ts'

/** System calls about child processes; they answer as those of `libc.ts` do. */

type N = number

export const waitId = call<(type: N, id: N, info: N, options: N) => N>(
  'int waitid(int, uint, uintptr_t, int)',
)
export const kill = call<(pid: N, signal: N) => N>('int kill(int, int)')
/** waitid(2): P_ALL, P_PID, and what is waited for. */
export const P_ALL = 0
export const P_PID = 1
export const WNOHANG = 1
export const WSTOPPED = 2
export const WEXITED = 4

export const pipe2 = call<(pair: N, flags: N) => N>('int pipe2(uintptr_t, int)')
