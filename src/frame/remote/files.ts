import { O_ACCMODE, O_EXCL, O_RDONLY, O_TRUNC, O_WRONLY } from '../../os/constants.ts'
import { EEXIST, ENFILE, ENOENT, ESTALE } from '../../os/errno.ts'
import { copyFromAddress } from '../../os/memory.ts'
import type { SourceAnswer, SourceQuestion, SourceTransfer } from '../../source/requests.ts'
import type { SourceAccess } from '../../source/service.ts'
import type { TreeCore } from '../core.ts'
import { type HandleId, type NodeId, PENDING } from '../operations.ts'
import { remember } from '../remember.ts'
import type { Known } from './known.ts'
import { sourcePathOf } from './path.ts'
import type { Questions } from './questions.ts'

/** The bit of a resent request's number (FUSE_UNIQUE_RESEND), in its high word. */
const RESENT_HIGH = 0x80000000

/**
 * Open files of sources. Each has a number that the main thread knows it by; what is read and written goes between the
 * kernel and the main thread, which answers by itself.
 */
export class RemoteFiles {
  readonly #core: TreeCore
  readonly #questions: Questions
  readonly #known: Known
  readonly #numbers = new Map<HandleId, number>()
  /** Generations that the kernel has pages of, by frame. */
  readonly #cached = new Map<NodeId, string>()
  #lastNumber = 0

  constructor(core: TreeCore, questions: Questions, known: Known) {
    this.#core = core
    this.#questions = questions
    this.#known = known
  }

  /** A frame is about to be freed. */
  forget(slot: NodeId): void {
    this.#cached.delete(slot)
  }

  /** Opens a file: 0 with `opened`, PENDING, or `-errno`. */
  open(slot: NodeId, flags: number): number {
    const place = this.#core.treePath(slot)
    const path = sourcePathOf(place)
    const answer = this.#ask({ op: 'open', path, file: this.#lastNumber + 1, access: accessOf(flags) })
    if (answer === -ENOENT) {
      // It has gone meanwhile: the kernel, which believes in it, looks it up again.
      this.#known.forget(place)
      return -ESTALE
    }
    return typeof answer === 'number' ? answer : this.opened(slot, flags, answer)
  }

  /** Makes a file and opens it: the answer, for `opened`; PENDING, or `-errno`. */
  create(path: string, flags: number, mode: number): SourceAnswer | number {
    const answer = this.#ask({
      op: 'create',
      path: sourcePathOf(path),
      mode: mode & 0o7777 & ~this.#core.request.umask,
      file: this.#lastNumber + 1,
      access: accessOf(flags),
    })
    // It has come meanwhile: the kernel looks it up again.
    if (answer === -EEXIST && (flags & O_EXCL) === 0) return -ESTALE
    return typeof answer === 'number' || answer.node ? answer : -ENOENT
  }

  /** A handle of what was opened: 0 with `opened`, or -ENFILE. */
  opened(slot: NodeId, flags: number, { node, file }: SourceAnswer): number {
    const { frames, handles, opened } = this.#core
    const handle = handles.allocate(slot, flags)
    if (handle === 0) return -ENFILE
    if (file !== undefined) this.#numbers.set(handle, file)
    frames.setOpens(slot, frames.opens(slot) + 1)
    const generation = node?.generation
    opened.handle = handle
    opened.backingId = 0
    opened.flush = accessOf(flags).write
    opened.directIo = node?.size === undefined
    opened.keepCache = generation !== undefined && this.#cached.get(slot) === generation
    if (generation !== undefined) remember(this.#cached, slot, generation)
    if (node) this.#known.keep(this.#core.treePath(slot), node)
    return 0
  }

  read(slot: NodeId, handle: HandleId, size: number, position: number): number {
    return this.#transfer(slot, handle, { op: 'read', position, size })
  }

  write(slot: NodeId, handle: HandleId, address: number, size: number, position: number): number {
    this.#known.forget(this.#core.treePath(slot))
    this.#cached.delete(slot)
    return this.#transfer(slot, handle, {
      op: 'write',
      position,
      size,
      bytes: copyFromAddress(address, size),
    })
  }

  flush(slot: NodeId, handle: HandleId): number {
    const { handles } = this.#core
    const writes = handles.exists(handle) && (handles.flags(handle) & O_ACCMODE) !== O_RDONLY
    return writes ? this.#transfer(slot, handle, { op: 'flush', position: 0, size: 0 }) : 0
  }

  sync(slot: NodeId, handle: HandleId): number {
    return this.#transfer(slot, handle, { op: 'sync', position: 0, size: 0 })
  }

  release(slot: NodeId, handle: HandleId): number {
    const { frames, handles } = this.#core
    const file = this.#numbers.get(handle)
    if (file !== undefined) this.#questions.send({ type: 'close', file })
    this.#numbers.delete(handle)
    handles.free(handle)
    frames.setOpens(slot, frames.opens(slot) - 1)
    this.#core.settle(slot)
    return 0
  }

  /** Asks with a new file's number, which is used up when the question is sent. */
  #ask(question: SourceQuestion): SourceAnswer | number {
    const answer = this.#questions.askOnce(question)
    if (answer === PENDING) this.#lastNumber++
    return answer
  }

  /** Leaves the request at hand to the main thread. */
  #transfer(
    slot: NodeId,
    handle: HandleId,
    work: Pick<SourceTransfer, 'op' | 'position' | 'size' | 'bytes'>,
  ): typeof PENDING {
    const { job, request } = this.#core
    const { uniqueLow } = request
    const uniqueHigh = request.resent ? request.uniqueHigh + RESENT_HIGH : request.uniqueHigh
    const file = this.#numberOf(slot, handle)
    this.#questions.send({ type: 'transfer', uniqueLow, uniqueHigh, file, ...work })
    job.kind = 'away'
    return PENDING
  }

  /** The number of an open file; one that a former daemon had open is opened again. */
  #numberOf(slot: NodeId, handle: HandleId): number {
    const known = this.#numbers.get(handle)
    if (known !== undefined) return known
    const file = ++this.#lastNumber
    const access = { ...accessOf(this.#core.handles.flags(handle)), truncate: false }
    const path = sourcePathOf(this.#core.treePath(slot))
    this.#questions.send({ type: 'question', key: '', question: { op: 'open', path, file, access } })
    this.#numbers.set(handle, file)
    return file
  }
}

function accessOf(flags: number): SourceAccess {
  const access = flags & O_ACCMODE
  return { read: access !== O_WRONLY, write: access !== O_RDONLY, truncate: (flags & O_TRUNC) !== 0 }
}
