import { S_IFMT } from '../os/constants.ts'
import { ANCHOR_BIND, ANCHOR_COSM } from '../source/stacks.ts'
import type { TreeCore } from './core.ts'
import { ANCHOR, PROPERTIES } from './frames.ts'
import { number } from './inode-number.ts'
import { fillAnchor, programAt, specialDirectory } from './lookup.ts'
import type { NodeId } from './operations.ts'
import { makeName, readable } from './paths.ts'

/** Properties of a node: `name:prop` in paths, `user.cosmos.prop` among its extended attributes (design §4). */
export const PROPERTY_NAMES = ['inode', 'dcel', 'layers', 'prod', 'mtime'] as const
export type PropertyName = (typeof PROPERTY_NAMES)[number]

export function isPropertyName(name: string): name is PropertyName {
  return (PROPERTY_NAMES as readonly string[]).includes(name)
}

/** Whether `name` in a directory is a node with properties. */
export function hasProperty(core: TreeCore, parent: NodeId, name: string): boolean {
  const slot = frameAt(core, parent, name)
  if (slot !== 0) core.settle(slot)
  return slot !== 0
}

/** The content of a property's file, a line or more; undefined when the node is not there. */
export function propertyText(
  core: TreeCore,
  parent: NodeId,
  name: string,
  property: string,
): string | undefined {
  const slot = frameAt(core, parent, name)
  if (slot === 0 || !isPropertyName(property)) return undefined
  const value = nodeProperty(core, slot, property)
  core.settle(slot)
  return value
}

/** The content of the property file that a frame is. */
export function propertyOfFrame(core: TreeCore, slot: NodeId): string | undefined {
  const { frames } = core
  const parent = frames.parent(slot)
  const name = frames.nameText(slot)
  if (frames.kind(parent) === PROPERTIES)
    return propertyText(core, frames.parent(parent), frames.nameText(parent).slice(0, -1), name)
  const colon = name.lastIndexOf(':')
  return propertyText(core, parent, name.slice(0, colon), name.slice(colon + 1))
}

/** One property of a node, ending with a newline. */
export function nodeProperty(core: TreeCore, slot: NodeId, property: PropertyName): string {
  const { frames } = core
  switch (property) {
    case 'inode':
      core.numberOf(slot)
      return `${(BigInt(number.high) << 32n) | BigInt(number.low)}\n`
    case 'dcel':
      return `${dcelOf(core, slot)}\n`
    case 'layers':
      return layersOf(core, slot)
        .map((layer) => `${readable(layer.path)}${layer.local ? ' (local)' : ''}\n`)
        .join('')
    case 'prod':
      return `${productionOf(core, slot)}\n`
    case 'mtime': {
      const fd = core.nodeFd(slot)
      if (fd < 0 || core.stat.descriptor(fd) < 0) return '\n'
      if (frames.kind(slot) === ANCHOR) fillAnchor(core, slot)
      else core.fillAttributes(slot)
      const { mtime, mtimensec } = core.attributes
      const seconds = new Date(mtime * 1000).toISOString().slice(0, 19)
      return `${seconds}.${String(mtimensec).padStart(9, '0')}Z\n`
    }
  }
}

/** A dcel's name: device and inode of the data that a frame reaches, `8:1:2049`. */
export function dcelOf(core: TreeCore, slot: NodeId): string {
  const fd = core.nodeFd(slot)
  if (fd < 0 || core.stat.descriptor(fd) < 0) return `frame:${slot}`
  const { device } = core.stat
  return `${device >>> 20}:${device & 0xfffff}:${core.inoText()}`
}

/** Host paths that a node is merged of, nearest first; one character a byte. */
export function layersOf(core: TreeCore, slot: NodeId): { path: string; local: boolean }[] {
  const { frames } = core
  const stack = core.stackOf(slot)
  if (stack.single) return [{ path: core.hostPath(slot, 0), local: true }]
  const isAnchor = frames.kind(slot) === ANCHOR
  const isDirectory = (frames.type(slot) & S_IFMT) === 0o040000
  if (isDirectory)
    return [...core.merged.fds(slot)].flatMap((fd, layer) =>
      fd >= 0 ? [{ path: core.hostPath(slot, layer), local: layer === stack.local }] : [],
    )
  if (isAnchor) return []
  const layers: { path: string; local: boolean }[] = []
  const parent = frames.parent(slot)
  const name = makeName(frames.nameText(slot))
  const whiteout = core.merged.isWhiteout(parent, stack, frames.nameText(slot))
  for (const [layer, fd] of core.merged.fds(parent).entries())
    if (fd >= 0 && !(whiteout && layer > stack.local) && core.statIn(fd, name) === 0)
      layers.push({ path: core.hostPath(slot, layer), local: layer === stack.local })
  const program = programAt(core, parent, frames.nameText(slot))
  if (program) layers.push({ path: program, local: false })
  return layers
}

/** The production instruction of a node's dcel: how it is made. */
export function productionOf(core: TreeCore, slot: NodeId): string {
  const { frames } = core
  const stack = core.stackOf(slot)
  const urls = layersOf(core, slot).map((layer) => fileUrl(layer.path))
  if (frames.kind(slot) === ANCHOR && frames.layer(slot) === ANCHOR_BIND) return `bind ${urls.join(' ')}`
  if (stack.type === ANCHOR_COSM && urls.length > 1) return `cascade ${urls.join(' ')}`
  return `source ${urls[0] ?? 'none'}`
}

/** A host path (one character a byte) as a file URL. */
export function fileUrl(path: string): string {
  const escaped = path.replace(
    /[^A-Za-z0-9_.~/@:+,=-]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
  return `file://${escaped}`
}

function frameAt(core: TreeCore, parent: NodeId, text: string): NodeId {
  const name = makeName(text)
  const special = specialDirectory(core, parent, name)
  if (special !== 0) return Math.max(0, special)
  const layer = core.statChild(parent, name)
  return layer < 0 ? 0 : core.frameOf(parent, name, layer)
}
