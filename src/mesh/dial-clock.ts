/** Time, as the mesh's timers see it; tests put their own in its place. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Calls back once, later; the answer takes it back. Never keeps the process alive. */
  after(milliseconds: number, call: () => void): () => void
}

/** The machine's. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds).unref()
    return () => clearTimeout(timer)
  },
}
