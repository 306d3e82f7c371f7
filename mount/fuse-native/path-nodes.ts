import type { Name, NodeId, Request, TreeOperations } from '../../src/frame/operations.ts'
import { S_IFDIR, S_IFMT } from '../../src/os/constants.ts'
import { ENAMETOOLONG, ENOTDIR } from '../../src/os/errno.ts'
import { allocateNative } from '../../src/os/memory.ts'

const ROOT: NodeId = 1
const MOST_NAME = 255
/** Directories remembered at most, and for how long (milliseconds). */
const MOST_KNOWN = 1024
const KNOWN_FOR = 1000

/** A name in memory of its own that can be used for one text after the other. */
export class ReusableName implements Name {
  readonly bytes: Buffer
  readonly offset = 0
  readonly address: number
  length = 0

  constructor(size: number) {
    const memory = allocateNative(size + 1)
    this.bytes = memory.bytes
    this.address = memory.address
  }

  /** Takes text with one character a byte, which must fit. */
  set(text: string): this {
    this.length = this.bytes.write(text, 0, 'latin1')
    this.bytes[this.length] = 0
    return this
  }
}

/**
 * Finds nodes by path: each component is looked up, and the lookups are undone with `release`. Directories on the way
 * are remembered for a second, or until something changes a name.
 */
export class PathNodes {
  readonly #tree: TreeOperations
  readonly #name = new ReusableName(MOST_NAME)
  /** Directories by path; each holds one lookup. */
  readonly #known = new Map<string, NodeId>()
  #knownSince = 0
  #stale = false
  readonly #held: NodeId[] = []

  constructor(tree: TreeOperations) {
    this.#tree = tree
  }

  /** What is remembered is wrong from now on; may be called within an operation. */
  readonly forgetAll = (): void => {
    this.#stale = true
  }

  /** Before an operation: drops what is no longer to be believed. */
  begin(): void {
    if (this.#known.size === 0) return
    if (this.#stale || this.#known.size >= MOST_KNOWN || performance.now() - this.#knownSince > KNOWN_FOR)
      this.#drop()
  }

  /** The node of a path from the mount's root, or `-errno`; its attributes are in `tree.attributes`. */
  node(path: string): NodeId {
    const end = path.lastIndexOf('/')
    if (path.length === end + 1) {
      const result = this.#tree.getattr(ROOT, 0)
      return result < 0 ? result : ROOT
    }
    const parent = this.#directory(path.slice(0, end))
    return parent < 0 ? parent : this.#lookup(parent, path.slice(end + 1), true)
  }

  /** The node of the directory that a path's last name is in, or `-errno`. */
  parent(path: string): NodeId {
    return this.#directory(path.slice(0, path.lastIndexOf('/')))
  }

  /** A lookup that an operation has counted is undone with the others. */
  hold(node: NodeId): void {
    if (node !== 0) this.#held.push(node)
  }

  /** Keeps the lookup of a node beyond the operation; `tree.forget` undoes it. */
  keep(node: NodeId): void {
    const at = this.#held.lastIndexOf(node)
    if (at >= 0) this.#held.splice(at, 1)
  }

  /** After an operation: undoes its lookups. */
  release(): void {
    for (let node = this.#held.pop(); node !== undefined; node = this.#held.pop()) this.#tree.forget(node, 1)
  }

  /** Undoes everything. */
  end(): void {
    this.release()
    this.#drop()
  }

  #directory(path: string): NodeId {
    if (path === '') return ROOT
    const known = this.#known.get(path)
    if (known !== undefined) return known
    const end = path.lastIndexOf('/')
    const parent = this.#directory(path.slice(0, end))
    if (parent < 0) return parent
    const node = this.#lookup(parent, path.slice(end + 1), false)
    if (node < 0) return node
    if ((this.#tree.attributes.mode & S_IFMT) !== S_IFDIR) {
      this.#tree.forget(node, 1)
      return -ENOTDIR
    }
    if (this.#known.size === 0) this.#knownSince = performance.now()
    this.#known.set(path, node)
    return node
  }

  #lookup(parent: NodeId, name: string, hold: boolean): NodeId {
    if (name.length > MOST_NAME) return -ENAMETOOLONG
    const result = this.#tree.lookup(parent, this.#name.set(name))
    if (result < 0) return result
    const node = this.#tree.entryNode
    if (hold) this.#held.push(node)
    return node
  }

  #drop(): void {
    this.#stale = false
    for (const node of this.#known.values()) this.#tree.forget(node, 1)
    this.#known.clear()
  }
}

/** The library tells no caller: everything is asked for by the daemon's user. The kernel has applied the umask. */
export function setRequest(request: Request): void {
  request.uid = process.getuid?.() ?? 0
  request.gid = process.getgid?.() ?? 0
  request.pid = 0
  request.umask = 0
  request.uniqueLow = 0
  request.uniqueHigh = 0
  request.resent = false
}
