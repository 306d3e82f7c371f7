import { S_IFDIR } from '../os/constants.ts'
import { ENOMEM } from '../os/errno.ts'
import type { Stack } from '../source/stacks.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import { isCosmProgram } from './executables.ts'
import { ANCHOR, BACKED, FLAG_ANSWERED, FLAG_WRITABLE } from './frames.ts'
import { frameOf } from './identity.ts'
import { hashNumber, hashText, number } from './inode-number.ts'
import type { Name, NodeId } from './operations.ts'

/** What the kernel is answered of a frame: its attributes, its inode number, and how long it may believe them. */

/** Seconds that the kernel may believe what is watched. */
export const LONG = 86_400
/** Seconds that it may believe a file's attributes: a link of it where nobody watches tells nothing. */
const FILE_LONG = 60
/** Seconds that it may believe anything else. */
export const SHORT = 1

/** Makes each time of a directory that tells no changes another one. */
let tick = 0

/**
 * Makes the frame of what was just stat'ed as `name` in `parent` known to the kernel: counts the lookup and
 * fills `entryNode`, `attributes`, `validity`. 0 or -ENOMEM.
 */
export function remember(core: TreeCore, parent: NodeId, name: Name, layer: number): number {
  const slot = frameOf(core, parent, name, layer)
  if (slot === 0) return -ENOMEM
  return answerEntry(core, slot, parent)
}

/** The same for a frame that is known, whose `stat` is at hand where it is a backed one. */
export function answerEntry(core: TreeCore, slot: NodeId, parent: NodeId): number {
  core.frames.setLookups(slot, core.frames.lookups(slot) + 1)
  core.entryNode = slot
  fillAttributes(core, slot)
  core.validity.entry = core.watched(parent) ? LONG : SHORT
  return 0
}

/** Fills `attributes` from `stat`, and how long they hold. */
export function fillAttributes(core: TreeCore, slot: NodeId): void {
  core.stat.decode(core.attributes)
  setNumber(core, slot)
  if (core.frames.type(slot) === S_IFDIR) fillDirectory(core, slot)
  else {
    const seconds = fileValidity(core, slot)
    if (seconds === FILE_LONG) core.frames.setFlag(slot, FLAG_ANSWERED)
    core.validity.attributes = seconds
    if (isCosmProgram(core, slot)) fillProgram(core, slot)
  }
}

/** The inode number that a frame shows, into `attributes`. */
export function setNumber(core: TreeCore, slot: NodeId): void {
  numberOf(core, slot)
  core.attributes.inoLow = number.low
  core.attributes.inoHigh = number.high
}

/** The inode number that a frame shows, into `number`. */
export function numberOf(core: TreeCore, slot: NodeId): void {
  const { frames } = core
  number.low = frames.numberLow(slot)
  number.high = frames.numberHigh(slot)
  if (number.low !== 0 || number.high !== 0) return
  const kind = frames.kind(slot)
  if (kind === BACKED || slot === ROOT_NODE)
    numberFor(core, core.stackOf(slot), frames.device(slot), frames.inoLow(slot), frames.inoHigh(slot))
  else if (kind === ANCHOR) hashNumber(ANCHOR, hashText(core.stackOf(slot).key), 0, 0)
  else {
    const name = hashText(frames.nameText(slot))
    numberOf(core, frames.parent(slot))
    hashNumber(kind, name, number.low, number.high)
  }
}

/** The inode number that a stack shows for a backing inode, into `number`. */
export function numberFor(
  core: TreeCore,
  stack: Stack,
  device: number,
  inoLow: number,
  inoHigh: number,
): void {
  if (stack.space === 0 && !core.borrowed.isForeign(device)) {
    number.low = inoLow
    number.high = inoHigh
  } else hashNumber(stack.space, device, inoLow, inoHigh)
}

/**
 * A program of a cosm that the kernel does not run itself is the launcher's line for it, and may be run by whoever may
 * read it. What runs a program may change without it.
 */
function fillProgram(core: TreeCore, slot: NodeId): void {
  const { attributes, executables, validity } = core
  validity.attributes = SHORT
  if (!executables.isLaunched(core, slot)) return
  attributes.size = executables.line.length
  attributes.blocks = 1
  attributes.mode |= (attributes.mode & 0o444) >> 2
}

/** Seconds that the attributes of a file hold. */
function fileValidity(core: TreeCore, slot: NodeId): number {
  const { frames } = core
  // Another link may be changed by where nobody watches; what the kernel writes by itself changes without us.
  if (core.attributes.nlink !== 1 || frames.hasFlag(slot, FLAG_WRITABLE)) return SHORT
  return core.isWatched(frames.parent(slot)) ? FILE_LONG : SHORT
}

/**
 * A directory's times must move whenever its listing does, since the kernel keeps listings by them: a merged one
 * has its newest layer's, and one whose file system tells nothing has the present.
 */
function fillDirectory(core: TreeCore, slot: NodeId): void {
  const { attributes, validity } = core
  // Of a tree that was made: there it says that the members are not written yet.
  if (core.stackOf(slot).readOnly) attributes.mode &= ~0o1000
  if (!core.stackOf(slot).single) core.merged.newestTime(slot, attributes)
  else if (core.stat.device >>> 20 === 0 && core.devices.classOf(core.stat.device) === 'volatile') {
    attributes.mtime = Math.floor(Date.now() / 1000)
    attributes.mtimensec = ++tick % 1_000_000_000
    validity.attributes = 0
    return
  }
  validity.attributes = core.isWatched(slot) ? LONG : SHORT
}
