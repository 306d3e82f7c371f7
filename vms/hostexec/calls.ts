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
export const prlimit = call<(pid: N, resource: N, fresh: N, old: N) => N>(
  'int prlimit64(int, int, uintptr_t, uintptr_t)',
)
export const access = call<(path: N, mode: N) => N>('int access(uintptr_t, int)')
/** syscall(2), for what the C library has no function of. */
export const systemCall = call<(number: N, first: N, second: N) => N>('long syscall(long, long, long)')
