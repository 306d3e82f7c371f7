import {
  SET_ATIME,
  SET_ATIME_NOW,
  SET_GID,
  SET_KILL_PRIVILEGES,
  SET_MODE,
  SET_MTIME,
  SET_MTIME_NOW,
  SET_SIZE,
  SET_UID,
} from '../../src/frame/operations.ts'
import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_FH,
  FATTR_GID,
  FATTR_KILL_SUIDGID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FATTR_UID,
  GETATTR_FH,
} from './abi.ts'
import { type Context, checkPosition } from './context.ts'

/** Operations on attributes, and of the file system as a whole. */

// struct fuse_getattr_in and fuse_statx_in begin alike.
const GETATTR_FLAGS = 0
const GETATTR_HANDLE = 8

// struct fuse_setattr_in
const SETATTR_VALID = 0
const SETATTR_HANDLE = 8
const SETATTR_SIZE = 16
const SETATTR_ATIME = 32
const SETATTR_MTIME = 40
const SETATTR_ATIMENSEC = 56
const SETATTR_MTIMENSEC = 60
const SETATTR_MODE = 68
const SETATTR_UID = 76
const SETATTR_GID = 80

/** The handle that a getattr comes by, 0 for none. */
function handleOf(c: Context): number {
  return c.request.u32(GETATTR_FLAGS) & GETATTR_FH ? c.request.u64(GETATTR_HANDLE) : 0
}

export function getattr(c: Context): number {
  const result = c.tree.getattr(c.request.node, handleOf(c))
  return result === 0 ? c.reply.putAttributes(c.tree.validity, c.tree.attributes) : result
}

export function statx(c: Context): number {
  const result = c.tree.getattr(c.request.node, handleOf(c))
  return result === 0 ? c.reply.putStatx(c.tree.validity, c.tree.attributes) : result
}

export function setattr(c: Context): number {
  const { request, change } = c
  const valid = request.u32(SETATTR_VALID)
  let set = 0
  if (valid & FATTR_MODE) {
    set |= SET_MODE
    change.mode = request.u32(SETATTR_MODE)
  }
  if (valid & FATTR_UID) {
    set |= SET_UID
    change.uid = request.u32(SETATTR_UID)
  }
  if (valid & FATTR_GID) {
    set |= SET_GID
    change.gid = request.u32(SETATTR_GID)
  }
  if (valid & FATTR_SIZE) {
    set |= SET_SIZE
    change.size = request.u64(SETATTR_SIZE)
    const error = checkPosition(change.size)
    if (error < 0) return error
  }
  // "Now" comes with the time's own bit; the tree is told one of the two.
  if (valid & FATTR_ATIME_NOW) set |= SET_ATIME_NOW
  else if (valid & FATTR_ATIME) {
    set |= SET_ATIME
    change.atime = request.i64(SETATTR_ATIME)
    change.atimensec = request.u32(SETATTR_ATIMENSEC)
  }
  if (valid & FATTR_MTIME_NOW) set |= SET_MTIME_NOW
  else if (valid & FATTR_MTIME) {
    set |= SET_MTIME
    change.mtime = request.i64(SETATTR_MTIME)
    change.mtimensec = request.u32(SETATTR_MTIMENSEC)
  }
  if (valid & FATTR_KILL_SUIDGID) set |= SET_KILL_PRIVILEGES
  change.valid = set
  const handle = valid & FATTR_FH ? request.u64(SETATTR_HANDLE) : 0
  const result = c.tree.setattr(request.node, handle, change)
  return result === 0 ? c.reply.putAttributes(c.tree.validity, c.tree.attributes) : result
}

export function statfs(c: Context): number {
  const result = c.tree.statfs(c.request.node)
  return result === 0 ? c.reply.putStatistics(c.tree.statistics) : result
}

export function readlink(c: Context): number {
  return c.tree.readlink(c.request.node, c.reply.address, 4096)
}
