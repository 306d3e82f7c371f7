import { O_CLOEXEC, O_DIRECTORY, O_RDONLY } from '../os/constants.ts'
import { EACCES, ENOENT, ENOTDIR, ESTALE } from '../os/errno.ts'
import { close, getdents64, lseek, open } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import { fillAttributes, numberFor, numberOf } from './answers.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import { ANCHOR, BACKED, HIDDEN_MOUNT, LIBRARY, PROPERTIES, REMOTE } from './frames.ts'
import { isLibraryDirectory } from './functions.ts'
import { frameOf } from './identity.ts'
import { hashName, number } from './inode-number.ts'
import { fillAnchor, fillMade, libraryAt, libraryOfFrame, lookup } from './lookup.ts'
import type { DirectorySink, Name, NodeId } from './operations.ts'
import { descriptorPath, makeName, pathBytes } from './paths.ts'
import { propertyNamesOf } from './properties.ts'

/**
 * Directory listings. A directory of one layer is read as it is, and the disk's own cookies are the kernel's.
 * A merged or made directory is listed in the order of its names' hashes, and the cookie is the hash: both mean
 * the same in every daemon's life, and after any change.
 */

const BUFFER_SIZE = 32 * 1024
const OPEN = O_RDONLY | O_DIRECTORY | O_CLOEXEC
const DT_DIR = 4
const DT_LNK = 10
const DT_REG = 8
/** Cookies below it are those of `.` and `..`. */
const FIRST_HASH = 16

/** Kinds of frames that are read as directories. */
const DIRECTORIES: ReadonlySet<number> = new Set([BACKED, ANCHOR, PROPERTIES, HIDDEN_MOUNT, LIBRARY, REMOTE])

/** A directory being read from its disk. */
interface Stream {
  slot: NodeId
  fd: number
  /** Part of the buffer that is not told yet. */
  at: number
  end: number
  /** Cookie of the last entry that was told. */
  cookieLow: number
  cookieHigh: number
  usedAt: number
  readonly memory: ReturnType<typeof allocateNative>
}

interface Listed {
  readonly name: string
  readonly type: number
  readonly cookie: number
}

const STREAMS = 8
const LISTS = 8

export class Listings {
  readonly #core: TreeCore
  readonly #streams: Stream[] = []
  readonly #lists = new Map<NodeId, Listed[]>()
  readonly #name: Name = { bytes: Buffer.alloc(0), offset: 0, length: 0, address: 0 }
  #clock = 0

  constructor(core: TreeCore) {
    this.#core = core
  }

  readdir(node: NodeId, cookieLow: number, cookieHigh: number, plus: boolean, sink: DirectorySink): number {
    const core = this.#core
    if (!core.frames.exists(node)) return -ESTALE
    const kind = core.frames.kind(node)
    if (!DIRECTORIES.has(kind)) return -ENOTDIR
    const filled = core.productions.fills.fill(node)
    if (filled !== 0) return filled
    const stack = core.stackOf(node)
    const asItIs =
      (kind === BACKED || kind === ANCHOR) &&
      stack.single &&
      node !== ROOT_NODE &&
      !(stack.only && node === stack.slot) &&
      core.productions.fills.leftNames(node).size === 0
    return asItIs
      ? this.#readStream(node, cookieLow, cookieHigh, plus, sink)
      : this.#readList(node, cookieHigh * 0x100000000 + cookieLow, plus, sink)
  }

  /** Between operations: closes what is borrowed. */
  giveBack(): void {
    for (const stream of this.#streams)
      if (stream.slot !== 0 && this.#core.borrowed.isForeign(this.#core.frames.device(stream.slot)))
        this.#end(stream)
  }

  /** A frame is gone, or its directory is another. */
  drop(slot: NodeId): void {
    this.#lists.delete(slot)
    for (const stream of this.#streams) if (stream.slot === slot) this.#end(stream)
  }

  #end(stream: Stream): void {
    stream.slot = 0
    close(stream.fd)
    stream.fd = -1
  }

  #readStream(node: NodeId, low: number, high: number, plus: boolean, sink: DirectorySink): number {
    const core = this.#core
    const stream = this.#streamAt(node, low, high)
    if (typeof stream === 'number') return stream
    const directory = core.nodeFd(node)
    if (directory < 0) return directory
    if (plus) core.watched(node)
    const stack = core.stackOf(node)
    const { bytes, view, address } = stream.memory
    const words = view
    const name = this.#name
    name.bytes = bytes
    for (;;) {
      if (stream.at >= stream.end) {
        const size = getdents64(stream.fd, address, BUFFER_SIZE)
        if (size < 0) return size
        if (size === 0) {
          // Nobody reads on from an end.
          this.#end(stream)
          return 0
        }
        stream.at = 0
        stream.end = size
      }
      const at = stream.at
      const length = words.getUint16(at + 16, true)
      const type = bytes[at + 18]!
      const cookieLow = words.getUint32(at + 8, true)
      const cookieHigh = words.getUint32(at + 12, true)
      name.offset = at + 19
      name.address = address + at + 19
      name.length = nameEnd(bytes, at + 19) - (at + 19)
      const dot = isDot(name)
      let slot = 0
      if (plus && !dot && core.statIn(directory, name) === 0) slot = frameOf(core, node, name, 0)
      if (slot !== 0) this.#fill(slot, node)
      else {
        core.entryNode = 0
        numberFor(
          core,
          stack,
          core.frames.device(node),
          words.getUint32(at, true),
          words.getUint32(at + 4, true),
        )
        core.attributes.inoLow = number.low
        core.attributes.inoHigh = number.high
        core.attributes.mode = type << 12
      }
      const { inoLow, inoHigh } = core.attributes
      if (!sink.add(bytes, name.offset, name.length, inoLow, inoHigh, type, cookieLow, cookieHigh)) {
        if (slot !== 0) core.settle(slot)
        return 0
      }
      if (slot !== 0) core.frames.setLookups(slot, core.frames.lookups(slot) + 1)
      stream.at = at + length
      stream.cookieLow = cookieLow
      stream.cookieHigh = cookieHigh
    }
  }

  /** Results of a directory entry with attributes, not counted yet. */
  #fill(slot: NodeId, parent: NodeId): void {
    const core = this.#core
    const kind = core.frames.kind(slot)
    core.entryNode = slot
    if (kind === BACKED) fillAttributes(core, slot)
    else if (kind === ANCHOR) fillAnchor(core, slot)
    else fillMade(core, slot, 0o555, 0)
    core.validity.entry = core.isWatched(parent) ? 86_400 : 1
  }

  #streamAt(node: NodeId, low: number, high: number): Stream | number {
    this.#clock++
    let oldest: Stream | undefined
    for (const stream of this.#streams) {
      if (
        stream.slot === node &&
        stream.cookieLow === low &&
        stream.cookieHigh === high &&
        (low !== 0 || high !== 0)
      ) {
        stream.usedAt = this.#clock
        return stream
      }
      if (!oldest || stream.usedAt < oldest.usedAt) oldest = stream
    }
    const directory = this.#core.nodeFd(node)
    if (directory < 0) return directory
    const fd = open(descriptorPath(directory), OPEN, 0)
    if (fd < 0) return fd
    if (low !== 0 || high !== 0) {
      const moved = lseek(fd, (BigInt(high | 0) << 32n) | BigInt(low), 0)
      if (moved < 0 && moved > -4096) {
        close(fd)
        return moved
      }
    }
    let stream = this.#streams.find((each) => each.slot === 0)
    if (!stream && this.#streams.length < STREAMS) {
      stream = {
        slot: 0,
        fd: -1,
        at: 0,
        end: 0,
        cookieLow: 0,
        cookieHigh: 0,
        usedAt: 0,
        memory: allocateNative(BUFFER_SIZE),
      }
      this.#streams.push(stream)
    }
    stream ??= oldest as Stream
    if (stream.fd >= 0) close(stream.fd)
    stream.slot = node
    stream.fd = fd
    stream.at = 0
    stream.end = 0
    stream.cookieLow = low
    stream.cookieHigh = high
    stream.usedAt = this.#clock
    return stream
  }

  #readList(node: NodeId, cookie: number, plus: boolean, sink: DirectorySink): number {
    const core = this.#core
    let list = this.#lists.get(node)
    if (cookie === 0 || !list) {
      const made = listed(core, node)
      if (typeof made === 'number') return made
      list = made
      this.#lists.delete(node)
      this.#lists.set(node, list)
      if (this.#lists.size > LISTS) this.#lists.delete(this.#lists.keys().next().value as NodeId)
    }
    const isRemote = core.frames.kind(node) === REMOTE
    const asks = (name: string) =>
      isRemote || (node === ROOT_NODE && core.remotes.roots.has(name) && !name.endsWith(':'))
    const counted = plus && core.frames.kind(node) !== PROPERTIES
    const left = core.productions.fills.leftNames(node)
    for (let index = firstAfter(list, cookie); index < list.length; index++) {
      const { name: text, type, cookie: next } = list[index]!
      const name = makeName(text)
      core.entryNode = 0
      let found = false
      // What a source would have to be asked for is not, and a directory that was left is made when it is looked up by
      // itself: a name is all that is told.
      const isTold = !left.has(text) && (!asks(text) || core.remotes.isKnown(node, text))
      if (counted && next >= FIRST_HASH && isTold) {
        found = lookup(core, node, name) === 0
        // What went meanwhile is not told.
        if (!found) continue
      }
      if (!found) {
        numberOf(core, node)
        core.attributes.inoLow = number.low
        core.attributes.inoHigh = number.high
        core.attributes.mode = type << 12
        core.entryNode = 0
      }
      const { inoLow, inoHigh } = core.attributes
      const slot = core.entryNode
      if (
        !sink.add(
          name.bytes,
          0,
          name.length,
          inoLow,
          inoHigh,
          type,
          next >>> 0,
          Math.floor(next / 0x100000000),
        )
      ) {
        if (found) {
          core.frames.setLookups(slot, core.frames.lookups(slot) - 1)
          core.settle(slot)
        }
        return 0
      }
    }
    return 0
  }
}

/** 1 when a directory of a merge shows no entries, 0 when it does, or `-errno`. */
export function isEmptyDirectory(core: TreeCore, slot: NodeId): number {
  const names = mergedNames(core, slot, true)
  return typeof names === 'number' ? names : names.size === 0 ? 1 : 0
}

/**
 * Names and DT_* types that a directory's layers show together, one character a byte; `-errno` where one of them
 * can't be read. A layer that this user may not read shows nothing, unless `all` must be known.
 */
export function mergedNames(core: TreeCore, slot: NodeId, all = false): Map<string, number> | number {
  const stack = core.stackOf(slot)
  const names = new Map<string, number>()
  if (stack.single) {
    const fd = core.nodeFd(slot)
    const result = fd < 0 ? fd : readNames(fd, (name, type) => names.set(name, type))
    if (result < 0 && result !== -ENOENT) return result
    for (const name of core.productions.fills.leftNames(slot)) names.set(name, DT_DIR)
    if (stack.only && slot === stack.slot)
      for (const name of [...names.keys()]) if (!stack.only.has(name)) names.delete(name)
    return names
  }
  const path = core.pathInStack(slot)
  const hiddenBelow = (name: string) => stack.whiteouts.has(path === '' ? name : `${path}/${name}`)
  for (const [layer, fd] of core.merged.fds(slot).entries()) {
    if (fd < 0) continue
    const { hidden } = stack.layers[layer]!
    const result = readNames(fd, (name, type) => {
      if (names.has(name) || (hidden && slot === stack.slot && hidden.has(name))) return
      if (layer > stack.local && stack.whiteouts.size > 0 && hiddenBelow(name)) return
      names.set(name, type)
    })
    if (result < 0 && result !== -ENOENT && (all || result !== -EACCES)) return result
  }
  if (isLibraryDirectory(core, slot)) {
    for (const [name, type] of names)
      if (type === DT_REG && libraryAt(core, slot, name)) names.set(name, DT_DIR)
    for (const name of core.libraries.described(stack)) if (!hiddenBelow(name)) names.set(name, DT_DIR)
  }
  if (stack.programs && path === 'bin')
    for (const name of stack.programs.names())
      if (!names.has(name) && !hiddenBelow(name)) names.set(name, DT_LNK)
  return names
}

/** Everything that a merged or made directory lists, in the order of its cookies; `-errno`. */
function listed(core: TreeCore, slot: NodeId): Listed[] | number {
  const kind = core.frames.kind(slot)
  const names =
    kind === PROPERTIES
      ? new Map<string, number>(propertyNamesOf(core, slot).map((name) => [name, DT_REG]))
      : kind === HIDDEN_MOUNT
        ? new Map<string, number>()
        : kind === LIBRARY
          ? new Map([...(libraryOfFrame(core, slot)?.functions ?? [])].map((name) => [name, DT_REG]))
          : kind === REMOTE
            ? core.remotes.names(slot)
            : mergedNames(core, slot)
  if (typeof names === 'number') return names
  if (slot === ROOT_NODE) {
    names.set('.cosm', DT_DIR)
    names.set(core.hostDirectory, DT_DIR)
    for (const name of core.remotes.roots) if (!name.startsWith('.')) names.set(name, DT_DIR)
  }
  const list = [...names].map(([name, type]) => {
    const bytes = pathBytes(name)
    return { name, type, cookie: FIRST_HASH + hashName(bytes, 0, bytes.length) }
  })
  list.sort((a, b) => a.cookie - b.cookie || (a.name < b.name ? -1 : 1))
  const all: Listed[] = [
    { name: '.', type: DT_DIR, cookie: 1 },
    { name: '..', type: DT_DIR, cookie: 2 },
  ]
  for (const each of list) {
    const last = all[all.length - 1]!.cookie
    all.push(each.cookie > last ? each : { ...each, cookie: last + 1 })
  }
  return all
}

/** Reads all names of a directory that an O_PATH descriptor is of: 0 or `-errno`. */
function readNames(directory: number, tell: (name: string, type: number) => void): number {
  const fd = open(descriptorPath(directory), OPEN, 0)
  if (fd < 0) return fd
  const { bytes, view, address } = NAMES
  for (;;) {
    const size = getdents64(fd, address, BUFFER_SIZE)
    if (size <= 0) {
      close(fd)
      return size
    }
    for (let at = 0; at < size; at += view.getUint16(at + 16, true)) {
      const name = bytes.toString('latin1', at + 19, nameEnd(bytes, at + 19))
      if (name !== '.' && name !== '..') tell(name, bytes[at + 18]!)
    }
  }
}

const NAMES = allocateNative(BUFFER_SIZE)

function nameEnd(bytes: Buffer, start: number): number {
  let end = start
  while (bytes[end] !== 0) end++
  return end
}

function isDot(name: Name): boolean {
  return (
    name.bytes[name.offset] === 0x2e &&
    (name.length === 1 || (name.length === 2 && name.bytes[name.offset + 1] === 0x2e))
  )
}

/** Index of the first entry after a cookie. */
function firstAfter(list: readonly Listed[], cookie: number): number {
  let low = 0
  let high = list.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (list[middle]!.cookie <= cookie) low = middle + 1
    else high = middle
  }
  return low
}
