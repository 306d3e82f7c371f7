/**
 * The parsed form of lookups (docs/fudge.md, design §4). It is syntax: whether `a.tar` is a name or a modifier over `a`
 * is decided by what exists (resolve.ts). All text has one character a byte, and escapes are read.
 */

/** A lookup: where it starts, and the steps from there. */
export interface Lookup {
  readonly origin: Origin
  readonly steps: readonly Step[]
}

/** Where a lookup starts: the directory it is read in, the root of the tree, a source. */
export type Origin =
  | { readonly kind: 'here' }
  | { readonly kind: 'root' }
  | { readonly kind: 'url'; readonly scheme: string; readonly authority?: string }
  | { readonly kind: 'merge'; readonly scheme: string; readonly operands: readonly Operand[] }

/** One step: the parent directory, a node, several nodes bound together. */
export type Step = { readonly kind: 'up' } | Node | Bind

/** A child, and what is done to it, from left to right; without a name it is the current set. */
export interface Node {
  readonly kind: 'node'
  readonly name: string
  readonly suffixes: readonly Suffix[]
}

/** What is done to a node. */
export type Suffix = Modifier | Property | Query

/** `.m-a-b`: the words between the dashes. How many of them are the modifier's name is decided by what is known. */
export interface Modifier {
  readonly kind: 'modifier'
  readonly words: readonly [string, ...string[]]
}

/** `:prop`; without a name all properties, as a directory. */
export interface Property {
  readonly kind: 'property'
  readonly name: string
}

/** `?query`, as it is written: its escapes are the source's. */
export interface Query {
  readonly kind: 'query'
  readonly text: string
}

/** A transient bind of a node and one or more others, from left to right. */
export interface Bind {
  readonly kind: 'bind'
  readonly left: Node
  readonly binds: readonly [Bound, ...Bound[]]
}

/** An operator and the node on its right. */
export interface Bound {
  readonly operator: Operator
  readonly right: Operand
}

/** A lookup that is part of another: no merge, no bind in it. */
export interface Operand {
  readonly origin: Exclude<Origin, { kind: 'merge' }>
  readonly steps: readonly Exclude<Step, Bind>[]
}

/** Bind operators; a longer one comes before its beginning. Their meaning is in docs/fudge.md. */
export const OPERATORS = ['.==', '.->', '.<-', '.+>', '.<+', '.='] as const
export type Operator = (typeof OPERATORS)[number]

/** What follows a scheme: only a path, an authority and a path, lookups that are merged and a path. */
export type SchemeForm = 'path' | 'authority' | 'merge'
export type Schemes = ReadonlyMap<string, SchemeForm>

/** The schemes that ship (design §2). */
export const SCHEMES: Schemes = new Map([
  ['file', 'path'],
  ['http', 'authority'],
  ['https', 'authority'],
  ['ssh', 'authority'],
  ['cosmos', 'authority'],
  ['bind', 'merge'],
  ['cascade', 'merge'],
])
