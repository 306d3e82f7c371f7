import {
  IN_ATTRIB,
  IN_CREATE,
  IN_MODIFY,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_EXCL,
  O_NOCTTY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  POLLIN,
  S_IFMT,
  S_IFREG,
} from '../os/constants.ts'
import {
  EACCES,
  EAGAIN,
  EBADF,
  EEXIST,
  EIO,
  EISDIR,
  ENFILE,
  ENOENT,
  ENXIO,
  EOPNOTSUPP,
  ESTALE,
} from '../os/errno.ts'
import * as libc from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import { clearPrivileges } from './attributes.ts'
import { enterCaller, enterUnprivileged, leaveCaller, leaveUnprivileged } from './caller.ts'
import { ensureLocal, localDirectory } from './copy-up.ts'
import type { TreeCore } from './core.ts'
import { beginMaking, CREATED, placeForNew } from './entries.ts'
import {
  ANCHOR,
  BACKED,
  FLAG_NAMELESS,
  FLAG_NO_CAPABILITIES,
  FLAG_PASSTHROUGH,
  FLAG_WRITABLE,
  PROPERTY,
} from './frames.ts'
import { HANDLE_KEPT } from './kept.ts'
import { type HandleId, type Name, type NodeId, PENDING } from './operations.ts'
import { descriptorPath, toBytesText } from './paths.ts'
import { propertyOfFrame } from './properties.ts'

/** Journal kinds. */
const APPENDED = 6
const RESIZED = 7

/** Flags that open again what a handle had opened must not have. */
const ONCE = O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW | O_DIRECT
const RWF_NOWAIT = 8
const RWF_APPEND = 16
const FALLOC_COLLAPSE_RANGE = 8
const FALLOC_INSERT_RANGE = 32

const vector = allocateNative(16)
/** struct pollfd: fd, then events and revents. */
const polled = allocateNative(8)
/** Contents of open property files. */
const texts = new WeakMap<TreeCore, Map<HandleId, Buffer>>()

export function open(core: TreeCore, node: NodeId, flags: number): number {
  const { frames, opened } = core
  if (!frames.exists(node)) return -ESTALE
  const kind = frames.kind(node)
  const writes = (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0
  if (kind === PROPERTY) return writes ? -EACCES : openProperty(core, node, flags)
  if (kind !== BACKED) return kind === ANCHOR ? -EISDIR : -ENXIO
  if (writes) {
    const local = ensureLocal(core, node, true)
    if (local < 0) return local
  }
  const fd = core.nodeFd(node)
  if (fd < 0) return fd
  if ((flags & O_TRUNC) !== 0) {
    const cut = libc.truncate(descriptorPath(fd), 0)
    if (cut < 0) return cut
    if (core.request.uid !== 0) clearPrivileges(core, fd)
    if (!frames.hasFlag(node, FLAG_NAMELESS))
      core.outside.own(IN_MODIFY | IN_ATTRIB, frames.parent(node), core.ownName(node))
  }
  opened.backingId = passthrough(core, node, fd, writes)
  if (opened.backingId < 0) return opened.backingId
  let own = -1
  if (opened.backingId === 0) {
    own = openAgain(core, node, fd, flags)
    if (own < 0) return own
  }
  return finishOpen(core, node, flags, own)
}

/** A handle of a file that is open: by `own`, or by the kernel's passthrough. 0, with `opened`. */
function finishOpen(core: TreeCore, node: NodeId, flags: number, own: number): number {
  const { frames, opened, handles } = core
  const handle = handles.allocate(node, flags & ~ONCE)
  if (handle === 0) {
    if (own >= 0) libc.close(own)
    return -ENFILE
  }
  handles.setDescriptor(handle, own)
  frames.setOpens(node, frames.opens(node) + 1)
  if ((flags & O_ACCMODE) !== O_RDONLY) frames.setFlag(node, FLAG_WRITABLE)
  opened.handle = handle
  opened.keepCache = core.isWatched(frames.parent(node))
  opened.directIo = opened.backingId === 0 && core.devices.classOf(frames.device(node)) === 'volatile'
  if (frames.hasFlag(node, FLAG_NAMELESS)) core.kept.node(node)
  return 0
}

/** The backing id by which the kernel reads and writes a file itself; 0 where it must ask; `-errno` of the open. */
function passthrough(core: TreeCore, node: NodeId, fd: number, writes: boolean): number {
  const { frames } = core
  const service = core.services.passthrough
  if (!service.available || frames.type(node) !== S_IFREG) return 0
  // There the kernel would open, read and write with this daemon's rights.
  if (core.devices.isMadeByKernel(frames.device(node))) return 0
  const losesPrivileges =
    writes && core.request.uid !== 0 && core.stat.descriptor(fd) === 0 && (core.stat.mode & 0o6000) !== 0
  // One file has one backing for as long as it is open.
  if (frames.opens(node) > 0) {
    if (losesPrivileges && frames.backing(node) > 0) clearPrivileges(core, fd)
    return frames.backing(node)
  }
  // The kernel does not clear setuid and setgid where it writes by itself.
  if (losesPrivileges) return 0
  // Opened as it will be: a read-only disk or a running program refuse here.
  const backing = libc.open(descriptorPath(fd), (writes ? O_WRONLY : O_RDONLY) | O_CLOEXEC | O_NOCTTY, 0)
  if (backing < 0) return backing
  const id = service.register(backing)
  libc.close(backing)
  if (id <= 0) return 0
  frames.setBacking(node, id)
  frames.setFlag(node, FLAG_PASSTHROUGH)
  if (writes) frames.setFlag(node, FLAG_WRITABLE)
  return id
}

function openProperty(core: TreeCore, node: NodeId, flags: number): number {
  const { frames, opened } = core
  const handle = core.handles.allocate(node, flags)
  if (handle === 0) return -ENFILE
  frames.setOpens(node, frames.opens(node) + 1)
  opened.handle = handle
  opened.backingId = 0
  opened.keepCache = false
  opened.directIo = true
  return 0
}

/** What a property file has for a handle: made once, so that its reader sees one text. */
function propertyBytes(core: TreeCore, node: NodeId, handle: HandleId): Buffer {
  let open = texts.get(core)
  if (!open) {
    open = new Map()
    texts.set(core, open)
  }
  let bytes = open.get(handle)
  if (!bytes) {
    bytes = Buffer.from(toBytesText(propertyOfFrame(core, node) ?? ''), 'latin1')
    open.set(handle, bytes)
  }
  return bytes
}

export function create(core: TreeCore, parent: NodeId, name: Name, flags: number, mode: number): number {
  const { request, frames } = core
  const directory = placeForNew(core, parent, name, CREATED)
  if (directory === -EEXIST && (flags & O_EXCL) === 0) return openExisting(core, parent, name, flags)
  if (directory < 0) return directory
  let fd: number
  const access = (flags & O_ACCMODE) | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY
  if (core.alreadyMade) fd = libc.openat(directory, name.address, access, 0)
  else {
    beginMaking(core, CREATED)
    enterCaller(request)
    fd = libc.openat(directory, name.address, access | O_CREAT | O_EXCL, mode & 0o7777)
    leaveCaller(request)
    if (fd < 0) core.journal.failed()
    if (fd === -EEXIST && (flags & O_EXCL) === 0) return openExisting(core, parent, name, flags)
  }
  if (fd < 0) return fd
  core.watched(parent)
  core.outside.own(IN_CREATE | IN_ATTRIB | IN_MODIFY, parent, name)
  const stated = core.stat.descriptor(fd)
  const made = core.stat.mode
  const slot = stated < 0 ? 0 : core.frameOf(parent, name, core.localLayer(parent))
  if (slot === 0) {
    libc.close(fd)
    return -ENFILE
  }
  core.opened.backingId = passthroughOf(core, slot, fd)
  const own = core.opened.backingId > 0 ? -1 : fd
  if (own < 0) libc.close(fd)
  const result = finishOpen(core, slot, flags, own)
  if (result < 0) return result
  if (own >= 0 && !mayReopen(made, flags)) core.kept.handle(core.opened.handle)
  frames.setFlag(slot, core.isWatched(parent) ? FLAG_WRITABLE | FLAG_NO_CAPABILITIES : FLAG_WRITABLE)
  return core.answerEntry(slot, parent)
}

/** Whether the next daemon may open a file of this mode again; root may always. */
function mayReopen(mode: number, flags: number): boolean {
  if (process.getuid?.() === 0) return true
  const access = flags & O_ACCMODE
  const needed = (access === O_WRONLY ? 0 : 0o400) | (access === O_RDONLY ? 0 : 0o200)
  return (mode & needed) === needed
}

/** Passthrough of a file that was just made and is open. */
function passthroughOf(core: TreeCore, slot: NodeId, fd: number): number {
  const { frames } = core
  const service = core.services.passthrough
  if (!service.available || frames.type(slot) !== S_IFREG) return 0
  if (frames.opens(slot) > 0) return frames.backing(slot)
  if (core.request.uid !== 0 && (core.stat.mode & 0o6000) !== 0) return 0
  const id = service.register(fd)
  if (id <= 0) return 0
  frames.setBacking(slot, id)
  frames.setFlag(slot, FLAG_PASSTHROUGH)
  return id
}

/** A file without a name: its descriptor is all that it has until it gets one by `link`. */
export function tmpfile(core: TreeCore, parent: NodeId, flags: number, mode: number): number {
  const { frames, request } = core
  if (!frames.exists(parent)) return -ESTALE
  const directory = localDirectory(core, parent)
  if (directory < 0) return directory
  enterCaller(request)
  const access = (flags & (O_ACCMODE | O_EXCL)) | O_TMPFILE | O_CLOEXEC
  const fd = libc.open(descriptorPath(directory), access, mode & 0o7777)
  leaveCaller(request)
  if (fd < 0) return fd
  const slot = frames.allocate(BACKED, parent, frames.context(parent))
  const path = slot === 0 ? -ENFILE : libc.open(descriptorPath(fd), O_PATH | O_CLOEXEC, 0)
  if (path < 0 || core.stat.descriptor(fd) < 0) {
    libc.close(fd)
    if (slot !== 0) core.settle(slot)
    return path < 0 ? path : -EIO
  }
  frames.setType(slot, S_IFREG)
  frames.setLayer(slot, core.localLayer(parent))
  frames.setFlag(slot, FLAG_NAMELESS)
  core.identify(slot)
  core.descriptors.add(slot, path)
  core.opened.backingId = passthroughOf(core, slot, fd)
  const own = core.opened.backingId > 0 ? -1 : fd
  if (own < 0) libc.close(fd)
  const result = finishOpen(core, slot, flags, own)
  return result < 0 ? result : core.answerEntry(slot, parent)
}

function openExisting(core: TreeCore, parent: NodeId, name: Name, flags: number): number {
  const layer = core.statChild(parent, name)
  if (layer < 0) return layer === -ENOENT ? -ESTALE : layer
  if ((core.stat.mode & S_IFMT) !== S_IFREG) return -ESTALE
  const slot = core.frameOf(parent, name, layer)
  if (slot === 0) return -ENFILE
  const result = open(core, slot, flags)
  if (result < 0) return result
  const found = core.statChild(parent, name)
  return found < 0 ? found : core.answerEntry(slot, parent)
}

/** Flags to open again what was opened with `flags`. Appending is done by each write: pages of a mapping are no append. */
function reopenFlags(flags: number): number {
  return (flags & ~(HANDLE_KEPT | ONCE | O_APPEND)) | O_CLOEXEC | O_NOCTTY
}

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

/** Opens what an O_PATH descriptor reaches; what the kernel makes, with the caller's own rights. */
function openAgain(core: TreeCore, node: NodeId, fd: number, flags: number): number {
  if (!core.devices.isMadeByKernel(core.frames.device(node)))
    return libc.open(descriptorPath(fd), reopenFlags(flags), 0)
  enterUnprivileged(core.request)
  const opened = libc.open(descriptorPath(fd), reopenFlags(flags), 0)
  leaveUnprivileged(core.request)
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
  if (core.frames.kind(node) === PROPERTY) {
    const bytes = propertyBytes(core, node, handle)
    return core.writeText(bytes.toString('latin1', position, position + size), address, size)
  }
  const fd = handleFd(core, node, handle)
  if (fd < 0) return fd
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
  const result = appends ? append(core, fd, address, size) : libc.pwrite(fd, address, size, position)
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

export function release(core: TreeCore, node: NodeId, handle: HandleId): number {
  const { frames, handles } = core
  if (!handles.exists(handle) || handles.node(handle) !== node) return -EBADF
  // The kernel's own writing is no news.
  if (frames.hasFlag(node, FLAG_WRITABLE) && !frames.hasFlag(node, FLAG_NAMELESS))
    core.outside.own(IN_MODIFY, frames.parent(node), core.ownName(node))
  const fd = handles.descriptor(handle)
  const kept = (handles.flags(handle) & HANDLE_KEPT) !== 0
  handles.free(handle)
  if (fd >= 0) libc.close(fd)
  if (kept) core.kept.handleClosed()
  texts.get(core)?.delete(handle)
  const opens = frames.opens(node) - 1
  frames.setOpens(node, opens)
  if (opens > 0) return 0
  // Its disk was busy for as long as it was open; it need not be for longer.
  core.borrowed.isBorrowed(frames.device(node))
  if (frames.backing(node) > 0) core.services.passthrough.release(frames.backing(node))
  frames.setBacking(node, 0)
  frames.clearFlag(node, FLAG_PASSTHROUGH | FLAG_WRITABLE)
  core.settle(node)
  return 0
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
