import { CosmosError } from '../src/errors.ts'
import { decodePayload, encodeFrame, FrameReader } from '../src/form/msgpack.ts'
import { EAGAIN, EINTR } from '../src/os/errno.ts'
import { accept4, close, poll, recvmsg, sendmsg } from '../src/os/libc.ts'
import { addressOf, allocateNative } from '../src/os/memory.ts'

/**
 * A VM's end of its sockets, blocking: what a VM written for speed needs is one thread that waits in poll(2) and not
 * an event loop. See docs/vm-protocol.md.
 */

/** Ends when the daemon is gone, or wants this process to end. */
export const LIFE_FD = 0
/** The socket that all processes of a VM accept from. */
export const LISTEN_FD = 3

const SOCK_CLOEXEC = 0o2000000
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const MSG_CMSG_CLOEXEC = 0x40000000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const POLLIN = 1
const POLLOUT = 4
/** Most descriptors of one message (unix(7), SCM_MAX_FD). */
const MAX_DESCRIPTORS = 253
const CHUNK = 256 * 1024

/** struct msghdr (56) · struct iovec (16) · control message, 64-bit layout. */
const IOVEC = 56
const CONTROL = 72
const CONTROL_SIZE = 16 + 4 * MAX_DESCRIPTORS + 4

/** Waits until one of the descriptors is readable or at its end; answers those that are. `timeout` in milliseconds, -1: none. */
export function waitReadable(fds: readonly number[], timeout: number): number[] {
  const memory = allocateNative(8 * fds.length)
  for (const [i, fd] of fds.entries()) {
    memory.view.setInt32(8 * i, fd, true)
    memory.view.setInt16(8 * i + 4, POLLIN, true)
  }
  if (poll(memory.address, fds.length, timeout) <= 0) return []
  return fds.filter((_, i) => memory.view.getInt16(8 * i + 6, true) !== 0)
}

/** The next connection, or undefined when another process has taken it. */
export function acceptConnection(): Connection | undefined {
  const fd = accept4(LISTEN_FD, 0, 0, SOCK_CLOEXEC)
  return fd < 0 ? undefined : new Connection(fd)
}

/** What is received into: one for all connections, since what has come is copied at once. */
const buffer = allocateNative(CHUNK)
const incoming = allocateNative(CONTROL + CONTROL_SIZE)
incoming.view.setBigUint64(16, BigInt(incoming.address + IOVEC), true)
incoming.view.setBigUint64(24, 1n, true)
incoming.view.setBigUint64(32, BigInt(incoming.address + CONTROL), true)

/** One client of this process. */
export class Connection {
  readonly fd: number
  readonly #frames = new FrameReader()
  /** Descriptors that have come and belong to no request yet. */
  readonly #descriptors: number[] = []

  constructor(fd: number) {
    this.fd = fd
  }

  /** Whether a message has begun to come and is not complete. */
  get partial(): boolean {
    return this.#frames.partial
  }

  /**
   * Messages that have come, without waiting; undefined when the client's side is closed. Throws CosmosError EPROTO
   * for what is no message.
   */
  receive(): Record<string, unknown>[] | undefined {
    const size = this.receiveBytes(buffer.address, CHUNK)
    if (size < 0) return undefined
    const messages: Record<string, unknown>[] = []
    for (const payload of this.#frames.push(Buffer.from(buffer.bytes.subarray(0, size))))
      messages.push(decodePayload(payload))
    return messages
  }

  /** Bytes that have come, and descriptors, without waiting: how many, -1 when the client's side is closed. */
  protected receiveBytes(address: number, room: number): number {
    const { view } = incoming
    view.setBigUint64(40, BigInt(CONTROL_SIZE), true)
    view.setInt32(48, 0, true)
    view.setBigUint64(IOVEC, BigInt(address), true)
    view.setBigUint64(IOVEC + 8, BigInt(room), true)
    const size = recvmsg(this.fd, incoming.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
    if (size === -EAGAIN || size === -EINTR) return 0
    if (size <= 0) return -1
    this.#takeDescriptors()
    return size
  }

  #takeDescriptors(): void {
    const { view } = incoming
    const length = Number(view.getBigUint64(40, true))
    if (length < 20 || view.getInt32(CONTROL + 8, true) !== SOL_SOCKET) return
    if (view.getInt32(CONTROL + 12, true) !== SCM_RIGHTS) return
    const end = Math.min(Number(view.getBigUint64(CONTROL, true)), length)
    for (let at = 16; at + 4 <= end; at += 4) this.#descriptors.push(view.getInt32(CONTROL + at, true))
  }

  /** The first `count` descriptors that have come. Throws CosmosError EBADF when there are fewer. */
  takeDescriptors(count: number): number[] {
    if (this.#descriptors.length < count)
      throw new CosmosError(
        'EBADF',
        'message',
        `${count} descriptors are announced, ${this.#descriptors.length} came`,
      )
    return this.#descriptors.splice(0, count)
  }

  /**
   * Sends a message, whole; waits for a client that reads slowly. False when it is gone. Throws CosmosError EMSGSIZE
   * for one that is larger than a frame may be.
   */
  send(message: object): boolean {
    const frame = encodeFrame(message)
    return this.sendBytes(addressOf(frame), frame.length, true)
  }

  /**
   * Sends messages, all at once and whole. False when the client is gone, or when it would have to be waited for:
   * then the connection is of no more use.
   */
  trySend(...messages: object[]): boolean {
    const frames = Buffer.concat(messages.map(encodeFrame))
    return this.sendBytes(addressOf(frames), frames.length, false)
  }

  /** Sends all of some bytes; false where that can't be done. */
  protected sendBytes(address: number, size: number, wait: boolean): boolean {
    let at = 0
    while (at < size) {
      const sent = sendSome(this.fd, address + at, size - at)
      if (sent >= 0) at += sent
      else if (sent === -EAGAIN && wait) {
        this.beforeWaiting()
        waitWritable(this.fd)
      } else if (sent !== -EINTR) return false
    }
    return true
  }

  /** Called before a client that reads slowly is waited for. */
  beforeWaiting: () => void = () => {}

  /** Closes the descriptors that have come and were not taken. */
  dropDescriptors(): void {
    for (const fd of this.#descriptors.splice(0)) close(fd)
  }

  close(): void {
    this.dropDescriptors()
    close(this.fd)
  }
}

const out = allocateNative(CONTROL)
out.view.setBigUint64(16, BigInt(out.address + IOVEC), true)
out.view.setBigUint64(24, 1n, true)

/** send(2) by sendmsg(2), without waiting and without SIGPIPE. */
function sendSome(fd: number, address: number, size: number): number {
  out.view.setBigUint64(IOVEC, BigInt(address), true)
  out.view.setBigUint64(IOVEC + 8, BigInt(size), true)
  return sendmsg(fd, out.address, MSG_NOSIGNAL | MSG_DONTWAIT)
}

const polled = allocateNative(8)

/** Waits until a descriptor takes more, or nobody reads it any longer. */
export function waitWritable(fd: number): void {
  polled.view.setInt32(0, fd, true)
  polled.view.setInt16(4, POLLOUT, true)
  poll(polled.address, 1, -1)
}
