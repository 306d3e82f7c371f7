import { RENAME_NOREPLACE, S_IFDIR } from '../../os/constants.ts'
import { EINVAL, EISDIR, ENOENT, ENOMEM, ENXIO, ESTALE, EXDEV } from '../../os/errno.ts'
import type { SourceAnswer, SourceQuestion, ToSources } from '../../source/requests.ts'
import type { SourceNode, SourcePath } from '../../source/service.ts'
import { ROOT_NODE, type TreeCore } from '../core.ts'
import { REMOTE } from '../frames.ts'
import type { AttributeChange, HandleId, Name, NodeId } from '../operations.ts'
import { nameText, pathBytes } from '../paths.ts'
import { changeOf, fillRemote, typeBits } from './attributes.ts'
import { RemoteFiles } from './files.ts'
import { Known } from './known.ts'
import { linkTarget, rootOf, sourcePathOf } from './path.ts'
import { Questions } from './questions.ts'

/**
 * Frames of the sources that must be waited for: what is below `https:`, `ssh:` or a peer's directory (design §4, §7).
 * Operations answer as the tree's do; PENDING where a source has to be asked first.
 */

export interface RemotesParts {
  /** Names in the root, at the start. */
  readonly roots: readonly string[]
  /** Where the tree is mounted, one character a byte: a host's absolute links lead below it. */
  readonly mount: string
  /** Undefined where no request can be let wait: there are no sources then. */
  readonly send: ((message: ToSources) => void) | undefined
}

/** lseek(2). */
const SEEK_HOLE = 4
/** The directory of a scheme: it is used with this user's keys, so it is nobody else's. */
const ROOT_OF_SOURCE: SourceNode = { type: 'directory', size: 0, mode: 0o700, fresh: 1000 }

export class Remotes {
  readonly #core: TreeCore
  readonly #mount: string
  readonly #known: Known
  readonly questions: Questions
  readonly files: RemoteFiles
  #roots: ReadonlySet<string>

  constructor(core: TreeCore, { roots, mount, send }: RemotesParts) {
    this.#core = core
    this.#mount = mount
    this.#roots = new Set(send ? roots : [])
    this.questions = new Questions(core, send ?? (() => {}))
    this.#known = new Known(this.questions)
    this.files = new RemoteFiles(core, this.questions, this.#known)
  }

  /** Names in the root that are sources; those that begin with a dot are not listed. */
  get roots(): ReadonlySet<string> {
    return this.#roots
  }

  /** The sources are others by now. */
  setRoots(roots: readonly string[]): void {
    const { invalidate } = this.#core.services
    const changed = [...this.#roots, ...roots].filter(
      (name) => !this.#roots.has(name) || !roots.includes(name),
    )
    this.#roots = new Set(roots)
    for (const name of changed) {
      const bytes = pathBytes(name)
      invalidate.name(ROOT_NODE, bytes, 0, bytes.length)
      this.#known.forgetBelow(`/${name}`)
    }
    if (changed.length > 0) invalidate.node(ROOT_NODE, true)
  }

  /** What a name of a remote directory is: 0 with the entry's results, PENDING, or `-errno`. */
  lookup(parent: NodeId, name: Name): number {
    const text = nameText(name)
    if (parent === ROOT_NODE && text.endsWith(':')) return this.#answerEntry(parent, name, ROOT_OF_SOURCE)
    const node = this.child(parent, text)
    return typeof node === 'number' ? node : this.#answerEntry(parent, name, node)
  }

  /** A name of a remote directory, PENDING, or `-errno`. */
  child(parent: NodeId, name: string): SourceNode | number {
    return this.#known.node(this.#pathIn(parent, name))
  }

  /** Why a name of a remote directory, or without one its own names, could not be had. */
  why(directory: NodeId, name?: string): string | undefined {
    return this.#known.why(
      name === undefined ? this.#core.treePath(directory) : this.#pathIn(directory, name),
    )
  }

  /** The node that a frame is, as it was last known. */
  last(slot: NodeId): SourceNode | undefined {
    return this.#known.last(this.#core.treePath(slot))
  }

  /** The frame of a name that is known; 0 for none. */
  knownFrame(parent: NodeId, name: Name): NodeId {
    const node = this.#known.last(this.#pathIn(parent, nameText(name)))
    return node ? this.#core.anchors.named(REMOTE, parent, name, typeBits(node)) : 0
  }

  /** Whether a name can be told with its attributes without asking. */
  isKnown(parent: NodeId, name: string): boolean {
    return this.#known.has(this.#pathIn(parent, name))
  }

  /** Bytes of a property that a name's service has of its own; undefined for none, PENDING. */
  property(parent: NodeId, name: string, property: string): ReturnType<Known['property']> {
    return this.#known.property(this.#pathIn(parent, name), property)
  }

  /** The same as it was last known. */
  lastProperty(parent: NodeId, name: string, property: string): Uint8Array | undefined {
    return this.#known.lastProperty(this.#pathIn(parent, name), property)
  }

  getattr(slot: NodeId): number {
    const node = this.#nodeOf(slot)
    if (typeof node === 'number') return node === -ENOENT ? -ESTALE : node
    if (typeBits(node) !== this.#core.frames.type(slot)) return -ESTALE
    fillRemote(this.#core, slot, node)
    return 0
  }

  readlink(slot: NodeId, address: number, size: number): number {
    const node = this.#nodeOf(slot)
    if (typeof node === 'number') return node
    const target = linkTarget(node.target ?? '', this.#core.treePath(slot), this.#mount)
    return this.#core.writeText(target, address, size)
  }

  /** Names and DT_* types of a directory; PENDING or `-errno`. */
  names(slot: NodeId): Map<string, number> | number {
    const path = this.#core.treePath(slot)
    // Nobody can name all hosts.
    if (this.#core.frames.parent(slot) === ROOT_NODE && path.endsWith(':')) return new Map()
    const names = this.#known.names(path)
    if (typeof names === 'number') return names
    return new Map([...names].map(([name, node]) => [name, node ? typeBits(node) >> 12 : 0]))
  }

  open(slot: NodeId, flags: number): number {
    return this.#core.frames.type(slot) === S_IFDIR ? -EISDIR : this.files.open(slot, flags)
  }

  create(parent: NodeId, name: Name, flags: number, mode: number): number {
    const text = nameText(name)
    const answer = this.files.create(this.#pathIn(parent, text), flags, mode)
    if (typeof answer === 'number') return answer
    const result = this.#made(parent, name, answer)
    return result < 0 ? result : this.files.opened(this.#core.entryNode, flags, answer)
  }

  mkdir(parent: NodeId, name: Name, mode: number): number {
    const masked = mode & 0o7777 & ~this.#core.request.umask
    return this.#make(parent, name, (path) => ({ op: 'mkdir', path, mode: masked }))
  }

  symlink(parent: NodeId, name: Name, target: Name): number {
    return this.#make(parent, name, (path) => ({ op: 'symlink', path, target: nameText(target) }))
  }

  link(slot: NodeId, parent: NodeId, name: Name): number {
    if (!this.#sameSource(slot, parent)) return -EXDEV
    const from = this.#core.treePath(slot)
    this.#known.forget(from)
    return this.#make(parent, name, (to) => ({ op: 'link', path: sourcePathOf(from), to }))
  }

  /** Removes a name; `op` says what it may be. */
  remove(parent: NodeId, name: Name, op: 'unlink' | 'rmdir'): number {
    const text = nameText(name)
    const answer = this.questions.askOnce({ op, path: this.#sourcePathIn(parent, text) })
    if (answer === -ENOENT) this.#known.changed(this.#core.treePath(parent), text)
    if (typeof answer === 'number') return answer
    this.#known.changed(this.#core.treePath(parent), text)
    return 0
  }

  rename(parent: NodeId, name: Name, newParent: NodeId, newName: Name, flags: number): number {
    if ((flags & ~RENAME_NOREPLACE) !== 0) return -EINVAL
    if (!this.#sameSource(parent, newParent)) return -EXDEV
    const [from, to] = [nameText(name), nameText(newName)]
    const [path, target] = [this.#sourcePathIn(parent, from), this.#sourcePathIn(newParent, to)]
    const answer = this.questions.askOnce({ op: 'rename', path, to: target, keep: flags !== 0 })
    if (typeof answer === 'number') return answer
    this.#known.forgetBelow(this.#pathIn(parent, from))
    this.#known.forgetBelow(this.#pathIn(newParent, to))
    this.#known.changed(this.#core.treePath(parent), from)
    this.#known.changed(this.#core.treePath(newParent), to)
    this.#core.anchors.move(parent, name, newParent, newName)
    return 0
  }

  setattr(slot: NodeId, change: AttributeChange): number {
    const path = this.#core.treePath(slot)
    const answer = this.questions.askOnce({
      op: 'change',
      path: sourcePathOf(path),
      change: changeOf(change),
    })
    if (answer === -ENOENT) {
      this.#known.forget(path)
      return -ESTALE
    }
    if (typeof answer === 'number') return answer
    this.#known.forget(path)
    if (!answer.node) return -ESTALE
    this.#known.keep(path, answer.node)
    fillRemote(this.#core, slot, answer.node)
    return 0
  }

  /** There are no holes to be seen. */
  lseek(slot: NodeId, _handle: HandleId, position: number, whence: number): number {
    const node = this.#nodeOf(slot)
    if (typeof node === 'number') return node
    const size = node.size ?? 0
    if (position >= size) return -ENXIO
    return whence === SEEK_HOLE ? size : position
  }

  #make(parent: NodeId, name: Name, question: (path: SourcePath) => SourceQuestion): number {
    const answer = this.questions.askOnce(question(this.#sourcePathIn(parent, nameText(name))))
    return typeof answer === 'number' ? answer : this.#made(parent, name, answer)
  }

  #made(parent: NodeId, name: Name, { node }: SourceAnswer): number {
    const text = nameText(name)
    this.#known.changed(this.#core.treePath(parent), text)
    if (!node) return -ENOENT
    this.#known.keep(this.#pathIn(parent, text), node)
    return this.#answerEntry(parent, name, node)
  }

  #answerEntry(parent: NodeId, name: Name, node: SourceNode): number {
    const { anchors, frames, validity } = this.#core
    const slot = anchors.named(REMOTE, parent, name, typeBits(node))
    if (slot === 0) return -ENOMEM
    frames.setLookups(slot, frames.lookups(slot) + 1)
    this.#core.entryNode = slot
    fillRemote(this.#core, slot, node)
    validity.entry = validity.attributes
    return 0
  }

  #nodeOf(slot: NodeId): SourceNode | number {
    const path = this.#core.treePath(slot)
    return this.#core.frames.parent(slot) === ROOT_NODE && path.endsWith(':')
      ? ROOT_OF_SOURCE
      : this.#known.node(path)
  }

  #sameSource(a: NodeId, b: NodeId): boolean {
    const { frames } = this.#core
    if (frames.kind(a) !== REMOTE || frames.kind(b) !== REMOTE) return false
    return rootOf(this.#core.treePath(a)) === rootOf(this.#core.treePath(b))
  }

  #pathIn(parent: NodeId, name: string): string {
    return parent === ROOT_NODE ? `/${name}` : `${this.#core.treePath(parent)}/${name}`
  }

  #sourcePathIn(parent: NodeId, name: string): SourcePath {
    return sourcePathOf(this.#pathIn(parent, name))
  }
}
