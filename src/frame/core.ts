import type { LayersStore } from '../cosmosdb/layers-store.ts'
import { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, S_IFDIR } from '../os/constants.ts'
import { EIO, ENOENT, ENOTDIR, ESTALE } from '../os/errno.ts'
import { openat } from '../os/libc.ts'
import { copyToAddress, cString } from '../os/memory.ts'
import { ANCHOR_ROOT, type Stack, type StackPlaces } from '../source/stacks.ts'
import { Anchors } from './anchors.ts'
import { Borrowed } from './borrowed.ts'
import { DescriptorCache, raiseDescriptorLimit } from './descriptors.ts'
import { DeviceTable } from './devices.ts'
import { Executables, type ExecutablesParts } from './executables.ts'
import { ANCHOR, BACKED, FLAG_NAMELESS, FrameTable } from './frames.ts'
import { FunctionLibraries } from './functions.ts'
import { HandleTable } from './handles.ts'
import { Journal } from './journal.ts'
import type { Keep } from './keep.ts'
import { KeptDescriptors } from './kept.ts'
import { MergedDirectories } from './merged.ts'
import type {
  Attributes,
  DriverServices,
  FileSystemStatistics,
  Job,
  Name,
  NodeId,
  Opened,
  Request,
  Validity,
} from './operations.ts'
import { OutsideChanges } from './outside.ts'
import { makeName, nameText } from './paths.ts'
import { Productions, type ProductionsParts } from './productions.ts'
import { Remotes, type RemotesParts } from './remote/remotes.ts'
import type { StateMemory } from './state-memory.ts'
import { emptyAttributes, Stat } from './statx.ts'
import { WatchTable } from './watches.ts'

/** The mount's root frame. */
export const ROOT_NODE = 1
/** Directories that may ask for each other's descriptors. */
const NESTED = 100

const OPEN_PATH = O_PATH | O_NOFOLLOW | O_CLOEXEC

/** What a tree is built from. */
export interface TreeParts {
  readonly memory: StateMemory
  readonly keep: Keep
  readonly store: LayersStore
  readonly places: StackPlaces
  readonly executables: ExecutablesParts
  readonly productions: ProductionsParts
  readonly remotes: RemotesParts
  /** Name of this host's directory in the root: `me@laptop`. */
  readonly hostDirectory: string
}

/**
 * What the groups of operations share: the tables, the results of the operation at hand, and the way from a
 * frame to the descriptor of what it reaches.
 */
export class TreeCore {
  readonly frames: FrameTable
  readonly handles: HandleTable
  readonly journal: Journal
  readonly kept: KeptDescriptors
  readonly store: LayersStore
  readonly places: StackPlaces
  readonly borrowed: Borrowed
  readonly descriptors: DescriptorCache
  readonly watches: WatchTable
  readonly devices = new DeviceTable()
  readonly merged: MergedDirectories
  readonly stat = new Stat()
  readonly anchors = new Anchors(this)
  readonly executables: Executables
  readonly libraries = new FunctionLibraries()
  readonly productions: Productions
  readonly remotes: Remotes
  readonly outside = new OutsideChanges(this)

  readonly request: Request = {
    uid: 0,
    gid: 0,
    pid: 0,
    umask: 0o022,
    uniqueLow: 0,
    uniqueHigh: 0,
    resent: false,
  }
  readonly attributes: Attributes = emptyAttributes()
  readonly validity: Validity = { entry: 0, attributes: 0 }
  readonly opened: Opened = { handle: 0, backingId: 0, keepCache: false, directIo: false, flush: false }
  readonly job: Job = {
    kind: 'fsync',
    descriptor: -1,
    otherDescriptor: -1,
    position: 0,
    otherPosition: 0,
    length: 0,
    mode: 0,
    again: false,
    token: 0,
    key: '',
  }
  readonly statistics: FileSystemStatistics = {
    blocks: 0,
    freeBlocks: 0,
    availableBlocks: 0,
    files: 0,
    freeFiles: 0,
    blockSize: 4096,
    nameLength: 255,
    fragmentSize: 4096,
  }
  /** Name of this host's directory in the root, `me@laptop`. */
  readonly hostDirectory: string
  entryNode: NodeId = 0
  /** A resent request found that it had made its entry before its daemon died. */
  alreadyMade = false
  services: DriverServices = NO_DRIVER

  readonly #name = makeName('\0'.repeat(256))
  readonly #secondName = makeName('\0'.repeat(256))
  constructor(parts: TreeParts) {
    const limit = raiseDescriptorLimit()
    this.frames = new FrameTable(parts.memory)
    this.handles = new HandleTable(parts.memory)
    this.journal = new Journal(parts.memory)
    this.kept = new KeptDescriptors(this, parts.keep)
    this.store = parts.store
    this.places = parts.places
    this.executables = new Executables(parts.executables)
    this.productions = new Productions(this, parts.productions)
    this.remotes = new Remotes(this, parts.remotes)
    this.hostDirectory = parts.hostDirectory
    this.watches = new WatchTable(this.frames)
    this.merged = new MergedDirectories(this)
    const root = cString('/')
    this.stat.child(AT_FDCWD, root.address)
    this.borrowed = new Borrowed(this.stat.device)
    const capacity = Math.max(64, Math.min(16_384, limit >> 2))
    this.descriptors = new DescriptorCache(this.frames, this.borrowed, capacity)
    if (!parts.memory.inherited) {
      const slot = this.frames.allocate(ANCHOR, ROOT_NODE, ROOT_NODE)
      this.frames.setLayer(slot, ANCHOR_ROOT)
      this.frames.setLookups(slot, 1)
      this.frames.setType(slot, S_IFDIR)
    } else {
      for (const slot of this.frames.all()) this.anchors.inherit(slot)
      this.kept.inherit()
    }
    this.anchors.load()
  }

  /** The stack that a frame belongs to. */
  stackOf(slot: NodeId): Stack {
    return this.anchors.stack(this.frames.context(slot))
  }

  /** Name of a frame in memory that holds until the next call. */
  nameOf(slot: NodeId): Name {
    this.#name.length = this.frames.copyNameTo(slot, this.#name.bytes, 0)
    return this.#name
  }

  /** The same, in memory of its own: holds until the next call. */
  ownName(slot: NodeId): Name {
    this.#secondName.length = this.frames.copyNameTo(slot, this.#secondName.bytes, 0)
    return this.#secondName
  }

  /** Copies text with one character a byte to a native address, at most `size` bytes; answers how many. */
  writeText(text: string, address: number, size: number): number {
    const length = Math.min(text.length, size)
    copyToAddress(Buffer.from(text, 'latin1'), 0, address, length)
    return length
  }

  /** Path below its stack's root, `''` for the root itself; one character a byte. */
  pathInStack(slot: NodeId): string {
    let path = ''
    for (let at = slot; this.frames.kind(at) !== ANCHOR; at = this.frames.parent(at))
      path = path === '' ? this.frames.nameText(at) : `${this.frames.nameText(at)}/${path}`
    return path
  }

  /** Path from the mount's root, `/` for the root itself. */
  treePath(slot: NodeId): string {
    let path = ''
    for (let at = slot; at !== ROOT_NODE; at = this.frames.parent(at))
      path = `/${this.frames.nameText(at)}${path}`
    return path || '/'
  }

  /** Where a frame is on the host, in the layer that holds it (or layer `layer`). */
  hostPath(slot: NodeId, layer = this.frames.kind(slot) === ANCHOR ? 0 : this.frames.layer(slot)): string {
    const root = this.stackOf(slot).layers[layer]
    const path = this.pathInStack(slot)
    if (!root || path === root.at) return root?.path ?? ''
    const below = root.at === '' ? path : path.slice(root.at.length + 1)
    return root.path === '/' ? `/${below}` : `${root.path}/${below}`
  }

  /**
   * O_PATH descriptor of what a frame reaches, cached; for a directory of several layers that of its first.
   * -ESTALE when it is not where it was: the kernel looks up again then.
   */
  nodeFd(slot: NodeId): number {
    const cached = this.frames.descriptor(slot)
    if (cached >= 0) return cached
    const kind = this.frames.kind(slot)
    if (kind === ANCHOR) return this.#anchorFd(slot)
    if (kind !== BACKED || this.frames.hasFlag(slot, FLAG_NAMELESS)) return -ESTALE
    const stack = this.stackOf(slot)
    this.#openAbove(slot)
    if (!stack.single && this.frames.type(slot) === S_IFDIR)
      return this.merged.fd(slot, this.frames.layer(slot))
    const directory = this.layerFd(this.frames.parent(slot), this.frames.layer(slot))
    if (directory < 0) return stale(directory)
    const fd = openat(directory, this.nameOf(slot).address, OPEN_PATH, 0)
    if (fd < 0) return stale(fd)
    if (this.stat.descriptor(fd) < 0 || !this.isStatOf(slot)) {
      this.merged.closeLater(fd)
      return -ESTALE
    }
    this.descriptors.add(slot, fd)
    return fd
  }

  /** Opens the directories above a frame from the top: one asking for the next would nest calls as deep as the tree. */
  #openAbove(slot: NodeId): void {
    const { frames } = this
    const isOpen = (at: NodeId): boolean =>
      frames.descriptor(at) >= 0 || this.merged.has(at) || frames.kind(at) !== BACKED
    let depth = 0
    for (let at = frames.parent(slot); !isOpen(at); at = frames.parent(at)) depth++
    if (depth < NESTED) return
    const above: NodeId[] = []
    for (let at = frames.parent(slot); !isOpen(at); at = frames.parent(at)) above.push(at)
    for (let at = above.pop(); at !== undefined; at = above.pop())
      if (this.layerFd(at, frames.layer(at)) < 0) return
  }

  /** Caches a directory's own descriptor: once its name is gone, whoever is in it can still ask. */
  keepDirectory(slot: NodeId): void {
    if (this.frames.descriptor(slot) >= 0) return
    const fd = this.nodeFd(slot)
    if (fd < 0 || this.frames.descriptor(slot) >= 0) return
    const own = openat(fd, DOT.address, OPEN_PATH | O_DIRECTORY, 0)
    if (own >= 0) this.descriptors.add(slot, own)
  }

  /** O_PATH descriptor of a directory in one of its stack's layers; -ENOENT where that layer has none. */
  layerFd(slot: NodeId, layer: number): number {
    return this.stackOf(slot).single ? this.nodeFd(slot) : this.merged.fd(slot, layer)
  }

  /** Index of the layer that changes in a directory go to. */
  localLayer(slot: NodeId): number {
    return Math.max(0, this.stackOf(slot).local)
  }

  /** Whether `stat` is of the frame's backing inode. */
  isStatOf(slot: NodeId): boolean {
    const { frames, stat } = this
    return (
      frames.inoLow(slot) === stat.inoLow &&
      frames.inoHigh(slot) === stat.inoHigh &&
      frames.device(slot) === stat.device
    )
  }

  /**
   * statx of a name in a directory, into `stat`: the index of the layer that has it, or `-errno`.
   * A name of a file system that is not on this machine's disks is asked for anew.
   */
  statChild(parent: NodeId, name: Name): number {
    const stack = this.stackOf(parent)
    if (!stack.single) return this.merged.statChild(parent, stack, name)
    const directory = this.nodeFd(parent)
    if (directory < 0) return directory
    if (stack.only && parent === stack.slot && !stack.only.has(nameText(name))) return -ENOENT
    return this.statIn(directory, name)
  }

  /** statx of a name below a directory descriptor: 0 or `-errno`. */
  statIn(directory: number, name: Name): number {
    const result = this.stat.child(directory, name.address)
    if (
      result === 0 &&
      this.stat.device >>> 20 === 0 &&
      this.devices.classOf(this.stat.device) === 'volatile'
    )
      return this.stat.childSynced(directory, name.address)
    return result
  }

  /** Inode number of what was just stat'ed, decimal. */
  inoText(): string {
    return ((BigInt(this.stat.inoHigh) << 32n) | BigInt(this.stat.inoLow)).toString()
  }

  /** Whether every change in a directory is seen; it is watched from now on where that can be. */
  watched(slot: NodeId): boolean {
    const stack = this.stackOf(slot)
    if (!stack.single) return this.merged.watched(slot)
    if (this.watches.isWatched(slot)) return true
    const kind = this.frames.kind(slot)
    if (kind !== BACKED && kind !== ANCHOR) return false
    const fd = this.nodeFd(slot)
    if (fd < 0 || this.devices.classOf(this.frames.device(slot)) !== 'local') return false
    return this.watches.add(slot, fd)
  }

  isWatched(slot: NodeId): boolean {
    return this.stackOf(slot).single ? this.watches.isWatched(slot) : this.merged.isWatched(slot)
  }

  /** Frees a frame, and then its parents, once nothing refers to them. */
  settle(slot: NodeId): void {
    const { frames } = this
    let at = slot
    while (
      at !== ROOT_NODE &&
      frames.lookups(at) === 0 &&
      frames.opens(at) === 0 &&
      frames.children(at) === 0
    ) {
      const parent = frames.parent(at)
      this.anchors.forget(at)
      this.remotes.files.forget(at)
      this.kept.forget(at)
      this.descriptors.drop(at)
      this.watches.remove(at)
      this.merged.drop(at)
      this.freed(at)
      frames.free(at)
      at = parent
    }
  }

  /** A frame is about to be freed: its number may be another's at once. */
  protected freed(_slot: NodeId): void {}

  /** Between operations: closes what could keep a disk from being unmounted. */
  giveBack(): void {
    this.borrowed.begin()
    this.descriptors.giveBack()
    this.merged.giveBack()
  }

  /** Between operations: closes what no operation uses. */
  trim(): void {
    this.descriptors.trim()
    this.merged.trim()
  }

  #anchorFd(slot: NodeId): number {
    const stack = this.stackOf(slot)
    if (!stack.single) return this.merged.firstFd(slot)
    const path = cString(Buffer.from(stack.layers[0]?.path ?? '/', 'latin1'))
    const fd = openat(AT_FDCWD, path.address, O_PATH | O_DIRECTORY | O_CLOEXEC, 0)
    if (fd < 0) return fd
    if (this.stat.descriptor(fd) < 0) return -EIO
    this.frames.setIdentity(slot, this.stat.device, this.stat.inoLow, this.stat.inoHigh, 0, 0)
    this.descriptors.add(slot, fd)
    return fd
  }
}

const DOT = makeName('.')

const NO_DRIVER: DriverServices = {
  invalidate: { idle: true, node() {}, name() {}, everything() {} },
  passthrough: { available: false, register: () => -1, release() {} },
}

/** A place that is gone means: look it up again. */
function stale(result: number): number {
  return result === -ENOENT || result === -ENOTDIR ? -ESTALE : result
}
