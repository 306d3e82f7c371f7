import { O_CLOEXEC, O_RDONLY } from '../os/constants.ts'
import { epollControl, epollCreate, epollWait, open } from '../os/libc.ts'
import { allocateNative, cString } from '../os/memory.ts'

const EPOLL_CLOEXEC = 0o2000000
const EPOLL_CTL_ADD = 1
const EPOLLIN = 1
const EPOLLPRI = 2
/** struct epoll_event: 32-bit events, 64-bit data; packed on x86-64 only (sys/epoll.h). */
const PACKED = process.arch === 'x64'
const DATA = PACKED ? 4 : 8
const SIZE = PACKED ? 12 : 16

/**
 * One descriptor for everything outside that the tree must hear of: its inotify, and the table of mounts
 * (proc(5): a change of mountinfo is an exceptional condition). No directory tells of a mount on it.
 */
export class MountWatch {
  /** Readable when something has happened. */
  readonly descriptor: number
  readonly #mountinfo: number
  readonly #events = allocateNative(SIZE * 2)

  constructor(inotify: number) {
    this.descriptor = epollCreate(EPOLL_CLOEXEC)
    this.#mountinfo = open(cString('/proc/self/mountinfo').address, O_RDONLY | O_CLOEXEC, 0)
    this.#add(inotify, EPOLLIN)
    this.#add(this.#mountinfo, EPOLLPRI)
  }

  /** Whether mounts have changed since the last call. */
  mountsChanged(): boolean {
    const count = epollWait(this.descriptor, this.#events.address, 2, 0)
    for (let i = 0; i < count; i++)
      if (this.#events.view.getInt32(i * SIZE + DATA, true) === this.#mountinfo) return true
    return false
  }

  #add(fd: number, events: number): void {
    this.#events.view.setUint32(0, events, true)
    this.#events.view.setBigInt64(DATA, BigInt(fd), true)
    epollControl(this.descriptor, EPOLL_CTL_ADD, fd, this.#events.address)
  }
}
