import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH } from '../os/constants.ts'
import { ENOENT, ENOTDIR } from '../os/errno.ts'
import { close, openat } from '../os/libc.ts'
import { cString } from '../os/memory.ts'
import { ANCHOR_COSM, type Stack } from '../source/stacks.ts'
import type { TreeCore } from './core.ts'
import { ANCHOR } from './frames.ts'
import type { Attributes, Name, NodeId } from './operations.ts'
import { nameText } from './paths.ts'

const OPEN_DIRECTORY = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
/** Directories with their descriptors cached. */
const CAPACITY = 512
/** How long a directory is believed whose missing layers nobody watches, milliseconds. */
const FRESH = 1000

const isRoot = process.getuid?.() === 0

/** One directory of a stack of several layers: its descriptor in each layer, -1 where a layer has none. */
interface Merged {
  readonly fds: Int32Array
  /** All its directories are watched, and no layer can come into it unseen. */
  readonly watched: boolean
  readonly complete: boolean
  readonly borrowed: boolean
  readonly madeAt: number
}

/** Whose a directory is. */
interface Owner {
  readonly uid: number
  readonly gid: number
}

/** Mode bits of one class that let it list a directory and go on from there. */
const READ_AND_PASS = 0o5

/** The descriptors of directories of stacks with several layers. */
export class MergedDirectories {
  readonly #core: TreeCore
  readonly #cache = new Map<NodeId, Merged>()
  #closing: number[] = []

  constructor(core: TreeCore) {
    this.#core = core
  }

  /** O_PATH descriptor of a directory in one layer, or -ENOENT. */
  fd(slot: NodeId, layer: number): number {
    const fd = this.#get(slot).fds[layer]
    return fd === undefined || fd < 0 ? -ENOENT : fd
  }

  /** O_PATH descriptor in the first layer that has the directory, or -ENOENT. */
  firstFd(slot: NodeId): number {
    for (const fd of this.#get(slot).fds) if (fd >= 0) return fd
    return -ENOENT
  }

  /** Descriptors by layer; -1 where a layer has none. Holds until the operation is over. */
  fds(slot: NodeId): Int32Array {
    return this.#get(slot).fds
  }

  has(slot: NodeId): boolean {
    return this.#cache.has(slot)
  }

  watched(slot: NodeId): boolean {
    return this.#get(slot).watched
  }

  isWatched(slot: NodeId): boolean {
    const known = this.#cache.get(slot)
    return known?.watched ?? false
  }

  /** statx of a name, nearest layer first: the layer's index or `-errno`. */
  statChild(parent: NodeId, stack: Stack, name: Name): number {
    const { fds } = this.#get(parent)
    for (let layer = 0; layer < fds.length; layer++) {
      const fd = fds[layer]!
      if (layer === stack.local + 1 && this.isWhiteout(parent, stack, nameText(name))) return -ENOENT
      if (fd < 0) continue
      const { hidden } = stack.layers[layer]!
      if (hidden && parent === stack.slot && hidden.has(nameText(name))) continue
      const result = this.#core.statIn(fd, name)
      if (result === 0) return layer
      if (result !== -ENOENT) return result
    }
    return -ENOENT
  }

  /** Whether a whiteout hides what lower layers have at a name. */
  isWhiteout(parent: NodeId, stack: Stack, name: string): boolean {
    if (stack.whiteouts.size === 0) return false
    const path = this.#core.pathInStack(parent)
    return stack.whiteouts.has(path === '' ? name : `${path}/${name}`)
  }

  /** Whether a layer below the local one has a name, hidden or not. */
  lowerHas(parent: NodeId, stack: Stack, name: Name): boolean {
    const { fds } = this.#get(parent)
    for (let layer = stack.local + 1; layer < fds.length; layer++)
      if (fds[layer]! >= 0 && this.#core.statIn(fds[layer]!, name) === 0) return true
    return false
  }

  /** Moves the times in `into` to those of the newest layer. */
  newestTime(slot: NodeId, into: Attributes): void {
    const core = this.#core
    const stack = core.stackOf(slot)
    for (const fd of this.#get(slot).fds) if (fd >= 0 && core.stat.descriptor(fd) === 0) core.stat.newer(into)
    if (stack.programs && core.pathInStack(slot) === 'bin') stack.programs.newer(into)
  }

  drop(slot: NodeId): void {
    const known = this.#cache.get(slot)
    if (!known) return
    this.#cache.delete(slot)
    for (const fd of known.fds) if (fd >= 0) this.#closing.push(fd)
  }

  clear(): void {
    for (const slot of [...this.#cache.keys()]) this.drop(slot)
  }

  /** Between operations: closes those with borrowed descriptors. */
  giveBack(): void {
    for (const [slot, { borrowed }] of [...this.#cache]) if (borrowed) this.drop(slot)
  }

  closeLater(fd: number): void {
    this.#closing.push(fd)
  }

  /** Between operations. */
  trim(): void {
    while (this.#cache.size > CAPACITY) {
      const oldest = this.#cache.keys().next().value
      if (oldest === undefined) break
      this.drop(oldest)
    }
    if (this.#closing.length === 0) return
    for (const fd of this.#closing) close(fd)
    this.#closing = []
  }

  #get(slot: NodeId): Merged {
    const known = this.#cache.get(slot)
    if (known && (known.complete || performance.now() - known.madeAt < FRESH)) return known
    if (known) this.drop(slot)
    const made = this.#make(slot)
    this.#cache.set(slot, made)
    // The times of a layer that comes in or goes need not be the newest: the kernel would keep its listing.
    if (known?.fds.some((fd, layer) => fd >= 0 !== made.fds[layer]! >= 0))
      this.#core.services.invalidate.node(slot, true)
    return made
  }

  #make(slot: NodeId): Merged {
    const core = this.#core
    const stack = core.stackOf(slot)
    const fds = new Int32Array(stack.layers.length).fill(-1)
    const madeAt = performance.now()
    const isAnchor = core.frames.kind(slot) === ANCHOR
    let complete = true
    let borrowed = false
    const path = core.pathInStack(slot)
    const parent = isAnchor ? undefined : this.#get(core.frames.parent(slot))
    const whiteout = parent ? stack.whiteouts.has(path) : false
    // A cosm's layers are of several owners; a daemon that is root opens them all.
    const guarded = isRoot && stack.type === ANCHOR_COSM
    let first: Owner | undefined
    for (let layer = 0; layer < fds.length; layer++) {
      const { at, path: root } = stack.layers[layer]!
      if (layer > stack.local && whiteout) break
      if (at === path) {
        fds[layer] = this.#openRoot(root, guarded)
        if (fds[layer]! < 0) complete = false
      } else if (parent && parent.fds[layer]! >= 0) {
        const fd = openat(parent.fds[layer]!, core.nameOf(slot).address, OPEN_DIRECTORY, 0)
        if (fd === -ENOTDIR) break
        fds[layer] = fd
      }
      // Who may read a layer can change unseen.
      if (guarded && first && fds[layer]! >= 0) complete = false
      if (fds[layer]! < 0) fds[layer] = -1
      else if (this.#isCosmosMount(fds[layer]!) || (guarded && first && this.#isClosedTo(first))) {
        this.#closing.push(fds[layer]!)
        fds[layer] = -1
      } else {
        first ??= { uid: core.stat.uid, gid: core.stat.gid }
        if (core.borrowed.isBorrowed(core.stat.device)) borrowed = true
      }
    }
    if (parent && !parent.complete) complete = false
    if (stack.programs && path === 'bin') complete = false
    let watched = complete
    for (const fd of fds) if (fd >= 0 && !this.#watch(slot, fd)) watched = false
    return { fds, watched, complete, borrowed, madeAt }
  }

  /**
   * O_PATH descriptor of a layer's root or `-errno`. `guarded`: a link that a user made leads to what is his, not
   * wherever root may go.
   */
  #openRoot(path: string, guarded: boolean): number {
    const { stat } = this.#core
    const { address } = cString(Buffer.from(path, 'latin1'))
    const found = guarded ? stat.child(AT_FDCWD, address) : 0
    if (found < 0) return found
    const owner = stat.uid
    const fd = openat(AT_FDCWD, address, O_PATH | O_DIRECTORY | O_CLOEXEC, 0)
    if (!guarded || fd < 0 || owner === 0 || (stat.descriptor(fd) === 0 && stat.uid === owner)) return fd
    close(fd)
    return -ENOENT
  }

  /**
   * Whether the directory in `stat` may not be listed and passed by the owner of the merge's first one. Merged, the
   * kernel checks the first one's attributes only, so it would be open to him.
   */
  #isClosedTo({ uid, gid }: Owner): boolean {
    const { stat } = this.#core
    if (uid === 0) return false
    const shift = stat.uid === uid ? 6 : stat.gid === gid ? 3 : 0
    return ((stat.mode >> shift) & READ_AND_PASS) !== READ_AND_PASS
  }

  #watch(slot: NodeId, fd: number): boolean {
    const core = this.#core
    if (core.stat.descriptor(fd) < 0 || core.devices.classOf(core.stat.device) !== 'local') return false
    return core.watches.add(slot, fd)
  }

  #isCosmosMount(fd: number): boolean {
    const { stat, devices } = this.#core
    return stat.descriptor(fd) === 0 && stat.device >>> 20 === 0 && devices.classOf(stat.device) === 'cosmos'
  }
}
