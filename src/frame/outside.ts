import { IN_ATTRIB, IN_CREATE, IN_DELETE, IN_MODIFY, IN_MOVED_TO } from '../os/constants.ts'
import type { TreeCore } from './core.ts'
import { FLAG_ANSWERED, FLAG_NO_CAPABILITIES, FLAG_PASSTHROUGH, FLAG_WRITABLE } from './frames.ts'
import { known } from './identity.ts'
import type { Name, NodeId } from './operations.ts'
import type { WatchListener } from './watches.ts'

const IN_ISDIR = 0x40000000

/** What changes outside: what watched directories and the table of mounts tell becomes invalidations. */
export class OutsideChanges implements WatchListener {
  readonly #core: TreeCore
  /** A change that this daemon makes itself. */
  readonly #ownChange: {
    slot: NodeId
    name: Name | undefined
    slot2: NodeId
    name2: Name | undefined
    mask: number
  } = { slot: 0, name: undefined, slot2: 0, name2: undefined, mask: 0 }

  constructor(core: TreeCore) {
    this.#core = core
  }

  /**
   * After a change of our own in watched directories: takes its events from the queue, so that they do not
   * invalidate what is about to be answered. Attributes are read after this.
   */
  own(
    mask: number,
    slot: NodeId,
    name: Name | undefined,
    slot2 = 0,
    name2: Name | undefined = undefined,
  ): void {
    if (!this.#core.isWatched(slot) && (slot2 === 0 || !this.#core.isWatched(slot2))) return
    const own = this.#ownChange
    own.slot = slot
    own.name = name
    own.slot2 = slot2
    own.name2 = name2
    own.mask = mask
    this.#core.watches.drain(this, 4)
    own.slot = 0
    own.slot2 = 0
  }

  /** WatchListener: something happened to a name in a watched directory. */
  changed(slot: NodeId, mask: number, name: Name): void {
    this.#core.productions.shown.changed(slot, name)
    const own = this.#ownChange
    if (
      (mask & own.mask) !== 0 &&
      ((slot === own.slot && sameName(name, own.name)) || (slot === own.slot2 && sameName(name, own.name2)))
    )
      return
    const { invalidate } = this.#core.services
    if (name.length === 0) {
      invalidate.node(slot, false)
      return
    }
    if ((mask & (IN_DELETE | IN_MOVED_TO)) !== 0 && (mask & IN_ISDIR) === 0) this.#keepRemoved(slot, name)
    if ((mask & (IN_ATTRIB | IN_MODIFY)) === 0) {
      invalidate.name(slot, name.bytes, name.offset, name.length)
      invalidate.node(slot, true)
      if ((mask & IN_ISDIR) !== 0 && !this.#core.stackOf(slot).single) {
        // Another directory may have come into a merge, or gone from it.
        this.#core.merged.clear()
        invalidate.everything()
        return
      }
      // A new name may be another link of a file that is known: its count of links has changed.
      if ((mask & (IN_CREATE | IN_MOVED_TO)) === 0) return
    }
    const layer = this.#core.statChild(slot, name)
    if (layer < 0) return
    const { frames } = this.#core
    const child = known(this.#core, slot, name, layer)
    if (child === 0) return
    const passthrough = frames.hasFlag(child, FLAG_PASSTHROUGH)
    if ((mask & IN_ATTRIB) !== 0) frames.clearFlag(child, FLAG_NO_CAPABILITIES)
    if (passthrough && frames.hasFlag(child, FLAG_WRITABLE) && (mask & IN_MODIFY) !== 0) {
      // Mostly the kernel's own writing, of which it knows; while it goes on attributes are given for a short time only.
      if (!frames.hasFlag(child, FLAG_ANSWERED)) return
      frames.clearFlag(child, FLAG_ANSWERED)
    }
    invalidate.node(child, (mask & IN_MODIFY) !== 0 && !passthrough)
  }

  /** A name was taken away outside: what is open of it must be reached without it, by the next daemon too. */
  #keepRemoved(parent: NodeId, name: Name): void {
    const { frames } = this.#core
    for (const node of this.#core.handles.nodes())
      if (frames.parent(node) === parent && frames.sameName(node, name.bytes, name.offset, name.length))
        this.#core.kept.node(node)
  }

  /** WatchListener: events were lost. */
  overflowed(): void {
    this.#core.merged.clear()
    this.#core.services.invalidate.everything()
  }

  /** Disks were mounted or unmounted: every way to a frame may lead elsewhere. */
  mountsChanged(): void {
    this.#core.devices.forget()
    this.#core.descriptors.dropAll()
    this.#core.merged.clear()
    this.#core.services.invalidate.everything()
  }
}

function sameName(a: Name, b: Name | undefined): boolean {
  if (b === undefined) return a.length === 0
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a.bytes[a.offset + i] !== b.bytes[b.offset + i]) return false
  return true
}
