/**
 * Decides how long to try again before sleeping. Waking a sleeping thread costs the asker far more than the answer,
 * so it pays to try for a while; but with one CPU for both, trying only keeps the asker from asking. So the budget
 * follows what trying has brought: it is spent whole while it pays, and a failure halves it, to nothing; now and
 * then it is tried whether that still holds.
 */
const MOST = 128
/** Sleeps between two probes while trying does not pay. */
const PROBE_EVERY = 64

export class Spinner {
  /** Tries before sleeping. */
  #budget = MOST
  #tries = 0
  #sleeps = 0

  /** A request came: whether or not it had to be tried for. */
  found(): void {
    if (this.#tries > 0 && this.#budget < MOST) this.#budget = Math.min(MOST, this.#budget * 2 + 8)
    this.#tries = 0
  }

  /** None came: whether to try again. */
  again(): boolean {
    if (this.#tries < this.#budget) {
      this.#tries++
      return true
    }
    this.#budget >>>= 1
    return false
  }

  /** The thread has slept until something came. */
  slept(): void {
    this.#tries = 0
    if (this.#budget === 0 && ++this.#sleeps >= PROBE_EVERY) {
      this.#sleeps = 0
      this.#budget = MOST
    }
  }
}
