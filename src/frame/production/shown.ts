import type { TreeCore } from '../core.ts'
import type { Name, NodeId } from '../operations.ts'
import { makeName, nameText } from '../paths.ts'

/** Files that something is shown of. */
const CAPACITY = 10_000
/** How long the end of a write waits for the kernel to have heard what it has changed, and how often that is looked at. */
const PATIENCE_MS = 2
const AGAIN_MS = 0.05

/**
 * What the kernel was shown that is made of a file, so that it forgets it when the file changes. Files that nobody made
 * anything of are not known here.
 */
export class ShownProductions {
  readonly #core: TreeCore
  /** By directory and name of the file: names beside it, and their frames. */
  readonly #shown = new Map<string, Map<string, NodeId>>()
  /** What the kernel may not have heard of yet. */
  readonly #untold = new Set<string>()
  readonly #pause = new Int32Array(new SharedArrayBuffer(4))

  constructor(core: TreeCore) {
    this.#core = core
  }

  /** The kernel is shown what is made of `base`, as `name` beside it. */
  add(parent: NodeId, base: string, name: string, slot: NodeId): void {
    const key = `${parent}/${base}`
    let names = this.#shown.get(key)
    if (!names) {
      names = new Map()
      this.#shown.set(key, names)
      if (this.#shown.size > CAPACITY) this.#shown.delete(this.#shown.keys().next().value as string)
    }
    names.set(name, slot)
  }

  /** Whether the kernel was shown something that is made of a file. */
  has(node: NodeId): boolean {
    if (this.#shown.size === 0 && this.#untold.size === 0) return false
    const { frames } = this.#core
    const key = `${frames.parent(node)}/${frames.nameText(node)}`
    return this.#shown.has(key) || this.#untold.has(key)
  }

  /** A file has changed, or something else has its name: what was made of it is looked up anew. */
  changed(parent: NodeId, name: Name): void {
    if (this.#shown.size === 0 || name.length === 0) return
    const key = `${parent}/${nameText(name)}`
    const names = this.#shown.get(key)
    if (!names) return
    this.#shown.delete(key)
    const { invalidate } = this.#core.services
    if (invalidate.idle) this.#untold.clear()
    this.#untold.add(key)
    for (const [text, slot] of names) {
      const { bytes, offset, length } = makeName(text)
      invalidate.name(parent, bytes, offset, length)
      // The frame may be another's by now, whose attributes are asked for once more then.
      invalidate.node(slot, true)
    }
  }

  /** A writer closes a file: who looks after that sees what is made of what he has written. */
  written(node: NodeId): void {
    if (this.#shown.size === 0 && this.#untold.size === 0) return
    const core = this.#core
    this.tell(core.frames.parent(node), core.ownName(node))
  }

  /** A file has changed; waits a little until the kernel has heard. */
  tell(parent: NodeId, name: Name): void {
    const core = this.#core
    this.changed(parent, name)
    if (!this.#untold.has(`${parent}/${nameText(name)}`)) return
    const until = performance.now() + PATIENCE_MS
    // No longer: what tells the kernel may wait for a request that is still to be answered.
    while (!core.services.invalidate.idle && performance.now() < until)
      Atomics.wait(this.#pause, 0, 0, AGAIN_MS)
  }
}
