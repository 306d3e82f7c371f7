/** A shortest transit is forgotten after one to two of these: clocks drift, machines sleep. Milliseconds. */
const MEMORY = 15_000

/**
 * How long messages were on their way, from the sender's times in them. The two clocks have nothing to do with each
 * other: what counts is how much longer than the shortest so far one message took. It waited for that time, in a
 * buffer or for a process that was stopped, and its remaining lifetime is shorter by it.
 */
export class Transit {
  /** Least difference of the clocks, modulo 2^32: of this stretch of time, and of the one before. */
  #least: number | undefined
  #former: number | undefined
  #since = 0

  /** A message has come. Milliseconds that it was on its way beyond what is usual on this link. */
  delay(sent: number, now: number): number {
    const difference = (Math.floor(now) - sent) | 0
    if (this.#least === undefined) {
      this.#least = difference
      this.#since = now
    } else if (now - this.#since > MEMORY) {
      this.#former = this.#least
      this.#least = difference
      this.#since = now
    } else if (((difference - this.#least) | 0) < 0) this.#least = difference
    const delay = (difference - this.#least) | 0
    return this.#former === undefined ? delay : Math.max(delay, (difference - this.#former) | 0)
  }
}

/** Round-trip time, smoothed as in RFC 6298. Milliseconds. */
export class RoundTrip {
  #smoothed: number | undefined
  #least = Number.POSITIVE_INFINITY

  get smoothed(): number | undefined {
    return this.#smoothed
  }

  /** The shortest; 0 where none is known. */
  get least(): number {
    return this.#least === Number.POSITIVE_INFINITY ? 0 : this.#least
  }

  measured(milliseconds: number): void {
    this.#smoothed =
      this.#smoothed === undefined ? milliseconds : this.#smoothed + (milliseconds - this.#smoothed) / 8
    this.#least = Math.min(this.#least, milliseconds)
  }
}
