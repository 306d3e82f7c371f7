import { CosmosError } from '../errors.ts'
import type { MappedNode } from './tree.ts'

/** What a transformer may know of the stream besides its bytes. */
export interface Source {
  /** Name of its mapper, where there is one for it; `dir` for a directory, whose bytes are none. */
  readonly form: string | undefined
  /** The mapped tree. Throws CosmosError EINVAL for a stream of no known form, and as its mapper does. */
  tree(): Promise<MappedNode>
}

/** Derives a new stream or tree from one (design §2). */
export interface Transformer {
  /** As in paths: `photo.png.scale-50`. */
  readonly name: string
  /** Its arguments, for people; `''` where it takes none. */
  readonly arguments: string
  /** The forms that it takes; any where it does not say. */
  readonly from?: readonly string[]
  /**
   * Throws CosmosError EINVAL for arguments that are wrong, EILSEQ for a stream that is malformed, EFBIG for a result
   * that is too large.
   */
  transform(
    bytes: Buffer,
    args: readonly string[],
    source: Source,
  ): Buffer | MappedNode | Promise<Buffer | MappedNode>
}

/** Largest stream that a transformer makes by unpacking. */
export const MAX_UNPACKED = 1024 ** 3

/** Refuses more arguments than a transformer takes. Throws CosmosError EINVAL. */
export function atMost(name: string, args: readonly string[], count: number): void {
  if (args.length > count) throw new CosmosError('EINVAL', name, `takes no argument "${args[count]}"`)
}

/**
 * Flags among arguments, each a letter, as `i` or `-i`. Throws CosmosError EINVAL for one that is none of `letters`.
 */
export function flagsOf(name: string, args: readonly string[], letters: string): Set<string> {
  const flags = new Set<string>()
  for (const letter of args.flatMap((arg) => [...arg.replace(/^-/, '')])) {
    if (!letters.includes(letter)) throw new CosmosError('EINVAL', name, `knows no "${letter}"`)
    flags.add(letter)
  }
  return flags
}
