import { SET_MODE } from '../../src/frame/operations.ts'
import { EIO } from '../../src/os/errno.ts'
import { SETXATTR_ACL_KILL_SGID, SETXATTR_IN_COMPAT_SIZE, SETXATTR_IN_SIZE } from './abi.ts'
import type { Context } from './context.ts'
import { putSize } from './files.ts'

/** Operations on extended attributes. */

// struct fuse_setxattr_in; struct fuse_getxattr_in begins alike.
const SIZE = 0
const SETXATTR_FLAGS = 4
const SETXATTR_SETXATTR_FLAGS = 8

const S_ISGID = 0o2000

export function getxattr(c: Context): number {
  const { request, reply } = c
  const error = request.attributeName(c.first)
  if (error < 0) return error
  const size = Math.min(request.u32(SIZE), reply.capacity)
  const result = c.tree.getxattr(request.node, c.first, reply.address, size)
  return size === 0 ? putSize(c, result) : result
}

export function listxattr(c: Context): number {
  const { request, reply } = c
  const size = Math.min(request.u32(SIZE), reply.capacity)
  const result = c.tree.listxattr(request.node, reply.address, size)
  return size === 0 ? putSize(c, result) : result
}

export function setxattr(c: Context): number {
  const { request } = c
  const long = c.negotiated?.longSetxattr === true
  if (long && !request.hasBody(SETXATTR_IN_SIZE)) return -EIO
  if (!long) request.seek(SETXATTR_IN_COMPAT_SIZE)
  const error = request.attributeName(c.first)
  if (error < 0) return error
  const size = request.u32(SIZE)
  const address = request.data(size)
  if (address === 0) return -EIO
  const result = c.tree.setxattr(request.node, c.first, address, size, request.u32(SETXATTR_FLAGS))
  if (result !== 0 || !long) return result
  return request.u32(SETXATTR_SETXATTR_FLAGS) & SETXATTR_ACL_KILL_SGID ? clearSetgid(c) : 0
}

/** An access ACL set by one who is not of the file's group clears setgid. */
function clearSetgid(c: Context): number {
  const { tree, change } = c
  const { node } = c.request
  const result = tree.getattr(node, 0)
  if (result !== 0) return result
  if ((tree.attributes.mode & S_ISGID) === 0) return 0
  change.valid = SET_MODE
  change.mode = tree.attributes.mode & 0o7777 & ~S_ISGID
  return tree.setattr(node, 0, change)
}

export function removexattr(c: Context): number {
  const error = c.request.attributeName(c.first)
  return error < 0 ? error : c.tree.removexattr(c.request.node, c.first)
}
