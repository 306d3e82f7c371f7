import type { Socket } from 'node:net'
import { sendmsg } from '../../src/os/libc.ts'
import { addressOf, allocateNative } from '../../src/os/memory.ts'

const SOL_SOCKET = 1
const SCM_RIGHTS = 1

/** Sends bytes over a Unix socket, with open files that come with the first of them (unix(7)). */
export function sendDescriptors(socket: Socket, bytes: Buffer, descriptors: readonly number[]): void {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  // struct msghdr (56), struct iovec (16), control message.
  const length = 16 + 4 * descriptors.length
  const { view, address } = allocateNative(72 + length + 8)
  view.setBigUint64(16, BigInt(address + 56), true)
  view.setBigUint64(24, 1n, true)
  view.setBigUint64(32, BigInt(address + 72), true)
  view.setBigUint64(40, BigInt(length), true)
  view.setBigUint64(56, BigInt(addressOf(bytes)), true)
  view.setBigUint64(64, BigInt(bytes.length), true)
  view.setBigUint64(72, BigInt(length), true)
  view.setInt32(80, SOL_SOCKET, true)
  view.setInt32(84, SCM_RIGHTS, true)
  for (const [i, descriptor] of descriptors.entries()) view.setInt32(88 + 4 * i, descriptor, true)
  const sent = sendmsg(fd, address, 0)
  if (sent !== bytes.length) throw new Error(`sendmsg: ${sent}`)
}
