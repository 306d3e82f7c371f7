import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { CosmosError } from '../../errors.ts'
import { readable } from '../../frame/paths.ts'
import type { SourceChange, SourceFile, SourcePath, SourceService } from '../../source/service.ts'
import { OverloadError } from '../session/errors.ts'
import type { CallContext } from '../session/incoming-call.ts'
import {
  bytesOf,
  countOf,
  fieldsOf,
  fromWirePath,
  isTime,
  targetOf,
  textOf,
  toWireNode,
  wrong,
} from './wire.ts'

/** Whether a path may be used so: of this host, one character a byte. */
export type FileOperation = 'lookup' | 'list' | 'read' | 'write'

/** What a peer may do with files here. */
export interface FileRights {
  /** `lend`: the token of a directory that is lent for a call; undefined: what grants give. */
  allows(operation: FileOperation, path: string, lend: string | undefined): boolean
  /** Whether what has one path may get another. */
  moves(from: string, to: string, lend: string | undefined): boolean
  /** Something was refused. */
  refused(operation: FileOperation, path: string): void
}

interface OpenFile {
  readonly file: Promise<SourceFile>
  readonly path: string
  readonly lend: string | undefined
  readonly writes: boolean
}

/** Open files of one peer. */
const MAX_FILES = 4096
/** Entries of one event. */
const BATCH = 512
const MAX_READ = 1024 * 1024
/** Bytes that are being read for one peer; what is more is put off. They lie in memory until they are sent. */
const MAX_READING = 8 * 1024 * 1024
/** When what was put off may be asked again, milliseconds. */
const READ_AGAIN = 5
/** Bytes that may come with an opening. */
const MAX_HEAD = 256 * 1024
/** Permissions that a peer may give: no setuid, no setgid. */
const PEER_MODE = 0o1777

/**
 * Answers a peer's questions about files of this host, each evaluated against what it may do now: a grant that is
 * revoked ends the reads of what is open. Paths are without links, so that what a grant says is what is reached.
 */
export class FileDesk {
  readonly #host: SourceService
  readonly #rights: FileRights
  readonly #files = new Map<number, OpenFile>()
  /** Another in each life of the daemon: a peer may still go by numbers of a former one. */
  #lastFile = randomInt(2 ** 47)
  #reading = 0

  constructor(host: SourceService, rights: FileRights) {
    this.#host = host
    this.#rights = rights
  }

  /** Answers `files.OP`. Rejects with CosmosError. */
  async call(op: string, args: unknown, context: CallContext): Promise<unknown> {
    const fields = fieldsOf(args)
    const lend = fields.lend === undefined ? undefined : textOf(fields.lend, 'a lend')
    if ('file' in fields) return this.#onFile(op, fields, lend, context)
    const path = pathOf(fields.path)
    switch (op) {
      case 'stat':
        this.#check('lookup', path, lend)
        return toWireNode(await this.#host.stat(path, context.signal))
      case 'list':
        return this.#list(path, lend, context)
      case 'open':
      case 'create':
        return this.#open(op, path, fields, lend, context)
      case 'mkdir':
        this.#check('write', path, lend)
        return toWireNode(await need(this.#host.mkdir)(path, modeOf(fields.mode)))
      case 'symlink':
        this.#check('write', path, lend)
        return toWireNode(await need(this.#host.symlink)(path, targetOf(fields.target)))
      case 'link': {
        const to = pathOf(fields.to)
        this.#check('write', path, lend)
        this.#check('write', to, lend)
        this.#checkMove(path, to, lend)
        return toWireNode(await need(this.#host.link)(path, to))
      }
      case 'unlink':
        this.#check('write', path, lend)
        return need(this.#host.unlink)(path)
      case 'rmdir':
        this.#check('write', path, lend)
        return need(this.#host.rmdir)(path)
      case 'rename': {
        const to = pathOf(fields.to)
        this.#check('write', path, lend)
        this.#check('write', to, lend)
        this.#checkMove(path, to, lend)
        return need(this.#host.rename)(path, to, fields.keep === true)
      }
      case 'change':
        this.#check('write', path, lend)
        return toWireNode(await need(this.#host.change)(path, changeOf(fields)))
      default:
        throw new CosmosError('ENOSYS', `files.${op}`, 'is no operation here')
    }
  }

  /** Closes all that the peer has open. */
  async close(): Promise<void> {
    const open = [...this.#files.values()]
    this.#files.clear()
    await Promise.allSettled(open.map(async ({ file }) => (await file).close()))
  }

  /** What is open of a directory that is lent no longer. */
  endLend(lend: string): void {
    for (const [number, open] of this.#files) {
      if (open.lend !== lend) continue
      this.#files.delete(number)
      void open.file.then((file) => file.close()).catch(() => {})
    }
  }

  async #list(path: SourcePath, lend: string | undefined, context: CallContext): Promise<void> {
    this.#check('list', path, lend)
    const entries = await this.#host.list(path, context.signal)
    const directory = textOfPath(path)
    const prefix = directory === '/' ? '/' : `${directory}/`
    const shown = entries.filter(({ name, node }) => node && this.#rights.allows('list', prefix + name, lend))
    for (let at = 0; at < shown.length; at += BATCH) {
      const batch = shown.slice(at, at + BATCH)
      const sent = batch.map(({ name, node }) => [name, toWireNode(node!)])
      await patiently(() => context.notify('entries', sent), context.signal)
    }
  }

  async #open(
    op: 'open' | 'create',
    path: SourcePath,
    fields: Readonly<Record<string, unknown>>,
    lend: string | undefined,
    context: CallContext,
  ): Promise<unknown> {
    const access = {
      read: fields.read === true,
      write: fields.write === true || op === 'create',
      truncate: fields.truncate === true,
    }
    const writes = access.write || access.truncate
    if (writes) this.#check('write', path, lend)
    if (access.read || !writes) this.#check('read', path, lend)
    if (this.#files.size >= MAX_FILES)
      throw new CosmosError('EMFILE', textOfPath(path), 'has too many files open here')
    const number = ++this.#lastFile
    const opening =
      op === 'create'
        ? need(this.#host.create)(path, modeOf(fields.mode), access)
        : this.#host.open(path, access, context.signal)
    this.#files.set(number, { file: opening, path: textOfPath(path), lend, writes })
    try {
      const file = await opening
      const wanted = Math.min(fields.head === undefined ? 0 : countOf(fields.head, 'a size'), MAX_HEAD)
      const { node } = file
      const isSmall = access.read && !writes && node.size !== undefined && node.size <= wanted
      const head = isSmall
        ? await this.#read(node.size, () => file.read(0, node.size!, context.signal))
        : undefined
      // Nobody would close it.
      context.signal.throwIfAborted()
      return { file: number, node: toWireNode(node), ...(head && { head }) }
    } catch (error) {
      this.#files.delete(number)
      void opening.then((file) => file.close()).catch(() => {})
      throw error
    }
  }

  /** Reads, unless so much is being read already. Throws OverloadError. */
  async #read<T>(length: number, work: () => Promise<T>): Promise<T> {
    if (this.#reading + length > MAX_READING)
      throw new OverloadError('read', 'too much is being read', READ_AGAIN)
    this.#reading += length
    try {
      return await work()
    } finally {
      this.#reading -= length
    }
  }

  async #onFile(
    op: string,
    fields: Readonly<Record<string, unknown>>,
    lend: string | undefined,
    context: CallContext,
  ): Promise<unknown> {
    const number = countOf(fields.file, 'a file')
    const open = this.#files.get(number)
    if (op === 'close') {
      this.#files.delete(number)
      return (await open?.file)?.close()
    }
    if (!open || open.lend !== lend) throw new CosmosError('ESTALE', String(number), 'is not open here')
    this.#allow(op === 'write' || (op !== 'read' && open.writes) ? 'write' : 'read', open.path, lend)
    const file = await open.file
    switch (op) {
      case 'read': {
        const length = Math.min(countOf(fields.length, 'a length'), MAX_READ)
        const position = countOf(fields.position, 'a position')
        return this.#read(length, () => file.read(position, length, context.signal))
      }
      case 'write':
        if (!file.write || !open.writes) throw new CosmosError('EBADF', open.path, 'is not open for writing')
        await file.write(countOf(fields.position, 'a position'), bytesOf(fields.bytes))
        return null
      case 'sync':
        await (file.sync ?? file.flush)?.call(file)
        return null
      default:
        throw new CosmosError('ENOSYS', `files.${op}`, 'is no operation here')
    }
  }

  #check(operation: FileOperation, path: SourcePath, lend: string | undefined): void {
    this.#allow(operation, textOfPath(path), lend)
  }

  /** Throws EXDEV, which has tools copy what they may read. */
  #checkMove(from: SourcePath, to: SourcePath, lend: string | undefined): void {
    const [path, target] = [textOfPath(from), textOfPath(to)]
    if (this.#rights.moves(path, target, lend)) return
    this.#rights.refused('write', path)
    throw new CosmosError('EXDEV', readable(path), 'is granted otherwise than what it would become')
  }

  /** Throws ENOENT for what may not even be looked up, EACCES for the rest. */
  #allow(operation: FileOperation, path: string, lend: string | undefined): void {
    if (this.#rights.allows(operation, path, lend)) return
    this.#rights.refused(operation, path)
    const isSeen = operation !== 'lookup' && this.#rights.allows('lookup', path, lend)
    throw CosmosError.fromErrno(isSeen ? -13 : -2, readable(path))
  }
}

function need<F>(method: F | undefined): F {
  if (!method) throw new CosmosError('EROFS', 'host', 'is read-only')
  return method
}

/** Sends what has to wait for room as soon as there is some: what waits for a peer is bounded. */
async function patiently(send: () => void, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted()
    try {
      send()
      return
    } catch (error) {
      if (!(error instanceof OverloadError)) throw error
      await sleep(error.retry, undefined, { signal })
    }
  }
}

function pathOf(sent: unknown): SourcePath {
  return { scheme: 'file', segments: fromWirePath(sent) }
}

function textOfPath({ segments }: SourcePath): string {
  return `/${segments.join('/')}`
}

function modeOf(sent: unknown): number {
  return countOf(sent, 'a mode') & PEER_MODE
}

/** A peer gives nothing away: owners stay. */
function changeOf({ mode, uid, gid, size, atime, mtime }: Readonly<Record<string, unknown>>): SourceChange {
  if (uid !== undefined || gid !== undefined)
    throw new CosmosError('EPERM', 'owner', 'is not changed over a link')
  return {
    ...(mode !== undefined && { mode: modeOf(mode) }),
    ...(size !== undefined && { size: countOf(size, 'a size') }),
    ...(atime !== undefined && { atime: timeOf(atime) }),
    ...(mtime !== undefined && { mtime: timeOf(mtime) }),
  }
}

function timeOf(sent: unknown): number {
  if (!isTime(sent)) throw wrong('a time')
  return sent
}
