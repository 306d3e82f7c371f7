import { createHash } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { CosmosError } from '../errors.ts'
import { Budget, type Limits } from './budget.ts'
import { entryNames, originalName } from './entry-names.ts'

/** The mapped tree: what a mapper makes of a stream, and how it lies on disk. */

/** What a node is in a format that tells kinds of values apart. `line`: a line whose text is also its name. */
export type NodeType = 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null' | 'date' | 'line'

/** A node of a mapped tree. */
export interface MappedNode {
  /** As the document has it: any text, also several times among its siblings. */
  readonly name: string
  /** Text, or bytes that are no text. */
  readonly text?: string | Uint8Array
  /** In the document's order. A node with children, be they none, is a directory. */
  readonly children?: readonly MappedNode[]
  readonly properties?: ReadonlyMap<string, string>
  /** Of a value that is more than a text or a set of named ones. */
  readonly type?: NodeType
  /** A symbolic link, to this place: relative, inside of the tree. */
  readonly link?: string
  /** It has children that were not mapped, because they lie deeper than what was asked for. */
  readonly left?: boolean
}

/** What is known of an entry that its file or directory cannot say. */
export interface IndexEntry {
  /** Relative to the tree's directory; `''` is the directory itself. */
  readonly path: string
  /** The node's own name, where the entry's is not the same. */
  readonly name?: string
  readonly type?: NodeType
  readonly properties?: Readonly<Record<string, string>>
  /** Its children are not written. */
  readonly left?: true
}

/** What {@link writeTree} has written. */
export interface WrittenTree {
  /** Files, directories and links, without the tree's own directory. */
  readonly entries: number
  /** Bytes of the files. */
  readonly bytes: number
  /** Directories whose children are not written. */
  readonly left: number
  readonly index: readonly IndexEntry[]
  /** By the path of a directory, the entries of it that are directories and not written. */
  readonly leftNames: ReadonlyMap<string, readonly string[]>
}

/** Name of the entry with the own text of a node that has children too. */
export const OWN_TEXT = '#text'
/** A path that is longer cannot be opened (PATH_MAX of limits.h), and something stands before it in a mount. */
const MAX_PATH = 3840

/** Suffix of the directory beside a tree that has names of what is not written. */
export const LEFT_SUFFIX = '.left'
/** Modes of directories; the sticky bit is that of one that was made, and whose members are not written yet. */
const DIRECTORY_MODE = 0o755
const LEFT_BIT = 0o1000
const LEFT_MODE = DIRECTORY_MODE | LEFT_BIT

/** Suffix of the file beside a tree that has its index: an {@link IndexEntry} a line, JSON. */
export const INDEX_SUFFIX = '.index'

/** The children as they are listed: a node's own text is the first where it has both. */
export function listedChildren(node: MappedNode): readonly MappedNode[] {
  if (node.children === undefined) return []
  return node.text === undefined ? node.children : [{ name: OWN_TEXT, text: node.text }, ...node.children]
}

/**
 * Writes a tree to a directory, which must not exist. A node with children is a directory, another one a file: its
 * text and a newline, or its bytes as they are; empty where it has neither. The tree's root is always a directory;
 * one that is only a text has it in the file `#text`. Names are those of {@link entryNames}. `depth` writes so many
 * levels, and what is met below as long as that are fewer than `more` nodes; other directories are not there: they are
 * `left` in the index, and their names in what is answered. Nothing is written outside of the directory.
 * Throws CosmosError EFBIG for more than `limits` allow, ENOSPC, EEXIST and others of the file system.
 */
export function writeTree(
  root: MappedNode,
  directory: string,
  depth = Number.POSITIVE_INFINITY,
  more = 0,
  limits?: Limits,
): WrittenTree {
  const writer = new TreeWriter(directory, depth, more, limits)
  try {
    mkdirSync(directory)
    writer.root(root)
  } catch (error) {
    throw fileError(error, directory)
  }
  return writer.written
}

/**
 * Writes what was left of a tree: the members of the directory at an entry's path, and those of the directories behind
 * it as long as the tree has them. `parent` is the node above. What is there of an attempt that was not ended goes.
 * Throws CosmosError as {@link writeTree}.
 */
export function fillTree(
  parent: MappedNode,
  directory: string,
  at: readonly string[],
  depth: number,
  more: number,
): WrittenTree {
  const writer = new TreeWriter(directory, at.length + depth, more)
  const above = at.slice(0, -1)
  const children = listedChildren(parent)
  const names = entryNames(children)
  const first = names.indexOf(at.at(-1) ?? '')
  if (first < 0) throw new CosmosError('ENOENT', at.join('/'), 'is not in the tree')
  try {
    for (let i = first; i < children.length; i++) {
      const child = children[i]!
      if (i > first && (child.left || writer.isFull)) break
      const path = [...above, names[i]!].join('/')
      if (child.children === undefined) continue
      const former = lstatSync(`${directory}/${path}`, { throwIfNoEntry: false })
      if (!former) makeLeft(`${directory}/${path}`)
      else if (!former.isDirectory() || (former.mode & LEFT_BIT) === 0) continue
      for (const name of readdirSync(`${directory}/${path}`))
        rmSync(`${directory}/${path}/${name}`, { recursive: true })
      writer.level(path, listedChildren(child), at.length + 1)
      writeLeftNames(directory, writer.takeLeftNames())
      // It counts as filled from here on.
      chmodSync(`${directory}/${path}`, DIRECTORY_MODE)
    }
  } catch (error) {
    throw fileError(error, directory)
  }
  return writer.written
}

/** Makes a directory that is to be filled; whoever looks for it may have made it too. */
function makeLeft(place: string): void {
  try {
    mkdirSync(place, LEFT_MODE)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/**
 * Where the names of the entries of a tree's directory are that are directories and not written: a file beside the
 * tree, the names each with a NUL behind it.
 */
export function leftNamesPath(directory: string, path: string): string {
  return `${directory}${LEFT_SUFFIX}/${createHash('sha256').update(path, 'utf8').digest('hex').slice(0, 32)}`
}

/** Writes the names of what was left. Throws CosmosError. */
export function writeLeftNames(directory: string, leftNames: ReadonlyMap<string, readonly string[]>): void {
  if (leftNames.size === 0) return
  try {
    mkdirSync(directory + LEFT_SUFFIX, { recursive: true })
    for (const [path, names] of leftNames)
      writeFileSync(leftNamesPath(directory, path), names.map((name) => `${name}\0`).join(''))
  } catch (error) {
    throw fileError(error, directory + LEFT_SUFFIX)
  }
}

class TreeWriter {
  readonly #directory: string
  readonly #depth: number
  readonly #more: number
  readonly #budget: Budget
  readonly #index: IndexEntry[] = []
  #leftNames = new Map<string, string[]>()
  #bytes = 0
  #left = 0

  constructor(directory: string, depth: number, more: number, limits?: Limits) {
    this.#directory = directory
    this.#depth = depth
    this.#more = more
    this.#budget = new Budget('tree', limits)
  }

  get written(): WrittenTree {
    return {
      entries: this.#budget.nodes,
      bytes: this.#bytes,
      left: this.#left,
      index: this.#index,
      leftNames: this.#leftNames,
    }
  }

  /** The names of what was left since it was last asked. */
  takeLeftNames(): ReadonlyMap<string, readonly string[]> {
    const names = this.#leftNames
    this.#leftNames = new Map()
    return names
  }

  /** Whether no more is written than what is asked for. */
  get isFull(): boolean {
    return this.#budget.nodes >= this.#more
  }

  root(root: MappedNode): void {
    const isLeft = root.left === true
    this.#note('', '', root, isLeft)
    if (!isLeft) this.level('', root.children ? listedChildren(root) : [{ ...root, name: OWN_TEXT }], 1)
  }

  level(path: string, children: readonly MappedNode[], level: number): void {
    const names = entryNames(children)
    for (const [i, child] of children.entries()) {
      const entry = names[i]!
      const below = path === '' ? entry : `${path}/${entry}`
      this.#budget.node(level)
      if (below.length > MAX_PATH) throw this.#budget.exceeded('a path is longer than a file system takes')
      const place = `${this.#directory}/${below}`
      const isCut = level >= this.#depth && this.isFull
      const isLeft = child.left === true || (isCut && listedChildren(child).length > 0)
      if (child.link !== undefined) symlinkSync(child.link, place)
      else if (child.children === undefined && !child.left) {
        const content = contentOf(child)
        this.#bytes += content.length
        this.#budget.bytes(content.length)
        writeFileSync(place, content, { flag: 'wx' })
      } else if (!isLeft) mkdirSync(place, DIRECTORY_MODE)
      else {
        const left = this.#leftNames.get(path)
        if (left) left.push(entry)
        else this.#leftNames.set(path, [entry])
      }
      this.#note(below, entry, child, isLeft)
      if (child.children !== undefined && !isLeft) this.level(below, listedChildren(child), level + 1)
    }
  }

  #note(path: string, entry: string, node: MappedNode, isLeft: boolean): void {
    const { name, type, properties } = node
    const isRenamed = path !== '' && name !== entry
    if (!isRenamed && type === undefined && !properties?.size && !isLeft) return
    this.#index.push({
      path,
      ...(isRenamed && { name }),
      ...(type !== undefined && { type }),
      ...(properties?.size && { properties: Object.fromEntries(properties) }),
      ...(isLeft && { left: true }),
    })
    if (isLeft) this.#left++
  }
}

/** What a leaf's file holds. */
export function contentOf({ text }: MappedNode): Buffer {
  if (text === undefined) return Buffer.alloc(0)
  return typeof text === 'string' ? Buffer.from(`${text}\n`) : Buffer.from(text)
}

/** Adds to a tree's index beside it; nothing where there is nothing. Throws CosmosError. */
export function writeIndex(directory: string, index: readonly IndexEntry[]): void {
  if (index.length === 0) return
  try {
    appendFileSync(directory + INDEX_SUFFIX, index.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
  } catch (error) {
    throw fileError(error, directory + INDEX_SUFFIX)
  }
}

/** The index of a tree; empty where it has none. Throws CosmosError. */
export function readIndex(directory: string): IndexEntry[] {
  try {
    const lines = readFileSync(directory + INDEX_SUFFIX, 'utf8').split('\n')
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw fileError(error, directory + INDEX_SUFFIX)
  }
}

/**
 * The tree of a directory: one that was written comes back as it was but for its order, which is that of the names,
 * numbers by value. Texts that are not UTF-8 are bytes. Throws CosmosError EFBIG, and of the file system.
 */
export function readTree(directory: string, limits?: Limits): MappedNode {
  const budget = new Budget('tree', limits)
  const known = new Map(readIndex(directory).map((entry) => [entry.path, entry]))

  function described(path: string, name: string): MappedNode {
    const { type, properties, ...entry } = known.get(path) ?? { path }
    return {
      name: entry.name ?? originalName(name),
      ...(type !== undefined && { type }),
      ...(properties && { properties: new Map(Object.entries(properties)) }),
    }
  }

  function readLevel(path: string, name: string, level: number): MappedNode {
    const children: MappedNode[] = []
    const listed = readdirSync(`${directory}/${path}`, { withFileTypes: true })
    for (const entry of listed.sort((a, b) => inOrder(a.name, b.name))) {
      budget.node(level)
      const below = path === '' ? entry.name : `${path}/${entry.name}`
      const place = `${directory}/${below}`
      if (entry.isDirectory()) children.push(readLevel(below, entry.name, level + 1))
      else if (entry.isSymbolicLink())
        children.push({ ...described(below, entry.name), link: readlinkSync(place) })
      else if (entry.isFile()) {
        const bytes = readFileSync(place)
        budget.bytes(bytes.length)
        children.push({ ...described(below, entry.name), ...textOf(bytes) })
      }
    }
    return { ...described(path, name), children }
  }

  try {
    return readLevel('', '', 1)
  } catch (error) {
    throw fileError(error, directory)
  }
}

function textOf(bytes: Buffer): { text?: string | Uint8Array } {
  if (bytes.length === 0) return {}
  const text = bytes.toString('utf8')
  if (bytes.at(-1) !== 10 || !Buffer.from(text).equals(bytes)) return { text: bytes }
  return { text: text.slice(0, -1) }
}

function inOrder(a: string, b: string): number {
  const [first, second] = [Number(a), Number(b)]
  if (Number.isFinite(first) && Number.isFinite(second) && first !== second) return first - second
  return a < b ? -1 : 1
}

/** The node that an entry's path leads to. Throws CosmosError ENOENT. */
export function nodeAt(root: MappedNode, path: readonly string[]): MappedNode {
  let node = root
  for (const [i, entry] of path.entries()) {
    const children = listedChildren(node)
    const found = children[entryNames(children).indexOf(entry)]
    if (!found) throw new CosmosError('ENOENT', path.slice(0, i + 1).join('/'), 'is not in the tree')
    node = found
  }
  return node
}

function fileError(error: unknown, subject: string): CosmosError {
  if (error instanceof CosmosError) return error
  const { errno, message } = error as NodeJS.ErrnoException
  return errno === undefined
    ? new CosmosError('EIO', subject, message)
    : CosmosError.fromErrno(errno, subject)
}
