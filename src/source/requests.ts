import type { SourceAccess, SourceChange, SourceEntry, SourceNode, SourcePath } from './service.ts'

/** What the tree thread asks of the sources, and how it is told. */

/** A question whose answer the tree needs to go on. `file` is the number that an open file has from then on. */
export type SourceQuestion =
  | { readonly op: 'stat' | 'list' | 'unlink' | 'rmdir'; readonly path: SourcePath }
  | { readonly op: 'property'; readonly path: SourcePath; readonly name: string }
  | { readonly op: 'open'; readonly path: SourcePath; readonly file: number; readonly access: SourceAccess }
  | {
      readonly op: 'create'
      readonly path: SourcePath
      readonly file: number
      readonly access: SourceAccess
      readonly mode: number
    }
  | { readonly op: 'mkdir'; readonly path: SourcePath; readonly mode: number }
  | { readonly op: 'symlink'; readonly path: SourcePath; readonly target: string }
  | { readonly op: 'link'; readonly path: SourcePath; readonly to: SourcePath }
  | { readonly op: 'rename'; readonly path: SourcePath; readonly to: SourcePath; readonly keep: boolean }
  | { readonly op: 'change'; readonly path: SourcePath; readonly change: SourceChange }

/** An errno name, what it is about, and why, for people. */
export interface SourceFailure {
  readonly code: string
  readonly why: string
  readonly subject?: string
}

/** The answer: what the operation has of it, or an errno name with why. */
export interface SourceAnswer {
  readonly error?: SourceFailure
  readonly node?: SourceNode
  /** Number of the file that was opened. */
  readonly file?: number
  readonly entries?: readonly SourceEntry[]
  /** Undefined: there is no such property. */
  readonly bytes?: Uint8Array
}

/** A request of the kernel that is answered to it without the tree. */
export interface SourceTransfer {
  /** The request's number as the kernel sent it, low and high 32 bits. */
  readonly uniqueLow: number
  readonly uniqueHigh: number
  readonly op: 'read' | 'write' | 'flush' | 'sync'
  readonly file: number
  readonly position: number
  /** Of a read, bytes. */
  readonly size: number
  /** Of a write; handed over, not copied. */
  readonly bytes?: Uint8Array<ArrayBuffer>
}

/** Everything that the tree thread sends to the sources. `key` names the answer that it waits for; '' for none. */
export type ToSources =
  | { readonly type: 'question'; readonly key: string; readonly question: SourceQuestion }
  /** Nobody waits for the answer any more. */
  | { readonly type: 'abandoned'; readonly key: string }
  | ({ readonly type: 'transfer' } & SourceTransfer)
  /** The caller of a transfer was interrupted. */
  | { readonly type: 'interrupted'; readonly uniqueLow: number; readonly uniqueHigh: number }
  | { readonly type: 'close'; readonly file: number }
