import type { AttributeChange, Name, TreeOperations } from '../../src/frame/operations.ts'
import { EFBIG } from '../../src/os/errno.ts'
import { DirectoryPacker } from './directory.ts'
import type { Log } from './log.ts'
import type { Allowed, Negotiated } from './negotiate.ts'
import type { ReplyWriter } from './reply.ts'
import { emptyName, type RequestReader } from './request.ts'

/** Answer of a handler whose operation gets no reply (forget, interrupt). */
export const NO_REPLY = 0x40000000

/** Everything that the handlers of operations share; the objects in it are used again for every request. */
export interface Context {
  readonly tree: TreeOperations
  readonly request: RequestReader
  readonly reply: ReplyWriter
  readonly log: Log
  /** What the kernel may be asked for at INIT. */
  readonly allowed: Allowed
  /** What INIT settled; undefined before it. */
  negotiated: Negotiated | undefined
  /** INIT was answered: what was settled is to be kept and told. */
  settled(negotiated: Negotiated): void
  /** A caller was interrupted: its request, by its number, is answered where it only waits. */
  interrupted(uniqueLow: number, uniqueHigh: number): void
  readonly first: Name
  readonly second: Name
  readonly change: AttributeChange
  readonly directory: DirectoryPacker
}

/**
 * Handles one operation: bytes of the reply's payload, `-errno`, PENDING (`tree.job` says what to run) or NO_REPLY.
 */
export type Handler = (context: Context) => number

/** One row of the operation table. */
export interface Operation {
  /** As fuse.h calls it. */
  readonly name: string
  /** Bytes of the structure behind the header; a shorter message is refused. */
  readonly size: number
  readonly handle: Handler
  /** The kernel gave the request up before its answer came: takes back what the answer would have given it. */
  readonly undo?: (context: Context) => void
  /** Turns the result of a job that another thread ran into the payload; without it a result has none. */
  readonly finish?: (context: Context, result: number) => number
  /** The kernel waits for no answer. */
  readonly silent?: true
}

export function createContext(
  tree: TreeOperations,
  request: RequestReader,
  reply: ReplyWriter,
  log: Log,
  allowed: Allowed,
  settled: (negotiated: Negotiated) => void,
): Context {
  return {
    tree,
    request,
    reply,
    log,
    allowed,
    negotiated: undefined,
    settled,
    interrupted: () => {},
    first: emptyName(request.buffer),
    second: emptyName(request.buffer),
    change: {
      valid: 0,
      mode: 0,
      uid: 0,
      gid: 0,
      size: 0,
      atime: 0,
      atimensec: 0,
      mtime: 0,
      mtimensec: 0,
    },
    directory: new DirectoryPacker(tree, reply.buffer),
  }
}

/** Positions and sizes in files above this are not exact as numbers; no local file system has files so long. */
const LARGEST = Number.MAX_SAFE_INTEGER

/** -EFBIG for a position that no file can have. */
export function checkPosition(position: number): number {
  return position > LARGEST ? -EFBIG : 0
}
