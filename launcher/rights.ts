import { EINTR } from '../src/os/errno.ts'
import { call, sendmsg, socket } from '../src/os/libc.ts'
import { addressOf, allocateNative } from '../src/os/memory.ts'
import { FAILED, fail } from './failure.ts'

/** A Unix stream socket that open files go over (unix(7)). */

const connect = call<(fd: number, address: number, size: number) => number>(
  'int connect(int, uintptr_t, uint)',
)

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_NOSIGNAL = 0x4000
const ETOOMANYREFS = 109
/** struct sockaddr_un */
const ADDRESS_SIZE = 110
/** struct msghdr · struct iovec · control message, 64-bit layout. */
const IOVEC = 56
const CONTROL = 72
/** How long descriptors are offered that the kernel refuses for now. */
const PATIENCE_MS = 30_000

/** Connects to a path; waits while the other side's queue is full. Answers -errno where nobody listens. */
export function connectTo(path: Buffer): number {
  const address = allocateNative(ADDRESS_SIZE)
  address.view.setUint16(0, AF_UNIX, true)
  address.bytes.set(path.subarray(0, ADDRESS_SIZE - 3), 2)
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
  let result = connect(fd, address.address, ADDRESS_SIZE)
  while (result === -EINTR) result = connect(fd, address.address, ADDRESS_SIZE)
  return result < 0 ? result : fd
}

/** Sends bytes, with descriptors at the first. Another side that is gone is noticed where it is read. */
export function sendWithDescriptors(fd: number, bytes: Buffer, descriptors: readonly number[]): void {
  const message = allocateNative(CONTROL + 16 + 4 * descriptors.length + 4)
  const { view, address } = message
  view.setBigUint64(16, BigInt(address + IOVEC), true)
  view.setBigUint64(24, 1n, true)
  view.setBigUint64(CONTROL, BigInt(16 + 4 * descriptors.length), true)
  view.setInt32(CONTROL + 8, SOL_SOCKET, true)
  view.setInt32(CONTROL + 12, SCM_RIGHTS, true)
  for (const [i, each] of descriptors.entries()) view.setInt32(CONTROL + 16 + 4 * i, each, true)
  const deadline = performance.now() + PATIENCE_MS
  for (let at = 0; at < bytes.length; ) {
    const rights = at === 0 && descriptors.length > 0
    view.setBigUint64(32, rights ? BigInt(address + CONTROL) : 0n, true)
    view.setBigUint64(40, rights ? BigInt(16 + 8 * Math.ceil(descriptors.length / 2)) : 0n, true)
    view.setBigUint64(IOVEC, BigInt(addressOf(bytes) + at), true)
    view.setBigUint64(IOVEC + 8, BigInt(bytes.length - at), true)
    const sent = sendmsg(fd, address, MSG_NOSIGNAL)
    if (sent >= 0) at += sent
    else if (sent === -ETOOMANYREFS && performance.now() < deadline) pause(10)
    else if (sent === -ETOOMANYREFS) fail(FAILED, 'open files could not be handed over: too many on the way')
    else if (sent !== -EINTR) return
  }
}

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}
