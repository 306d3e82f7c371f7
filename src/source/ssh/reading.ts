/** Bytes that are asked for ahead of the reader at most, and of those it has read that are kept. */
const MAX_AHEAD = 4 * 1024 * 1024
const MAX_BEHIND = 1024 * 1024
/** Parts that are asked for at once, so that they go out together, rather than one with every read. */
const STRIDE = 4
/** Reads of its own length that a reader may leap over and still go on: the kernel's come out of order. */
const MAX_LEAP = 4
/** A reader that comes back to what it has read takes that for so long, milliseconds. */
const FRESH = 1000

/** One request: fewer bytes than asked at the end, or where the server likes; none beyond the end. */
export type ReadOnce = (position: number, length: number) => Promise<Uint8Array>

interface Block {
  readonly start: number
  readonly end: number
  readonly asked: number
  readonly bytes: Promise<Uint8Array>
}

/**
 * Reads a file in large parts, several at once, and ahead of a reader that goes from one to the next: what is on its way
 * doubles with every step, so that a look at a file's head costs no more than that. Readers that come a little out of
 * order, as the kernel's read-ahead does, count as going on.
 */
export class ReadAhead {
  readonly #readOnce: ReadOnce
  readonly #chunk: number
  readonly #size: number
  /** Parts that follow each other without a gap. */
  #blocks: Block[] = []
  /** Where they end, and where a reader goes on that has none. */
  #end = 0
  #ahead = 0

  /** `chunk`: bytes of one request. `size`: what is known of the file's; it may have become another. */
  constructor(readOnce: ReadOnce, chunk: number, size: number) {
    this.#readOnce = readOnce
    this.#chunk = chunk
    this.#size = size
  }

  /** Bytes from a position on, fewer only at the end; they are the caller's. */
  async read(position: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const end = position + length
    if (this.#goesOn(position, length))
      this.#ahead = Math.min(MAX_AHEAD, Math.max(this.#ahead * 2, length * 2))
    else this.#restart(position)
    this.#extend(end)
    const needed = this.#blocks.filter((block) => block.start < end && block.end > position)
    this.#blocks = this.#blocks.filter((block) => block.end > position - MAX_BEHIND)

    // Not of Buffer's pool, and not filled with zeros before.
    const result = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
    let filled = 0
    try {
      for (const block of needed) {
        const bytes = await block.bytes
        const from = position + filled - block.start
        const part = bytes.subarray(from, from + length - filled)
        result.set(part, filled)
        filled += part.length
        if (bytes.length === block.end - block.start) continue
        // The end, as it is now: whoever asks again asks the server.
        this.forget()
        break
      }
    } catch (error) {
      this.forget()
      throw error
    }
    return filled === length ? result : result.slice(0, filled)
  }

  /** Nothing of what was read is given again: the file has changed. */
  forget(): void {
    this.#blocks = []
    this.#ahead = 0
  }

  #goesOn(position: number, length: number): boolean {
    const [first] = this.#blocks
    if (!first) return position === this.#end && position > 0
    if (position < first.start || position > this.#end + MAX_LEAP * length) return false
    const isBehind = position < this.#end - this.#ahead
    const block = isBehind ? this.#blocks.find(({ end }) => end > position) : undefined
    return !block || performance.now() - block.asked < FRESH
  }

  #restart(position: number): void {
    this.forget()
    this.#end = position
  }

  /** Asks for what is missing to a place, and for what comes next where that makes a stride. */
  #extend(needed: number): void {
    const ahead = Math.min(needed + this.#ahead, this.#size)
    const isWorthIt = ahead - this.#end >= STRIDE * this.#chunk || ahead === this.#size || this.#end < needed
    const target = Math.max(needed, isWorthIt ? ahead : 0)
    while (this.#end < target) {
      const length = Math.min(this.#chunk, target - this.#end)
      const start = this.#end
      const bytes = this.#readAll(start, length)
      // Whoever reads to here is told; nobody may.
      bytes.catch(() => {})
      this.#blocks.push({ start, end: start + length, asked: performance.now(), bytes })
      this.#end += length
    }
  }

  /** As many requests as it takes; a short answer at the known end is the end. */
  async #readAll(start: number, length: number): Promise<Uint8Array> {
    let bytes = await this.#readOnce(start, length)
    while (bytes.length < length && start + bytes.length < this.#size) {
      const more = await this.#readOnce(start + bytes.length, length - bytes.length)
      if (more.length === 0) break
      bytes = Buffer.concat([bytes, more])
    }
    return bytes
  }
}
