import { close, recvmsg, sendmsg } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'

/**
 * The keep: descriptors that must outlive the daemon lie in the queue of a socket pair whose two ends the
 * supervisor holds open (unix(7), SCM_RIGHTS). Nobody reads it but the next daemon.
 */

/** What a kept descriptor is of. */
export const KEPT_NODE = 1
export const KEPT_HANDLE = 2

const MSG_DONTWAIT = 0x40
const MSG_PEEK = 2
const MSG_CMSG_CLOEXEC = 0x40000000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1

/** struct msghdr (56) · struct iovec (16) · control message (24) · payload (12), 64-bit layout. */
const IOVEC = 56
const CONTROL = 72
const PAYLOAD = 96

interface Kept {
  kind: number
  id: number
  fd: number
}

export class Keep {
  readonly #send: number
  readonly #receiveFd: number
  readonly #message = allocateNative(128)
  /** Messages in the queue, dead ones too. */
  #queued = 0
  #alive = 0
  /** In each message: which round through the queue has put it in. */
  #turn = 0

  constructor(sendFd: number, receiveFd: number) {
    this.#send = sendFd
    this.#receiveFd = receiveFd
    const { view, address } = this.#message
    view.setBigUint64(16, BigInt(address + IOVEC), true)
    view.setBigUint64(24, 1n, true)
    view.setBigUint64(32, BigInt(address + CONTROL), true)
    view.setBigUint64(IOVEC, BigInt(address + PAYLOAD), true)
    view.setBigUint64(IOVEC + 8, 12n, true)
  }

  /** Puts a descriptor in; it stays open here as well. False when the queue is full. */
  put(kind: number, id: number, fd: number): boolean {
    if (this.#send < 0) return false
    const { view } = this.#message
    view.setUint32(PAYLOAD, kind, true)
    view.setUint32(PAYLOAD + 4, id, true)
    view.setUint32(PAYLOAD + 8, this.#turn, true)
    view.setBigUint64(40, 24n, true)
    view.setInt32(48, 0, true)
    view.setBigUint64(CONTROL, 20n, true)
    view.setInt32(CONTROL + 8, SOL_SOCKET, true)
    view.setInt32(CONTROL + 12, SCM_RIGHTS, true)
    view.setInt32(CONTROL + 16, fd, true)
    if (sendmsg(this.#send, this.#message.address, MSG_DONTWAIT) < 0) return false
    this.#queued++
    this.#alive++
    return true
  }

  /** One descriptor less is needed. When most of the queue is dead, `stillNeeded` says what stays. */
  drop(stillNeeded: (kind: number, id: number) => boolean): void {
    this.#alive--
    if (this.#queued < 16 || this.#alive * 2 > this.#queued) return
    const open: number[] = []
    this.rotate(({ kind, id, fd }) => {
      open.push(fd)
      return stillNeeded(kind, id)
    })
    for (const fd of open) close(fd)
  }

  /**
   * Goes through the queue once. What `stays` says yes to is put in again before it is taken out, so that a daemon
   * that dies meanwhile loses nothing; the descriptors that it gets are its own.
   */
  rotate(stays: (kept: Kept) => boolean): void {
    this.#turn = Number(process.hrtime.bigint() & 0x7fffffffn)
    this.#queued = 0
    this.#alive = 0
    for (;;) {
      const kept = this.#receive(MSG_PEEK)
      if (kept === undefined || kept.turn === this.#turn) return
      const full = stays(kept) && !this.put(kept.kind, kept.id, kept.fd)
      const taken = this.#receive(0)
      if (taken !== undefined) close(taken.fd)
      if (full) this.put(kept.kind, kept.id, kept.fd)
    }
  }

  /** The first message; undefined for none, or where this process has no descriptor left for it. */
  #receive(flags: number): (Kept & { turn: number }) | undefined {
    if (this.#receiveFd < 0) return undefined
    const { view, address } = this.#message
    view.setBigUint64(40, 24n, true)
    const size = recvmsg(this.#receiveFd, address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags)
    if (size < 12 || view.getBigUint64(40, true) < 20n) return undefined
    return {
      kind: view.getUint32(PAYLOAD, true),
      id: view.getUint32(PAYLOAD + 4, true),
      turn: view.getUint32(PAYLOAD + 8, true),
      fd: view.getInt32(CONTROL + 16, true),
    }
  }
}
