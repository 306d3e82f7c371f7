import { posix } from 'node:path'
import type { Budget } from '../budget.ts'
import type { MappedNode } from '../tree.ts'

/** A file or link of an archive. */
export interface ArchiveFile {
  readonly bytes?: Uint8Array
  readonly link?: string
  readonly properties: ReadonlyMap<string, string>
}

interface Folder {
  readonly entries: Map<string, Folder | ArchiveFile>
  properties: ReadonlyMap<string, string>
  /** It has entries that were not read. */
  isLeft: boolean
}

/** The tree of an archive's entries as they come. What would lie outside of it is left out, and said. */
export class Archive {
  readonly #budget: Budget
  readonly #root: Folder = newFolder()
  readonly #leftOut: string[] = []
  readonly depth: number

  constructor(budget: Budget, depth = Number.POSITIVE_INFINITY) {
    this.#budget = budget
    this.depth = depth
  }

  /** The names that a path consists of; undefined for one that is left out. */
  pathOf(path: string): string[] | undefined {
    const parts = path.split('/').filter((part) => part !== '' && part !== '.')
    if (path.startsWith('/')) return this.leaveOut(path, 'an absolute path')
    if (parts.includes('..')) return this.leaveOut(path, 'leads outside')
    if (path.includes('\0')) return this.leaveOut(path, 'a NUL in its name')
    return parts
  }

  leaveOut(path: string, why: string): undefined {
    this.#leftOut.push(`${path.replaceAll('\n', '?')}: ${why}`)
  }

  /** Whether an entry lies deeper than what is wanted: then its folder only says that there is more. */
  isTooDeep(parts: readonly string[]): boolean {
    if (parts.length <= this.depth) return false
    const folder = this.#folder(parts.slice(0, this.depth))
    if (folder) folder.isLeft = true
    return true
  }

  addFolder(parts: readonly string[], properties: ReadonlyMap<string, string>): void {
    const folder = this.#folder(parts)
    if (folder && parts.length > 0) folder.properties = properties
  }

  /** A later entry of the same path replaces the former. */
  addFile(parts: readonly string[], file: ArchiveFile): void {
    const name = parts.at(-1)
    const folder = this.#folder(parts.slice(0, -1))
    if (name === undefined || folder === undefined) return
    if (!folder.entries.has(name)) this.#budget.node(parts.length)
    folder.entries.set(name, file)
  }

  /** Adds a link; one that leads outside, or could by way of another link, is left out. */
  addLink(parts: readonly string[], target: string, properties: ReadonlyMap<string, string>): void {
    const path = parts.join('/')
    const ups = /^(?:\.\.\/)*(?:\.\.)?/.exec(target)?.[0].split('/').filter(Boolean).length ?? 0
    const isInside =
      target !== '' &&
      !target.startsWith('/') &&
      !target.includes('\0') &&
      ups < parts.length &&
      !target.split('/').slice(ups).includes('..')
    if (isInside) this.addFile(parts, { link: target, properties })
    else this.leaveOut(path, `a link that leads outside, to ${target}`)
  }

  /** A file that is the same as one before. */
  addHardLink(parts: readonly string[], target: string, properties: ReadonlyMap<string, string>): void {
    const former = this.#find(posix.normalize(target).split('/').filter(Boolean))
    if (former?.bytes) this.addFile(parts, { bytes: former.bytes, properties })
    else this.leaveOut(parts.join('/'), `a link to ${target}, which is no file before it`)
  }

  tree(): MappedNode {
    const root = nodeOf('', this.#root)
    if (this.#leftOut.length === 0) return root
    return { ...root, properties: new Map([['left-out', this.#leftOut.join('\n')]]) }
  }

  #find(parts: readonly string[]): ArchiveFile | undefined {
    let at: Folder | ArchiveFile | undefined = this.#root
    for (const part of parts) at = at && 'entries' in at ? at.entries.get(part) : undefined
    return at && !('entries' in at) ? at : undefined
  }

  /** Undefined where a file or link stands in the way. */
  #folder(parts: readonly string[]): Folder | undefined {
    let folder = this.#root
    for (const [i, part] of parts.entries()) {
      let next = folder.entries.get(part)
      if (next === undefined) {
        this.#budget.node(i + 1)
        next = newFolder()
        folder.entries.set(part, next)
      }
      if (!('entries' in next)) return this.leaveOut(parts.join('/'), `${part} is no directory`)
      folder = next
    }
    return folder
  }
}

function newFolder(): Folder {
  return { entries: new Map(), properties: new Map(), isLeft: false }
}

function nodeOf(name: string, entry: Folder | ArchiveFile): MappedNode {
  const about = { name, ...(entry.properties.size > 0 && { properties: entry.properties }) }
  if ('entries' in entry) {
    if (entry.isLeft && entry.entries.size === 0) return { ...about, left: true }
    return { ...about, children: [...entry.entries].map(([child, one]) => nodeOf(child, one)) }
  }
  if (entry.link !== undefined) return { ...about, link: entry.link }
  return { ...about, text: entry.bytes ?? new Uint8Array() }
}
