import koffi from 'koffi'

/**
 * System calls by koffi. Pointers are numbers (see `memory.ts`), so a call allocates nothing.
 * Each answers as the kernel does: a result of 0 or more, or `-errno`.
 */

const libc = koffi.load(process.platform === 'linux' ? 'libc.so.6' : null)

type Call = (...args: never[]) => number

/** Declares a C function of libc that answers -1 and errno, as one that answers `-errno`. */
export function call<F extends Call>(prototype: string): F {
  const raw: (...args: Wide[]) => number = libc.func(prototype)
  switch (prototype.slice(prototype.indexOf('(')).split(',').length) {
    case 1:
      return ((a: Wide) => answer(raw(a))) as unknown as F
    case 2:
      return ((a: Wide, b: Wide) => answer(raw(a, b))) as unknown as F
    case 3:
      return ((a: Wide, b: Wide, c: Wide) => answer(raw(a, b, c))) as unknown as F
    case 4:
      return ((a: Wide, b: Wide, c: Wide, d: Wide) => answer(raw(a, b, c, d))) as unknown as F
    case 5:
      return ((a: Wide, b: Wide, c: Wide, d: Wide, e: Wide) => answer(raw(a, b, c, d, e))) as unknown as F
    default:
      return ((a: Wide, b: Wide, c: Wide, d: Wide, e: Wide, f: Wide) =>
        answer(raw(a, b, c, d, e, f))) as unknown as F
  }
}

function answer(result: number): number {
  return result === -1 ? -koffi.errno() : result
}

type N = number
/** A 64-bit argument: a bigint only where 53 bits are not enough. */
type Wide = number | bigint

export const open = call<(path: N, flags: N, mode: N) => N>('int open(uintptr_t, int, uint)')
export const openat = call<(dir: N, path: N, flags: N, mode: N) => N>('int openat(int, uintptr_t, int, uint)')
export const close = call<(fd: N) => N>('int close(int)')
export const read = call<(fd: N, buffer: N, size: N) => N>('long read(int, uintptr_t, size_t)')
export const write = call<(fd: N, buffer: N, size: N) => N>('long write(int, uintptr_t, size_t)')
/** Vectors: an address and a size each, 8 bytes both. */
export const writev = call<(fd: N, vectors: N, count: N) => N>('long writev(int, uintptr_t, int)')
export const pread = call<(fd: N, buffer: N, size: N, position: Wide) => N>(
  'long pread64(int, uintptr_t, size_t, int64_t)',
)
export const pwrite = call<(fd: N, buffer: N, size: N, position: Wide) => N>(
  'long pwrite64(int, uintptr_t, size_t, int64_t)',
)
/** preadv2(2) with one vector; flags such as RWF_NOWAIT. */
export const preadv2 = call<(fd: N, vectors: N, count: N, position: Wide, flags: N) => N>(
  'long preadv64v2(int, uintptr_t, int, int64_t, int)',
)
/** pwritev2(2) with one vector; flags such as RWF_APPEND. */
export const pwritev2 = call<(fd: N, vectors: N, count: N, position: Wide, flags: N) => N>(
  'long pwritev64v2(int, uintptr_t, int, int64_t, int)',
)
export const lseek = call<(fd: N, position: Wide, whence: N) => N>('int64_t lseek64(int, int64_t, int)')
export const statx = call<(dir: N, path: N, flags: N, mask: N, buffer: N) => N>(
  'int statx(int, uintptr_t, int, uint, uintptr_t)',
)
export const getdents64 = call<(fd: N, buffer: N, size: N) => N>('long getdents64(int, uintptr_t, size_t)')
export const mkdirat = call<(dir: N, path: N, mode: N) => N>('int mkdirat(int, uintptr_t, uint)')
export const mknodat = call<(dir: N, path: N, mode: N, device: Wide) => N>(
  'int mknodat(int, uintptr_t, uint, uint64_t)',
)
export const symlinkat = call<(target: N, dir: N, path: N) => N>('int symlinkat(uintptr_t, int, uintptr_t)')
export const linkat = call<(oldDir: N, oldPath: N, newDir: N, newPath: N, flags: N) => N>(
  'int linkat(int, uintptr_t, int, uintptr_t, int)',
)
export const unlinkat = call<(dir: N, path: N, flags: N) => N>('int unlinkat(int, uintptr_t, int)')
export const renameat2 = call<(oldDir: N, oldPath: N, newDir: N, newPath: N, flags: N) => N>(
  'int renameat2(int, uintptr_t, int, uintptr_t, uint)',
)
export const readlinkat = call<(dir: N, path: N, buffer: N, size: N) => N>(
  'long readlinkat(int, uintptr_t, uintptr_t, size_t)',
)
export const fchmod = call<(fd: N, mode: N) => N>('int fchmod(int, uint)')
/** Follows the last link: used on `/proc/self/fd/N`. */
export const chmod = call<(path: N, mode: N) => N>('int chmod(uintptr_t, uint)')
export const fchownat = call<(dir: N, path: N, uid: N, gid: N, flags: N) => N>(
  'int fchownat(int, uintptr_t, uint, uint, int)',
)
export const ftruncate = call<(fd: N, size: Wide) => N>('int ftruncate64(int, int64_t)')
/** Follows the last link: used on `/proc/self/fd/N`. */
export const truncate = call<(path: N, size: Wide) => N>('int truncate64(uintptr_t, int64_t)')
export const utimensat = call<(dir: N, path: N, times: N, flags: N) => N>(
  'int utimensat(int, uintptr_t, uintptr_t, int)',
)
export const fallocate = call<(fd: N, mode: N, offset: Wide, length: Wide) => N>(
  'int fallocate64(int, int, int64_t, int64_t)',
)
export const fsync = call<(fd: N) => N>('int fsync(int)')
export const fdatasync = call<(fd: N) => N>('int fdatasync(int)')
export const fstatfs = call<(fd: N, buffer: N) => N>('int fstatfs64(int, uintptr_t)')
/** copy_file_range(2); the offsets are pointers to int64. */
export const copyFileRange = call<
  (inFd: N, inOffset: N, outFd: N, outOffset: N, length: Wide, flags: N) => N
>('long copy_file_range(int, uintptr_t, int, uintptr_t, size_t, uint)')
export const getxattr = call<(path: N, name: N, value: N, size: N) => N>(
  'long getxattr(uintptr_t, uintptr_t, uintptr_t, size_t)',
)
export const setxattr = call<(path: N, name: N, value: N, size: N, flags: N) => N>(
  'int setxattr(uintptr_t, uintptr_t, uintptr_t, size_t, int)',
)
export const listxattr = call<(path: N, list: N, size: N) => N>(
  'long listxattr(uintptr_t, uintptr_t, size_t)',
)
export const removexattr = call<(path: N, name: N) => N>('int removexattr(uintptr_t, uintptr_t)')
export const umask = call<(mask: N) => N>('uint umask(uint)')
/** setfsuid(2), per thread; answers the former id. */
export const setfsuid = call<(uid: N) => N>('int setfsuid(uint)')
export const setfsgid = call<(gid: N) => N>('int setfsgid(uint)')
export const capset = call<(header: N, data: N) => N>('int capset(uintptr_t, uintptr_t)')
export const capget = call<(header: N, data: N) => N>('int capget(uintptr_t, uintptr_t)')
export const poll = call<(fds: N, count: N, timeout: N) => N>('int poll(uintptr_t, ulong, int)')
export const ioctl = call<(fd: N, request: Wide, argument: N) => N>('int ioctl(int, ulong, uintptr_t)')
export const fcntl = call<(fd: N, command: N, argument: N) => N>('int fcntl64(int, int, long)')
export const eventfd = call<(initial: N, flags: N) => N>('int eventfd(uint, int)')
export const timerfdCreate = call<(clock: N, flags: N) => N>('int timerfd_create(int, int)')
export const timerfdSet = call<(fd: N, flags: N, times: N, old: N) => N>(
  'int timerfd_settime(int, int, uintptr_t, uintptr_t)',
)
export const inotifyInit = call<(flags: N) => N>('int inotify_init1(int)')
export const inotifyAddWatch = call<(fd: N, path: N, mask: N) => N>(
  'int inotify_add_watch(int, uintptr_t, uint32_t)',
)
export const inotifyRemoveWatch = call<(fd: N, watch: N) => N>('int inotify_rm_watch(int, int)')
export const memfdCreate = call<(name: N, flags: N) => N>('int memfd_create(uintptr_t, uint)')
export const mmap = call<(address: N, size: N, protection: N, flags: N, fd: N, offset: Wide) => N>(
  'intptr_t mmap64(uintptr_t, size_t, int, int, int, int64_t)',
)
export const munmap = call<(address: N, size: N) => N>('int munmap(uintptr_t, size_t)')
export const madvise = call<(address: N, size: N, advice: N) => N>('int madvise(uintptr_t, size_t, int)')
export const mount = call<(source: N, target: N, type: N, flags: N, data: N) => N>(
  'int mount(uintptr_t, uintptr_t, uintptr_t, ulong, uintptr_t)',
)
export const umount2 = call<(target: N, flags: N) => N>('int umount2(uintptr_t, int)')
export const flock = call<(fd: N, operation: N) => N>('int flock(int, int)')
export const socketpair = call<(domain: N, type: N, protocol: N, pair: N) => N>(
  'int socketpair(int, int, int, uintptr_t)',
)
export const sendmsg = call<(fd: N, message: N, flags: N) => N>('long sendmsg(int, uintptr_t, int)')
export const recvmsg = call<(fd: N, message: N, flags: N) => N>('long recvmsg(int, uintptr_t, int)')
export const getsockopt = call<(fd: N, level: N, option: N, value: N, length: N) => N>(
  'int getsockopt(int, int, int, uintptr_t, uintptr_t)',
)
export const setsockopt = call<(fd: N, level: N, option: N, value: N, length: N) => N>(
  'int setsockopt(int, int, int, uintptr_t, uint)',
)
export const getrlimit = call<(resource: N, limits: N) => N>('int getrlimit64(int, uintptr_t)')
export const setrlimit = call<(resource: N, limits: N) => N>('int setrlimit64(int, uintptr_t)')
export const socket = call<(domain: N, type: N, protocol: N) => N>('int socket(int, int, int)')
export const bind = call<(fd: N, address: N, length: N) => N>('int bind(int, uintptr_t, uint)')
export const listen = call<(fd: N, backlog: N) => N>('int listen(int, int)')
export const accept4 = call<(fd: N, address: N, length: N, flags: N) => N>(
  'int accept4(int, uintptr_t, uintptr_t, int)',
)
/** _exit(2): at once, whatever threads wait for and atexit(3) would call. */
export const exitNow: (code: number) => never = libc.func('void _exit(int)') as unknown as (
  code: number,
) => never
