import koffi from 'koffi'
import { AT_FDCWD } from './constants.ts'
import { allocateNative, cString } from './memory.ts'

/** Numbers of the system call and of its flags, the same on every architecture (linux/openat2.h). */
const SYS_OPENAT2 = 437
const RESOLVE_NO_MAGICLINKS = 2
const RESOLVE_NO_SYMLINKS = 4

const syscall: (...args: number[]) => number = koffi
  .load(process.platform === 'linux' ? 'libc.so.6' : null)
  .func('long syscall(long, long, uintptr_t, uintptr_t, size_t)')

/** struct open_how: flags, mode, resolve. */
const how = allocateNative(24)

/**
 * Opens what an absolute path leads to without following any link, the last part's too: what is opened is where the
 * path says, whoever renames what meanwhile. `-ELOOP` for a path with a link in it, `-errno` else (openat2(2)).
 */
export function openWithoutLinks(path: Uint8Array, flags: number, mode = 0): number {
  const text = cString(path)
  how.view.setBigUint64(0, BigInt(flags), true)
  how.view.setBigUint64(8, BigInt(mode), true)
  how.view.setBigUint64(16, BigInt(RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), true)
  const fd = syscall(SYS_OPENAT2, AT_FDCWD, text.address, how.address, 24)
  return fd === -1 ? -koffi.errno() : fd
}
