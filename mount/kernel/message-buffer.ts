import { addressOf } from '../../src/os/memory.ts'

const PAGE = 4096

/** Memory of one message, seen by JavaScript as bytes and as 32-bit words, by system calls as an address. */
export interface MessageBuffer {
  readonly bytes: Buffer
  /** The same memory: word `i` is the bytes from `4 * i`. */
  readonly words: Uint32Array
  readonly address: number
  /** Bytes. */
  readonly size: number
}

/**
 * Allocates a buffer of `size` bytes whose byte `aligned` lies at the start of a page, so that file data after
 * a header of that many bytes is where direct I/O of the backing file wants it. `aligned` is a multiple of 8.
 */
export function allocateMessage(size: number, aligned: number): MessageBuffer {
  const store = Buffer.from(new ArrayBuffer(size + PAGE))
  const base = addressOf(store)
  const start = (PAGE - ((base + aligned) % PAGE)) % PAGE
  return {
    bytes: store.subarray(start, start + size),
    words: new Uint32Array(store.buffer, start, size >>> 2),
    address: base + start,
    size,
  }
}
