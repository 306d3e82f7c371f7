import { CosmosError } from '../../errors.ts'
import type {
  SourceAccess,
  SourceEntry,
  SourceFile,
  SourceNode,
  SourcePath,
  SourceService,
} from '../../source/service.ts'
import type { CallOptions } from '../session/outgoing-call.ts'
import { bytesOf, countOf, fieldsOf, fromWireNode, wrong } from './wire.ts'

/**
 * A peer's files as a source: what is below `me@HOST`, or a directory that a caller lends. Each operation is one call;
 * names come with their attributes, a small file with its content.
 */

/** How a peer is called: as a session does. */
export type CallPeer = (op: string, args: unknown, options?: CallOptions) => Promise<unknown>

export interface PeerFilesOptions {
  readonly call: CallPeer
  /** A directory that is lent for the length of a call: all paths are below it, and all is this owner's here. */
  readonly lend?: {
    readonly token: string
    /** Of the directory, one character a byte. */
    readonly segments: readonly string[]
    readonly owner: { readonly uid: number; readonly gid: number }
  }
}

/** How long an answer is waited for, milliseconds: of what only looks, and of what changes or carries data. */
const LOOK_MS = 15_000
const WORK_MS = 30_000
/** Bytes of a file that come with its opening. */
const HEAD = 128 * 1024
/** Bytes of one read or write. */
const PIECE = 1024 * 1024
/** Bytes that are on their way to the peer and not acknowledged. */
const MAX_UNWRITTEN = 8 * 1024 * 1024

export function peerFiles({ call, lend }: PeerFilesOptions): SourceService {
  const from = lend === undefined ? {} : { lend: lend.token }
  const place = (path: SourcePath): readonly string[] =>
    lend ? [...lend.segments, ...path.segments] : path.segments
  const nodeOf = (sent: unknown): SourceNode => ({ ...fromWireNode(sent), ...lend?.owner })
  const look = (op: string, args: object, signal?: AbortSignal) =>
    call(
      `files.${op}`,
      { ...args, ...from },
      { deadline: LOOK_MS, idempotent: true, ...(signal && { signal }) },
    )
  const work = (op: string, args: object) => call(`files.${op}`, { ...args, ...from }, { deadline: WORK_MS })
  const opened = async (answer: unknown, path: SourcePath, access: SourceAccess): Promise<SourceFile> => {
    const { file, node, head } = fieldsOf(answer)
    return new PeerFile({
      call,
      from,
      segments: place(path),
      access,
      number: countOf(file, 'a file'),
      node: nodeOf(node),
      head: head === undefined ? undefined : bytesOf(head),
    })
  }
  const made = async (op: string, args: object): Promise<SourceNode> => nodeOf(await work(op, args))

  return {
    async stat(path, signal) {
      return nodeOf(await look('stat', { path: place(path) }, signal))
    },
    async list(path, signal) {
      const entries: SourceEntry[] = []
      await call(
        'files.list',
        { path: place(path), ...from },
        { deadline: WORK_MS, signal, event: (_op, args) => take(args, entries, nodeOf) },
      )
      return entries
    },
    async open(path, access, signal) {
      const args = { path: place(path), ...accessOf(access), head: HEAD, ...from }
      // What truncates has an effect, and is not done twice.
      const options = { deadline: WORK_MS, idempotent: !access.truncate, signal }
      return opened(await call('files.open', args, options), path, access)
    },
    async create(path, mode, access) {
      return opened(await work('create', { path: place(path), mode, ...accessOf(access) }), path, access)
    },
    mkdir: (path, mode) => made('mkdir', { path: place(path), mode }),
    symlink: (path, target) => made('symlink', { path: place(path), target }),
    link: (path, to) => made('link', { path: place(path), to: place(to) }),
    async unlink(path) {
      await work('unlink', { path: place(path) })
    },
    async rmdir(path) {
      await work('rmdir', { path: place(path) })
    },
    async rename(path, to, keep) {
      await work('rename', { path: place(path), to: place(to), keep })
    },
    change: (path, change) => made('change', { path: place(path), ...change }),
  }
}

function accessOf({ read, write, truncate }: SourceAccess): object {
  return { read, write, truncate }
}

/** Entries come in several events, so that no directory is too large for one message. */
function take(args: unknown, entries: SourceEntry[], nodeOf: (sent: unknown) => SourceNode): void {
  if (!Array.isArray(args)) throw wrong('a list')
  for (const entry of args) {
    if (!Array.isArray(entry) || typeof entry[0] !== 'string') throw wrong('a list')
    entries.push({ name: entry[0], node: nodeOf(entry[1]) })
  }
}

interface PeerFileParts {
  readonly call: CallPeer
  readonly from: object
  readonly segments: readonly string[]
  readonly access: SourceAccess
  readonly number: number
  readonly node: SourceNode
  readonly head: Uint8Array | undefined
}

/**
 * An open file of a peer. What is written is on its way when `write` answers, up to a bound; what goes wrong is told by
 * the next write, or by `flush`, `sync` and `close`.
 */
class PeerFile implements SourceFile {
  readonly node: SourceNode
  readonly #parts: PeerFileParts
  #number: number
  #head: Uint8Array | undefined
  #unwritten = 0
  #failure: unknown
  readonly #writing = new Set<Promise<void>>()

  constructor(parts: PeerFileParts) {
    this.#parts = parts
    this.node = parts.node
    this.#number = parts.number
    // Kept as it came: the message that it was part of is another's soon.
    this.#head = parts.head && Uint8Array.from(parts.head)
  }

  async read(position: number, length: number, signal: AbortSignal): Promise<Uint8Array> {
    await this.flush()
    const head = this.#head
    const size = this.node.size ?? 0
    if (head && position + Math.min(length, size - position) <= head.length)
      return head.subarray(position, position + length)
    try {
      return await this.#read(position, length, signal)
    } catch (error) {
      // The peer was started anew: the same content is opened again, and nothing else.
      if (!(error instanceof CosmosError) || error.code !== 'ESTALE' || this.#parts.access.write) throw error
      await this.#openAgain(signal)
      return this.#read(position, length, signal)
    }
  }

  async #read(position: number, length: number, signal: AbortSignal): Promise<Uint8Array> {
    const { call, from } = this.#parts
    const args = { file: this.#number, position, length: Math.min(length, PIECE), ...from }
    const answer = await call('files.read', args, { deadline: WORK_MS, idempotent: true, signal })
    return Uint8Array.from(bytesOf(answer))
  }

  async #openAgain(signal: AbortSignal): Promise<void> {
    const { call, from, segments, access } = this.#parts
    const args = { path: segments, ...accessOf(access), head: 0, ...from }
    const { file, node } = fieldsOf(await call('files.open', args, { deadline: WORK_MS, signal }))
    if (fromWireNode(node).generation !== this.node.generation)
      throw new CosmosError('ESTALE', segments.at(-1) ?? '/', 'is another file by now')
    this.#number = countOf(file, 'a file')
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    this.#head = undefined
    for (let at = 0; at < bytes.length; at += PIECE) {
      while (this.#unwritten >= MAX_UNWRITTEN) await Promise.race(this.#writing)
      this.#tellFailure()
      this.#send(position + at, bytes.subarray(at, at + PIECE))
    }
  }

  #send(position: number, bytes: Uint8Array): void {
    const { call, from } = this.#parts
    const args = { file: this.#number, position, bytes, ...from }
    this.#unwritten += bytes.length
    const sending = call('files.write', args, { deadline: WORK_MS })
      .then(
        () => {},
        (error: unknown) => {
          this.#failure ??= error
        },
      )
      .finally(() => {
        this.#unwritten -= bytes.length
        this.#writing.delete(sending)
      })
    this.#writing.add(sending)
  }

  async flush(): Promise<void> {
    if (this.#writing.size > 0) await Promise.all(this.#writing)
    this.#tellFailure()
  }

  async sync(): Promise<void> {
    await this.flush()
    const { call, from } = this.#parts
    await call('files.sync', { file: this.#number, ...from }, { deadline: WORK_MS })
  }

  async close(): Promise<void> {
    const { call, from } = this.#parts
    try {
      await this.flush()
    } finally {
      await call('files.close', { file: this.#number, ...from }, { deadline: LOOK_MS })
    }
  }

  #tellFailure(): void {
    const failure = this.#failure
    if (failure === undefined) return
    this.#failure = undefined
    throw failure
  }
}
