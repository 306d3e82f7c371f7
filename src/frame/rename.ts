import {
  IN_ATTRIB,
  IN_CREATE,
  IN_DELETE,
  IN_MODIFY,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFDIR,
  S_IFMT,
} from '../os/constants.ts'
import {
  EBUSY,
  EEXIST,
  EINVAL,
  EISDIR,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EPERM,
  EROFS,
  ESTALE,
  EXDEV,
} from '../os/errno.ts'
import { renameat2 } from '../os/libc.ts'
import { ensureLocal, localDirectory } from './copy-up.ts'
import type { TreeCore } from './core.ts'
import { addWhiteout, forgetCopied, prepareRemoval, removed, removeWhiteout } from './entries.ts'
import { ANCHOR, BACKED, FLAG_NAMELESS } from './frames.ts'
import { frameOf, known } from './identity.ts'
import { isEmptyDirectory } from './listing.ts'
import { programAt, specialDirectory } from './lookup.ts'
import type { Name, NodeId } from './operations.ts'
import { nameText } from './paths.ts'

/** Kind of journal record. */
const RENAMED = 4

/** What a name was before the rename. */
interface Side {
  layer: number
  slot: NodeId
  mode: number
  device: number
  inoLow: number
  inoHigh: number
  ino: string
  nlink: number
}
const source: Side = { layer: 0, slot: 0, mode: 0, device: 0, inoLow: 0, inoHigh: 0, ino: '', nlink: 0 }
const target: Side = { layer: 0, slot: 0, mode: 0, device: 0, inoLow: 0, inoHigh: 0, ino: '', nlink: 0 }

/**
 * rename(2) within one stack; -EXDEV between stacks, and, as overlayfs answers, for a directory that lower layers
 * have a part of: mv(1) copies then.
 */
export function rename(
  core: TreeCore,
  parent: NodeId,
  name: Name,
  newParent: NodeId,
  newName: Name,
  flags: number,
): number {
  const { frames, request } = core
  if (!frames.exists(parent) || !frames.exists(newParent)) return -ESTALE
  if (!isDirectoryFrame(core, parent) || !isDirectoryFrame(core, newParent)) return -EPERM
  if (specialDirectory(core, parent, name) !== 0 || specialDirectory(core, newParent, newName) !== 0)
    return -EBUSY
  if (frames.context(parent) !== frames.context(newParent)) return -EXDEV
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0) return -EINVAL
  const begun = request.resent && core.journal.find(request.uniqueLow, request.uniqueHigh, RENAMED)
  const noteLow = begun ? core.journal.note(0) : 0
  const noteHigh = begun ? core.journal.note(1) : 0
  if (core.stackOf(parent).readOnly) return -EROFS
  look(core, newParent, newName, target)
  look(core, parent, name, source)
  if (begun && (source.layer < 0 || source.inoLow !== noteLow || source.inoHigh !== noteHigh)) {
    // It was done before its daemon died; where its frame is now was not noted any more.
    if (target.layer >= 0 && target.inoLow === noteLow && target.inoHigh === noteHigh)
      moved(core, target.slot, newParent, newName)
    return 0
  }
  if (source.layer < 0) return source.layer
  if (core.anchors.bindAt(parent, name) !== 0) return -EBUSY
  if (target.layer < 0 && target.layer !== -ENOENT) return target.layer
  if (target.layer >= 0 && (flags & RENAME_NOREPLACE) !== 0) return -EEXIST
  const stack = core.stackOf(parent)
  if (!stack.single) {
    const merged = prepareMerged(core, parent, name, newParent, newName, flags)
    if (merged < 0) return merged
  }
  const from = core.layerFd(parent, core.localLayer(parent))
  const to = stack.single ? core.layerFd(newParent, 0) : localDirectory(core, newParent)
  if (from < 0) return from
  if (to < 0) return to
  const exchange = (flags & RENAME_EXCHANGE) !== 0
  const same =
    target.layer >= 0 &&
    target.inoLow === source.inoLow &&
    target.inoHigh === source.inoHigh &&
    target.device === source.device
  if (target.layer >= 0 && !exchange && !same) prepareRemoval(core, target.slot, target.nlink)
  core.journal.begin(request.uniqueLow, request.uniqueHigh, RENAMED, source.inoLow, source.inoHigh, 0, 0)
  // Hidden first: a daemon that dies in between leaves nothing that comes up again from below.
  let hiddenSource = false
  let hiddenTarget = false
  if (!stack.single) {
    if (!exchange && !same && (core.merged.lowerHas(parent, stack, name) || isProgram(core, parent, name)))
      hiddenSource = addWhiteout(core, parent, stack, name, isDirectory(source))
    if (isDirectory(source) && core.merged.lowerHas(newParent, stack, newName))
      hiddenTarget = addWhiteout(core, newParent, stack, newName, true)
  }
  const result = renameat2(from, name.address, to, newName.address, flags)
  if (result < 0) {
    if (hiddenSource) removeWhiteout(core, parent, stack, name)
    if (hiddenTarget) removeWhiteout(core, newParent, stack, newName)
    return result
  }
  if (!stack.single) core.merged.clear()
  core.outside.own(
    IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_MODIFY,
    parent,
    name,
    newParent,
    newName,
  )
  // Two links of one file: rename(2) does nothing.
  if (same && !exchange) return 0
  if (target.layer >= 0 && !exchange && target.slot !== 0)
    removed(core, target.slot, newParent, newName, target.nlink === 1 || isDirectory(target))
  if (target.layer >= 0 && !exchange && target.nlink === 1)
    forgetCopied(core, stack, target.device, target.ino)
  moved(core, source.slot, newParent, newName)
  if (exchange) moved(core, target.slot, parent, name)
  return 0
}

function isProgram(core: TreeCore, parent: NodeId, name: Name): boolean {
  return programAt(core, parent, nameText(name)) !== undefined
}

function isDirectoryFrame(core: TreeCore, slot: NodeId): boolean {
  const kind = core.frames.kind(slot)
  return kind === BACKED || kind === ANCHOR
}

function isDirectory(side: Side): boolean {
  return (side.mode & S_IFMT) === S_IFDIR
}

function look(core: TreeCore, parent: NodeId, name: Name, side: Side): void {
  side.layer = core.statChild(parent, name)
  side.slot = 0
  side.mode = 0
  if (side.layer < 0) return
  const { stat } = core
  side.mode = stat.mode
  side.device = stat.device
  side.inoLow = stat.inoLow
  side.inoHigh = stat.inoHigh
  side.ino = core.stackOf(parent).copied.size > 0 ? core.inoText() : ''
  side.nlink = stat.nlink
  side.slot = known(core, parent, name, side.layer)
}

/** A rename within a stack of several layers: what must be true and what must be in the local layer first. */
function prepareMerged(
  core: TreeCore,
  parent: NodeId,
  name: Name,
  newParent: NodeId,
  newName: Name,
  flags: number,
): number {
  const stack = core.stackOf(parent)
  const hidden = core.merged.isWhiteout(parent, stack, nameText(name))
  const sourceIsDirectory = isDirectory(source)
  if (
    sourceIsDirectory &&
    (source.layer !== stack.local || (!hidden && core.merged.lowerHas(parent, stack, name)))
  )
    return -EXDEV
  if ((flags & RENAME_EXCHANGE) !== 0) {
    if (target.layer < 0) return target.layer
    if (
      isDirectory(target) &&
      (target.layer !== stack.local || core.merged.lowerHas(newParent, stack, newName))
    )
      return -EXDEV
    const other = localNode(core, newParent, newName, target)
    if (other < 0) return other
  } else if (target.layer >= 0) {
    if (isDirectory(target) && !sourceIsDirectory) return -EISDIR
    if (!isDirectory(target) && sourceIsDirectory) return -ENOTDIR
    if (isDirectory(target)) {
      const victim = frameAt(core, newParent, newName)
      const empty = victim <= 0 ? victim : isEmptyDirectory(core, victim)
      if (empty < 0) return empty
      if (empty === 0) return -ENOTEMPTY
    }
  }
  return sourceIsDirectory ? 0 : localNode(core, parent, name, source)
}

/** Brings what a name is into the local layer; the side is what it is then. */
function localNode(core: TreeCore, parent: NodeId, name: Name, side: Side): number {
  if (side.layer === core.stackOf(parent).local) return 0
  const slot = frameAt(core, parent, name)
  if (slot <= 0) return slot
  const result = ensureLocal(core, slot)
  if (result < 0) return result
  look(core, parent, name, side)
  return Math.min(side.layer, 0)
}

function frameAt(core: TreeCore, parent: NodeId, name: Name): number {
  const layer = core.statChild(parent, name)
  return layer < 0 ? layer : frameOf(core, parent, name, layer)
}

function moved(core: TreeCore, slot: NodeId, parent: NodeId, name: Name): void {
  if (slot === 0) return
  const former = core.frames.parent(slot)
  core.frames.place(slot, parent, name.bytes, name.offset, name.length)
  core.frames.clearFlag(slot, FLAG_NAMELESS)
  core.merged.drop(slot)
  if (former !== parent) core.settle(former)
}
