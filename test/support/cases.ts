/** Where a case runs. */
export type PlaceName = 'raw' | 'me@host' | 'merged' | 'user' | 'fuse-native'

/** What a case is given. */
export interface CaseContext {
  readonly place: PlaceName
  /** An empty directory of the place, for this case alone. */
  readonly dir: string
  /** The same directory on the raw file system, beside the mount. */
  readonly host: string
  /** An empty directory on the raw file system, for what must not come from the mount. */
  readonly outside: string
  /** The same directory in the lower layer; empty in a place that has none. */
  readonly lower: string
  /** Ends the case: the machine, not cosmos, lacks something. */
  skip(reason: string): never
}

/** One behaviour of a file system. Throws when it is not so. */
export type Case = (context: CaseContext) => void | Promise<void>

/** Named cases, each run in every place. */
export type Cases = Record<string, Case>

/** Thrown by `skip`. */
export class Skipped extends Error {}

/** What a case came to, a line of the runner's output. */
export interface Outcome {
  readonly name: string
  readonly error?: string
  readonly skipped?: string
}
