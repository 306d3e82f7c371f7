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
  readonly #receive: number
  readonly #message = allocateNative(128)
  /** Messages in the queue, dead ones too. */
  #queued = 0
  #alive = 0

  constructor(sendFd: number, receiveFd: number) {
    this.#send = sendFd
    this.#receive = receiveFd
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
    const all = this.takeAll()
    for (const kept of all) {
      if (stillNeeded(kept.kind, kept.id)) this.put(kept.kind, kept.id, kept.fd)
      close(kept.fd)
    }
  }

  /** Empties the queue; the descriptors are the caller's now. */
  takeAll(): Kept[] {
    const all: Kept[] = []
    if (this.#receive < 0) return all
    const { view, address } = this.#message
    for (;;) {
      view.setBigUint64(40, 24n, true)
      const size = recvmsg(this.#receive, address, MSG_DONTWAIT)
      if (size < 12) break
      if (view.getBigUint64(40, true) < 20n) continue
      all.push({
        kind: view.getUint32(PAYLOAD, true),
        id: view.getUint32(PAYLOAD + 4, true),
        fd: view.getInt32(CONTROL + 16, true),
      })
    }
    this.#queued = 0
    this.#alive = 0
    return all
  }
}
