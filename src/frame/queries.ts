import { CosmosError } from '../errors.ts'
import { O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDONLY, S_IFDIR, S_IFLNK, S_IFMT } from '../os/constants.ts'
import { EISDIR, ENOTDIR } from '../os/errno.ts'
import { open } from '../os/libc.ts'
import { allocateNative, cString } from '../os/memory.ts'
import { hidePasswords } from '../source/passwords.ts'
import type { SourcePath } from '../source/service.ts'
import { getattr, readlink } from './attributes.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import { mkdir } from './entries.ts'
import { ANCHOR, BACKED, FUNCTION, PRODUCED, PROPERTIES, PROPERTY, REMOTE } from './frames.ts'
import { mergedNames } from './listing.ts'
import { libraryOfFrame, lookup, programAt } from './lookup.ts'
import { type NodeId, PENDING } from './operations.ts'
import { descriptorPath, makeName, readable, toBytesText } from './paths.ts'
import {
  dcelOf,
  layersOf,
  nodeProperty,
  payloadOfProperty,
  productionOf,
  propertyNamesOf,
  propertyOfFrame,
  shownProperties,
} from './properties.ts'
import { sourcePathOf } from './remote/path.ts'
import { type TraceStage, traceOf } from './trace.ts'
import { failureOf, treePathOf, type Walked, type WalkStage, walk } from './walk.ts'

/**
 * Questions that the control socket asks of the tree, without the kernel. Paths have one character a byte.
 * All throw CosmosError.
 */

/** Where a question's path is meant: the caller's working directory, and where the tree is mounted. */
export interface Place {
  path: string
  cwd: string
  mount: string
}

/** Attributes as told to people; times are seconds since 1970. */
export interface NodeDescription {
  inode: string
  mode: number
  size: number
  mtime: number
  nlink: number
  uid: number
  gid: number
  target?: string
}

export interface Inspection extends NodeDescription {
  path: string
  node: NodeId
  dcel: string
  production: string
  layers: { path: string; kind: string; local: boolean }[]
  context: string
  properties: Record<string, string>
}

const target = allocateNative(4097)
const OPEN = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK

export function inspect(core: TreeCore, place: Place): Inspection {
  const walked = walkTo(core, place, false)
  try {
    const { node } = walked
    const description = describe(core, node)
    const stack = core.stackOf(node)
    return {
      path: hidePasswords(walked.path),
      node,
      ...description,
      dcel: dcelOf(core, node),
      production: productionOf(core, node),
      layers: layersOf(core, node).map((layer) => ({
        ...layer,
        kind: (core.frames.type(node) & S_IFMT) === S_IFDIR ? 'directory' : 'file',
      })),
      context: core.treePath(stack.slot),
      properties: Object.fromEntries(
        shownProperties(core, node)
          .map((name) => [name, nodeProperty(core, node, name)?.trimEnd() ?? ''])
          .filter(([, value]) => value !== ''),
      ),
    }
  } finally {
    walked.release()
  }
}

/** Every layer of the working cosm whose `bin` has a name, nearest first. */
export function which(core: TreeCore, place: Place): { path: string; layer: string; kind: string }[] {
  const cosm = cosmOf(core, place)
  const bin = walk(core, `${cosm}/bin`)
  try {
    const name = makeName(place.path)
    const stack = core.stackOf(bin.node)
    const found: { path: string; layer: string; kind: string }[] = []
    const hidden = core.merged.isWhiteout(bin.node, stack, place.path)
    for (const [layer, fd] of core.merged.fds(bin.node).entries()) {
      if (fd < 0 || (hidden && layer > stack.local) || core.statIn(fd, name) < 0) continue
      const root = stack.layers[layer]?.path ?? ''
      found.push({ path: `${root}/bin/${place.path}`, layer: root, kind: 'cosm' })
    }
    if (programAt(core, bin.node, place.path) !== undefined)
      for (const path of stack.programs?.findAll(place.path) ?? [])
        found.push({ path, layer: path.slice(0, path.lastIndexOf('/')) || '/', kind: 'program' })
    return found
  } finally {
    bin.release()
  }
}

/** Names of a directory, in its own order. */
export function names(core: TreeCore, place: Place): string[] {
  const walked = walkTo(core, place)
  try {
    if (getattr(core, walked.node) < 0 || (core.attributes.mode & S_IFMT) !== S_IFDIR)
      throw new CosmosError('ENOTDIR', subjectOf(place), 'is not a directory')
    if (core.productions.fills.fill(walked.node) === PENDING)
      throw new CosmosError('EINPROGRESS', subjectOf(place), 'is being made')
    const kind = core.frames.kind(walked.node)
    const merged =
      kind === ANCHOR || kind === BACKED
        ? mergedNames(core, walked.node)
        : kind === REMOTE
          ? core.remotes.names(walked.node)
          : new Map<string, number>()
    if (typeof merged === 'number') throw failure(merged, place, core.remotes.why(walked.node))
    const found =
      kind === ANCHOR || kind === BACKED || kind === REMOTE
        ? [...merged.keys()]
        : kind === PROPERTIES
          ? propertyNamesOf(core, walked.node)
          : [...(libraryOfFrame(core, walked.node)?.functions ?? [])]
    if (walked.node === ROOT_NODE)
      found.push(
        '.cosm',
        core.hostDirectory,
        ...[...core.remotes.roots].filter((root) => !root.startsWith('.')),
      )
    return [...new Set(found)]
  } finally {
    walked.release()
  }
}

/** Attributes of entries of a directory; those that went meanwhile are left out. */
export function entries(
  core: TreeCore,
  place: Place,
  wanted: string[],
): (NodeDescription & { name: string })[] {
  const walked = walkTo(core, place)
  let pending = false
  try {
    const found = wanted.flatMap((name) => {
      const result = lookup(core, walked.node, makeName(name))
      if (result === PENDING) pending = true
      if (result < 0) return []
      const node = core.entryNode
      const description = describe(core, node, true)
      core.frames.setLookups(node, core.frames.lookups(node) - 1)
      core.settle(node)
      return [{ name, ...description }]
    })
    // All of them are being asked for by now.
    if (pending) throw failure(PENDING, place)
    return found
  } finally {
    walked.release()
  }
}

/** Opens a file for reading: its descriptor, which the caller closes, its text, or the source to read it from. */
export function openForReading(
  core: TreeCore,
  place: Place,
): { fd: number } | { text: string } | { source: SourcePath } {
  const walked = walkTo(core, place)
  try {
    const payload = payloadOfProperty(core, walked.node) ?? core.productions.pathOf(walked.node)
    if (payload !== undefined) return { fd: openHostFile(payload, place) }
    if (core.frames.kind(walked.node) === REMOTE && (core.attributes.mode & S_IFMT) !== S_IFDIR)
      return { source: sourcePathOf(core.treePath(walked.node)) }
    if (core.frames.kind(walked.node) === FUNCTION) return { text: core.executables.line.toString('latin1') }
    if (core.frames.kind(walked.node) === PRODUCED)
      throw new CosmosError(
        'EIO',
        subjectOf(place),
        'could not be made',
        `cosmos cat ${subjectOf(place)}:error`,
      )
    if (core.frames.kind(walked.node) === PROPERTY)
      return { text: toBytesText(propertyOfFrame(core, walked.node) ?? '') }
    if ((core.attributes.mode & S_IFMT) === S_IFDIR)
      throw CosmosError.fromErrno(-EISDIR, subjectOf(place), `cosmos ls ${subjectOf(place)}`)
    const fd = core.nodeFd(walked.node)
    const opened = fd < 0 ? fd : open(descriptorPath(fd), OPEN, 0)
    if (opened < 0) throw CosmosError.fromErrno(opened, subjectOf(place))
    return { fd: opened }
  } finally {
    walked.release()
  }
}

/** The error of a question that could not be answered, or could not yet. */
function failure(result: number, place: Place, why?: string): CosmosError {
  return result === PENDING
    ? new CosmosError('EINPROGRESS', subjectOf(place), 'is being asked for')
    : failureOf(result, subjectOf(place), why)
}

/** A question's path as it may be told. */
export function subjectOf({ path }: Place): string {
  return hidePasswords(readable(path))
}

function openHostFile(path: string, place: Place): number {
  const opened = open(cString(Buffer.from(path, 'latin1')).address, OPEN, 0)
  if (opened < 0) throw CosmosError.fromErrno(opened, subjectOf(place))
  return opened
}

/** What a path resolves to and how; or the number of the stage that waits for something. */
export type LookedUp =
  | { readonly waits: number }
  | { readonly path: string; readonly mode: number; readonly stages: TraceStage[] }

/** `since`: when the lookup began (Date.now()). `waited`: how long each of its stages has waited so far, milliseconds. */
export function lookUp(
  core: TreeCore,
  place: Place,
  since: number,
  waited: readonly (number | undefined)[],
): LookedUp {
  const stages: WalkStage[] = []
  try {
    const walked = walkTo(core, place, true, stages)
    try {
      const { mode } = core.attributes
      return { path: hidePasswords(walked.path), mode, stages: traceOf(core, stages, since, waited) }
    } finally {
      walked.release()
    }
  } catch (error) {
    if (error instanceof CosmosError && error.code === 'EINPROGRESS') return { waits: stages.length }
    throw error
  }
}

/** Binds host directories below a directory of the tree; answers what shows there then. */
export function bind(
  core: TreeCore,
  place: Place,
  kind: 'bind' | 'cascade',
  urls: string[],
): { path: string; layers: string[] } {
  const layers = urls.map((url) => hostDirectoryOf(core, { ...place, path: url }))
  const path = treePlace(core, place)
  if (path === '/')
    throw new CosmosError('EBUSY', '/', 'the root cannot be bound', 'bind at a directory below it')
  makeMissing(core, path)
  const walked = walkTo(core, place)
  const { node } = walked
  try {
    if ((core.attributes.mode & S_IFMT) !== S_IFDIR) throw CosmosError.fromErrno(-ENOTDIR, subjectOf(place))
    const stack = core.stackOf(node)
    const known = core.store.binds().find((each) => each.path === walked.path)
    if (!known && (!stack.single || core.frames.kind(node) === ANCHOR))
      throw new CosmosError(
        'EBUSY',
        subjectOf(place),
        'is merged already',
        `cosmos inspect ${subjectOf(place)}`,
      )
    const local = known?.local ?? core.hostPath(node)
    if (layers.includes(local)) throw new CosmosError('EINVAL', subjectOf(place), 'cannot be bound to itself')
    core.store.putBind({ kind, path: walked.path, local, layers })
    return { path: walked.path, layers: [local, ...layers] }
  } finally {
    walked.release()
    changed(core)
  }
}

export function unbind(core: TreeCore, place: Place): { path: string; layers: string[] } {
  const path = treePlace(core, place)
  const known = core.store.binds().find((each) => each.path === path)
  if (!known) throw new CosmosError('ENOENT', readable(path), 'nothing is bound there', 'cosmos bind')
  core.store.removeBind(known.id)
  changed(core)
  return { path, layers: [known.local] }
}

/** Makes the directory of a path whose parent is there, as `mkdir` does; anything else is for `walk` to say. */
function makeMissing(core: TreeCore, path: string): void {
  const slash = path.lastIndexOf('/')
  const parent = walk(core, path.slice(0, slash) || '/')
  try {
    core.request.uid = process.getuid?.() ?? 0
    core.request.gid = process.getgid?.() ?? 0
    core.request.umask = 0o022
    core.request.resent = false
    core.request.uniqueLow = core.request.uniqueHigh = 0
    if (mkdir(core, parent.node, makeName(path.slice(slash + 1)), 0o755) < 0) return
    const made = core.entryNode
    core.frames.setLookups(made, core.frames.lookups(made) - 1)
    core.settle(made)
  } finally {
    parent.release()
  }
}

/** Lasting binds were changed: what was known of them is not true any more. */
function changed(core: TreeCore): void {
  core.anchors.load()
  core.merged.clear()
  core.services.invalidate.everything()
}

/** Path of the `.cosm` that a working directory has. */
function cosmOf(core: TreeCore, place: Place): string {
  const directory = treePathOf('.', place.cwd, place.mount, core.hostDirectory)
  return directory === '/' || !place.cwd.startsWith(place.mount) ? '/.cosm' : `${directory}/.cosm`
}

/** Walks to where a question's path is; its errors name the path as it was asked. */
export function walkTo(core: TreeCore, place: Place, follow = true, stages?: WalkStage[]): Walked {
  const path = treePlace(core, place)
  try {
    return walk(core, path, follow, place.mount, stages)
  } catch (error) {
    if (!(error instanceof CosmosError)) throw error
    const why = error.message.slice(error.subject.length + 2)
    throw new CosmosError(error.code, subjectOf(place), why, error.hint)
  }
}

/** Where a question's path is in the tree. Who may ask on the control socket is the tree's own user. */
export function treePlace(core: TreeCore, place: Place): string {
  core.request.uid = process.getuid?.() ?? 0
  core.request.gid = process.getgid?.() ?? 0
  core.request.pid = 0
  return treePathOf(place.path, place.cwd, place.mount, core.hostDirectory)
}

function hostDirectoryOf(core: TreeCore, place: Place): string {
  const walked = walkTo(core, place)
  try {
    if ((core.attributes.mode & S_IFMT) !== S_IFDIR) throw CosmosError.fromErrno(-ENOTDIR, subjectOf(place))
    if (!core.stackOf(walked.node).single)
      throw new CosmosError(
        'EINVAL',
        subjectOf(place),
        'is merged itself; bind its layers',
        `cosmos inspect ${subjectOf(place)}`,
      )
    return core.hostPath(walked.node)
  } finally {
    walked.release()
  }
}

function describe(core: TreeCore, node: NodeId, known = false): NodeDescription {
  if (!known) {
    const result = getattr(core, node)
    if (result < 0) throw failure(result, { path: core.treePath(node), cwd: '', mount: '' })
  }
  const { inoLow, inoHigh, mode, size, mtime, mtimensec, nlink, uid, gid } = core.attributes
  const description: NodeDescription = {
    inode: ((BigInt(inoHigh) << 32n) | BigInt(inoLow)).toString(),
    mode,
    size,
    mtime: mtime + mtimensec / 1e9,
    nlink,
    uid,
    gid,
  }
  if ((mode & S_IFMT) === S_IFLNK) {
    const length = readlink(core, node, target.address, 4096)
    if (length >= 0) description.target = target.bytes.toString('latin1', 0, length)
  }
  return description
}
