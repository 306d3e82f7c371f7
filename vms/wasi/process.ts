import koffi from 'koffi'
import { CosmosError } from '../../src/errors.ts'
import { eventfd, fcntl, read } from '../../src/os/libc.ts'
import { allocateNative, cString } from '../../src/os/memory.ts'
import { waitReadable } from '../socket.ts'

/** What one thread does to the whole process, or to another one, without its help. */

const libc = koffi.load('libc.so.6')
const tgkill: (group: number, thread: number, signal: number) => number =
  libc.func('int tgkill(int, int, int)')
const sigaction: (signal: number, action: number, old: number) => number = libc.func(
  'int sigaction(int, uintptr_t, uintptr_t)',
)
const dlsym: (library: number, name: number) => number = libc.func('uintptr_t dlsym(uintptr_t, uintptr_t)')

const syscall: (number: number, a: number, b: number, c: number) => number = libc.func(
  'long syscall(long, uintptr_t, uintptr_t, uintptr_t)',
)

const [IO_SETUP, IO_DESTROY, IO_SUBMIT] = process.arch === 'arm64' ? [0, 1, 2] : [206, 207, 209]
/** struct iocb (linux/aio_abi.h): opcode at 16, descriptor at 20, events at 24, flags at 56, eventfd at 60. */
const IOCB_SIZE = 64
const IOCB_CMD_POLL = 5
const IOCB_FLAG_RESFD = 1
const POLLIN = 1
const POLLRDHUP = 0x2000
const EFD_CLOEXEC = 0o2000000
const F_DUPFD_CLOEXEC = 1030
const FIRST_REALTIME = 36
const LAST_REALTIME = 64
const SA_SIGINFO = 4
const SA_RESTART = 0x10000000
/** struct sigaction of glibc, 64-bit: handler · mask (128) · flags. */
const ACTION_SIZE = 152
const ACTION_FLAGS = 136

/**
 * Makes it possible to stop the main thread anywhere, as a stop signal does a process. The handler of the signal that
 * this answers is eventfd_read(3) itself, called with the signal's number as descriptor, where an eventfd lies.
 * Throws CosmosError.
 */
export function prepareStop(): number {
  const event = check(eventfd(0, EFD_CLOEXEC))
  const signal = check(fcntl(event, F_DUPFD_CLOEXEC, FIRST_REALTIME))
  if (signal > LAST_REALTIME) throw new CosmosError('EMFILE', 'wasi', 'no descriptor below 64 is free')
  const action = allocateNative(ACTION_SIZE)
  const name = cString('eventfd_read')
  action.view.setBigUint64(0, BigInt(dlsym(0, name.address)), true)
  action.view.setInt32(ACTION_FLAGS, SA_SIGINFO | SA_RESTART, true)
  if (sigaction(signal, action.address, 0) !== 0) throw CosmosError.fromErrno(-koffi.errno(), 'sigaction')
  return signal
}

/**
 * Stops the main thread, whose id is the process's, until one of the descriptors is readable or at its end. The kernel
 * itself lets it go on (a poll of io_submit(2) that writes to the eventfd): the thread may have been stopped while it
 * held a lock of the engine, for which this one waits from then on, so nothing here may be needed for it. Answers what
 * {@link forgetStop} takes. Throws CosmosError.
 */
export function stopMainThread(signal: number, until: readonly number[]): number {
  const context = allocateNative(8)
  check(answer(syscall(IO_SETUP, until.length, context.address, 0)))
  const requests = allocateNative((8 + IOCB_SIZE) * until.length)
  for (const [i, fd] of until.entries()) {
    const at = 8 * until.length + IOCB_SIZE * i
    requests.view.setBigUint64(8 * i, BigInt(requests.address + at), true)
    requests.view.setUint16(at + 16, IOCB_CMD_POLL, true)
    requests.view.setUint32(at + 20, fd, true)
    requests.view.setBigUint64(at + 24, BigInt(POLLIN | POLLRDHUP), true)
    requests.view.setUint32(at + 56, IOCB_FLAG_RESFD, true)
    requests.view.setUint32(at + 60, signal, true)
  }
  const id = Number(context.view.getBigUint64(0, true))
  // What an earlier stop has left there would end this one at once.
  const left = allocateNative(8)
  if (waitReadable([signal], 0).length > 0) read(signal, left.address, 8)
  check(answer(syscall(IO_SUBMIT, id, until.length, requests.address)))
  tgkill(process.pid, process.pid, signal)
  return id
}

/** Frees what a stop has taken, once it is over. */
export function forgetStop(stop: number): void {
  syscall(IO_DESTROY, stop, 0, 0)
}

function answer(result: number): number {
  return result === -1 ? -koffi.errno() : result
}

function check(result: number): number {
  if (result < 0) throw CosmosError.fromErrno(result, 'wasi')
  return result
}
