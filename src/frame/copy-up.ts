import { randomUUID } from 'node:crypto'
import { lchownSync, mkdirSync, statSync } from 'node:fs'
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  IN_ATTRIB,
  IN_CREATE,
  IN_MODIFY,
  IN_MOVED_TO,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  RENAME_NOREPLACE,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../os/constants.ts'
import { EEXIST, EINVAL, EIO, EISDIR, ENOENT, EOPNOTSUPP, EROFS, ESTALE } from '../os/errno.ts'
import {
  chmod,
  copyFileRange,
  fchmod,
  fchownat,
  getxattr,
  linkat,
  listxattr,
  mkdirat,
  mknodat,
  open,
  openat,
  pread,
  pwrite,
  readlinkat,
  removexattr,
  renameat2,
  setxattr,
  symlinkat,
  unlinkat,
  utimensat,
} from '../os/libc.ts'
import { allocateNative, cString, type NativeMemory } from '../os/memory.ts'
import { copiedKey } from '../source/stacks.ts'
import { numberOf } from './answers.ts'
import type { TreeCore } from './core.ts'
import { ANCHOR, FLAG_NAMELESS, FLAG_PASSTHROUGH, FLAG_SUPERSEDED } from './frames.ts'
import { identify } from './identity.ts'
import { number } from './inode-number.ts'
import { type NodeId, PENDING } from './operations.ts'
import { descriptorPath, pathBytes } from './paths.ts'

/**
 * Copy-up: a file of a lower layer comes into the local layer before its first change (design §3). The copy is
 * made without a name (O_TMPFILE) and linked in whole, so that nobody sees a part of it and a killed daemon
 * leaves nothing behind. Where the file system has no O_TMPFILE the copy has a name of its own beside the file, and
 * is renamed. It keeps its inode number.
 */

/** Larger files are copied by another thread. */
const INLINE_BYTES = 4 * 1024 * 1024
const EMPTY = allocateNative(1)
const DOT = allocateNative(2)
DOT.bytes[0] = 0x2e
const times = allocateNative(32)
const target = allocateNative(4096)
const ACCESS_LIST = cString('system.posix_acl_access')
const DEFAULT_LIST = cString('system.posix_acl_default')
const names = allocateNative(65536)
const value = allocateNative(65536)
const transfer = allocateNative(128 * 1024)

/** Copies under way by frame. */
interface Copy {
  readonly token: number
  readonly from: number
  readonly to: number
  readonly size: number
  /** Its name until it is whole; undefined where it has none. */
  readonly temporary: NativeMemory | undefined
  result: number | undefined
}
const copies = new WeakMap<TreeCore, Map<NodeId, Copy>>()
let lastToken = 0

/** The result of a copy job, by its token. */
export function copyEnded(core: TreeCore, token: number, result: number): void {
  for (const copy of copies.get(core)?.values() ?? []) if (copy.token === token) copy.result = result
}

/**
 * Makes sure that a frame's backing is in the local layer, so that it may be changed: 0, `-errno`, or PENDING
 * with a copy as `job`. `writes`: its content will change; a frame whose lower file the kernel reads by itself
 * can't have both, and answers -ESTALE: the next lookup finds the copy as another node.
 */
export function ensureLocal(core: TreeCore, slot: NodeId, writes = false): number {
  const { frames } = core
  const stack = core.stackOf(slot)
  if (stack.readOnly) return -EROFS
  if (stack.single || frames.hasFlag(slot, FLAG_NAMELESS))
    return frames.hasFlag(slot, FLAG_SUPERSEDED) ? -ESTALE : 0
  if (stack.local < 0) return -EROFS
  if (frames.kind(slot) === ANCHOR || frames.type(slot) === S_IFDIR) {
    const fd = localDirectory(core, slot)
    return Math.min(fd, 0)
  }
  if (frames.layer(slot) === stack.local || stack.layers[frames.layer(slot)]?.inPlace) return 0
  const supersede = writes && frames.hasFlag(slot, FLAG_PASSTHROUGH)
  const result = copyFrame(core, slot)
  if (result !== 0) return result
  if (supersede) {
    core.kept.node(slot)
    frames.unindex(slot)
    frames.setFlag(slot, FLAG_NAMELESS | FLAG_SUPERSEDED)
    return -ESTALE
  }
  return adopt(core, slot)
}

/** O_PATH descriptor of a directory in the local layer, made there when it is only in lower ones. */
export function localDirectory(core: TreeCore, slot: NodeId): number {
  const { frames } = core
  const stack = core.stackOf(slot)
  if (stack.readOnly) return -EROFS
  if (stack.single) return core.nodeFd(slot)
  if (stack.local < 0) return -EROFS
  const known = core.merged.fd(slot, stack.local)
  if (known >= 0) return known
  if (frames.kind(slot) === ANCHOR) {
    const made = makeLayerRoot(stack.layers[stack.local]!.path)
    if (made < 0) return made
    core.merged.drop(slot)
    return core.merged.fd(slot, stack.local)
  }
  const parent = localDirectory(core, frames.parent(slot))
  if (parent < 0) return parent
  const lower = core.nodeFd(slot)
  if (lower < 0) return lower
  const stated = core.stat.descriptor(lower)
  if (stated < 0) return stated
  const { mode, uid, gid } = core.stat
  numberOf(core, slot)
  const kept = { low: number.low, high: number.high }
  const made = mkdirat(parent, core.nameOf(slot).address, mode & 0o7777)
  if (made < 0 && made !== -EEXIST) return made
  const fd = openat(parent, core.nameOf(slot).address, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
  if (fd < 0) return fd
  core.merged.closeLater(fd)
  fchownat(fd, EMPTY.address, uid, gid, AT_EMPTY_PATH)
  copyXattrs(lower, fd)
  fchmod(fd, mode & 0o7777)
  core.stat.descriptor(lower)
  setTimes(core, fd)
  core.outside.own(IN_CREATE | IN_ATTRIB, frames.parent(slot), core.ownName(slot))
  core.stat.descriptor(fd)
  keepNumber(core, slot, kept.low, kept.high)
  core.merged.drop(slot)
  return core.merged.fd(slot, stack.local)
}

/** Copies a frame's lower file to the local layer: 0, `-errno` or PENDING. Its node is still the lower one. */
function copyFrame(core: TreeCore, slot: NodeId): number {
  const { frames } = core
  const parent = localDirectory(core, frames.parent(slot))
  if (parent < 0) return parent
  const lower = core.nodeFd(slot)
  if (lower < 0) return lower
  const stated = core.stat.descriptor(lower)
  if (stated < 0) return stated
  const { mode, uid, gid, size, nlink } = core.stat
  numberOf(core, slot)
  const kept = { low: number.low, high: number.high }
  const type = mode & S_IFMT
  let result: number
  if (type === S_IFREG) result = copyFile(core, slot, parent, lower, mode, uid, gid, size)
  else if (type === S_IFLNK) {
    const length = readlinkat(lower, EMPTY.address, target.address, 4095)
    if (length < 0) return length
    target.bytes[length] = 0
    result = symlinkat(target.address, parent, core.nameOf(slot).address)
  } else {
    core.stat.decode(core.attributes)
    result = mknodat(parent, core.nameOf(slot).address, mode, core.attributes.rdev)
  }
  if (result !== 0) return result
  if (type !== S_IFREG) finishSpecial(core, parent, slot, lower, mode, uid, gid)
  core.outside.own(IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_MODIFY, frames.parent(slot), core.ownName(slot))
  const copied = core.statIn(parent, core.nameOf(slot))
  if (copied < 0) return copied
  // The other links stay what they are: two files with one number would be taken for links of each other.
  if (nlink === 1) recordCopied(core, slot, kept.low, kept.high)
  return 0
}

function copyFile(
  core: TreeCore,
  slot: NodeId,
  parent: number,
  lower: number,
  mode: number,
  uid: number,
  gid: number,
  size: number,
): number {
  let under = copies.get(core)
  if (!under) {
    under = new Map()
    copies.set(core, under)
  }
  let copy = under.get(slot)
  if (!copy) {
    const from = open(descriptorPath(lower), O_RDONLY | O_CLOEXEC, 0)
    if (from < 0) return from
    let temporary: NativeMemory | undefined
    let to = openat(parent, DOT.address, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600)
    if (to === -EOPNOTSUPP || to === -EISDIR || to === -ENOENT) {
      temporary = cString(`.cosmos-copy-${randomUUID()}`)
      to = openat(parent, temporary.address, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0o600)
    }
    if (to < 0) {
      core.merged.closeLater(from)
      return to
    }
    copy = { token: ++lastToken, from, to, size, temporary, result: undefined }
    under.set(slot, copy)
    if (size <= INLINE_BYTES) copy.result = copyContent(from, to, size)
  }
  if (copy.result === undefined) {
    const { job } = core
    job.kind = 'copyUp'
    job.descriptor = copy.from
    job.otherDescriptor = copy.to
    job.position = 0
    job.otherPosition = 0
    job.length = copy.size
    job.again = true
    job.token = copy.token
    return PENDING
  }
  under.delete(slot)
  core.merged.closeLater(copy.from)
  core.merged.closeLater(copy.to)
  const result = copy.result < 0 ? copy.result : completeCopy(core, slot, parent, lower, copy, mode, uid, gid)
  if (result < 0 && copy.temporary) unlinkat(parent, copy.temporary.address, 0)
  return result
}

/** Gives a copy whose content is there its owner, mode, attributes and times, and then its name: 0 or `-errno`. */
function completeCopy(
  core: TreeCore,
  slot: NodeId,
  parent: number,
  lower: number,
  { to, temporary }: Copy,
  mode: number,
  uid: number,
  gid: number,
): number {
  const owned = fchownat(to, EMPTY.address, uid, gid, AT_EMPTY_PATH)
  if (owned < 0 && process.getuid?.() === 0) return owned
  copyXattrs(lower, to)
  fchmod(to, mode & 0o7777)
  if (core.stat.descriptor(lower) === 0) setTimes(core, to)
  const { address } = core.nameOf(slot)
  if (!temporary) return linkat(AT_FDCWD, descriptorPath(to), parent, address, AT_SYMLINK_FOLLOW)
  const renamed = renameat2(parent, temporary.address, parent, address, RENAME_NOREPLACE)
  // Not every file system that lacks O_TMPFILE has the flag.
  return renamed === -EINVAL ? renameat2(parent, temporary.address, parent, address, 0) : renamed
}

/** Copies content in place, holes as zeros only where the system can't do better: 0 or `-errno`. */
function copyContent(from: number, to: number, size: number): number {
  let done = 0
  while (done < size) {
    const moved = copyFileRange(from, 0, to, 0, size - done, 0)
    if (moved > 0) {
      done += moved
      continue
    }
    if (moved === 0) return 0
    const count = pread(from, transfer.address, transfer.bytes.length, done)
    if (count < 0) return count
    if (count === 0) return 0
    const written = pwrite(to, transfer.address, count, done)
    if (written < 0) return written
    done += written
  }
  return 0
}

/** Owner, mode, attributes and times of a copied link, socket, pipe or device. */
function finishSpecial(
  core: TreeCore,
  parent: number,
  slot: NodeId,
  lower: number,
  mode: number,
  uid: number,
  gid: number,
): void {
  const copy = openat(parent, core.nameOf(slot).address, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0)
  if (copy < 0) return
  core.merged.closeLater(copy)
  fchownat(copy, EMPTY.address, uid, gid, AT_EMPTY_PATH)
  if ((mode & S_IFMT) !== S_IFLNK) {
    copyXattrs(lower, copy)
    chmod(descriptorPath(copy), mode & 0o7777)
  }
  if (core.stat.descriptor(lower) === 0) setTimes(core, copy)
}

/** The frame is of the copy from now on. */
function adopt(core: TreeCore, slot: NodeId): number {
  const { frames } = core
  const stack = core.stackOf(slot)
  core.descriptors.drop(slot)
  const parent = core.layerFd(frames.parent(slot), stack.local)
  if (parent < 0) return parent
  const stated = core.statIn(parent, core.nameOf(slot))
  if (stated < 0) return stated
  frames.setLayer(slot, stack.local)
  identify(core, slot)
  for (const handle of core.handles.of(slot)) {
    const fd = core.handles.descriptor(handle)
    if (fd < 0) continue
    core.handles.setDescriptor(handle, -1)
    core.merged.closeLater(fd)
  }
  return 0
}

/** What was just stat'ed is a copy that shows this inode number. */
function recordCopied(core: TreeCore, slot: NodeId, low: number, high: number): void {
  const stack = core.stackOf(slot)
  const copied = { device: core.stat.device, ino: core.inoText(), low, high }
  core.store.addCopied(stack.key, copied)
  stack.copied.set(copiedKey(copied.device, copied.ino), copied)
}

/** A directory was made in the local layer; what was just stat'ed is what its frame is of from now on. */
function keepNumber(core: TreeCore, slot: NodeId, low: number, high: number): void {
  recordCopied(core, slot, low, high)
  core.frames.setLayer(slot, core.stackOf(slot).local)
  identify(core, slot)
}

/** Sets the times of the file in `stat`. */
function setTimes(core: TreeCore, fd: number): void {
  core.stat.decode(core.attributes)
  const { atime, atimensec, mtime, mtimensec } = core.attributes
  times.view.setBigInt64(0, BigInt(atime), true)
  times.view.setBigInt64(8, BigInt(atimensec), true)
  times.view.setBigInt64(16, BigInt(mtime), true)
  times.view.setBigInt64(24, BigInt(mtimensec), true)
  utimensat(fd, EMPTY.address, times.address, AT_EMPTY_PATH)
}

/** Copies extended attributes, ACLs among them, as far as the other file system takes them. */
function copyXattrs(from: number, to: number): void {
  // What is made in a directory with a default ACL has got one that the lower file has not.
  for (const inherited of [ACCESS_LIST, DEFAULT_LIST]) removexattr(descriptorPath(to), inherited.address)
  const size = listxattr(descriptorPath(from), names.address, names.bytes.length)
  for (let at = 0; at < size; ) {
    const end = names.bytes.indexOf(0, at)
    const length = getxattr(descriptorPath(from), names.address + at, value.address, value.bytes.length)
    if (length >= 0) setxattr(descriptorPath(to), names.address + at, value.address, length, 0)
    at = end + 1
  }
}

/**
 * Makes the root of a local layer, owned as the directory that it is made in: 0 or `-errno`. What is there already
 * stays whose it is, and a link that has come into its place is not followed.
 */
function makeLayerRoot(path: string): number {
  try {
    const parent = path.slice(0, path.lastIndexOf('/')) || '/'
    const made = mkdirSync(pathBytes(path), { recursive: true, mode: 0o755 })
    const { uid, gid } = statSync(pathBytes(parent))
    if (made !== undefined && process.getuid?.() === 0) lchownSync(pathBytes(path), uid, gid)
    return 0
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException
    return errno ?? -EIO
  }
}
