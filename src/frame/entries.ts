import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  IN_ATTRIB,
  IN_CREATE,
  IN_DELETE,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
} from '../os/constants.ts'
import {
  EBUSY,
  EEXIST,
  EISDIR,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EPERM,
  EROFS,
  ESTALE,
  EXDEV,
} from '../os/errno.ts'
import { linkat, mkdirat, mknodat, symlinkat, unlinkat } from '../os/libc.ts'
import { copiedKey, type Stack } from '../source/stacks.ts'
import { remember } from './answers.ts'
import { enterCaller, leaveCaller } from './caller.ts'
import { ensureLocal, localDirectory } from './copy-up.ts'
import type { TreeCore } from './core.ts'
import { ANCHOR, BACKED, FLAG_NAMELESS } from './frames.ts'
import { frameOf, known } from './identity.ts'
import { isEmptyDirectory } from './listing.ts'
import { programAt, specialDirectory } from './lookup.ts'
import type { Name, NodeId } from './operations.ts'
import { descriptorPath, nameText } from './paths.ts'

// Kinds of journal records.
const MADE = 1
const REMOVED = 2

export function mknod(core: TreeCore, parent: NodeId, name: Name, mode: number, rdev: number): number {
  return make(core, parent, name, (directory) => mknodat(directory, name.address, mode, kernelDevice(rdev)))
}

export function mkdir(core: TreeCore, parent: NodeId, name: Name, mode: number): number {
  const isMade = core.frames.exists(parent) && core.stackOf(parent).readOnly
  if (isMade) return core.productions.edits.mkdir(parent, name)
  return make(core, parent, name, (directory) => mkdirat(directory, name.address, mode))
}

export function symlink(core: TreeCore, parent: NodeId, name: Name, target: Name): number {
  return make(core, parent, name, (directory) => symlinkat(target.address, directory, name.address))
}

/**
 * Where a new entry may be made: the descriptor of the parent in its local layer, or `-errno`. A name of a stack of
 * one layer is not looked at: the system call says whether it is there. A resent request finds what it had made
 * itself: `alreadyMade` says so.
 */
export function placeForNew(core: TreeCore, parent: NodeId, name: Name, kind: number): number {
  core.alreadyMade = false
  const { frames, request } = core
  if (!frames.exists(parent)) return -ESTALE
  const parentKind = frames.kind(parent)
  if (parentKind !== BACKED && parentKind !== ANCHOR) return -EPERM
  if (core.stackOf(parent).readOnly) {
    const allowed = kind === CREATED ? core.productions.edits.mayChange(parent) : -EROFS
    if (allowed < 0) return allowed
  }
  if (specialDirectory(core, parent, name) !== 0) return -EEXIST
  if (!request.resent && core.stackOf(parent).single) return core.nodeFd(parent)
  const layer = core.statChild(parent, name)
  if (layer >= 0) {
    if (!request.resent || !hadMade(core, kind)) return -EEXIST
    core.alreadyMade = true
  } else if (layer !== -ENOENT) return layer
  else if (programAt(core, parent, nameText(name)) !== undefined && kind !== CREATED) return -EEXIST
  return localDirectory(core, parent)
}

/** Notes that an entry is about to be made, and when: what is older was not made by it. */
export function beginMaking(core: TreeCore, kind: number): void {
  const { request } = core
  const now = Date.now() - CLOCK_SLACK
  core.journal.begin(
    request.uniqueLow,
    request.uniqueHigh,
    kind,
    Math.floor(now / 1000),
    Math.floor(now % 1000) * 1_000_000,
    0,
    0,
  )
}

/** The clock of a file system's times ticks; milliseconds that they may lag behind. */
const CLOCK_SLACK = 20

/** Whether what was just stat'ed was made by this request before its daemon died: its inode changed after that began. */
function hadMade(core: TreeCore, kind: number): boolean {
  const { request, journal, stat } = core
  if (!journal.find(request.uniqueLow, request.uniqueHigh, kind)) return false
  stat.decode(core.attributes)
  const { ctime, ctimensec } = core.attributes
  return ctime > journal.note(0) || (ctime === journal.note(0) && ctimensec >= journal.note(1))
}

/** Journal kind of files that `create` makes; a program's link in `bin` may be covered by one. */
export const CREATED = 3

function make(core: TreeCore, parent: NodeId, name: Name, effect: (directory: number) => number): number {
  const { request } = core
  const directory = placeForNew(core, parent, name, MADE)
  if (directory < 0) return directory
  if (!core.alreadyMade) {
    beginMaking(core, MADE)
    enterCaller(request)
    const result = effect(directory)
    leaveCaller(request)
    if (result < 0) {
      core.journal.failed()
      return result
    }
    core.outside.own(IN_CREATE, parent, name)
  }
  return answerMadeEntry(core, parent, name, directory)
}

function answerMadeEntry(core: TreeCore, parent: NodeId, name: Name, directory: number): number {
  core.watched(parent)
  const stated = core.statIn(directory, name)
  return stated < 0 ? stated : remember(core, parent, name, core.localLayer(parent))
}

export function link(core: TreeCore, node: NodeId, newParent: NodeId, newName: Name): number {
  const { frames } = core
  if (!frames.exists(node)) return -ESTALE
  if (frames.kind(node) !== BACKED) return -EPERM
  if (frames.context(node) !== frames.context(newParent)) return -EXDEV
  const directory = placeForNew(core, newParent, newName, MADE)
  if (directory < 0) return directory
  const local = ensureLocal(core, node)
  if (local < 0) return local
  const fd = core.nodeFd(node)
  if (fd < 0) return fd
  if (!core.alreadyMade) {
    beginMaking(core, MADE)
    const result = linkat(AT_FDCWD, descriptorPath(fd), directory, newName.address, AT_SYMLINK_FOLLOW)
    if (result < 0) {
      core.journal.failed()
      return result
    }
    core.outside.own(IN_CREATE, newParent, newName)
    core.outside.own(IN_ATTRIB, frames.parent(node), core.ownName(node))
  }
  return answerMadeEntry(core, newParent, newName, directory)
}

export function unlink(core: TreeCore, parent: NodeId, name: Name): number {
  return remove(core, parent, name, false)
}

export function rmdir(core: TreeCore, parent: NodeId, name: Name): number {
  return remove(core, parent, name, true)
}

function remove(core: TreeCore, parent: NodeId, name: Name, directory: boolean): number {
  const { frames, request, stat } = core
  if (!frames.exists(parent)) return -ESTALE
  const kind = frames.kind(parent)
  if (kind !== BACKED && kind !== ANCHOR) return -EPERM
  const special = specialDirectory(core, parent, name)
  if (special !== 0)
    return special < 0 ? special : directory ? removeCosm(core, special, parent, name) : -EISDIR
  const stack = core.stackOf(parent)
  if (stack.readOnly) return removeEntry(core, parent, name, directory)
  const layer = core.statChild(parent, name)
  const begun = request.resent && core.journal.find(request.uniqueLow, request.uniqueHigh, REMOVED)
  if (layer < 0) {
    if (layer === -ENOENT && begun) return 0
    return layer === -ENOENT && !directory ? removeProgram(core, parent, stack, name) : layer
  }
  // Another file has the name by now: ours is gone.
  if (begun && (core.journal.note(0) !== stat.inoLow || core.journal.note(1) !== stat.inoHigh)) return 0
  const isDirectory = (stat.mode & S_IFMT) === S_IFDIR
  if (directory !== isDirectory) return directory ? -ENOTDIR : -EISDIR
  if (isDirectory && core.anchors.bindAt(parent, name) !== 0) return -EBUSY
  const { inoLow, inoHigh, device, nlink } = stat
  const ino = core.inoText()
  const slot = known(core, parent, name, layer)
  if (directory && !stack.single) {
    const victim = slot || frameOf(core, parent, name, layer)
    const empty = isEmptyDirectory(core, victim)
    if (empty < 0) return empty
    if (empty === 0) return -ENOTEMPTY
  }
  prepareRemoval(core, slot, nlink)
  core.journal.begin(request.uniqueLow, request.uniqueHigh, REMOVED, inoLow, inoHigh, 0, 0)
  if (!stack.single) {
    const hides = layer > stack.local || core.merged.lowerHas(parent, stack, name)
    if (hides || programAt(core, parent, nameText(name)) !== undefined)
      addWhiteout(core, parent, stack, name, directory)
  }
  if (layer === Math.max(0, stack.local) || stack.single) {
    const result = unlinkat(core.layerFd(parent, layer), name.address, directory ? AT_REMOVEDIR : 0)
    if (result < 0) return result
    if (nlink === 1 || directory) forgetCopied(core, stack, device, ino)
  }
  core.outside.own(IN_DELETE | IN_ATTRIB, parent, name, slot, undefined)
  if (slot !== 0) removed(core, slot, parent, name, nlink === 1 || directory)
  return 0
}

/** Removes an entry of a document that is shown as a directory; one with members is not empty. */
function removeEntry(core: TreeCore, parent: NodeId, name: Name, directory: boolean): number {
  const { edits } = core.productions
  const layer = core.statChild(parent, name)
  if (layer < 0) return layer
  const isDirectory = (core.stat.mode & S_IFMT) === S_IFDIR
  if (directory !== isDirectory) return directory ? -ENOTDIR : -EISDIR
  if (isDirectory) {
    const empty = isEmptyDirectory(core, frameOf(core, parent, name, layer))
    if (empty <= 0) return empty < 0 ? empty : -ENOTEMPTY
  }
  const result = edits.remove(parent, name)
  // The result in the store is of the former document; who removes all of it looks there.
  if (result === 0) unlinkat(core.nodeFd(parent), name.address, directory ? AT_REMOVEDIR : 0)
  return result
}

/** Before a frame's name goes: what is still reached by it must be by a descriptor. */
export function prepareRemoval(core: TreeCore, slot: NodeId, nlink: number): void {
  if (slot === 0) return
  const { frames } = core
  if (frames.type(slot) === S_IFDIR) core.keepDirectory(slot)
  else if (frames.opens(slot) > 0 || nlink > 1) core.nodeFd(slot)
  if (frames.opens(slot) > 0) core.kept.node(slot)
}

/** After a frame's name is gone. `last`: no other link is left. */
export function removed(core: TreeCore, slot: NodeId, parent: NodeId, name: Name, last: boolean): void {
  const { frames } = core
  if (last) frames.unindex(slot)
  if (frames.parent(slot) === parent && frames.sameName(slot, name.bytes, name.offset, name.length))
    frames.setFlag(slot, FLAG_NAMELESS)
  if (last) core.merged.drop(slot)
  // A descriptor would keep the disk's space until the kernel forgets the file, which nobody has open.
  if (last && frames.type(slot) === S_IFREG && frames.opens(slot) === 0) core.descriptors.drop(slot)
}

/**
 * Hides what lower layers have at a name, and what was hidden below it is hidden by that. True when it was not
 * hidden before.
 */
export function addWhiteout(
  core: TreeCore,
  parent: NodeId,
  stack: Stack,
  name: Name,
  directory: boolean,
): boolean {
  const path = pathOf(core, parent, name)
  const added = !stack.whiteouts.has(path)
  if (added) {
    core.store.addWhiteout(stack.key, path)
    stack.whiteouts.add(path)
  }
  // Nothing is hidden below a file, and there may be many whiteouts.
  if (directory) dropWhiteoutsBelow(core, stack, path)
  return added
}

function dropWhiteoutsBelow(core: TreeCore, stack: Stack, path: string): void {
  for (const below of stack.whiteouts)
    if (below.startsWith(`${path}/`)) {
      core.store.removeWhiteout(stack.key, below)
      stack.whiteouts.delete(below)
    }
}

/** Takes a whiteout back that hides a thing which stays after all. */
export function removeWhiteout(core: TreeCore, parent: NodeId, stack: Stack, name: Name): void {
  const path = pathOf(core, parent, name)
  if (stack.whiteouts.delete(path)) core.store.removeWhiteout(stack.key, path)
}

/** Path of a name below its stack's root. */
function pathOf(core: TreeCore, parent: NodeId, name: Name): string {
  const directory = core.pathInStack(parent)
  return directory === '' ? nameText(name) : `${directory}/${nameText(name)}`
}

export function forgetCopied(core: TreeCore, stack: Stack, device: number, ino: string): void {
  if (stack.copied.delete(copiedKey(device, ino))) core.store.removeCopied(stack.key, device, ino)
}

/** A program's link goes by a whiteout: the program is not this tree's. */
function removeProgram(core: TreeCore, parent: NodeId, stack: Stack, name: Name): number {
  if (programAt(core, parent, nameText(name)) === undefined) return -ENOENT
  addWhiteout(core, parent, stack, name, false)
  return 0
}

/** Removes a directory's own `.cosm`, when it has one and that is empty. */
function removeCosm(core: TreeCore, anchor: NodeId, parent: NodeId, name: Name): number {
  const stack = core.stackOf(anchor)
  if (core.stackOf(parent).type === stack.type || !nameText(name).startsWith('.cosm')) return -EBUSY
  const local = core.merged.fd(anchor, Math.max(0, stack.local))
  const directory = core.layerFd(parent, core.localLayer(parent))
  if (local < 0 || directory < 0) return -EBUSY
  const result = unlinkat(directory, name.address, AT_REMOVEDIR)
  if (result < 0) return result
  core.merged.drop(anchor)
  for (const path of stack.whiteouts) core.store.removeWhiteout(stack.key, path)
  stack.whiteouts.clear()
  core.outside.own(IN_DELETE, parent, name)
  return 0
}

/** A device number as FUSE sends it (new_encode_dev) in the form that mknod(2) takes. */
function kernelDevice(rdev: number): bigint {
  const major = BigInt((rdev & 0xfff00) >>> 8)
  const minor = BigInt((rdev & 0xff) | ((rdev >>> 12) & 0xfff00))
  return (minor & 0xffn) | ((major & 0xfffn) << 8n) | ((minor & ~0xffn) << 12n)
}
