import {
  AT_EMPTY_PATH,
  IN_ATTRIB,
  IN_MODIFY,
  O_CLOEXEC,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  UTIME_NOW,
  UTIME_OMIT,
} from '../os/constants.ts'
import { EACCES, EINVAL, EPERM, ESTALE } from '../os/errno.ts'
import {
  chmod,
  close,
  fchownat,
  fstatfs,
  ftruncate,
  open,
  readlinkat,
  truncate,
  utimensat,
} from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import { fillAttributes } from './answers.ts'
import { enterUnprivileged, leaveUnprivileged } from './caller.ts'
import { ensureLocal } from './copy-up.ts'
import type { TreeCore } from './core.ts'
import {
  ANCHOR,
  BACKED,
  FLAG_NAMELESS,
  FUNCTION,
  HIDDEN_MOUNT,
  LIBRARY,
  PRODUCED,
  PROGRAM_LINK,
  PROPERTIES,
  PROPERTY,
  REMOTE,
} from './frames.ts'
import { fillAnchor, fillMade, fillPayload, fillProduced, programAt } from './lookup.ts'
import {
  type AttributeChange,
  type HandleId,
  type NodeId,
  SET_ATIME,
  SET_ATIME_NOW,
  SET_GID,
  SET_KILL_PRIVILEGES,
  SET_MODE,
  SET_MTIME,
  SET_MTIME_NOW,
  SET_SIZE,
  SET_UID,
} from './operations.ts'
import { descriptorPath, toBytesText } from './paths.ts'
import { payloadOfProperty, propertyOfFrame } from './properties.ts'

const EMPTY = allocateNative(1)
const times = allocateNative(32)
const statfsBuffer = allocateNative(160)

export function getattr(core: TreeCore, node: NodeId): number {
  const { frames } = core
  if (!frames.exists(node)) return -ESTALE
  switch (frames.kind(node)) {
    case ANCHOR:
      fillAnchor(core, node)
      return 0
    case BACKED: {
      const result = statNode(core, node)
      if (result < 0) return result
      fillAttributes(core, node)
      return 0
    }
    case PROPERTY: {
      const payload = payloadOfProperty(core, node)
      if (payload !== undefined) return fillPayload(core, node, payload)
      const text = propertyOfFrame(core, node)
      if (text === undefined) return -ESTALE
      fillMade(core, node, 0o444, toBytesText(text).length)
      return 0
    }
    case PROGRAM_LINK: {
      const target = programAt(core, frames.parent(node), frames.nameText(node))
      if (target === undefined) return -ESTALE
      fillMade(core, node, 0o777, target.length)
      return 0
    }
    case PRODUCED:
      return fillProduced(core, node, core.productions.find(frames.parent(node), frames.nameText(node)))
    case FUNCTION:
      fillMade(core, node, 0o555, core.executables.line.length)
      return 0
    case REMOTE:
      return core.remotes.getattr(node)
    case LIBRARY:
    case HIDDEN_MOUNT:
    case PROPERTIES:
      fillMade(core, node, 0o555, 0)
      return 0
    default:
      return -ESTALE
  }
}

/** statx of a backed frame, into `stat`; -ESTALE when it is not where it was. */
export function statNode(core: TreeCore, node: NodeId): number {
  const { frames, stat } = core
  const cached = frames.descriptor(node)
  if (cached >= 0) return statOpen(core, cached)
  if (frames.hasFlag(node, FLAG_NAMELESS)) return -ESTALE
  const stack = core.stackOf(node)
  if (!stack.single && frames.type(node) === S_IFDIR) {
    const fd = core.nodeFd(node)
    return fd < 0 ? -ESTALE : statOpen(core, fd)
  }
  const directory = core.layerFd(frames.parent(node), frames.layer(node))
  if (directory < 0) return -ESTALE
  if (core.statIn(directory, core.nameOf(node)) < 0) return -ESTALE
  return core.isStatOf(node) && (stat.mode & S_IFMT) === frames.type(node) ? 0 : -ESTALE
}

function statOpen(core: TreeCore, fd: number): number {
  const result = core.stat.descriptor(fd)
  if (result === 0 && core.stat.device >>> 20 === 0 && core.devices.classOf(core.stat.device) === 'volatile')
    return core.stat.descriptorSynced(fd)
  return result
}

export function setattr(core: TreeCore, node: NodeId, handle: HandleId, change: AttributeChange): number {
  const { frames } = core
  if (!frames.exists(node)) return -ESTALE
  const kind = frames.kind(node)
  if (kind !== BACKED && kind !== ANCHOR) return (change.valid & SET_SIZE) !== 0 ? -EACCES : -EPERM
  const local = ensureLocal(core, node)
  if (local < 0) return local
  const fd = core.nodeFd(node)
  if (fd < 0) return fd
  const result = apply(core, node, fd, handle, change)
  if (kind === BACKED && !frames.hasFlag(node, FLAG_NAMELESS))
    core.outside.own(IN_ATTRIB | IN_MODIFY, frames.parent(node), core.ownName(node), node, undefined)
  if (result < 0) return result
  if (kind === ANCHOR) fillAnchor(core, node)
  else {
    const stated = statOpen(core, fd)
    if (stated < 0) return stated
    fillAttributes(core, node)
  }
  return 0
}

function apply(core: TreeCore, node: NodeId, fd: number, handle: HandleId, change: AttributeChange): number {
  const { valid } = change
  if ((valid & (SET_UID | SET_GID)) !== 0) {
    const uid = (valid & SET_UID) !== 0 ? change.uid : 0xffffffff
    const gid = (valid & SET_GID) !== 0 ? change.gid : 0xffffffff
    const result = fchownat(fd, EMPTY.address, uid, gid, AT_EMPTY_PATH)
    if (result < 0) return result
  }
  if ((valid & SET_MODE) !== 0) {
    if (core.frames.opens(node) > 0) keepOpenHandles(core, node)
    const result = chmod(descriptorPath(fd), change.mode & 0o7777)
    if (result < 0) return result
  }
  if ((valid & SET_SIZE) !== 0) {
    const result = setSize(core, node, fd, handle, change.size)
    if (result < 0) return result
  }
  if ((valid & SET_KILL_PRIVILEGES) !== 0 && (valid & SET_MODE) === 0) clearPrivileges(core, fd)
  if ((valid & (SET_ATIME | SET_MTIME | SET_ATIME_NOW | SET_MTIME_NOW)) !== 0) {
    writeTime(0, (valid & SET_ATIME) !== 0, (valid & SET_ATIME_NOW) !== 0, change.atime, change.atimensec)
    writeTime(16, (valid & SET_MTIME) !== 0, (valid & SET_MTIME_NOW) !== 0, change.mtime, change.mtimensec)
    return utimensat(fd, EMPTY.address, times.address, AT_EMPTY_PATH)
  }
  return 0
}

/** An ordinary user's daemon could not open them again once the mode says otherwise. */
function keepOpenHandles(core: TreeCore, node: NodeId): void {
  if (process.getuid?.() === 0) return
  for (const handle of core.handles.of(node)) core.kept.handle(handle)
}

function setSize(core: TreeCore, node: NodeId, fd: number, handle: HandleId, size: number): number {
  if (core.frames.type(node) !== S_IFREG) return -EINVAL
  const opened = core.handles.exists(handle) ? core.handles.descriptor(handle) : -1
  if (opened >= 0) return ftruncate(opened, size)
  return truncate(descriptorPath(fd), size)
}

/** Clears setuid and setgid as a write by an unprivileged caller does. `fd` may be an O_PATH descriptor. */
export function clearPrivileges(core: TreeCore, fd: number): void {
  if (core.stat.descriptor(fd) < 0) return
  const { mode } = core.stat
  if ((mode & S_IFMT) !== S_IFREG) return
  let kept = mode & 0o7777 & ~0o4000
  // setgid without group execution is mandatory locking, which a write leaves (chmod(2)).
  if ((mode & 0o2010) === 0o2010) kept &= ~0o2000
  if (kept !== (mode & 0o7777)) chmod(descriptorPath(fd), kept)
}

function writeTime(at: number, given: boolean, now: boolean, seconds: number, nanoseconds: number): void {
  times.view.setBigInt64(at, BigInt(seconds), true)
  times.view.setBigInt64(at + 8, BigInt(now ? UTIME_NOW : given ? nanoseconds : UTIME_OMIT), true)
}

export function readlink(core: TreeCore, node: NodeId, address: number, size: number): number {
  const { frames } = core
  if (!frames.exists(node)) return -ESTALE
  if (frames.kind(node) === REMOTE) return core.remotes.readlink(node, address, size)
  if (frames.kind(node) === PROGRAM_LINK) {
    const target = programAt(core, frames.parent(node), frames.nameText(node))
    if (target === undefined) return -ESTALE
    return core.writeText(target, address, size)
  }
  const fd = core.nodeFd(node)
  if (fd < 0) return fd
  const guarded = core.devices.isMadeByKernel(frames.device(node))
  if (guarded) enterUnprivileged(core.request)
  const length = readlinkat(fd, EMPTY.address, address, size)
  if (guarded) leaveUnprivileged(core.request)
  return length
}

export function statfs(core: TreeCore, node: NodeId): number {
  if (!core.frames.exists(node)) return -ESTALE
  let at = node
  while (core.frames.kind(at) !== BACKED && core.frames.kind(at) !== ANCHOR) at = core.frames.parent(at)
  const fd = core.nodeFd(at)
  const result = fd < 0 ? statfsOfHome(core) : fstatfs(fd, statfsBuffer.address)
  if (result < 0) return result
  const { view } = statfsBuffer
  const { statistics } = core
  const word = (offset: number) => Number(view.getBigInt64(offset, true))
  statistics.blockSize = word(8)
  statistics.blocks = word(16)
  statistics.freeBlocks = word(24)
  statistics.availableBlocks = word(32)
  statistics.files = word(40)
  statistics.freeFiles = word(48)
  statistics.nameLength = word(64)
  statistics.fragmentSize = word(72)
  return 0
}

/** The file system of the user's cosm answers for what lies nowhere. */
function statfsOfHome(core: TreeCore): number {
  const path = Buffer.from(`${core.places.home}\0`, 'latin1')
  const memory = allocateNative(path.length)
  memory.bytes.set(path)
  const fd = open(memory.address, O_CLOEXEC, 0)
  if (fd < 0) return fd
  const result = fstatfs(fd, statfsBuffer.address)
  close(fd)
  return result
}
