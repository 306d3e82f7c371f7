import { CosmosError } from '../../src/errors.ts'
import { EINTR } from '../../src/os/errno.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { epollControl, epollCreate, epollWait } from './calls.ts'

const EPOLL_CLOEXEC = 0o2000000
const ADD = 1
const REMOVE = 2
const EPOLLIN = 1
/** struct epoll_event: packed on x86-64 only (epoll_ctl(2)). */
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16
const DATA = process.arch === 'x64' ? 4 : 8
/** Events of one wait. */
const BATCH = 256

/** Many descriptors that are waited for at once: epoll(7), level-triggered, for reading. */
export class Epoll {
  readonly #fd = epollCreate(EPOLL_CLOEXEC)
  readonly #event = allocateNative(EVENT_SIZE)
  readonly #events = allocateNative(BATCH * EVENT_SIZE)
  readonly #handlers = new Map<number, () => void>()

  /** Calls `handler` whenever the descriptor is readable or at its end. Throws CosmosError as epoll_ctl(2). */
  add(fd: number, handler: () => void): void {
    this.#event.view.setUint32(0, EPOLLIN, true)
    this.#event.view.setInt32(DATA, fd, true)
    const result = epollControl(this.#fd, ADD, fd, this.#event.address)
    if (result < 0) throw CosmosError.fromErrno(result, 'epoll_ctl')
    this.#handlers.set(fd, handler)
  }

  /** To be called before the descriptor is closed: a copy of it elsewhere would keep it in the set. */
  remove(fd: number): void {
    if (this.#handlers.delete(fd)) epollControl(this.#fd, REMOVE, fd, 0)
  }

  /** Waits, at most `timeout` milliseconds (-1: for ever), and calls the handlers of what is ready. */
  wait(timeout: number): void {
    const count = epollWait(this.#fd, this.#events.address, BATCH, timeout)
    if (count < 0 && count !== -EINTR) throw CosmosError.fromErrno(count, 'epoll_wait')
    // A handler may remove another one of the same batch.
    for (let i = 0; i < count; i++)
      this.#handlers.get(this.#events.view.getInt32(i * EVENT_SIZE + DATA, true))?.()
  }
}
