import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { mkdirat } from '../../os/libc.ts'
import { remember } from '../answers.ts'
import type { TreeCore } from '../core.ts'
import { type HandleId, type Name, type NodeId, PENDING } from '../operations.ts'
import { nameText, pathBytes } from '../paths.ts'

/**
 * Writing through `.d`: `echo value > file.yaml.d/key` (docs/fudge.md). Until its writer closes it, an entry is a file
 * of the result in the store; then the document is changed by a VM, and the result, which is of another input by then,
 * is never shown again. One whose change failed, or whose daemon died, is dropped.
 */

/** What the main thread is asked to do to a document. Paths and names have one character a byte. */
export interface EditRequest {
  readonly key: string
  readonly path: string
  /** Device and inode that it must have, as stat(2) tells them. */
  readonly identity: string
  readonly form: string
  /** Entries from the root. */
  readonly at: readonly string[]
  readonly action: 'set' | 'remove' | 'mkdir'
  readonly text: Buffer | undefined
}

/** A document that a directory is made of, and may be changed by it. */
export interface Editable {
  readonly path: string
  readonly name: string
  readonly identity: string
  /** Another one when it is changed. */
  readonly generation: string
  readonly form: string
  readonly parent: NodeId
  /** The result in the store. */
  readonly output: string
}

export interface EditsParts {
  /** A directory; one character a byte. */
  readonly store: string
  /** Has a document changed; `ended` is called then. */
  readonly edit: (request: EditRequest) => void
  /** What may be changed by what is in a directory that was made; undefined, or `-errno`, for nothing. */
  readonly editable: (anchor: NodeId) => Editable | number
  /** What was made of a generation of a document is not to be shown any more. */
  readonly dropped: (generation: string) => void
  /** The kernel is to look up anew what is made of a file. */
  readonly changed: (parent: NodeId, name: string) => void
  /** Keys of edits that have ended, for whoever waits. */
  readonly tell: (key: string) => void
}

/** An entry that is open for writing. */
interface OpenEntry {
  readonly node: NodeId
  /** What it was before; undefined for a new one. */
  readonly former: Buffer | undefined
  /** What was written back last, or is not to be: the state in which it was opened. */
  last: Buffer
  isWritten: boolean
}

/** Beside a result that was changed. */
const MARK = '.edited'
/** Ends of edits that nobody has asked for. */
const CAPACITY = 1000

export class Edits {
  readonly #core: TreeCore
  readonly #parts: EditsParts
  readonly #open = new Map<HandleId, OpenEntry>()
  readonly #pending = new Map<string, Editable>()
  readonly #ended = new Map<string, number>()

  constructor(core: TreeCore, parts: EditsParts) {
    this.#core = core
    this.#parts = parts
    this.#dropChanged()
  }

  /** Whether something may be changed in a directory or a file of a result that is read-only else: 0 or `-errno`. */
  mayChange(slot: NodeId): number {
    const found = this.#parts.editable(this.#core.frames.context(slot))
    return typeof found === 'number' ? found : 0
  }

  /** An entry is open for writing. `former` is what it was, undefined for a new one. */
  opened(handle: HandleId, node: NodeId, former: Buffer | undefined): void {
    const found = this.#parts.editable(this.#core.frames.context(node))
    if (typeof found === 'number') return
    this.#mark(found)
    this.#core.opened.flush = true
    this.#open.set(handle, { node, former, last: this.contentOf(node), isWritten: false })
  }

  /** The content of an entry. */
  contentOf(node: NodeId): Buffer {
    try {
      return readFileSync(pathBytes(this.#core.hostPath(node)))
    } catch {
      return Buffer.alloc(0)
    }
  }

  /** A writer closes a handle: 0, PENDING while the document is changed, or `-errno`. */
  flush(handle: HandleId): number {
    const entry = this.#open.get(handle)
    if (!entry) return 0
    const known = this.#result()
    if (known !== undefined) return known
    const content = this.contentOf(entry.node)
    if (content.equals(entry.last)) return 0
    entry.last = content
    entry.isWritten = true
    return this.#begin(entry.node, this.#pathOf(entry.node), 'set', content)
  }

  /** A handle is gone. What was only truncated is written back now: nobody waits for it. */
  released(handle: HandleId): void {
    const entry = this.#open.get(handle)
    if (!entry) return
    this.#open.delete(handle)
    if (entry.isWritten || this.#core.frames.parent(entry.node) === 0) return
    const content = this.contentOf(entry.node)
    if (entry.former?.equals(content)) this.#unmark(entry.node)
    else this.#begin(entry.node, this.#pathOf(entry.node), 'set', content, `released:${handle}:${Date.now()}`)
  }

  /** Removes an entry from the document: 0, PENDING or `-errno`. */
  remove(parent: NodeId, name: Name): number {
    return (
      this.#result() ?? this.#begin(parent, [...this.#pathOf(parent), nameText(name)], 'remove', undefined)
    )
  }

  /** Makes an entry that is to have members: 0 with the entry's results, PENDING or `-errno`. */
  mkdir(parent: NodeId, name: Name): number {
    const result =
      this.#result() ?? this.#begin(parent, [...this.#pathOf(parent), nameText(name)], 'mkdir', undefined)
    if (result !== 0) return result
    const core = this.#core
    // The result is of the former document; who made the directory is in it.
    const directory = core.nodeFd(parent)
    if (directory < 0) return directory
    const made = mkdirat(directory, name.address, 0o755)
    if (made < 0) return made
    const stated = core.statIn(directory, name)
    return stated < 0 ? stated : remember(core, parent, name, core.localLayer(parent))
  }

  /** An edit has ended: 0 or `-errno`. */
  ended(key: string, result: number): void {
    const found = this.#pending.get(key)
    this.#pending.delete(key)
    if (!found) return
    this.#ended.set(key, result)
    if (this.#ended.size > CAPACITY) this.#ended.delete(this.#ended.keys().next().value as string)
    if (result < 0) {
      this.#drop(found.output)
      this.#parts.dropped(found.generation)
    }
    this.#parts.changed(found.parent, found.name)
    this.#parts.tell(key)
  }

  /** What has come of the edit that the request at hand waited for. */
  #result(): number | undefined {
    const key = this.#key()
    const known = this.#ended.get(key)
    this.#ended.delete(key)
    return known
  }

  #key(): string {
    const { uniqueHigh, uniqueLow } = this.#core.request
    return `edit:${uniqueHigh}:${uniqueLow}`
  }

  #begin(
    slot: NodeId,
    at: readonly string[],
    action: EditRequest['action'],
    text: Buffer | undefined,
    key = this.#key(),
  ): number {
    const found = this.#parts.editable(this.#core.frames.context(slot))
    if (typeof found === 'number') return found
    const { path, identity, form } = found
    this.#mark(found)
    this.#pending.set(key, found)
    this.#parts.edit({ key, path, identity, form, at, action, text })
    const { job } = this.#core
    job.kind = 'produce'
    job.key = key
    job.again = true
    return PENDING
  }

  #pathOf(slot: NodeId): string[] {
    const path = this.#core.pathInStack(slot)
    return path === '' ? [] : path.split('/')
  }

  #mark({ output }: Editable): void {
    writeFileSync(pathBytes(output + MARK), '')
  }

  #unmark(node: NodeId): void {
    const anchor = this.#core.frames.context(node)
    for (const { node: other } of this.#open.values()) if (this.#core.frames.context(other) === anchor) return
    const found = this.#parts.editable(anchor)
    if (typeof found !== 'number') rmSync(pathBytes(found.output + MARK), { force: true })
  }

  /** A result that is not what its input makes. */
  #drop(output: string): void {
    const place = pathBytes(output)
    if (statSync(place, { throwIfNoEntry: false }))
      renameSync(place, pathBytes(`${output}.dropped.${process.hrtime.bigint()}`))
    rmSync(pathBytes(output + MARK), { force: true })
  }

  /** What a daemon that died has left changed. */
  #dropChanged(): void {
    let names: string[] = []
    try {
      names = readdirSync(pathBytes(this.#parts.store), 'latin1')
    } catch {
      // There is no store yet.
    }
    for (const name of names)
      if (name.endsWith(MARK)) this.#drop(`${this.#parts.store}/${name.slice(0, -MARK.length)}`)
  }
}
