/** How a daemon died. */
export interface Death {
  /** Whether it had become ready. */
  readonly ready: boolean
  /** How long it served, milliseconds; without `ready` since it was started. */
  readonly lifetime: number
  /** By SIGKILL or SIGTERM: somebody's act (the OOM killer's, too), not its own fault. */
  readonly killed: boolean
}

/** What is done about it, after `delay` milliseconds. */
export interface Verdict {
  /** `replace`: under the living mount. `remount`: with a new mount and new state. */
  readonly act: 'replace' | 'remount' | 'give up'
  readonly delay: number
}

/** A daemon that served so long is no part of a crash loop. */
const STEADY_MS = 1000
/** Own crashes in a row after which the state or a pending request is blamed. */
const SUSPICIOUS = 3
/** Own crashes in a row after which nothing helps. */
const HOPELESS = 10
/** Kills in a row, none of which let a daemon become ready, that are answered at once. */
const PATIENT_KILLS = 50
const HOPELESS_KILLS = 200
const FIRST_DELAY_MS = 100

/** Decides what follows the death of a daemon: at once as long as that helps, slower and slower when it does not. */
export class CrashPolicy {
  #crashes = 0
  #kills = 0

  /** Takes down one death. */
  died({ ready, lifetime, killed }: Death): Verdict {
    if (ready) this.#kills = 0
    if (ready && lifetime >= STEADY_MS) this.#crashes = 0
    return killed ? this.#afterKill(ready) : this.#afterCrash()
  }

  #afterKill(ready: boolean): Verdict {
    if (!ready) this.#kills++
    if (this.#kills >= HOPELESS_KILLS) return { act: 'give up', delay: 0 }
    return { act: 'replace', delay: this.#kills > PATIENT_KILLS ? FIRST_DELAY_MS : 0 }
  }

  #afterCrash(): Verdict {
    this.#crashes++
    if (this.#crashes >= HOPELESS) return { act: 'give up', delay: 0 }
    if (this.#crashes < SUSPICIOUS) return { act: 'replace', delay: 0 }
    const delay = this.#crashes === SUSPICIOUS ? 0 : FIRST_DELAY_MS * 2 ** (this.#crashes - SUSPICIOUS - 1)
    return { act: 'remount', delay }
  }
}
