/**
 * What stands behind a URL scheme, or behind a peer's directory (design §2, source): a tree that must be waited for.
 * It runs where waiting costs nobody anything (the daemon's main thread, or a process of its own), never on the tree
 * thread. Names have one character a byte, as in all of the tree: a service whose protocol speaks text converts them.
 *
 * Every method rejects with a CosmosError: ENOENT, EACCES, EHOSTUNREACH, ETIMEDOUT, EIO … whose message never has a
 * password in it. An aborted `signal` ends the work; what it rejects with then is not looked at.
 */

/** What a path leads to, from the service's scheme on. */
export interface SourcePath {
  /** `https`, `ssh`; for a peer its directory's name, `me@gpubox`. */
  readonly scheme: string
  /** The segments behind it; a host is the first of them. Escapes are not read: `a%2Fb`, `p?q=1` are one segment each. */
  readonly segments: readonly string[]
}

export type SourceType = 'file' | 'directory' | 'link' | 'fifo' | 'socket' | 'block' | 'character'

/** A node of a source. */
export interface SourceNode {
  readonly type: SourceType
  /** Bytes; undefined where that is known only when it is read to its end: it is read as it comes then. */
  readonly size: number | undefined
  /** Permission bits, 0o7777; undefined: what is usual of what it is. */
  readonly mode?: number
  /** Milliseconds since 1970; undefined: nobody knows. */
  readonly mtime?: number
  readonly uid?: number
  readonly gid?: number
  readonly links?: number
  /** Where a link leads, one character a byte. */
  readonly target?: string
  /** Names its content: another text whenever that is another (an ETag, an inode with size and time). */
  readonly generation?: string
  /** Two names of one file have one (hard links): any text. Undefined: every path is a file of its own. */
  readonly identity?: string
  /** How long it may be believed, milliseconds. */
  readonly fresh: number
}

/** A name of a directory, with what is known of it. */
export interface SourceEntry {
  readonly name: string
  readonly node?: SourceNode
}

/** How a file is opened. */
export interface SourceAccess {
  readonly read: boolean
  readonly write: boolean
  readonly truncate: boolean
}

/** An open file. */
export interface SourceFile {
  /** What it is as it was opened. */
  readonly node: SourceNode
  /**
   * Bytes from a position on: fewer than `length` only at the end, none beyond it. They are the receiver's to keep.
   * A file whose size is not known is read in order; EINVAL for any other place.
   */
  read(position: number, length: number, signal: AbortSignal): Promise<Uint8Array>
  /**
   * The same into memory of the caller's, answering how many bytes: where that is faster. The memory is the caller's again
   * when it is answered, and is not touched after an abort.
   */
  readInto?(position: number, target: Uint8Array, signal: AbortSignal): Promise<number>
  /** EROFS where there is none. All of the bytes are written, or it rejects. */
  write?(position: number, bytes: Uint8Array): Promise<void>
  /** Everything that was written has arrived; what is written later than it is asked is told by the next call. */
  flush?(): Promise<void>
  /** Everything that was written is where it lasts. */
  sync?(): Promise<void>
  /** Rejects when something that was written did not arrive. */
  close(): Promise<void>
}

/** What of a node is changed; what is undefined stays. */
export interface SourceChange {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly size?: number
  /** Milliseconds since 1970. */
  readonly atime?: number
  readonly mtime?: number
}

/** A service: whatever it has no method for is EROFS to whoever asks. */
export interface SourceService {
  /** The node itself, links not followed. */
  stat(path: SourcePath, signal: AbortSignal): Promise<SourceNode>
  list(path: SourcePath, signal: AbortSignal): Promise<readonly SourceEntry[]>
  open(path: SourcePath, access: SourceAccess, signal: AbortSignal): Promise<SourceFile>
  /** Text of a property of its own (`:body`); undefined: it has none of that name. */
  property?(path: SourcePath, name: string, signal: AbortSignal): Promise<Uint8Array | undefined>

  /** Makes a file, and opens it. EEXIST where the name is taken. */
  create?(path: SourcePath, mode: number, access: SourceAccess): Promise<SourceFile>
  mkdir?(path: SourcePath, mode: number): Promise<SourceNode>
  symlink?(path: SourcePath, target: string): Promise<SourceNode>
  link?(path: SourcePath, to: SourcePath): Promise<SourceNode>
  unlink?(path: SourcePath): Promise<void>
  rmdir?(path: SourcePath): Promise<void>
  /** Takes the place of what is at `to`, as rename(2) does, unless `keep`: EEXIST then. */
  rename?(from: SourcePath, to: SourcePath, keep: boolean): Promise<void>
  change?(path: SourcePath, change: SourceChange): Promise<SourceNode>

  /** Ends its connections. */
  close?(): Promise<void>
}

/** What a service is told of the world it works in. */
export interface SourceContext {
  /** The user's home directory, environment, and a line for the daemon's log (never with a password in it). */
  readonly home: string
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly log: (line: string) => void
  /** The service's settings: its table in `etc/cosmos/cosmos.conf`, `[source.https]`. */
  readonly settings: Readonly<Record<string, unknown>>
}
