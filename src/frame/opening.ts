import {
  IN_ATTRIB,
  IN_CREATE,
  IN_MODIFY,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_EXCL,
  O_NOCTTY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  S_IFMT,
  S_IFREG,
} from '../os/constants.ts'
import { EACCES, EBADF, EEXIST, EIO, EISDIR, ENFILE, ENOENT, ENXIO, EROFS, ESTALE } from '../os/errno.ts'
import * as libc from '../os/libc.ts'
import { cString } from '../os/memory.ts'
import { answerEntry } from './answers.ts'
import { clearPrivileges } from './attributes.ts'
import { enterCaller, enterUnprivileged, leaveCaller, leaveUnprivileged } from './caller.ts'
import { ensureLocal, localDirectory } from './copy-up.ts'
import type { TreeCore } from './core.ts'
import { beginMaking, CREATED, placeForNew } from './entries.ts'
import { isCosmProgram } from './executables.ts'
import {
  ANCHOR,
  BACKED,
  FLAG_NAMELESS,
  FLAG_NO_CAPABILITIES,
  FLAG_PASSTHROUGH,
  FLAG_WRITABLE,
  FUNCTION,
  PRODUCED,
  PROPERTY,
} from './frames.ts'
import { frameOf, identify } from './identity.ts'
import { HANDLE_KEPT } from './kept.ts'
import type { HandleId, Name, NodeId } from './operations.ts'
import { descriptorPath, toBytesText } from './paths.ts'
import { payloadOfProperty, propertyOfFrame } from './properties.ts'

/** The life of a handle: opened, made or opened again, and released. All handles of a file share its passthrough. */

/** Flags that open again what a handle had opened must not have. */
const ONCE = O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW | O_DIRECT

/** Flag of a handle that reads the launcher's line instead of the file; no O_* flag uses the bit. */
export const HANDLE_LINE = 0x20000000

/** Contents of open property files. */
const texts = new WeakMap<TreeCore, Map<HandleId, Buffer>>()

/** Opens a file: 0 with `opened`, PENDING with a copy-up as `job`, or `-errno`. */
export function open(core: TreeCore, node: NodeId, flags: number): number {
  const { frames } = core
  if (!frames.exists(node)) return -ESTALE
  const kind = frames.kind(node)
  const writes = (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0
  if (kind === PROPERTY || kind === FUNCTION) {
    if (writes) return -EACCES
    const payload = payloadOfProperty(core, node)
    return payload === undefined ? openMade(core, node, flags) : openPayload(core, node, payload, flags)
  }
  if (kind === PRODUCED) return writes ? -EROFS : openProduced(core, node, flags)
  if (kind !== BACKED) return kind === ANCHOR ? -EISDIR : -ENXIO
  if (writes && core.stackOf(node).readOnly) return openEntry(core, node, flags)
  if (writes) {
    const local = ensureLocal(core, node, true)
    if (local < 0) return local
  }
  return openBacked(core, node, flags, writes)
}

/** Opens an entry of a document for writing (docs/fudge.md); -EROFS for what is made in any other way. */
function openEntry(core: TreeCore, node: NodeId, flags: number): number {
  const { edits } = core.productions
  const allowed = edits.mayChange(node)
  if (allowed < 0) return allowed
  const former = edits.contentOf(node)
  const result = openBacked(core, node, flags, true)
  if (result === 0) edits.opened(core.opened.handle, node, former)
  return result
}

function openBacked(core: TreeCore, node: NodeId, flags: number, writes: boolean): number {
  const { frames, opened } = core
  const fd = core.nodeFd(node)
  if (fd < 0) return fd
  if (!writes && isCosmProgram(core, node)) {
    if (isReplaced(core, node)) return -ESTALE
    if (showsLine(core, node, fd)) return openMade(core, node, flags | HANDLE_LINE)
  }
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
  opened.flush = false
  opened.keepCache = core.isWatched(frames.parent(node))
  opened.flush = (flags & O_ACCMODE) !== O_RDONLY && core.productions.shown.has(node)
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

/** Whether a program's name is another file's by now: the kernel has not heard of it yet, and is to look again. */
function isReplaced(core: TreeCore, node: NodeId): boolean {
  if (core.frames.hasFlag(node, FLAG_NAMELESS)) return false
  return core.statChild(core.frames.parent(node), core.nameOf(node)) < 0 || !core.isStatOf(node)
}

/** Whether a program of a cosm reads as the launcher's line now. */
function showsLine(core: TreeCore, node: NodeId, fd: number): boolean {
  if (core.stat.descriptor(fd) < 0) return false
  core.stat.decode(core.attributes)
  return core.executables.isLaunched(core, node)
}

/** Opens what no disk holds: a property, or the launcher's line. */
function openMade(core: TreeCore, node: NodeId, flags: number): number {
  const { frames, opened } = core
  const handle = core.handles.allocate(node, flags)
  if (handle === 0) return -ENFILE
  frames.setOpens(node, frames.opens(node) + 1)
  opened.handle = handle
  opened.flush = false
  opened.backingId = 0
  opened.keepCache = false
  opened.directIo = true
  opened.flush = false
  return 0
}

/** Opens a file that was made: the kernel reads it itself where it can. -EIO for one that could not be made. */
function openProduced(core: TreeCore, node: NodeId, flags: number): number {
  const { frames, opened } = core
  const production = core.productions.find(frames.parent(node), frames.nameText(node))
  if (production?.state === 'failed') return -EIO
  if (production?.state !== 'made') return -ESTALE
  const fd = libc.open(cString(Buffer.from(production.path, 'latin1')).address, reopenFlags(flags), 0)
  if (fd < 0) return fd
  // One file has one backing for as long as it is open.
  const shared = frames.opens(node) > 0
  opened.backingId = shared ? frames.backing(node) : Math.max(0, core.services.passthrough.register(fd))
  if (!shared) {
    frames.setBacking(node, opened.backingId)
    if (opened.backingId > 0) frames.setFlag(node, FLAG_PASSTHROUGH)
  }
  const own = opened.backingId > 0 ? -1 : fd
  if (own < 0) libc.close(fd)
  return finishOpen(core, node, flags, own)
}

/** Opens the file that `name:payload` is, with the caller's own rights: what the path leads to may be another by now. */
function openPayload(core: TreeCore, node: NodeId, path: string, flags: number): number {
  enterUnprivileged(core.request)
  const fd = libc.open(cString(Buffer.from(path, 'latin1')).address, reopenFlags(flags), 0)
  leaveUnprivileged(core.request)
  if (fd < 0) return fd
  const result = openMade(core, node, flags)
  if (result < 0) libc.close(fd)
  else core.handles.setDescriptor(core.opened.handle, fd)
  return result
}

/** Opens a payload for a handle of a former daemon; false for a handle of anything else. */
export function reopenPayload(core: TreeCore, node: NodeId, handle: HandleId): boolean {
  const path = payloadOfProperty(core, node)
  if (path === undefined) return false
  const fd = libc.open(
    cString(Buffer.from(path, 'latin1')).address,
    reopenFlags(core.handles.flags(handle)),
    0,
  )
  if (fd >= 0) core.handles.setDescriptor(handle, fd)
  return fd >= 0
}

/** What no disk holds, for a handle: made once, so that its reader sees one text. */
export function madeBytes(core: TreeCore, node: NodeId, handle: HandleId): Buffer {
  if (core.frames.kind(node) !== PROPERTY) return core.executables.line
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

/** Makes a file and opens it; one that is there is opened, unless O_EXCL is in `flags`. */
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
  const slot = stated < 0 ? 0 : frameOf(core, parent, name, core.localLayer(parent))
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
  if (core.stackOf(slot).readOnly) core.productions.edits.opened(core.opened.handle, slot, undefined)
  frames.setFlag(slot, core.isWatched(parent) ? FLAG_WRITABLE | FLAG_NO_CAPABILITIES : FLAG_WRITABLE)
  return answerEntry(core, slot, parent)
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
  identify(core, slot)
  core.descriptors.add(slot, path)
  core.opened.backingId = passthroughOf(core, slot, fd)
  const own = core.opened.backingId > 0 ? -1 : fd
  if (own < 0) libc.close(fd)
  const result = finishOpen(core, slot, flags, own)
  return result < 0 ? result : answerEntry(core, slot, parent)
}

function openExisting(core: TreeCore, parent: NodeId, name: Name, flags: number): number {
  const layer = core.statChild(parent, name)
  if (layer < 0) return layer === -ENOENT ? -ESTALE : layer
  if ((core.stat.mode & S_IFMT) !== S_IFREG) return -ESTALE
  const slot = frameOf(core, parent, name, layer)
  if (slot === 0) return -ENFILE
  const result = open(core, slot, flags)
  if (result < 0) return result
  const found = core.statChild(parent, name)
  return found < 0 ? found : answerEntry(core, slot, parent)
}

/** Flags to open again what was opened with `flags`. Appending is done by each write: pages of a mapping are no append. */
function reopenFlags(flags: number): number {
  return (flags & ~(HANDLE_KEPT | ONCE | O_APPEND)) | O_CLOEXEC | O_NOCTTY
}

/** Opens what an O_PATH descriptor reaches; what the kernel makes, with the caller's own rights. */
export function openAgain(core: TreeCore, node: NodeId, fd: number, flags: number): number {
  if (!core.devices.isMadeByKernel(core.frames.device(node)))
    return libc.open(descriptorPath(fd), reopenFlags(flags), 0)
  enterUnprivileged(core.request)
  const opened = libc.open(descriptorPath(fd), reopenFlags(flags), 0)
  leaveUnprivileged(core.request)
  return opened
}

/** Closes a handle, and what the frame had for as long as it was open. */
export function release(core: TreeCore, node: NodeId, handle: HandleId): number {
  const { frames, handles } = core
  if (!handles.exists(handle) || handles.node(handle) !== node) return -EBADF
  // The kernel's own writing is no news.
  if (frames.hasFlag(node, FLAG_WRITABLE) && !frames.hasFlag(node, FLAG_NAMELESS))
    core.outside.own(IN_MODIFY, frames.parent(node), core.ownName(node))
  core.productions.edits.released(handle)
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
