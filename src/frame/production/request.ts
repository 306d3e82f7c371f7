import type { Step } from '../../lookup/production.ts'
import type { SourcePath } from '../../source/service.ts'

/** What the tree thread asks of the main thread, and what comes back. Paths have one character a byte. */
export interface ProductionRequest {
  readonly key: string
  readonly step: Step
  readonly input: string
  /** Where the input is fetched from, for a step `source`. */
  readonly source: SourcePath | undefined
  /** Device and inode of an input that is not of the store, as stat(2) tells them. */
  readonly identity: string | undefined
  readonly output: string
  /** Directories with users' own, nearest first: of what makes it, and mappers for what it takes. */
  readonly modules: readonly string[]
  readonly scanners: readonly string[]
  /** The program that is run, or the library that is called. */
  readonly executable: string | undefined
  /** Levels of a tree that are written, and nodes below them that are too; all of it where it is undefined. */
  readonly levels: { readonly depth: number; readonly more: number } | undefined
  /** A directory of a tree that is there, by its path's entries, is filled, and so many nodes of those behind it. */
  readonly fill?: { readonly at: readonly string[]; readonly more: number }
}

/** How a production has ended. */
export type ProductionEnd =
  /** Bytes of a file, entries of a directory. */
  | { readonly state: 'made'; readonly size: number; readonly milliseconds: number }
  | { readonly state: 'failed'; readonly why: string }
  /** Nobody waited for it any more. */
  | { readonly state: 'cancelled' }
