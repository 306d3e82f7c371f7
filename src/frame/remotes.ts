import {
  O_ACCMODE,
  O_EXCL,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  S_IFSOCK,
} from '../os/constants.ts'
import { EEXIST, EISDIR, ENFILE, ENOENT, ENOMEM, ENXIO, ESTALE, EXDEV, errnoNumber } from '../os/errno.ts'
import { copyFromAddress } from '../os/memory.ts'
import type { SourceAnswer, SourceQuestion, ToSources } from '../source/requests.ts'
import type { SourceAccess, SourceNode, SourcePath, SourceType } from '../source/service.ts'
import { setNumber } from './answers.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import { REMOTE } from './frames.ts'
import { hashNumber, hashText, number } from './inode-number.ts'
import {
  type AttributeChange,
  type HandleId,
  type Name,
  type NodeId,
  PENDING,
  SET_ATIME,
  SET_ATIME_NOW,
  SET_GID,
  SET_MODE,
  SET_MTIME,
  SET_MTIME_NOW,
  SET_SIZE,
  SET_UID,
} from './operations.ts'
import { nameText, pathBytes } from './paths.ts'

/**
 * Frames of the sources that must be waited for: what is below `https:`, `ssh:` or a peer's directory. What is known of
 * them is kept for as long as their service says; anything else is asked of the main thread, and the kernel's request
 * waits. Reads and writes are answered to the kernel by the main thread itself.
 */

export interface RemotesParts {
  /** Names in the root, at the start. */
  readonly roots: readonly string[]
  /** Undefined where no request can be let wait: there are no sources then. */
  readonly send: ((message: ToSources) => void) | undefined
}

/** What a name or a frame is, until then (performance.now()). */
interface Known {
  readonly node: SourceNode | number
  readonly until: number
}

interface Listing {
  readonly types: Map<string, number>
  readonly until: number
}

/** The least that anything is believed: the requests that waited for it must all find it. Milliseconds. */
const LEAST_FRESH = 1000
/** What is remembered of each kind. */
const CAPACITY = 65_536
/** Properties that are remembered; each may be long. */
const PROPERTIES = 16
const DEFAULT_TYPE_BITS = 0o100000
const BLOCK = 512
/** lseek(2). */
const SEEK_HOLE = 4

const TYPES: Readonly<Record<SourceType, number>> = {
  file: S_IFREG,
  directory: S_IFDIR,
  link: S_IFLNK,
  fifo: S_IFIFO,
  socket: S_IFSOCK,
  block: S_IFBLK,
  character: S_IFCHR,
}
const USUAL_MODE: Readonly<Partial<Record<SourceType, number>>> = { directory: 0o755, link: 0o777 }

export class Remotes {
  readonly #core: TreeCore
  readonly #send: ((message: ToSources) => void) | undefined
  #roots: ReadonlySet<string>
  /** By path from the mount's root. */
  readonly #known = new Map<string, Known>()
  readonly #listings = new Map<string, Listing>()
  readonly #properties = new Map<string, { bytes: Uint8Array | undefined; until: number }>()
  readonly #asked = new Set<string>()
  readonly #answers = new Map<string, SourceAnswer>()
  readonly #ended: string[] = []
  /** Numbers of open files, by handle; generations that the kernel has pages of, by frame. */
  readonly #files = new Map<HandleId, number>()
  readonly #cached = new Map<NodeId, string>()
  #lastFile = 0

  constructor(core: TreeCore, { roots, send }: RemotesParts) {
    this.#core = core
    this.#send = send
    this.#roots = new Set(send ? roots : [])
  }

  /** Names in the root that are sources. */
  get roots(): ReadonlySet<string> {
    return this.#roots
  }

  /** The sources are others by now. */
  setRoots(roots: readonly string[]): void {
    for (const name of this.#roots) {
      const bytes = pathBytes(name)
      if (!roots.includes(name)) this.#core.services.invalidate.name(ROOT_NODE, bytes, 0, bytes.length)
    }
    this.#roots = new Set(roots)
    this.#core.services.invalidate.node(ROOT_NODE, true)
  }

  is(slot: NodeId): boolean {
    return this.#core.frames.kind(slot) === REMOTE
  }

  /** An answer of the main thread. */
  answered(key: string, answer: SourceAnswer): void {
    this.#asked.delete(key)
    remember(this.#answers, key, answer)
    this.#ended.push(key)
  }

  /** A key that has been answered since it was last asked. */
  nextEnded(): string | undefined {
    return this.#ended.shift()
  }

  /** Nobody waits for a key any more. */
  abandoned(key: string): void {
    if (this.#asked.has(key)) this.#send?.({ type: 'abandoned', key })
  }

  /** The caller of a request that the main thread answers was interrupted. */
  interrupted(uniqueLow: number, uniqueHigh: number): void {
    this.#send?.({ type: 'interrupted', uniqueLow, uniqueHigh })
  }

  /** A frame is about to be freed. */
  forget(slot: NodeId): void {
    this.#cached.delete(slot)
  }

  /** What a name of a remote directory is: 0 with the entry's results, PENDING, or `-errno`. */
  lookup(parent: NodeId, name: Name): number {
    const node = this.child(parent, nameText(name))
    return typeof node === 'number' ? node : this.#answerEntry(parent, name, node)
  }

  /** The root of a source. */
  lookupRoot(name: Name): number {
    return this.#answerEntry(ROOT_NODE, name, ROOT_OF_SOURCE)
  }

  /** A name of a directory, PENDING, or `-errno`. */
  child(parent: NodeId, name: string): SourceNode | number {
    return this.#node(`${this.#core.treePath(parent)}/${name}`)
  }

  getattr(slot: NodeId): number {
    const node = this.#nodeOf(slot)
    if (typeof node === 'number') return node === -ENOENT ? -ESTALE : node
    if (TYPES[node.type] !== this.#core.frames.type(slot)) return -ESTALE
    this.#fill(slot, node)
    return 0
  }

  readlink(slot: NodeId, address: number, size: number): number {
    const node = this.#nodeOf(slot)
    if (typeof node === 'number') return node
    return this.#core.writeText(node.target ?? '', address, size)
  }

  /** Names and DT_* types of a directory; PENDING or `-errno`. */
  names(slot: NodeId): Map<string, number> | number {
    const path = this.#core.treePath(slot)
    if (this.#core.frames.parent(slot) === ROOT_NODE && path.endsWith(':')) return new Map()
    const known = this.#listings.get(path)
    if (known && known.until > performance.now()) return new Map(known.types)
    const key = `list ${path}`
    const answer = this.#take(key)
    if (!answer) return this.#wait(key, { op: 'list', path: sourcePathOf(path) })
    if (answer.error) return -errnoNumber(answer.error.code)
    const types = new Map<string, number>()
    const now = performance.now()
    for (const { name, node } of answer.entries ?? []) {
      if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) continue
      types.set(name, node ? TYPES[node.type] >> 12 : DEFAULT_TYPE_BITS >> 12)
      if (node) this.#keep(`${path}/${name}`, node, now)
    }
    remember(this.#listings, path, { types, until: now + LEAST_FRESH })
    return types
  }

  /** Whether a name needs no question: its attributes can be told with a listing. */
  isKnown(parent: NodeId, name: string): boolean {
    const known = this.#known.get(`${this.#core.treePath(parent)}/${name}`)
    return known !== undefined && known.until > performance.now()
  }

  /** Text of a property that a service has of its own; undefined for none, PENDING while it is asked. */
  property(parent: NodeId, name: string, property: string): Uint8Array | undefined | typeof PENDING {
    const path = `${this.#core.treePath(parent)}/${name}`
    const key = `property ${property} ${path}`
    const known = this.#properties.get(key)
    if (known && known.until > performance.now()) return known.bytes
    const answer = this.#take(key)
    if (!answer) return this.#wait(key, { op: 'property', path: sourcePathOf(path), name: property })
    remember(
      this.#properties,
      key,
      { bytes: answer.bytes, until: performance.now() + LEAST_FRESH },
      PROPERTIES,
    )
    return answer.bytes
  }

  open(slot: NodeId, flags: number): number {
    if (this.#core.frames.type(slot) === S_IFDIR) return -EISDIR
    const key = this.#ownKey('open')
    const answer = this.#take(key)
    if (!answer) {
      const path = sourcePathOf(this.#core.treePath(slot))
      return this.#wait(key, { op: 'open', path, file: ++this.#lastFile, access: accessOf(flags) })
    }
    if (answer.error) return -errnoNumber(answer.error.code)
    return this.#finishOpen(slot, flags, answer)
  }

  create(parent: NodeId, name: Name, flags: number, mode: number): number {
    const key = this.#ownKey('create')
    const path = `${this.#core.treePath(parent)}/${nameText(name)}`
    const answer = this.#take(key)
    if (!answer) {
      const access = accessOf(flags)
      const masked = mode & 0o7777 & ~this.#core.request.umask
      const file = ++this.#lastFile
      return this.#wait(key, { op: 'create', path: sourcePathOf(path), mode: masked, file, access })
    }
    if (answer.error) {
      const errno = errnoNumber(answer.error.code)
      // It has come meanwhile: the kernel looks it up again.
      return errno === EEXIST && (flags & O_EXCL) === 0 ? -ESTALE : -errno
    }
    this.#changed(parent, nameText(name))
    if (!answer.node) return -ENOENT
    const result = this.#answerEntry(parent, name, answer.node)
    return result < 0 ? result : this.#finishOpen(this.#core.entryNode, flags, answer)
  }

  #finishOpen(slot: NodeId, flags: number, { node, file }: SourceAnswer): number {
    const { frames, handles, opened } = this.#core
    const handle = handles.allocate(slot, flags)
    if (handle === 0) return -ENFILE
    if (file !== undefined) this.#files.set(handle, file)
    frames.setOpens(slot, frames.opens(slot) + 1)
    opened.handle = handle
    opened.backingId = 0
    opened.flushes = accessOf(flags).write
    opened.directIo = node?.size === undefined
    const { generation } = node ?? {}
    opened.keepCache = generation !== undefined && this.#cached.get(slot) === generation
    if (generation !== undefined) remember(this.#cached, slot, generation)
    if (node) this.#keep(this.#core.treePath(slot), node, performance.now())
    return 0
  }

  read(slot: NodeId, handle: HandleId, size: number, position: number): number {
    return this.#transfer(slot, handle, 'read', position, size)
  }

  write(slot: NodeId, handle: HandleId, address: number, size: number, position: number): number {
    this.#forgetNode(slot)
    return this.#transfer(slot, handle, 'write', position, size, copyFromAddress(address, size))
  }

  flush(slot: NodeId, handle: HandleId): number {
    const { handles } = this.#core
    const writes = handles.exists(handle) && (handles.flags(handle) & O_ACCMODE) !== O_RDONLY
    return writes ? this.#transfer(slot, handle, 'flush') : 0
  }

  fsync(slot: NodeId, handle: HandleId): number {
    return this.#transfer(slot, handle, 'sync')
  }

  /** There are no holes to be seen. */
  lseek(slot: NodeId, position: number, whence: number): number {
    const node = this.#nodeOf(slot)
    if (typeof node === 'number') return node
    const size = node.size ?? 0
    if (position >= size) return -ENXIO
    return whence === SEEK_HOLE ? size : position
  }

  release(slot: NodeId, handle: HandleId): number {
    const { frames, handles } = this.#core
    const file = this.#files.get(handle)
    if (file !== undefined) this.#send?.({ type: 'close', file })
    this.#files.delete(handle)
    handles.free(handle)
    frames.setOpens(slot, frames.opens(slot) - 1)
    this.#core.settle(slot)
    return 0
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
    this.#known.delete(from)
    return this.#make(parent, name, (to) => ({ op: 'link', path: sourcePathOf(from), to }))
  }

  #make(parent: NodeId, name: Name, question: (path: SourcePath) => SourceQuestion): number {
    const text = nameText(name)
    const asked = question(sourcePathOf(`${this.#core.treePath(parent)}/${text}`))
    const answer = this.#once(asked)
    if (typeof answer === 'number') return answer
    this.#changed(parent, text)
    return answer.node ? this.#answerEntry(parent, name, answer.node) : -ENOENT
  }

  unlink(parent: NodeId, name: Name): number {
    return this.#remove(parent, name, 'unlink')
  }

  rmdir(parent: NodeId, name: Name): number {
    return this.#remove(parent, name, 'rmdir')
  }

  #remove(parent: NodeId, name: Name, op: 'unlink' | 'rmdir'): number {
    const text = nameText(name)
    const path = sourcePathOf(`${this.#core.treePath(parent)}/${text}`)
    const answer = this.#once({ op, path })
    if (typeof answer === 'number') return answer
    this.#changed(parent, text)
    return 0
  }

  rename(parent: NodeId, name: Name, newParent: NodeId, newName: Name, flags: number): number {
    if (!this.#sameSource(parent, newParent)) return -EXDEV
    const [from, to] = [nameText(name), nameText(newName)]
    const path = sourcePathOf(`${this.#core.treePath(parent)}/${from}`)
    const target = sourcePathOf(`${this.#core.treePath(newParent)}/${to}`)
    const answer = this.#once({ op: 'rename', path, to: target, keep: flags !== 0 })
    if (typeof answer === 'number') return answer
    this.#core.anchors.move(parent, name, newParent, newName)
    this.#changed(parent, from)
    this.#changed(newParent, to)
    this.#forgetBelow(`${this.#core.treePath(newParent)}/${to}/`)
    this.#forgetBelow(`${this.#core.treePath(parent)}/${from}/`)
    return 0
  }

  setattr(slot: NodeId, change: AttributeChange): number {
    const path = this.#core.treePath(slot)
    const answer = this.#once({ op: 'change', path: sourcePathOf(path), change: changeOf(change) })
    if (typeof answer === 'number') return answer
    this.#known.delete(path)
    if (!answer.node) return -ESTALE
    this.#keep(path, answer.node, performance.now())
    this.#fill(slot, answer.node)
    return 0
  }

  /** What a mutation is answered, once: PENDING until then, `-errno` where it failed. */
  #once(question: SourceQuestion): SourceAnswer | number {
    const key = this.#ownKey(question.op)
    const answer = this.#take(key)
    if (!answer) return this.#wait(key, question)
    return answer.error ? -errnoNumber(answer.error.code) : answer
  }

  #nodeOf(slot: NodeId): SourceNode | number {
    if (this.#core.frames.parent(slot) === ROOT_NODE) return ROOT_OF_SOURCE
    return this.#node(this.#core.treePath(slot))
  }

  #node(path: string): SourceNode | number {
    const known = this.#known.get(path)
    if (known && known.until > performance.now()) return known.node
    const key = `stat ${path}`
    const answer = this.#take(key)
    if (!answer) return this.#wait(key, { op: 'stat', path: sourcePathOf(path) })
    const node = answer.error ? -errnoNumber(answer.error.code) : (answer.node ?? -ENOENT)
    this.#keep(path, node, performance.now())
    return node
  }

  #keep(path: string, node: SourceNode | number, now: number): void {
    const fresh = typeof node === 'number' ? LEAST_FRESH : Math.max(LEAST_FRESH, node.fresh)
    remember(this.#known, path, { node, until: now + fresh })
  }

  #forgetNode(slot: NodeId): void {
    this.#known.delete(this.#core.treePath(slot))
    this.#cached.delete(slot)
  }

  /** A name of a directory has come, gone or changed. */
  #changed(parent: NodeId, name: string): void {
    const directory = this.#core.treePath(parent)
    this.#known.delete(`${directory}/${name}`)
    this.#known.delete(directory)
    this.#listings.delete(directory)
  }

  #forgetBelow(prefix: string): void {
    for (const map of [this.#known, this.#listings])
      for (const path of map.keys()) if (path.startsWith(prefix)) map.delete(path)
  }

  #sameSource(a: NodeId, b: NodeId): boolean {
    const rootOf = (path: string): string => path.slice(0, path.indexOf('/', 1))
    return this.is(a) && this.is(b) && rootOf(this.#core.treePath(a)) === rootOf(this.#core.treePath(b))
  }

  #answerEntry(parent: NodeId, name: Name, node: SourceNode): number {
    const { anchors, frames, validity } = this.#core
    const slot = anchors.named(REMOTE, parent, name, TYPES[node.type])
    if (slot === 0) return -ENOMEM
    frames.setLookups(slot, frames.lookups(slot) + 1)
    this.#core.entryNode = slot
    if (node.identity !== undefined && parent !== ROOT_NODE) {
      hashNumber(
        REMOTE,
        hashText(node.identity),
        hashText(this.#core.treePath(parent).split('/')[1] ?? ''),
        0,
      )
      frames.setNumber(slot, number.low, number.high)
    }
    this.#fill(slot, node)
    validity.entry = validity.attributes
    return 0
  }

  #fill(slot: NodeId, node: SourceNode): void {
    const { attributes, validity } = this.#core
    setNumber(this.#core, slot)
    const isOwn = node.uid === undefined || !IS_ROOT
    const seconds = (node.mtime ?? STARTED_AT) / 1000
    const size = node.size ?? 0
    attributes.mode = TYPES[node.type] | (node.mode ?? USUAL_MODE[node.type] ?? 0o644)
    attributes.nlink = node.links ?? (node.type === 'directory' ? 2 : 1)
    attributes.uid = isOwn ? OWN_UID : (node.uid ?? OWN_UID)
    attributes.gid = isOwn ? OWN_GID : (node.gid ?? OWN_GID)
    attributes.rdev = 0
    attributes.size = node.type === 'link' ? (node.target?.length ?? 0) : size
    attributes.blocks = Math.ceil(size / BLOCK)
    attributes.blksize = 4096
    attributes.mtime = attributes.atime = attributes.ctime = attributes.btime = Math.floor(seconds)
    attributes.mtimensec = attributes.ctimensec = Math.floor((seconds - Math.floor(seconds)) * 1e9)
    attributes.atimensec = attributes.btimensec = attributes.mtimensec
    validity.attributes = Math.floor(node.fresh / 1000)
  }

  #transfer(
    slot: NodeId,
    handle: HandleId,
    op: 'read' | 'write' | 'flush' | 'sync',
    position = 0,
    size = 0,
    bytes?: Uint8Array,
  ): number {
    const { job, request } = this.#core
    const { uniqueLow, resent } = request
    const uniqueHigh = resent ? request.uniqueHigh + RESENT_HIGH : request.uniqueHigh
    const file = this.#fileOf(slot, handle)
    const transfer = { type: 'transfer', uniqueLow, uniqueHigh, op, file, position, size } as const
    this.#send?.(bytes ? { ...transfer, bytes } : transfer)
    job.kind = 'away'
    return PENDING
  }

  /** The number of an open file; one that a former daemon had open is opened again. */
  #fileOf(slot: NodeId, handle: HandleId): number {
    const known = this.#files.get(handle)
    if (known !== undefined) return known
    const file = ++this.#lastFile
    const access = { ...accessOf(this.#core.handles.flags(handle)), truncate: false }
    const path = sourcePathOf(this.#core.treePath(slot))
    this.#send?.({ type: 'question', key: '', question: { op: 'open', path, file, access } })
    this.#files.set(handle, file)
    return file
  }

  /** A key that only the request at hand has. */
  #ownKey(op: string): string {
    const { uniqueLow, uniqueHigh } = this.#core.request
    return `${op} ${uniqueHigh}:${uniqueLow}`
  }

  #take(key: string): SourceAnswer | undefined {
    const answer = this.#answers.get(key)
    if (answer) this.#answers.delete(key)
    return answer
  }

  /** Has something asked, once, and the request wait for it. */
  #wait(key: string, question: SourceQuestion): typeof PENDING {
    if (!this.#asked.has(key)) {
      this.#asked.add(key)
      this.#send?.({ type: 'question', key, question })
    }
    const { job } = this.#core
    job.kind = 'produce'
    job.key = key
    job.again = true
    return PENDING
  }
}

const RESENT_HIGH = 0x80000000
const OWN_UID = process.getuid?.() ?? 0
const OWN_GID = process.getgid?.() ?? 0
const IS_ROOT = OWN_UID === 0
const STARTED_AT = Date.now()

/** The directory of a scheme: with this user's keys and cookies, so it is nobody else's. */
const ROOT_OF_SOURCE: SourceNode = { type: 'directory', size: 0, mode: 0o700, fresh: LEAST_FRESH }

/** A path from the mount's root as a service has it. */
export function sourcePathOf(path: string): SourcePath {
  const [scheme = '', ...segments] = path.slice(1).split('/')
  return { scheme: scheme.endsWith(':') ? scheme.slice(0, -1) : scheme, segments }
}

function accessOf(flags: number): SourceAccess {
  const access = flags & O_ACCMODE
  return {
    read: access !== O_WRONLY,
    write: access !== O_RDONLY,
    truncate: (flags & O_TRUNC) !== 0,
  }
}

function changeOf(change: AttributeChange): object {
  const { valid } = change
  const milliseconds = (seconds: number, nanoseconds: number): number => seconds * 1000 + nanoseconds / 1e6
  return {
    ...((valid & SET_MODE) !== 0 && { mode: change.mode & 0o7777 }),
    ...((valid & SET_UID) !== 0 && { uid: change.uid }),
    ...((valid & SET_GID) !== 0 && { gid: change.gid }),
    ...((valid & SET_SIZE) !== 0 && { size: change.size }),
    ...((valid & SET_ATIME) !== 0 && { atime: milliseconds(change.atime, change.atimensec) }),
    ...((valid & SET_MTIME) !== 0 && { mtime: milliseconds(change.mtime, change.mtimensec) }),
    ...((valid & SET_ATIME_NOW) !== 0 && { atime: Date.now() }),
    ...((valid & SET_MTIME_NOW) !== 0 && { mtime: Date.now() }),
  }
}

function remember<K, V>(map: Map<K, V>, key: K, value: V, capacity = CAPACITY): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > capacity) map.delete(map.keys().next().value as K)
}
