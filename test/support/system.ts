// System calls that node:fs lacks, for tests: each throws an error with `code` as node:fs does.
import koffi from 'koffi'
import { AT_SYMLINK_FOLLOW } from '../../src/os/constants.ts'
import { errnoName } from '../../src/os/errno.ts'
import * as libc from '../../src/os/libc.ts'
import { addressOf, allocateNative, cString, type NativeMemory, viewOf } from '../../src/os/memory.ts'

const AT_FDCWD = -100

/** A path; its own bytes where they are not UTF-8. */
export type Path = string | Uint8Array

const recent: NativeMemory[] = []
let next = 0

/** A path or value for a call, kept from the garbage collector until some calls later. */
function held(text: Path): NativeMemory {
  const memory = cString(text)
  recent[next++ % 16] = memory
  return memory
}

/** A failed system call. */
class SystemCallError extends Error {
  readonly code: string
  constructor(call: string, code: string) {
    super(`${call}: ${code}`)
    this.code = code
  }
}

function check(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, errnoName(-result))
  return result
}

/** Only if the new name is free. */
export const NOREPLACE = 1
/** Both names swap. */
export const EXCHANGE = 2

/** renameat2(2). */
export function rename2(from: Path, to: Path, flags: number): void {
  check('renameat2', libc.renameat2(AT_FDCWD, held(from).address, AT_FDCWD, held(to).address, flags))
}

/** mknod(2); `mode` has the type's bits. */
export function mknod(path: Path, mode: number, device = 0): void {
  check('mknod', libc.mknodat(AT_FDCWD, held(path).address, mode, device))
}

/** open(2) with any flags. */
export function open(path: Path, flags: number, mode = 0o666): number {
  return check('open', libc.open(held(path).address, flags, mode))
}

/** openat(2). */
export function openat(directory: number, path: Path, flags: number, mode = 0o666): number {
  return check('openat', libc.openat(directory, held(path).address, flags, mode))
}

/** linkat(2) of an open file, with or without a name, as open(2) says under O_TMPFILE. */
export function linkDescriptor(fd: number, path: Path): void {
  const from = held(`/proc/self/fd/${fd}`)
  check('linkat', libc.linkat(AT_FDCWD, from.address, AT_FDCWD, held(path).address, AT_SYMLINK_FOLLOW))
}

/** mkdirat(2). */
export function mkdirat(directory: number, path: Path, mode = 0o777): void {
  check('mkdirat', libc.mkdirat(directory, held(path).address, mode))
}

/** unlinkat(2); a directory where `directoryToo`. */
export function unlinkat(directory: number, path: Path, directoryToo = false): void {
  check('unlinkat', libc.unlinkat(directory, held(path).address, directoryToo ? 0x200 : 0))
}

/** fallocate(2). */
export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  check('fallocate', libc.fallocate(fd, mode, offset, length))
}

/** lseek(2): 0 set, 1 current, 2 end, 3 data, 4 hole. */
export function seek(fd: number, position: number, whence: number): number {
  return check('lseek', libc.lseek(fd, position, whence))
}

/** copy_file_range(2) with explicit offsets; answers how many bytes were copied. */
export function copyFileRange(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  length: number,
): number {
  const offsets = allocateNative(16)
  offsets.view.setBigInt64(0, BigInt(fromOffset), true)
  offsets.view.setBigInt64(8, BigInt(toOffset), true)
  return check(
    'copy_file_range',
    libc.copyFileRange(from, offsets.address, to, offsets.address + 8, length, 0),
  )
}

/** flock(2): 1 shared, 2 exclusive, 8 unlock, +4 non-blocking. */
export function flock(fd: number, operation: number): void {
  check('flock', libc.flock(fd, operation))
}

const F_GETLK = 5
const F_SETLK = 6
const F_SETLKW = 7
/** Lock types of fcntl(2). */
export const F_RDLCK = 0
export const F_WRLCK = 1
export const F_UNLCK = 2

function lockArgument(type: number, start: number, length: number) {
  const lock = allocateNative(32)
  lock.view.setInt16(0, type, true)
  lock.view.setBigInt64(8, BigInt(start), true)
  lock.view.setBigInt64(16, BigInt(length), true)
  return lock
}

/** F_SETLK, or F_SETLKW where `wait`, of a range of bytes. */
export function lockRange(fd: number, type: number, start: number, length: number, wait = false): void {
  const lock = lockArgument(type, start, length)
  check('fcntl', libc.fcntl(fd, wait ? F_SETLKW : F_SETLK, lock.address))
}

/** F_GETLK: the lock that is in the way. */
export function queryLock(
  fd: number,
  type: number,
  start: number,
  length: number,
): { type: number; start: number; length: number; pid: number } {
  const lock = lockArgument(type, start, length)
  check('fcntl', libc.fcntl(fd, F_GETLK, lock.address))
  return {
    type: lock.view.getInt16(0, true),
    start: Number(lock.view.getBigInt64(8, true)),
    length: Number(lock.view.getBigInt64(16, true)),
    pid: lock.view.getInt32(24, true),
  }
}

/** An open file description's status flags (F_SETFL). */
export function setStatusFlags(fd: number, flags: number): void {
  check('fcntl', libc.fcntl(fd, 4, flags))
}

/** A mapping of a file. */
export interface Mapping {
  readonly bytes: Buffer
  /** msync(2) with MS_SYNC. */
  sync(): void
  /** The bytes are gone after it. */
  unmap(): void
}

const msync: (address: number, size: number, flags: number) => number = koffi
  .load('libc.so.6')
  .func('int msync(uintptr_t, size_t, int)')

/** mmap(2) of a file from its start. */
export function map(fd: number, size: number, shared: boolean, writable: boolean): Mapping {
  const address = check('mmap', libc.mmap(0, size, writable ? 3 : 1, shared ? 1 : 2, fd, 0))
  return {
    bytes: Buffer.from(viewOf(address, size)),
    sync() {
      check('msync', msync(address, size, 4) === 0 ? 0 : -koffi.errno())
    },
    unmap() {
      check('munmap', libc.munmap(address, size))
    },
  }
}

/** setxattr(2), links followed; flags 1 create, 2 replace. */
export function setXattr(path: Path, name: string, value: Uint8Array | string, flags = 0): void {
  const bytes = Buffer.from(value)
  const kept = held(bytes)
  check('setxattr', libc.setxattr(held(path).address, held(name).address, kept.address, bytes.length, flags))
}

/** getxattr(2). */
export function getXattr(path: Path, name: string): Buffer {
  const value = allocateNative(65_536)
  const length = check(
    'getxattr',
    libc.getxattr(held(path).address, held(name).address, value.address, value.bytes.length),
  )
  return Buffer.from(value.bytes.subarray(0, length))
}

/** getxattr(2) into `size` bytes: the length that it answers. */
export function getXattrLength(path: Path, name: string, size: number): number {
  const value = allocateNative(Math.max(1, size))
  return check(
    'getxattr',
    libc.getxattr(held(path).address, held(name).address, size === 0 ? 0 : value.address, size),
  )
}

/** listxattr(2). */
export function listXattrs(path: Path): string[] {
  const list = allocateNative(65_536)
  const length = check('listxattr', libc.listxattr(held(path).address, list.address, list.bytes.length))
  return list.bytes.toString('latin1', 0, length).split('\0').filter(Boolean)
}

/** removexattr(2). */
export function removeXattr(path: Path, name: string): void {
  check('removexattr', libc.removexattr(held(path).address, held(name).address))
}

/** One entry as getdents64(2) tells it. */
export interface RawEntry {
  readonly name: string
  readonly inode: bigint
  /** Position to go on from after this entry, as telldir(3) has it. */
  readonly cookie: bigint
  readonly type: number
}

/** One getdents64(2): names have one character a byte. Empty at the end. */
export function readEntries(fd: number, bufferSize = 32_768): RawEntry[] {
  const buffer = allocateNative(bufferSize)
  const size = check('getdents64', libc.getdents64(fd, buffer.address, bufferSize))
  const entries: RawEntry[] = []
  for (let at = 0; at < size; at += buffer.view.getUint16(at + 16, true))
    entries.push({
      inode: buffer.view.getBigUint64(at, true),
      cookie: buffer.view.getBigInt64(at + 8, true),
      type: buffer.bytes[at + 18] ?? 0,
      name: buffer.bytes.toString('latin1', at + 19, buffer.bytes.indexOf(0, at + 19)),
    })
  return entries
}

/** lseek(2) of a directory to an entry's cookie, as seekdir(3). */
export function seekDirectory(fd: number, cookie: bigint): void {
  const result = rawSeek(fd, cookie, 0)
  if (result === -1n || result === -1) throw new SystemCallError('lseek', errnoName(koffi.errno()))
}

const rawSeek: (fd: number, offset: bigint, whence: number) => number | bigint = koffi
  .load('libc.so.6')
  .func('int64_t lseek64(int, int64_t, int)')

/** All names of a directory in its order, without `.` and `..`; one character a byte. */
export function readNames(fd: number, bufferSize?: number): string[] {
  const names: string[] = []
  for (;;) {
    const some = readEntries(fd, bufferSize)
    if (some.length === 0) return names
    for (const { name } of some) if (name !== '.' && name !== '..') names.push(name)
  }
}

/** Memory of a size that begins on a page, as O_DIRECT needs. */
export function pageAligned(size: number): { bytes: Buffer; address: number } {
  const memory = Buffer.from(new ArrayBuffer(size + 4096))
  const skip = (4096 - (addressOf(memory) % 4096)) % 4096
  return { bytes: memory.subarray(skip, skip + size), address: addressOf(memory) + skip }
}

/** pread(2) to an address. */
export function preadTo(fd: number, address: number, size: number, position: number): number {
  return check('pread', libc.pread(fd, address, size, position))
}

/** pwrite(2) from an address. */
export function pwriteFrom(fd: number, address: number, size: number, position: number): number {
  return check('pwrite', libc.pwrite(fd, address, size, position))
}

/** The errno name that a call fails with; `0` when it succeeds. */
export function codeOf(act: () => unknown): string {
  try {
    act()
    return '0'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}
