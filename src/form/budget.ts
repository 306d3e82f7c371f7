import { CosmosError } from '../errors.ts'

/** How large what a document makes may be. */
export interface Limits {
  readonly nodes: number
  /** Levels of nodes inside each other. */
  readonly depth: number
  readonly bytes: number
}

export const DEFAULT_LIMITS: Limits = { nodes: 1_000_000, depth: 200, bytes: 1024 ** 3 }

/** Counts what a document makes: a small one can make a great deal. */
export class Budget {
  readonly #subject: string
  readonly #limits: Limits
  nodes = 0
  #bytes = 0

  /** `subject` is what its errors are about. */
  constructor(subject: string, limits = DEFAULT_LIMITS) {
    this.#subject = subject
    this.#limits = limits
  }

  /** Bytes that may still come. */
  get room(): number {
    return this.#limits.bytes - this.#bytes
  }

  /** One more node, on this level. Throws CosmosError EFBIG. */
  node(level: number): void {
    this.level(level)
    this.more(1)
  }

  /** So many more nodes. Throws CosmosError EFBIG. */
  more(count: number): void {
    this.nodes += count
    if (this.nodes > this.#limits.nodes) throw this.exceeded(`more than ${this.#limits.nodes} nodes`)
  }

  /** Throws CosmosError EFBIG for a level that is too deep. */
  level(level: number): void {
    if (level > this.#limits.depth) throw this.exceeded(`nested deeper than ${this.#limits.depth} levels`)
  }

  /** So many more bytes. Throws CosmosError EFBIG. */
  bytes(count: number): void {
    this.#bytes += count
    if (this.#bytes > this.#limits.bytes) throw this.exceeded(`more than ${this.#limits.bytes} bytes`)
  }

  exceeded(why: string): CosmosError {
    return new CosmosError('EFBIG', this.#subject, why)
  }
}
