import type { Socket } from 'node:net'
import { getsockopt } from './libc.ts'
import { allocateNative } from './memory.ts'

/** The process at the other end of a Unix socket (unix(7), SO_PEERCRED). */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

const SOL_SOCKET = 1
const SO_PEERCRED = 17

/** Who is at the other end, as the kernel says. Linux only: elsewhere the socket's mode alone guards it. */
export function peerOf(socket: Socket): PeerCredentials | undefined {
  if (process.platform !== 'linux') return undefined
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } | null }
  // struct ucred (12), and the length that the kernel wants and answers (4).
  const memory = allocateNative(16)
  memory.view.setUint32(12, 12, true)
  const result = getsockopt(handle?.fd ?? -1, SOL_SOCKET, SO_PEERCRED, memory.address, memory.address + 12)
  if (result < 0) return { pid: 0, uid: -1, gid: -1 }
  const { view } = memory
  return { pid: view.getInt32(0, true), uid: view.getUint32(4, true), gid: view.getUint32(8, true) }
}
