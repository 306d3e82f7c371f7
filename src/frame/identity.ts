import { S_IFDIR, S_IFMT } from '../os/constants.ts'
import { ANCHOR_BIND, copiedKey } from '../source/stacks.ts'
import type { TreeCore } from './core.ts'
import { BACKED, FLAG_NAMELESS, HIDDEN_MOUNT } from './frames.ts'
import type { Name, NodeId } from './operations.ts'
import { nameText } from './paths.ts'

/** Which frame a file has: found by the identity of its backing inode, which was just stat'ed, or made. */

/** The frame of what was just stat'ed; 0 when the table is full. */
export function frameOf(core: TreeCore, parent: NodeId, name: Name, layer: number): NodeId {
  const { frames, stat } = core
  const type = stat.mode & S_IFMT
  if (type === S_IFDIR) {
    if (stat.device !== frames.device(parent) && core.devices.classOf(stat.device) === 'cosmos')
      return core.anchors.named(HIDDEN_MOUNT, parent, name, S_IFDIR)
    const bind = core.anchors.bindAt(parent, name)
    if (bind !== 0) return core.anchors.anchor(ANCHOR_BIND, parent, nameText(name), bind)
  }
  const context = frames.context(parent)
  let slot = known(core, parent, name, layer)
  if (slot !== 0 && (frames.type(slot) !== type || !frames.sameBirth(slot, stat.birth, stat.birthNsec))) {
    // The disk has used the inode number again: the old frame's file is gone.
    frames.unindex(slot)
    frames.setFlag(slot, FLAG_NAMELESS)
    slot = 0
  }
  if (slot === 0) {
    slot = frames.allocate(BACKED, parent, context)
    if (slot === 0) return 0
    frames.setType(slot, type)
    identify(core, slot)
  }
  frames.setLayer(slot, layer)
  if (!frames.place(slot, parent, name.bytes, name.offset, name.length)) return 0
  frames.clearFlag(slot, FLAG_NAMELESS)
  return slot
}

/**
 * The frame of what was just stat'ed as `name`, 0 for none. Links of one file in a lower layer are a frame each: a
 * copy-up parts them.
 */
export function known(core: TreeCore, parent: NodeId, name: Name, layer: number): NodeId {
  const { frames, stat } = core
  const context = frames.context(parent)
  const { device, inoLow, inoHigh } = stat
  const stack = core.stackOf(parent)
  const parted = !stack.single && layer !== stack.local && stat.nlink > 1 && (stat.mode & S_IFMT) !== S_IFDIR
  return parted
    ? frames.findPlaced(context, device, inoLow, inoHigh, parent, name)
    : frames.find(context, device, inoLow, inoHigh)
}

/** Gives a frame the backing inode that was just stat'ed, and the number that was kept for it. */
export function identify(core: TreeCore, slot: NodeId): void {
  const { frames, stat } = core
  frames.unindex(slot)
  frames.setIdentity(slot, stat.device, stat.inoLow, stat.inoHigh, stat.birth, stat.birthNsec)
  frames.index(slot)
  const { copied } = core.stackOf(slot)
  if (copied.size === 0) return
  const kept = copied.get(copiedKey(stat.device, core.inoText()))
  if (kept) frames.setNumber(slot, kept.low, kept.high)
}
