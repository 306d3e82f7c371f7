import { setTimeout as sleep } from 'node:timers/promises'
import { CosmosError } from '../../errors.ts'
import type {
  SourceAccess,
  SourceEntry,
  SourceFile,
  SourceNode,
  SourcePath,
  SourceService,
} from '../../source/service.ts'
import { OverloadError } from '../session/errors.ts'
import type { CallOptions } from '../session/outgoing-call.ts'
import { bytesOf, countOf, fieldsOf, fromWireNode, isName, wrong } from './wire.ts'

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
/** Names that a directory of a peer may have. */
const MAX_ENTRIES = 1_000_000
/** How long what a peer has put off waits at least, milliseconds; twice as long each time. */
const FIRST_WAIT = 5
const LONGEST_WAIT = 200

export function peerFiles({ call: callOnce, lend }: PeerFilesOptions): SourceService {
  const call = patient(callOnce)
  const writers = new Writers()
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
      ...{ call, from, writers },
      segments: place(path),
      access,
      number: countOf(file, 'a file'),
      node: nodeOf(node),
      head: head === undefined ? undefined : bytesOf(head),
    })
  }
  /** Does something to a path when what was written to it before has arrived. */
  const after = async (op: string, path: SourcePath, args: object): Promise<unknown> => {
    await writers.of(place(path))
    return work(op, { path: place(path), ...args })
  }
  const made = async (op: string, path: SourcePath, args: object): Promise<SourceNode> =>
    nodeOf(await after(op, path, args))

  return {
    async stat(path, signal) {
      await writers.of(place(path))
      return nodeOf(await look('stat', { path: place(path) }, signal))
    },
    async list(path, signal) {
      await writers.in(place(path))
      const listing = new Listing(nodeOf)
      const args = { path: place(path), ...from }
      const stop = AbortSignal.any([signal, listing.signal])
      try {
        await call('files.list', args, {
          deadline: WORK_MS,
          signal: stop,
          event: (_op, sent) => listing.take(sent),
        })
      } catch (error) {
        throw listing.failure ?? error
      }
      return listing.entries
    },
    async open(path, access) {
      await writers.of(place(path))
      const args = { path: place(path), ...accessOf(access), head: HEAD, ...from }
      // What truncates has an effect, and is not done twice.
      // It is not cancelled: what the peer had opened by then nobody would close.
      const options = { deadline: WORK_MS, idempotent: !access.truncate }
      return opened(await call('files.open', args, options), path, access)
    },
    async create(path, mode, access) {
      return opened(await work('create', { path: place(path), mode, ...accessOf(access) }), path, access)
    },
    mkdir: (path, mode) => made('mkdir', path, { mode }),
    symlink: (path, target) => made('symlink', path, { target }),
    link: (path, to) => made('link', path, { to: place(to) }),
    async unlink(path) {
      await after('unlink', path, {})
    },
    async rmdir(path) {
      await work('rmdir', { path: place(path) })
    },
    async rename(path, to, keep) {
      await after('rename', path, { to: place(to), keep })
    },
    change: (path, change) => made('change', path, { ...change }),
  }
}

function accessOf({ read, write, truncate }: SourceAccess): object {
  return { read, write, truncate }
}

/** Asks again what a peer, or the session with it, has put off: it was not begun. */
function patient(call: CallPeer): CallPeer {
  return async (op, args, options = {}) => {
    const { deadline = WORK_MS, signal } = options
    const end = performance.now() + deadline
    for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      try {
        return await call(op, args, { ...options, deadline: Math.max(1, end - performance.now()) })
      } catch (error) {
        if (!(error instanceof OverloadError) || signal?.aborted || performance.now() + wait > end)
          throw error
        await sleep(wait)
      }
    }
  }
}

/** What comes of a directory, in several events, so that none is too large for one message. */
class Listing {
  readonly entries: SourceEntry[] = []
  readonly #nodeOf: (sent: unknown) => SourceNode
  readonly #stop = new AbortController()

  constructor(nodeOf: (sent: unknown) => SourceNode) {
    this.#nodeOf = nodeOf
  }

  /** Aborted when nothing more of it is wanted. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Why the peer's word is not taken. */
  get failure(): unknown {
    return this.signal.reason
  }

  take(sent: unknown): void {
    if (this.signal.aborted) return
    try {
      if (!Array.isArray(sent) || this.entries.length + sent.length > MAX_ENTRIES) throw wrong('a list')
      for (const entry of sent) {
        if (!Array.isArray(entry) || !isName(entry[0])) throw wrong('a list')
        this.entries.push({ name: entry[0], node: this.#nodeOf(entry[1]) })
      }
    } catch (error) {
      this.entries.length = 0
      this.#stop.abort(error)
    }
  }
}

/** Files that are being written: who asks about one is told how it is when what was written has arrived. */
class Writers {
  readonly #files = new Map<string, Map<string, Set<PeerFile>>>()

  add(segments: readonly string[], file: PeerFile): void {
    const [directory, name] = split(segments)
    const names = this.#files.get(directory) ?? new Map<string, Set<PeerFile>>()
    this.#files.set(directory, names.set(name, (names.get(name) ?? new Set()).add(file)))
  }

  remove(segments: readonly string[], file: PeerFile): void {
    const [directory, name] = split(segments)
    const names = this.#files.get(directory)
    const files = names?.get(name)
    files?.delete(file)
    if (files?.size === 0) names?.delete(name)
    if (names?.size === 0) this.#files.delete(directory)
  }

  /** Settles when all that was written to a path has arrived, or has failed: that its own writer is told. */
  async of(segments: readonly string[]): Promise<void> {
    const [directory, name] = split(segments)
    const files = this.#files.get(directory)?.get(name)
    if (files) await Promise.all([...files].map((file) => file.written()))
  }

  /** The same for all in a directory. */
  async in(segments: readonly string[]): Promise<void> {
    const names = this.#files.get(segments.join('/'))
    if (names)
      await Promise.all([...names.values()].flatMap((files) => [...files].map((file) => file.written())))
  }
}

function split(segments: readonly string[]): [directory: string, name: string] {
  return [segments.slice(0, -1).join('/'), segments.at(-1) ?? '']
}

interface PeerFileParts {
  readonly call: CallPeer
  readonly from: object
  readonly writers: Writers
  readonly segments: readonly string[]
  readonly access: SourceAccess
  readonly number: number
  readonly node: SourceNode
  readonly head: Uint8Array | undefined
}

/** Bytes on their way: where they go, and when they are there, or have failed. */
interface Writing {
  readonly from: number
  readonly to: number
  readonly done: Promise<void>
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
  readonly #writing = new Set<Writing>()
  #opening: Promise<void> | undefined

  constructor(parts: PeerFileParts) {
    this.#parts = parts
    this.node = parts.node
    this.#number = parts.number
    this.#head = parts.head
    if (parts.access.write) parts.writers.add(parts.segments, this)
  }

  async read(position: number, length: number, signal: AbortSignal): Promise<Uint8Array> {
    await this.flush()
    await this.#parts.writers.of(this.#parts.segments)
    const head = this.#head
    const size = this.node.size ?? 0
    if (head && position + Math.min(length, size - position) <= head.length)
      return head.subarray(position, position + length)
    try {
      return await this.#read(position, length, signal)
    } catch (error) {
      // The peer was started anew: the same content is opened again, and nothing else.
      if (!(error instanceof CosmosError) || error.code !== 'ESTALE' || this.#parts.access.write) throw error
      this.#opening ??= this.#openAgain().finally(() => {
        this.#opening = undefined
      })
      await this.#opening
      return this.#read(position, length, signal)
    }
  }

  async #read(position: number, length: number, signal: AbortSignal): Promise<Uint8Array> {
    const { call, from } = this.#parts
    const wanted = Math.min(length, PIECE)
    const args = { file: this.#number, position, length: wanted, ...from }
    const answer = bytesOf(await call('files.read', args, { deadline: WORK_MS, idempotent: true, signal }))
    if (answer.length > wanted) throw wrong('as much as was asked for')
    // What an answer brings is its caller's: the session has copied it out of the message, or joined its pieces.
    return answer
  }

  async #openAgain(): Promise<void> {
    const { call, from, segments, access } = this.#parts
    const args = { path: segments, ...accessOf(access), head: 0, ...from }
    const { file, node } = fieldsOf(await call('files.open', args, { deadline: WORK_MS }))
    const number = countOf(file, 'a file')
    if (fromWireNode(node).generation === this.node.generation) {
      this.#number = number
      return
    }
    await call('files.close', { file: number, ...from }, { deadline: LOOK_MS })
    throw new CosmosError('ESTALE', segments.at(-1) ?? '/', 'is another file by now')
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    this.#head = undefined
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE)
      await this.#room(position + at, piece.length)
      this.#tellFailure()
      this.#send(position + at, piece)
    }
  }

  /** Settles when few bytes are on their way, and none that would be written over: those could arrive later. */
  async #room(position: number, length: number): Promise<void> {
    const isInTheWay = ({ from, to }: Writing) => from < position + length && position < to
    for (;;) {
      const before = [...this.#writing].filter(isInTheWay)
      if (before.length > 0) await before[0]!.done
      else if (this.#unwritten >= MAX_UNWRITTEN)
        await Promise.race([...this.#writing].map(({ done }) => done))
      else return
    }
  }

  #send(position: number, bytes: Uint8Array): void {
    const { call, from } = this.#parts
    const args = { file: this.#number, position, bytes, ...from }
    this.#unwritten += bytes.length
    const done = call('files.write', args, { deadline: WORK_MS })
      .then(
        () => {},
        (error: unknown) => {
          this.#failure ??= error
        },
      )
      .finally(() => {
        this.#unwritten -= bytes.length
        this.#writing.delete(writing)
      })
    const writing = { from: position, to: position + bytes.length, done }
    this.#writing.add(writing)
  }

  async flush(): Promise<void> {
    await this.written()
    this.#tellFailure()
  }

  /** Settles when nothing is on its way; what went wrong is not told. */
  async written(): Promise<void> {
    if (this.#writing.size > 0) await Promise.all([...this.#writing].map(({ done }) => done))
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
      if (this.#parts.access.write) this.#parts.writers.remove(this.#parts.segments, this)
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
