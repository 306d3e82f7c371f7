/** Bytes of a window's first memory. */
const FIRST = 256 * 1024
/** Bytes that are offered to a writer at once. */
const PIECE = 256 * 1024

/**
 * A piece of a file that moves along it: what was read ahead, and a little of what was read. Its memory is a ring that
 * grows up to a capacity and is used over and over: a slow reader costs no more, a fast one no new memory.
 */
export class Window {
  #memory: Buffer
  readonly #capacity: number
  #start: number
  #end: number

  /** An empty window at a position, of at most `capacity` bytes; it starts with memory for `expected` or less. */
  constructor(position: number, capacity: number, expected: number) {
    this.#start = position
    this.#end = position
    this.#capacity = Math.max(capacity, 1)
    this.#memory = Buffer.allocUnsafeSlow(Math.max(1, Math.min(FIRST, expected, this.#capacity)))
  }

  /** Position of its first byte. */
  get start(): number {
    return this.#start
  }

  /** Position behind its last byte. */
  get end(): number {
    return this.#end
  }

  /** Bytes that can still be written. */
  get room(): number {
    return this.#capacity - (this.#end - this.#start)
  }

  /** Memory for the bytes at `end`, `most` of them at most; undefined when it is full. */
  slot(most = Number.POSITIVE_INFINITY): Uint8Array | undefined {
    const used = this.#end - this.#start
    if (used === this.#memory.length) {
      if (used >= this.#capacity) return undefined
      this.#grow()
    }
    const size = this.#memory.length
    const at = this.#end % size
    return this.#memory.subarray(at, at + Math.min(size - at, size - used, PIECE, most))
  }

  /** So many bytes were written at the start of the last slot. */
  filled(count: number): void {
    this.#end += count
  }

  /** Forgets what is before a position. */
  drop(before: number): void {
    this.#start = Math.min(Math.max(this.#start, before), this.#end)
  }

  /** Copies what it has from a position on; how many bytes. */
  copy(position: number, target: Uint8Array): number {
    if (position < this.#start || position >= this.#end) return 0
    const count = Math.min(target.length, this.#end - position)
    const size = this.#memory.length
    for (let done = 0; done < count; ) {
      const at = (position + done) % size
      const piece = Math.min(count - done, size - at)
      target.set(this.#memory.subarray(at, at + piece), done)
      done += piece
    }
    return count
  }

  #grow(): void {
    const memory = Buffer.allocUnsafeSlow(Math.min(this.#memory.length * 2, this.#capacity))
    const used = Buffer.allocUnsafe(this.#end - this.#start)
    this.copy(this.#start, used)
    this.#memory = memory
    for (let done = 0; done < used.length; ) {
      const at = (this.#start + done) % memory.length
      const piece = Math.min(used.length - done, memory.length - at)
      memory.set(used.subarray(done, done + piece), at)
      done += piece
    }
  }
}
