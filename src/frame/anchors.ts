import { AT_FDCWD, S_IFDIR } from '../os/constants.ts'
import { cString } from '../os/memory.ts'
import {
  ANCHOR_BIND,
  ANCHOR_COSM,
  ANCHOR_PRODUCED,
  ANCHOR_ROOT,
  type AnchorType,
  buildStack,
  type Stack,
  type StackSource,
} from '../source/stacks.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import { ANCHOR, BACKED } from './frames.ts'
import { hashText } from './inode-number.ts'
import type { Name, NodeId } from './operations.ts'
import { makeName, nameText } from './paths.ts'

/** Frames that no backing inode identifies: anchors of stacks, and what only has a place. */
export class Anchors {
  readonly #core: TreeCore
  readonly #stacks = new Map<NodeId, Stack>()
  /** Anchors by what they are the root of. */
  readonly #anchors = new Map<string, NodeId>([['root', ROOT_NODE]])
  /** The other way round. */
  readonly #keys = new Map<NodeId, string>()
  /** Frames that have a place but no backing inode, by parent and name. */
  readonly #named = new Map<string, NodeId>()
  /** Lasting binds by the identity of their local directory. */
  readonly #binds = new Map<string, { id: number; path: string }>()

  constructor(core: TreeCore) {
    this.#core = core
  }

  /** Reads the lasting binds anew; stacks are made from what the cosmosdb has now. */
  load(): void {
    const { stat, store } = this.#core
    this.#stacks.clear()
    this.#binds.clear()
    for (const bind of store.binds()) {
      const path = cString(Buffer.from(bind.local, 'latin1'))
      if (stat.child(AT_FDCWD, path.address) < 0) continue
      this.#binds.set(this.#identityText(), { id: bind.id, path: bind.path })
    }
  }

  /** The stack whose root an anchor is. */
  stack(slot: NodeId): Stack {
    return this.#stacks.get(slot) ?? this.#build(slot)
  }

  /** The anchor frame of a stack, made at its first use; 0 when the table is full. */
  anchor(type: AnchorType, parent: NodeId, name: string, bind = 0): NodeId {
    const { frames } = this.#core
    const key = anchorKey(type, parent, bind, name)
    const known = this.#anchors.get(key)
    if (known !== undefined) return known
    const slot = frames.allocate(ANCHOR, parent, 0)
    if (slot === 0) return 0
    frames.setContext(slot, slot)
    frames.setLayer(slot, type)
    frames.setType(slot, S_IFDIR)
    frames.setIdentity(slot, bind, 0, 0, 0, 0)
    const bytes = makeName(name)
    frames.place(slot, parent, bytes.bytes, 0, bytes.length)
    this.#anchors.set(key, slot)
    this.#keys.set(slot, key)
    return slot
  }

  /**
   * The anchor of a directory that was made. What is made of another input is another anchor: the kernel forgets what
   * it knows of the former's entries.
   */
  produced(parent: NodeId, name: string, path: string): NodeId {
    const slot = this.anchor(ANCHOR_PRODUCED, parent, name, hashText(path))
    if (slot === 0 || this.stack(slot).layers[0]?.path === path) return slot
    this.#stacks.delete(slot)
    this.#core.descriptors.drop(slot)
    this.#core.watches.remove(slot)
    return slot
  }

  /** The bind that shows at a directory just stat'ed, 0 for none. */
  bindAt(parent: NodeId, name: Name): number {
    if (this.#binds.size === 0) return 0
    const bind = this.#binds.get(this.#identityText())
    if (!bind) return 0
    return bind.path === `${this.#core.treePath(parent).replace(/\/$/, '')}/${nameText(name)}` ? bind.id : 0
  }

  /** A frame that has a place but no backing inode, made at its first use; 0 when the table is full. */
  named(kind: number, parent: NodeId, name: Name, type: number): NodeId {
    const { frames } = this.#core
    const key = `${parent}/${nameText(name)}`
    const known = this.#named.get(key)
    if (known !== undefined && frames.kind(known) === kind && frames.type(known) === type) return known
    const slot = frames.allocate(kind, parent, frames.context(parent))
    if (slot === 0) return 0
    frames.place(slot, parent, name.bytes, name.offset, name.length)
    frames.setType(slot, type)
    this.#named.set(key, slot)
    return slot
  }

  /** A frame that `named` has made is at another place; what was there has no name any more. */
  move(parent: NodeId, name: Name, newParent: NodeId, newName: Name): void {
    const { frames } = this.#core
    const from = `${parent}/${nameText(name)}`
    const to = `${newParent}/${nameText(newName)}`
    const slot = this.#named.get(from)
    this.#named.delete(from)
    this.#named.delete(to)
    if (slot === undefined) return
    frames.place(slot, newParent, newName.bytes, newName.offset, newName.length)
    this.#named.set(to, slot)
    if (parent !== newParent) this.#core.settle(parent)
  }

  /** An earlier daemon left this frame. */
  inherit(slot: NodeId): void {
    const { frames } = this.#core
    const kind = frames.kind(slot)
    if (kind === ANCHOR) {
      const key = this.#keyOf(slot)
      this.#anchors.set(key, slot)
      this.#keys.set(slot, key)
    } else if (kind !== BACKED) this.#named.set(`${frames.parent(slot)}/${frames.nameText(slot)}`, slot)
  }

  /** A frame is about to be freed. */
  forget(slot: NodeId): void {
    const { frames } = this.#core
    const kind = frames.kind(slot)
    if (kind === ANCHOR) {
      this.#anchors.delete(this.#keys.get(slot) ?? '')
      this.#keys.delete(slot)
      this.#stacks.delete(slot)
    } else if (kind !== BACKED) {
      const place = `${frames.parent(slot)}/${frames.nameText(slot)}`
      if (this.#named.get(place) === slot) this.#named.delete(place)
    }
  }

  #keyOf(slot: NodeId): string {
    const { frames } = this.#core
    const type = frames.layer(slot) as AnchorType
    return anchorKey(type, frames.parent(slot), frames.device(slot), frames.nameText(slot))
  }

  #build(slot: NodeId): Stack {
    const { places, store } = this.#core
    const stack = buildStack(slot, this.#source(slot), places, store)
    this.#stacks.set(slot, stack)
    return stack
  }

  #source(slot: NodeId): StackSource {
    const core = this.#core
    const type = core.frames.layer(slot) as AnchorType
    const parent = core.frames.parent(slot)
    if (type === ANCHOR_COSM) {
      const inRoot = parent === ROOT_NODE || core.stackOf(parent).type === ANCHOR_ROOT
      return {
        type,
        directory: parent === ROOT_NODE ? undefined : core.hostPath(parent),
        top: inRoot ? core.places.root : '/',
      }
    }
    if (type === ANCHOR_BIND) {
      const id = core.frames.device(slot)
      const bind = core.store.binds().find((each) => each.id === id)
      return { type, id, local: bind?.local ?? '/nonexistent', layers: bind?.layers ?? [] }
    }
    if (type === ANCHOR_PRODUCED) {
      const made = core.productions.find(parent, core.frames.nameText(slot))
      return { type, path: made?.state === 'made' ? made.path : '/nonexistent' }
    }
    return { type }
  }

  #identityText(): string {
    return `${this.#core.stat.device}:${this.#core.inoText()}`
  }
}

function anchorKey(type: AnchorType, parent: NodeId, bind: number, name: string): string {
  if (type === ANCHOR_PRODUCED) return `produced/${parent}/${name}/${bind}`
  return type === ANCHOR_BIND ? `bind/${bind}` : type === ANCHOR_ROOT ? 'root' : `${type}/${parent}/${name}`
}
