import type { Operator } from './grammar.ts'

/** What a segment means in a directory. Names and texts have one character a byte. */
export type Reading =
  /** A child, as it is written or with its escapes read. */
  | { readonly kind: 'literal'; readonly name: string }
  /** A child that exists, and what is done to it. */
  | Chain
  /** Modifiers over the current set. */
  | { readonly kind: 'set'; readonly stages: readonly Stage[] }
  /** A base match: `name.json` for all `name.*`, each made json; the shortest chain first. */
  | { readonly kind: 'match'; readonly chains: readonly Chain[] }
  /** `https:` in the root. */
  | { readonly kind: 'source'; readonly scheme: string }
  /** A whole lookup URL in one segment: segments of the path are as written, and read in turn. */
  | {
      readonly kind: 'url'
      readonly scheme: string
      readonly authority: string | undefined
      readonly path: readonly string[]
    }
  /** A transient bind; each right side is the text of a lookup in the same directory. */
  | {
      readonly kind: 'bind'
      readonly left: Reading
      readonly binds: readonly { readonly operator: Operator; readonly right: string }[]
    }

/** A child that exists, and what is done to it, from left to right. */
export interface Chain {
  readonly kind: 'chain'
  readonly base: string
  readonly stages: readonly Stage[]
}

/** One thing that is done: a production instruction's function and arguments, or what is taken of its result. */
export type Stage =
  | { readonly kind: 'map'; readonly mapper: string; readonly args: readonly string[] }
  /** The tree of the stage before it, as a directory; a stream that a transformer made is mapped as what it is. */
  | { readonly kind: 'directory' }
  | { readonly kind: 'transform'; readonly transformer: string; readonly args: readonly string[] }
  /** An executable of the PATH as a transformer. */
  | { readonly kind: 'run'; readonly program: string; readonly args: readonly string[] }
  /** A function of a library as a transformer. */
  | { readonly kind: 'call'; readonly library: string; readonly symbol: string }
  /** A property; `''` is the directory of all. */
  | { readonly kind: 'property'; readonly name: string }
