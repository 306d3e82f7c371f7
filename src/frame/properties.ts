import { describeRequirements } from '../cef/requirements.ts'
import { S_IFDIR, S_IFMT, S_IFREG } from '../os/constants.ts'
import { ANCHOR_BIND, ANCHOR_COSM } from '../source/stacks.ts'
import { fillAttributes, numberOf } from './answers.ts'
import type { TreeCore } from './core.ts'
import { isCosmProgram } from './executables.ts'
import { describeVerdicts, payloadOf, requirementsOfFrame } from './execution.ts'
import { ANCHOR, BACKED, FUNCTION, LIBRARY, PRODUCED, PROPERTIES, PROPERTY, REMOTE } from './frames.ts'
import { frameOf } from './identity.ts'
import { number } from './inode-number.ts'
import { fillAnchor, libraryAt, libraryOfFrame, programAt, specialDirectory } from './lookup.ts'
import type { NodeId } from './operations.ts'
import { makeName, readable } from './paths.ts'
import { urlOf } from './remote/path.ts'

/**
 * Properties of a node: `name:prop` in paths, `user.cosmos.prop` among its extended attributes (design §4). Only what
 * could be run has those of the second line; `payload` is the file itself and no text, and `native` is it too, for the
 * kernel to run whatever VM accepts it.
 */
const COMMON = ['inode', 'dcel', 'layers', 'prod', 'mtime'] as const
const EXECUTABLE = ['profile', 'vms'] as const
/** Why something could not be made. */
const FAILED = ['error'] as const
const PAYLOADS: readonly string[] = ['payload', 'native']
export const TEXT_PROPERTIES = [...COMMON, ...EXECUTABLE, ...FAILED] as const
export type TextProperty = (typeof TEXT_PROPERTIES)[number]

export function isPropertyName(name: string): boolean {
  return isPayloadName(name) || isTextProperty(name)
}

/** Whether a property is the host file that is run. */
export function isPayloadName(name: string): boolean {
  return PAYLOADS.includes(name)
}

export function isTextProperty(name: string): name is TextProperty {
  return (TEXT_PROPERTIES as readonly string[]).includes(name)
}

/** What `name:` lists. */
export function propertyNamesOf(core: TreeCore, directory: NodeId): string[] {
  const { frames } = core
  const slot = frameAt(core, frames.parent(directory), frames.nameText(directory).slice(0, -1))
  if (slot === 0) return [...COMMON]
  const isMeant = isMeantToRun(core, slot)
  core.settle(slot)
  return isMeant ? [...COMMON, ...EXECUTABLE, ...PAYLOADS] : [...COMMON]
}

/** The text properties that are worth showing of a node; any file has those of an executable when it is asked. */
export function shownProperties(core: TreeCore, slot: NodeId): readonly TextProperty[] {
  if (core.frames.kind(slot) === PRODUCED) return [...COMMON, ...FAILED]
  return isMeantToRun(core, slot) ? [...COMMON, ...EXECUTABLE] : COMMON
}

/** Whether a node is there to be run: a function, a library, a program of a cosm, a file with an x bit. */
function isMeantToRun(core: TreeCore, slot: NodeId): boolean {
  if (payloadOf(core, slot) === undefined) return false
  if (core.frames.kind(slot) !== BACKED || isCosmProgram(core, slot)) return true
  const fd = core.nodeFd(slot)
  return fd >= 0 && core.stat.descriptor(fd) === 0 && (core.stat.mode & 0o111) !== 0
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
  const isRemote = core.frames.kind(parent) === REMOTE
  if (!isTextProperty(property) || (isRemote && property === 'error')) {
    const bytes = isRemote ? core.remotes.lastProperty(parent, name, property) : undefined
    if (bytes || !isTextProperty(property)) return bytes && Buffer.from(bytes).toString()
  }
  const slot = frameAt(core, parent, name)
  if (slot === 0) return undefined
  const value = nodeProperty(core, slot, property)
  core.settle(slot)
  return value
}

/** The host file that a frame `name:payload` or `name:native` shows; undefined for any other frame. */
export function payloadOfProperty(core: TreeCore, slot: NodeId): string | undefined {
  const { frames } = core
  if (frames.kind(slot) !== PROPERTY) return undefined
  const parent = frames.parent(slot)
  const name = frames.nameText(slot)
  if (frames.kind(parent) === PROPERTIES)
    return isPayloadName(name)
      ? payloadAt(core, frames.parent(parent), frames.nameText(parent).slice(0, -1))
      : undefined
  const colon = name.lastIndexOf(':')
  return isPayloadName(name.slice(colon + 1)) ? payloadAt(core, parent, name.slice(0, colon)) : undefined
}

/** The host file that is run for a name in a directory; undefined where nothing could be. */
export function payloadAt(core: TreeCore, parent: NodeId, name: string): string | undefined {
  const slot = frameAt(core, parent, name)
  if (slot === 0) return undefined
  const path = payloadOf(core, slot)
  core.settle(slot)
  return path
}

/** The content of the property file that a frame is. */
export function propertyOfFrame(core: TreeCore, slot: NodeId): string | undefined {
  const { frames } = core
  const parent = frames.parent(slot)
  const name = frames.nameText(slot)
  if (frames.kind(parent) === PROPERTIES)
    return propertyText(core, frames.parent(parent), frames.nameText(parent).slice(0, -1), name)
  const colon = name.lastIndexOf(':')
  const property = name.slice(colon + 1)
  return colon === 0
    ? propertyText(core, frames.parent(parent), frames.nameText(parent), property)
    : propertyText(core, parent, name.slice(0, colon), property)
}

/** One property of a node, ending with a newline; undefined where it has none such. */
export function nodeProperty(core: TreeCore, slot: NodeId, property: TextProperty): string | undefined {
  const { frames } = core
  switch (property) {
    case 'inode':
      numberOf(core, slot)
      return `${(BigInt(number.high) << 32n) | BigInt(number.low)}\n`
    case 'dcel':
      return `${dcelOf(core, slot)}\n`
    case 'layers':
      return layersOf(core, slot)
        .map((layer) => `${readable(layer.path)}${layer.local ? ' (local)' : ''}\n`)
        .join('')
    case 'prod':
      return `${productionOf(core, slot)}\n`
    case 'profile': {
      const requirements = requirementsOfFrame(core, slot)
      return requirements && describeRequirements(requirements)
    }
    case 'vms': {
      const requirements = requirementsOfFrame(core, slot)
      return requirements && describeVerdicts(core, requirements)
    }
    case 'error': {
      if (frames.kind(slot) !== PRODUCED) return undefined
      const production = core.productions.find(frames.parent(slot), frames.nameText(slot))
      return production?.state === 'failed' ? `${production.why}\n` : undefined
    }
    case 'mtime': {
      if (frames.kind(slot) === REMOTE) {
        const { mtime } = core.remotes.last(slot) ?? {}
        return mtime === undefined ? '\n' : `${new Date(mtime).toISOString()}\n`
      }
      const fd = core.nodeFd(slot)
      if (fd < 0 || core.stat.descriptor(fd) < 0) return '\n'
      if (frames.kind(slot) === ANCHOR) fillAnchor(core, slot)
      else fillAttributes(core, slot)
      const { mtime, mtimensec } = core.attributes
      const seconds = new Date(mtime * 1000).toISOString().slice(0, 19)
      return `${seconds}.${String(mtimensec).padStart(9, '0')}Z\n`
    }
  }
}

/** A dcel's name: device and inode of the data that a frame reaches, `8:1:2049`; a URL; what it is kept as, `made:KEY`. */
export function dcelOf(core: TreeCore, slot: NodeId): string {
  if (core.frames.kind(slot) === REMOTE) {
    const { identity, generation } = core.remotes.last(slot) ?? {}
    return [urlOf(core.treePath(slot)), identity ?? generation].filter(Boolean).join(' ')
  }
  if (core.frames.kind(slot) === PRODUCED) {
    const path = core.productions.pathOf(slot)
    return path === undefined ? `frame:${slot}` : `made:${path.slice(path.lastIndexOf('/') + 1)}`
  }
  const fd = core.nodeFd(slot)
  if (fd < 0 || core.stat.descriptor(fd) < 0) return `frame:${slot}`
  const { device } = core.stat
  return `${device >>> 20}:${device & 0xfffff}:${core.inoText()}`
}

/** Host paths that a node is merged of, nearest first; one character a byte. */
export function layersOf(core: TreeCore, slot: NodeId): { path: string; local: boolean }[] {
  const { frames } = core
  const stack = core.stackOf(slot)
  const kind = frames.kind(slot)
  if (kind === REMOTE) return []
  if (kind === PRODUCED) {
    const path = core.productions.pathOf(slot)
    return path === undefined ? [] : [{ path, local: false }]
  }
  if (kind === LIBRARY || kind === FUNCTION) {
    const path = payloadOf(core, slot)
    return path === undefined ? [] : [{ path, local: false }]
  }
  if (stack.single) return [{ path: core.hostPath(slot, 0), local: true }]
  const isAnchor = frames.kind(slot) === ANCHOR
  const isDirectory = (frames.type(slot) & S_IFMT) === S_IFDIR
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
  if (frames.kind(slot) === REMOTE) return `source ${urlOf(core.treePath(slot))}`
  const stack = core.stackOf(slot)
  const isMade = frames.kind(slot) === PRODUCED || stack.slot === slot
  const made = isMade ? core.productions.describe(frames.parent(slot), frames.nameText(slot)) : undefined
  if (made !== undefined) return made
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
  const remote = core.frames.kind(parent) === REMOTE ? core.remotes.knownFrame(parent, name) : 0
  if (remote !== 0) return remote
  if (core.frames.kind(parent) === LIBRARY)
    return libraryOfFrame(core, parent)?.functions.has(text)
      ? core.anchors.named(FUNCTION, parent, name, S_IFREG)
      : 0
  if (libraryAt(core, parent, text)) return core.anchors.named(LIBRARY, parent, name, S_IFDIR)
  if (core.frames.kind(parent) !== REMOTE) {
    const special = specialDirectory(core, parent, name)
    if (special !== 0) return Math.max(0, special)
    const layer = core.statChild(parent, name)
    if (layer >= 0) return frameOf(core, parent, name, layer)
  }
  const production = core.productions.find(parent, text)
  if (!production) return 0
  return production.state === 'made' && production.isDirectory
    ? core.anchors.produced(parent, text, production.path)
    : core.anchors.named(PRODUCED, parent, name, S_IFREG)
}
