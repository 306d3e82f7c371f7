import { call } from '../../src/os/libc.ts'

/** System calls that only a VM for programs makes; they answer as those of `src/os/libc.ts` do. */

type N = number

export const epollCreate = call<(flags: N) => N>('int epoll_create1(int)')
export const epollControl = call<(epoll: N, operation: N, fd: N, event: N) => N>(
  'int epoll_ctl(int, int, int, uintptr_t)',
)
export const epollWait = call<(epoll: N, events: N, count: N, timeout: N) => N>(
  'int epoll_wait(int, uintptr_t, int, int)',
)
export const waitId = call<(type: N, id: N, info: N, options: N) => N>(
  'int waitid(int, uint, uintptr_t, int)',
)
export const kill = call<(pid: N, signal: N) => N>('int kill(int, int)')
export const prlimit = call<(pid: N, resource: N, fresh: N, old: N) => N>(
  'int prlimit64(int, int, uintptr_t, uintptr_t)',
)
/** waitid(2): P_ALL, P_PID, and what is waited for. */
export const P_ALL = 0
export const P_PID = 1
export const WNOHANG = 1
export const WSTOPPED = 2
export const WEXITED = 4

export const pipe2 = call<(pair: N, flags: N) => N>('int pipe2(uintptr_t, int)')
export const access = call<(path: N, mode: N) => N>('int access(uintptr_t, int)')
/** syscall(2), for what the C library has no function of. */
export const systemCall = call<(number: N, first: N, second: N) => N>('long syscall(long, long, long)')

/** posix_spawn(3) and what prepares it: each answers 0 or an errno, which is not negative. */
export const spawn = call<(pid: N, path: N, actions: N, attributes: N, argv: N, env: N) => N>(
  'int posix_spawn(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)',
)
export const initActions = call<(actions: N) => N>('int posix_spawn_file_actions_init(uintptr_t)')
export const destroyActions = call<(actions: N) => N>('int posix_spawn_file_actions_destroy(uintptr_t)')
export const addDup2 = call<(actions: N, from: N, to: N) => N>(
  'int posix_spawn_file_actions_adddup2(uintptr_t, int, int)',
)
export const addChdir = call<(actions: N, path: N) => N>(
  'int posix_spawn_file_actions_addchdir_np(uintptr_t, uintptr_t)',
)
export const initAttributes = call<(attributes: N) => N>('int posix_spawnattr_init(uintptr_t)')
export const setAttributeFlags = call<(attributes: N, flags: N) => N>(
  'int posix_spawnattr_setflags(uintptr_t, short)',
)
export const setDefaultSignals = call<(attributes: N, set: N) => N>(
  'int posix_spawnattr_setsigdefault(uintptr_t, uintptr_t)',
)
