import { decodeMessage, encodeMessage } from '../../src/form/codec.ts'
import { MAX_FRAME_SIZE, protocolError } from '../../src/form/msgpack.ts'
import { accept4 } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { Connection, LISTEN_FD } from '../socket.ts'

const SOCK_CLOEXEC = 0o2000000
/** Read at a time, at least. */
const CHUNK = 256 * 1024
/** A frame's length, and what it may hold. The kernel gives only the pages that are touched. */
const LARGEST_FRAME = 4 + MAX_FRAME_SIZE

/** Every frame that is sent is made here. */
const frame = allocateNative(LARGEST_FRAME)

/** The client of a process that has one at a time: its messages are read and made where they lie, many in a second. */
export class CallConnection extends Connection {
  readonly #buffer = allocateNative(LARGEST_FRAME + CHUNK)
  /** Bytes at the buffer's start that are the beginning of a frame. */
  #kept = 0

  override receive(): Record<string, unknown>[] | undefined {
    const size = this.receiveBytes(this.#buffer.address + this.#kept, CHUNK)
    return size < 0 ? undefined : this.#takeMessages(this.#kept + size)
  }

  override send(message: object): boolean {
    const size = encodeMessage(message, frame.bytes, frame.view, 4)
    frame.view.setUint32(0, size - 4)
    return this.sendBytes(frame.address, size, true)
  }

  /** The messages in the buffer's first bytes. */
  #takeMessages(size: number): Record<string, unknown>[] {
    const { bytes, view } = this.#buffer
    const messages: Record<string, unknown>[] = []
    let at = 0
    while (size - at >= 4) {
      const length = view.getUint32(at)
      if (length === 0 || length > MAX_FRAME_SIZE) throw protocolError(`a frame of ${length} bytes`)
      if (size - at < 4 + length) break
      messages.push(decodeMessage(bytes, view, at + 4, length))
      at += 4 + length
    }
    if (at > 0 && at < size) bytes.copyWithin(0, at, size)
    this.#kept = size - at
    return messages
  }
}

/** The next client, or undefined when another process has taken it. */
export function acceptCaller(): CallConnection | undefined {
  const fd = accept4(LISTEN_FD, 0, 0, SOCK_CLOEXEC)
  return fd < 0 ? undefined : new CallConnection(fd)
}
