/** What begins a suffix: a modifier's, a property's. */
type Mark = '.' | ':'

/** One way to read a segment: a shorter name, and what is done to it, from left to right. */
export interface Peeled<T> {
  /** The name as it is written, escapes and all. */
  readonly base: string
  readonly suffixes: readonly T[]
}

/**
 * What a suffix means: `text` is behind its mark; `inner` is how many suffixes are right of it. Undefined ends
 * the peeling, as every shorter name would have this suffix too.
 */
export type ReadSuffix<T> = (mark: Mark, text: string, inner: number) => T | undefined

/**
 * The ways to read a segment that does not exist as it is written: the longest name first, then one more suffix peeled
 * from the right each time (design §4). The last name may be empty: suffixes of the current set.
 */
export function* peel<T>(segment: string, read: ReadSuffix<T>): Generator<Peeled<T>, void> {
  let suffixes: readonly T[] = []
  let end = segment.length
  for (let at = lastMark(segment, end); at !== -1; at = lastMark(segment, end)) {
    const suffix = read(segment[at] as Mark, segment.slice(at + 1, end), suffixes.length)
    if (suffix === undefined) return
    suffixes = [suffix, ...suffixes]
    end = at
    yield { base: segment.slice(0, end), suffixes }
  }
}

/**
 * Whether a segment could be a name with a suffix at all: one look at what is behind its last mark. A compiler that
 * probes `foo.c` beside `foo` has its ENOENT after this.
 */
export function canPeel<T>(segment: string, read: ReadSuffix<T>): boolean {
  const at = lastMark(segment, segment.length)
  return at !== -1 && read(segment[at] as Mark, segment.slice(at + 1), 0) !== undefined
}

/** The last mark before an index, -1 for none. */
function lastMark(segment: string, before: number): number {
  if (before === 0) return -1
  return Math.max(segment.lastIndexOf('.', before - 1), segment.lastIndexOf(':', before - 1))
}
