import {
  IN_ATTRIB,
  IN_MODIFY,
  O_APPEND,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  POLLIN,
  S_IFMT,
  S_IFREG,
} from '../os/constants.ts'
import { EAGAIN, EBADF, EOPNOTSUPP, ESPIPE, ESTALE } from '../os/errno.ts'
import * as libc from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import { clearPrivileges } from './attributes.ts'
import { enterUnprivileged, leaveUnprivileged } from './caller.ts'
import type { TreeCore } from './core.ts'
import { ANCHOR, BACKED, FLAG_NAMELESS, PROPERTY } from './frames.ts'
import { HANDLE_LINE, madeBytes, openAgain, reopenPayload } from './opening.ts'
import { type HandleId, type NodeId, PENDING } from './operations.ts'
import { descriptorPath } from './paths.ts'

/** Journal kinds. */
const APPENDED = 6
const RESIZED = 7

const RWF_NOWAIT = 8
const RWF_APPEND = 16
const FALLOC_COLLAPSE_RANGE = 8
const FALLOC_INSERT_RANGE = 32

const vector = allocateNative(16)
/** struct pollfd: fd, then events and revents. */
const polled = allocateNative(8)

/** Descriptor of a handle, opened at its first use; `-errno`. */
function handleFd(core: TreeCore, node: NodeId, handle: HandleId): number {
  const { handles } = core
  if (!handles.exists(handle) || handles.node(handle) !== node) return -EBADF
  const known = handles.descriptor(handle)
  if (known >= 0) return known
  const fd = core.nodeFd(node)
  if (fd < 0) return fd
  const opened = openAgain(core, node, fd, handles.flags(handle))
  if (opened >= 0) handles.setDescriptor(handle, opened)
  return opened
}

export function read(
  core: TreeCore,
  node: NodeId,
  handle: HandleId,
  address: number,
  size: number,
  position: number,
): number {
  if (!core.frames.exists(node)) return -ESTALE
  if (isMade(core, node, handle)) {
    const bytes = madeBytes(core, node, handle)
    return core.writeText(bytes.toString('latin1', position, position + size), address, size)
  }
  const fd = handleFd(core, node, handle)
  if (fd < 0) return fd
  if (core.frames.kind(node) !== BACKED) return readLater(core, fd, size, position)
  if (core.devices.isMadeByKernel(core.frames.device(node)))
    return readMade(core, fd, address, size, position)
  vector.view.setBigUint64(0, BigInt(address), true)
  vector.view.setBigUint64(8, BigInt(size), true)
  const result = libc.preadv2(fd, vector.address, 1, position, RWF_NOWAIT)
  if (result === size) return result
  // A disk's file system that can't say; one elsewhere may wait for long.
  if (result === -EOPNOTSUPP && core.devices.classOf(core.frames.device(node)) !== 'volatile')
    return libc.pread(fd, address, size, position)
  if (result === -EOPNOTSUPP) return readLater(core, fd, size, position)
  if (result < 0 && result !== -EAGAIN) return result
  // What is missing is the file's end, or lies on the disk: the latter is another thread's to wait for.
  if (core.stat.descriptor(fd) === 0) {
    if ((core.stat.mode & S_IFMT) !== S_IFREG || core.stat.size === 0)
      return libc.pread(fd, address, size, position)
    if (position + Math.max(0, result) >= core.stat.size) return Math.max(0, result)
  }
  return readLater(core, fd, size, position)
}

/** What the kernel makes is read at once; where it has nothing yet (`/proc/kmsg`) nobody else is to wait for it. */
function readMade(core: TreeCore, fd: number, address: number, size: number, position: number): number {
  polled.view.setInt32(0, fd, true)
  polled.view.setInt32(4, POLLIN, true)
  if (libc.poll(polled.address, 1, 0) === 0) return -EAGAIN
  enterUnprivileged(core.request)
  const result = libc.pread(fd, address, size, position)
  leaveUnprivileged(core.request)
  return result
}

/** Whether a handle reads what no disk holds. A payload's has a descriptor, which the next daemon has to look for. */
function isMade(core: TreeCore, node: NodeId, handle: HandleId): boolean {
  if (core.frames.kind(node) === BACKED) return (core.handles.flags(handle) & HANDLE_LINE) !== 0
  return core.handles.descriptor(handle) < 0 && !reopenPayload(core, node, handle)
}

function readLater(core: TreeCore, fd: number, size: number, position: number): number {
  const { job } = core
  job.kind = 'read'
  job.descriptor = fd
  job.position = position
  job.length = size
  job.again = false
  return PENDING
}

export function write(
  core: TreeCore,
  node: NodeId,
  handle: HandleId,
  address: number,
  size: number,
  position: number,
  killPrivileges: boolean,
  cached: boolean,
): number {
  if (!core.frames.exists(node)) return -ESTALE
  const fd = handleFd(core, node, handle)
  if (fd < 0) return fd
  const appends = (core.handles.flags(handle) & O_APPEND) !== 0 && !cached
  const guarded = core.devices.isMadeByKernel(core.frames.device(node))
  if (guarded) enterUnprivileged(core.request)
  let result = appends ? append(core, fd, address, size) : libc.pwrite(fd, address, size, position)
  // Sequence files of proc take no position (`/proc/PID/uid_map`): a handle's writes come one after the other.
  if (result === -ESPIPE) result = libc.write(fd, address, size)
  if (guarded) leaveUnprivileged(core.request)
  if (killPrivileges && result > 0) clearPrivileges(core, fd)
  if (!core.frames.hasFlag(node, FLAG_NAMELESS))
    core.outside.own(IN_MODIFY | IN_ATTRIB, core.frames.parent(node), core.ownName(node))
  return result
}

/** Writes at the file's end, wherever others have moved it; a resent request that is there already is not repeated. */
function append(core: TreeCore, fd: number, address: number, size: number): number {
  const { request, journal } = core
  const stated = core.stat.descriptor(fd)
  if (stated < 0) return stated
  const end = core.stat.size
  if (request.resent && journal.find(request.uniqueLow, request.uniqueHigh, APPENDED)) {
    const before = journal.note(0) + journal.note(1) * 0x100000000
    if (end >= before + size) return size
  }
  journal.begin(
    request.uniqueLow,
    request.uniqueHigh,
    APPENDED,
    end >>> 0,
    Math.floor(end / 0x100000000),
    0,
    0,
  )
  vector.view.setBigUint64(0, BigInt(address), true)
  vector.view.setBigUint64(8, BigInt(size), true)
  return libc.pwritev2(fd, vector.address, 1, 0, RWF_APPEND)
}

/** Syncing a file waits for its disk: another thread does it. */
export function fsync(core: TreeCore, node: NodeId, handle: HandleId, dataOnly: boolean): number {
  if (!core.frames.exists(node)) return -ESTALE
  if (core.frames.kind(node) === PROPERTY) return 0
  const fd = handleFd(core, node, handle)
  if (fd < 0) return fd
  const { job } = core
  job.kind = dataOnly ? 'fdatasync' : 'fsync'
  job.descriptor = fd
  job.again = false
  return PENDING
}

export function fsyncDirectory(core: TreeCore, node: NodeId): number {
  if (!core.frames.exists(node)) return -ESTALE
  const kind = core.frames.kind(node)
  const fd = kind === BACKED || kind === ANCHOR ? core.nodeFd(node) : -1
  if (fd < 0) return 0
  const opened = libc.open(descriptorPath(fd), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
  if (opened < 0) return opened
  core.merged.closeLater(opened)
  const { job } = core
  job.kind = 'fsync'
  job.descriptor = opened
  job.again = false
  return PENDING
}

export function lseek(
  core: TreeCore,
  node: NodeId,
  handle: HandleId,
  position: number,
  whence: number,
): number {
  if (!core.frames.exists(node)) return -ESTALE
  const fd = handleFd(core, node, handle)
  return fd < 0 ? fd : libc.lseek(fd, position, whence)
}

export function fallocate(
  core: TreeCore,
  node: NodeId,
  handle: HandleId,
  mode: number,
  position: number,
  length: number,
): number {
  if (!core.frames.exists(node)) return -ESTALE
  const fd = handleFd(core, node, handle)
  if (fd < 0) return fd
  const { request, journal, job } = core
  if ((mode & (FALLOC_COLLAPSE_RANGE | FALLOC_INSERT_RANGE)) !== 0) {
    // Doing these twice is not doing them once.
    if (core.stat.descriptor(fd) < 0) return -EBADF
    const { size } = core.stat
    if (request.resent && journal.find(request.uniqueLow, request.uniqueHigh, RESIZED)) {
      const before = journal.note(0) + journal.note(1) * 0x100000000
      if (size !== before) return 0
    }
    journal.begin(
      request.uniqueLow,
      request.uniqueHigh,
      RESIZED,
      size >>> 0,
      Math.floor(size / 0x100000000),
      0,
      0,
    )
    return libc.fallocate(fd, mode, position, length)
  }
  job.kind = 'fallocate'
  job.descriptor = fd
  job.mode = mode
  job.position = position
  job.length = length
  job.again = false
  return PENDING
}

export function copyFileRange(
  core: TreeCore,
  node: NodeId,
  handle: HandleId,
  position: number,
  outNode: NodeId,
  outHandle: HandleId,
  outPosition: number,
  length: number,
): number {
  if (!core.frames.exists(node) || !core.frames.exists(outNode)) return -ESTALE
  const from = handleFd(core, node, handle)
  if (from < 0) return from
  const to = handleFd(core, outNode, outHandle)
  if (to < 0) return to
  const { job } = core
  job.kind = 'copyRange'
  job.descriptor = from
  job.position = position
  job.otherDescriptor = to
  job.otherPosition = outPosition
  job.length = length
  job.again = false
  return PENDING
}
