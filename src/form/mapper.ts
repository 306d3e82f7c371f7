import { CosmosError } from '../errors.ts'
import { Budget, type Limits } from './budget.ts'
import type { MappedNode } from './tree.ts'

/** What a mapper may be told. */
export interface MapOptions {
  /** Levels that are wanted: a mapper may leave out what lies deeper, and then says `left` of the node above. */
  readonly depth?: number
  /**
   * Nodes that may be made although they lie deeper, from the node that is wanted on in the document's order: as long as
   * fewer were made, what is met is made with its members.
   */
  readonly more?: number
  /** Entries from the root to the node that is wanted: of what lies aside only the names are. */
  readonly at?: readonly string[]
  readonly limits?: Limits
}

/** Turns a stream into a tree of children and properties (design §2). */
export interface Mapper {
  /** As in paths: `data.json.d`. */
  readonly name: string
  /** Of the files that it is for, without the dot. */
  readonly extensions: readonly string[]
  /**
   * The tree; its root has the name `''`. Throws CosmosError EILSEQ with line and column, or the offset, for a document
   * that is malformed, EFBIG for one that makes more than the limits allow.
   */
  map(bytes: Buffer, options?: MapOptions): MappedNode | Promise<MappedNode>
}

/** Largest document that is mapped: all of it is in memory. */
const MAX_DOCUMENT = 256 * 1024 ** 2

/** A budget for a document of this form. Throws CosmosError EFBIG for one that is too large to begin with. */
export function budgetFor(form: string, bytes: Buffer, options: MapOptions | undefined): Budget {
  const budget = new Budget(`${form} document`, options?.limits)
  if (bytes.length > MAX_DOCUMENT) throw budget.exceeded(`more than ${MAX_DOCUMENT} bytes`)
  return budget
}

/** The error of a document that is not of its form. Lines and columns count from 1. */
export function malformed(form: string, line: number, column: number, why: string): CosmosError {
  return new CosmosError('EILSEQ', `${form} document`, `line ${line}, column ${column}: ${why}`)
}

/** The same where only the place in the text is known. */
export function malformedAt(form: string, text: string, offset: number, why: string): CosmosError {
  const before = text.slice(0, offset)
  const line = before.split('\n').length
  return malformed(form, line, offset - before.lastIndexOf('\n'), why)
}

/** Maps; what a library throws for a document that nests too deep is an error of the document. */
export async function runMapper(mapper: Mapper, bytes: Buffer, options?: MapOptions): Promise<MappedNode> {
  try {
    return await mapper.map(bytes, options)
  } catch (error) {
    if (error instanceof RangeError && error.message.includes('call stack'))
      throw new CosmosError('EFBIG', `${mapper.name} document`, 'nested too deeply')
    throw error
  }
}
