import { S_IFDIR, S_IFLNK, S_IFREG } from '../os/constants.ts'
import { EACCES, ELOOP, ENOENT, ENOMEM, ENOTDIR, ESTALE } from '../os/errno.ts'
import { cString } from '../os/memory.ts'
import { ANCHOR_BIND, ANCHOR_COSM, ANCHOR_HOST, ANCHOR_OS, ANCHOR_ROOT } from '../source/stacks.ts'
import { answerEntry, fillAttributes, LONG, SHORT, setNumber } from './answers.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import {
  ANCHOR,
  BACKED,
  FUNCTION,
  HIDDEN_MOUNT,
  LIBRARY,
  PRODUCED,
  PROGRAM_LINK,
  PROPERTIES,
  PROPERTY,
  REMOTE,
} from './frames.ts'
import { isLibraryDirectory, type Library } from './functions.ts'
import { frameOf } from './identity.ts'
import { type Name, type NodeId, PENDING } from './operations.ts'
import { nameIs, nameText, toBytesText } from './paths.ts'
import type { Production } from './productions.ts'
import { hasProperty, isPayloadName, isPropertyName, payloadAt, propertyText } from './properties.ts'

const COLON = 0x3a
const ERROR = ':error'
const DOT = 0x2e

/** Looks a name up: 0 with the entry's results, or `-errno`; -ENOENT holds for `validity.entry`. */
export function lookup(core: TreeCore, parent: NodeId, name: Name): number {
  const { frames } = core
  if (!frames.exists(parent)) return -ESTALE
  const kind = frames.kind(parent)
  if (kind === PROPERTIES) return lookupProperty(core, frames.parent(parent), parent, name)
  if (kind === LIBRARY) return lookupFunction(core, parent, name)
  if (kind === REMOTE) return lookupRemote(core, parent, name)
  if (kind !== BACKED && kind !== ANCHOR) return kind === HIDDEN_MOUNT ? missing(core, SHORT) : -ENOTDIR
  const filled = core.productions.fills.fill(parent)
  if (filled !== 0) return filled
  const special = specialDirectory(core, parent, name)
  if (special !== 0) return special < 0 ? special : answerAnchor(core, special, parent)
  if (parent === ROOT_NODE && core.remotes.roots.has(nameText(name))) return core.remotes.lookup(parent, name)
  if (isLibraryDirectory(core, parent) && libraryAt(core, parent, nameText(name))) {
    const slot = core.anchors.named(LIBRARY, parent, name, S_IFDIR)
    return slot === 0 ? -ENOMEM : answerMade(core, slot, 0o555, 0)
  }
  // Watched before it is read: what changes after is seen.
  const watched = core.watched(parent)
  let layer = core.statChild(parent, name)
  if (layer === -ENOENT) layer = core.productions.fills.make(parent, name)
  if (layer >= 0) {
    const slot = frameOf(core, parent, name, layer)
    if (slot === 0) return -ENOMEM
    const found = frames.kind(slot)
    if (found === ANCHOR) return answerAnchor(core, slot, parent)
    if (found === HIDDEN_MOUNT) return answerMade(core, slot, 0o555, 0)
    return answerEntry(core, slot, parent)
  }
  if (layer === -EACCES && isForeignMount(core, parent, name)) {
    const slot = core.anchors.named(HIDDEN_MOUNT, parent, name, S_IFDIR)
    return slot === 0 ? -ENOMEM : answerMade(core, slot, 0o555, 0)
  }
  if (layer !== -ENOENT) return layer
  const text = nameText(name)
  const program = programAt(core, parent, text)
  if (program !== undefined) {
    const slot = core.anchors.named(PROGRAM_LINK, parent, name, S_IFLNK)
    return slot === 0 ? -ENOMEM : answerMade(core, slot, 0o777, program.length)
  }
  if (includesColon(name)) {
    const result = lookupColon(core, parent, name)
    if (result !== -ENOENT) return result
  }
  const production = core.productions.find(parent, text)
  if (production) return lookupProduced(core, parent, name, production)
  // A file that comes may bring a name with it that nobody tells of.
  return missing(core, watched && !core.productions.couldBe(parent, text) ? LONG : SHORT)
}

/** A name of a source's directory, else a property of one: the tree's own, or its service's. */
function lookupRemote(core: TreeCore, parent: NodeId, name: Name): number {
  if (nameText(name).endsWith(ERROR)) {
    const result = lookupRemoteError(core, parent, name)
    if (result !== -ENOENT) return result
  }
  let result = core.remotes.lookup(parent, name)
  if (result === -ENOENT && includesColon(name)) result = lookupRemoteColon(core, parent, name)
  if (result === -ENOENT) {
    const production = core.productions.find(parent, nameText(name))
    if (production) result = lookupProduced(core, parent, name, production)
  }
  return result === -ENOENT ? missing(core, SHORT) : result
}

/** Why a name could not be had: the sources know without asking anybody. */
function lookupRemoteError(core: TreeCore, parent: NodeId, name: Name): number {
  const base = nameText(name).slice(0, -ERROR.length)
  const bytes = base === '' ? undefined : core.remotes.property(parent, base, 'error')
  if (bytes === undefined) return -ENOENT
  return bytes === PENDING ? PENDING : lookupPropertyFile(core, parent, name, base, 'error')
}

function lookupRemoteColon(core: TreeCore, parent: NodeId, name: Name): number {
  const text = nameText(name)
  const colon = text.lastIndexOf(':')
  const [base, property] = [text.slice(0, colon), text.slice(colon + 1)]
  if (base === '') return lookupOwnProperty(core, parent, name, property)
  const node = core.remotes.child(parent, base)
  if (node === -ENOENT) {
    const production = core.productions.find(parent, base)
    if (production?.state === 'pending') return lookupProduced(core, parent, name, production)
    if (!production || !isPropertyName(property)) return -ENOENT
    return lookupPropertyFile(core, parent, name, base, property)
  }
  if (typeof node === 'number') return node
  if (property !== '' && !isPropertyName(property)) {
    const bytes = core.remotes.property(parent, base, property)
    if (bytes === PENDING) return PENDING
  }
  if (property !== '') return lookupPropertyFile(core, parent, name, base, property)
  const slot = core.anchors.named(PROPERTIES, parent, name, S_IFDIR)
  return slot === 0 ? -ENOMEM : answerMade(core, slot, 0o555, 0)
}

/** `dir/:prop`: a property of the directory itself. */
function lookupOwnProperty(core: TreeCore, directory: NodeId, name: Name, property: string): number {
  const { frames, remotes } = core
  const parent = frames.parent(directory)
  if (property === '' || parent === ROOT_NODE) return -ENOENT
  if (!isPropertyName(property)) {
    const bytes = remotes.property(parent, frames.nameText(directory), property)
    if (bytes === PENDING) return PENDING
  }
  return lookupPropertyFile(core, directory, name, frames.nameText(directory), property, parent)
}

/**
 * The anchor that a name stands for whatever the layers have: `me@host` and `file:` (which is not listed, so that `find`
 * meets every file once), `.os`, and `.cosm` in every directory.
 * 0 for none, -ENOMEM.
 */
export function specialDirectory(core: TreeCore, parent: NodeId, name: Name): number {
  const hostName = core.hostDirectory
  if (name.bytes[name.offset] !== DOT) {
    if (parent !== ROOT_NODE || !(nameIs(name, hostName) || nameIs(name, 'file:'))) return 0
    return core.anchors.anchor(ANCHOR_HOST, parent, nameText(name)) || -ENOMEM
  }
  if (name.length === 5 && nameIs(name, '.cosm')) {
    const { type } = core.stackOf(parent)
    if (type !== ANCHOR_HOST && type !== ANCHOR_ROOT && type !== ANCHOR_BIND) return 0
    return core.anchors.anchor(ANCHOR_COSM, parent, '.cosm') || -ENOMEM
  }
  if (
    name.length === 3 &&
    nameIs(name, '.os') &&
    core.frames.kind(parent) === ANCHOR &&
    core.frames.layer(parent) === ANCHOR_HOST
  )
    return core.anchors.anchor(ANCHOR_OS, parent, '.os') || -ENOMEM
  return 0
}

/** What is made of something that is there: a file, a directory; the wait for it; a file that tells of its failure. */
function lookupProduced(core: TreeCore, parent: NodeId, name: Name, production: Production): number {
  if (production.state === 'pending') {
    core.job.kind = 'produce'
    core.job.key = production.key
    core.job.again = true
    return PENDING
  }
  if (production.state === 'loop') return -ELOOP
  if (production.state === 'made' && production.isDirectory) {
    const slot = core.anchors.produced(parent, nameText(name), production.path)
    if (slot === 0) return -ENOMEM
    const result = answerAnchor(core, slot, parent)
    core.validity.entry = SHORT
    core.productions.noteShown(parent, nameText(name), slot)
    return result
  }
  const slot = core.anchors.named(PRODUCED, parent, name, S_IFREG)
  if (slot === 0) return -ENOMEM
  const result = fillProduced(core, slot, production)
  if (result < 0) return result
  core.frames.setLookups(slot, core.frames.lookups(slot) + 1)
  core.entryNode = slot
  core.validity.entry = SHORT
  core.productions.noteShown(parent, nameText(name), slot)
  return 0
}

/** Attributes of a file that is made, or of an empty one where it could not be. 0 or `-errno`. */
export function fillProduced(core: TreeCore, slot: NodeId, production: Production | undefined): number {
  if (production?.state === 'made') return fillPayload(core, slot, production.path)
  if (production?.state !== 'failed') return -ESTALE
  fillMade(core, slot, 0o444, 0)
  return 0
}

/** Where the program of a name in a cosm's `bin` is on the host; undefined when there is none. */
export function programAt(core: TreeCore, parent: NodeId, name: string): string | undefined {
  const stack = core.stackOf(parent)
  if (!stack.programs || core.pathInStack(parent) !== 'bin' || stack.whiteouts.has(`bin/${name}`))
    return undefined
  return stack.programs.find(name)
}

/** The library of a name in a cosm's `lib`; undefined when there is none. */
export function libraryAt(core: TreeCore, parent: NodeId, name: string): Library | undefined {
  if (!isLibraryDirectory(core, parent)) return undefined
  const stack = core.stackOf(parent)
  return stack.whiteouts.has(`lib/${name}`) ? undefined : core.libraries.find(stack, name)
}

/** The library that a frame is. */
export function libraryOfFrame(core: TreeCore, slot: NodeId): Library | undefined {
  return libraryAt(core, core.frames.parent(slot), core.frames.nameText(slot))
}

function lookupFunction(core: TreeCore, parent: NodeId, name: Name): number {
  if (libraryOfFrame(core, parent)?.functions.has(nameText(name))) {
    const slot = core.anchors.named(FUNCTION, parent, name, S_IFREG)
    return slot === 0 ? -ENOMEM : answerMade(core, slot, 0o555, core.executables.line.length)
  }
  const result = includesColon(name) ? lookupColon(core, parent, name) : -ENOENT
  return result === -ENOENT ? missing(core, SHORT) : result
}

/** Attributes of an anchor: of its first layer that is there, else of an empty directory. */
export function fillAnchor(core: TreeCore, slot: NodeId): void {
  const fd = core.nodeFd(slot)
  if (fd >= 0 && core.stat.descriptor(fd) === 0) fillAttributes(core, slot)
  else fillMade(core, slot, 0o755, 0)
}

/** Attributes of what no disk holds. */
export function fillMade(core: TreeCore, slot: NodeId, permissions: number, size: number): void {
  const { attributes, validity } = core
  setNumber(core, slot)
  const type = core.frames.type(slot)
  attributes.mode = type | permissions
  attributes.nlink = type === S_IFDIR ? 2 : 1
  attributes.uid = process.getuid?.() ?? 0
  attributes.gid = process.getgid?.() ?? 0
  attributes.rdev = 0
  attributes.size = size
  attributes.blocks = Math.ceil(size / 512)
  attributes.blksize = 4096
  attributes.atime = attributes.mtime = attributes.ctime = attributes.btime = startedAt
  attributes.atimensec = attributes.mtimensec = attributes.ctimensec = attributes.btimensec = 0
  validity.attributes = SHORT
}

/** Attributes of a payload: of the file itself, read-only; only `native` may be executed. 0 or `-errno`. */
export function fillPayload(core: TreeCore, slot: NodeId, path: string): number {
  const result = core.stat.path(cString(Buffer.from(path, 'latin1')).address)
  if (result < 0) return result
  core.stat.decode(core.attributes)
  core.attributes.mode &= core.frames.nameText(slot).endsWith('native') ? ~0o7222 : ~0o7333
  setNumber(core, slot)
  core.validity.attributes = SHORT
  return 0
}

const startedAt = Math.floor(Date.now() / 1000)

function answerAnchor(core: TreeCore, slot: NodeId, parent: NodeId): number {
  core.frames.setLookups(slot, core.frames.lookups(slot) + 1)
  fillAnchor(core, slot)
  core.entryNode = slot
  core.validity.entry = core.isWatched(parent) || parent === ROOT_NODE ? LONG : SHORT
  return 0
}

function answerMade(core: TreeCore, slot: NodeId, permissions: number, size: number): number {
  core.frames.setLookups(slot, core.frames.lookups(slot) + 1)
  fillMade(core, slot, permissions, size)
  core.entryNode = slot
  core.validity.entry = SHORT
  return 0
}

function missing(core: TreeCore, seconds: number): number {
  core.validity.entry = seconds
  return -ENOENT
}

/** Whether a name that may not even be looked at is another user's cosmos mount: it shows as empty too. */
function isForeignMount(core: TreeCore, parent: NodeId, name: Name): boolean {
  const directory = core.hostPath(parent)
  return core.devices.isCosmosMountPoint(`${directory === '/' ? '' : directory}/${nameText(name)}`)
}

function includesColon(name: Name): boolean {
  for (let i = 0; i < name.length; i++) if (name.bytes[name.offset + i] === COLON) return true
  return false
}

/** `name:prop` and `name:` beside a name that exists (design §4). */
function lookupColon(core: TreeCore, parent: NodeId, name: Name): number {
  const text = nameText(name)
  const colon = text.lastIndexOf(':')
  const property = text.slice(colon + 1)
  if (colon === 0 || (property !== '' && !isPropertyName(property))) return -ENOENT
  if (!hasProperty(core, parent, text.slice(0, colon))) return -ENOENT
  if (property !== '') return lookupPropertyFile(core, parent, name, text.slice(0, colon), property)
  const slot = core.anchors.named(PROPERTIES, parent, name, S_IFDIR)
  return slot === 0 ? -ENOMEM : answerMade(core, slot, 0o555, 0)
}

function lookupProperty(core: TreeCore, parent: NodeId, directory: NodeId, name: Name): number {
  const base = core.frames.nameText(directory).slice(0, -1)
  const property = nameText(name)
  if (!isPropertyName(property) && core.frames.kind(parent) !== REMOTE) return missing(core, SHORT)
  return lookupPropertyFile(core, directory, name, base, property, parent)
}

function lookupPropertyFile(
  core: TreeCore,
  parent: NodeId,
  name: Name,
  base: string,
  property: string,
  baseParent = parent,
): number {
  const payload = isPayloadName(property) ? payloadAt(core, baseParent, base) : undefined
  if (payload !== undefined) {
    const slot = core.anchors.named(PROPERTY, parent, name, S_IFREG)
    if (slot === 0) return -ENOMEM
    core.frames.setLookups(slot, core.frames.lookups(slot) + 1)
    core.entryNode = slot
    core.validity.entry = SHORT
    return fillPayload(core, slot, payload)
  }
  const text = propertyText(core, baseParent, base, property)
  if (text === undefined) return missing(core, SHORT)
  const slot = core.anchors.named(PROPERTY, parent, name, 0o100000)
  return slot === 0 ? -ENOMEM : answerMade(core, slot, 0o444, toBytesText(text).length)
}
