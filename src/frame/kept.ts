import type { TreeCore } from './core.ts'
import { FLAG_KEPT } from './frames.ts'
import { KEPT_HANDLE, KEPT_NODE, type Keep } from './keep.ts'
import type { HandleId, NodeId } from './operations.ts'

/** Flag of a handle whose descriptor is in the keep; no O_* flag uses the bit. */
export const HANDLE_KEPT = 0x40000000

/** Which descriptors are in the keep: those that the next daemon could not open again. */
export class KeptDescriptors {
  readonly #core: TreeCore
  readonly #keep: Keep

  constructor(core: TreeCore, keep: Keep) {
    this.#core = core
    this.#keep = keep
  }

  /** Hands a frame's descriptor to the keep: without its name it is all that the next daemon can have. */
  node(slot: NodeId): void {
    const { frames } = this.#core
    const fd = frames.descriptor(slot)
    if (fd < 0 || frames.hasFlag(slot, FLAG_KEPT)) return
    if (this.#keep.put(KEPT_NODE, slot, fd)) frames.setFlag(slot, FLAG_KEPT)
  }

  /** Hands a handle's descriptor to the keep: it could not be opened again. */
  handle(handle: HandleId): void {
    const { handles } = this.#core
    const fd = handles.descriptor(handle)
    const flags = handles.flags(handle)
    if (fd < 0 || (flags & HANDLE_KEPT) !== 0) return
    if (this.#keep.put(KEPT_HANDLE, handle, fd)) handles.setFlags(handle, flags | HANDLE_KEPT)
  }

  /** A kept handle is closed. */
  handleClosed(): void {
    this.#keep.drop(this.#isKept)
  }

  /** A frame is about to be freed. */
  forget(slot: NodeId): void {
    const { frames } = this.#core
    if (!frames.hasFlag(slot, FLAG_KEPT)) return
    frames.clearFlag(slot, FLAG_KEPT)
    this.#keep.drop(this.#isKept)
  }

  /** Takes what an earlier daemon put in. */
  inherit(): void {
    const core = this.#core
    this.#keep.rotate((kept) => {
      // The queue holds dead descriptors too, and their numbers may be in use again.
      const isNode = kept.kind === KEPT_NODE
      const node = isNode ? kept.id : core.handles.exists(kept.id) ? core.handles.node(kept.id) : 0
      const known = isNode ? core.frames.descriptor(node) : core.handles.descriptor(kept.id)
      const wanted = node !== 0 && known < 0 && this.#isKept(kept.kind, kept.id)
      if (!wanted || core.stat.descriptor(kept.fd) < 0 || !core.isStatOf(node)) {
        core.merged.closeLater(kept.fd)
        return false
      }
      if (isNode) core.descriptors.add(node, kept.fd)
      else core.handles.setDescriptor(kept.id, kept.fd)
      return true
    })
  }

  readonly #isKept = (kind: number, id: number): boolean => {
    const { frames, handles } = this.#core
    return kind === KEPT_NODE
      ? frames.exists(id) && frames.hasFlag(id, FLAG_KEPT)
      : handles.exists(id) && (handles.flags(id) & HANDLE_KEPT) !== 0
  }
}
