import { ENOENT } from '../../src/os/errno.ts'
import type { Context } from './context.ts'

/** Operations on names: what makes, moves and removes entries of directories. */

const MKNOD_MODE = 0
const MKNOD_RDEV = 4
const MKNOD_UMASK = 8
const MKDIR_MODE = 0
const MKDIR_UMASK = 4
const RENAME_NEWDIR = 0
const RENAME2_FLAGS = 8
const LINK_OLDNODEID = 0
const CREATE_FLAGS = 0
const CREATE_MODE = 4
const CREATE_UMASK = 8

/** The entry that the tree just made known, as payload. */
function entry(c: Context, result: number): number {
  if (result !== 0) return result
  return c.reply.putEntry(c.tree.entryNode, c.tree.validity, c.tree.attributes)
}

/** Takes back the lookup that an answer would have given to the kernel. */
export function forgetEntry(c: Context): void {
  const node = c.reply.word(0)
  if (node !== 0) c.tree.forget(node, 1)
}

export function lookup(c: Context): number {
  const error = c.request.name(c.first)
  if (error < 0) return error
  const result = c.tree.lookup(c.request.node, c.first)
  if (result === -ENOENT && c.tree.validity.entry > 0) return c.reply.putNothing(c.tree.validity.entry)
  return entry(c, result)
}

export function mknod(c: Context): number {
  const { request } = c
  const error = request.name(c.first)
  if (error < 0) return error
  c.tree.request.umask = request.u32(MKNOD_UMASK)
  return entry(c, c.tree.mknod(request.node, c.first, request.u32(MKNOD_MODE), request.u32(MKNOD_RDEV)))
}

export function mkdir(c: Context): number {
  const { request } = c
  const error = request.name(c.first)
  if (error < 0) return error
  c.tree.request.umask = request.u32(MKDIR_UMASK)
  return entry(c, c.tree.mkdir(request.node, c.first, request.u32(MKDIR_MODE)))
}

export function symlink(c: Context): number {
  const { request } = c
  let error = request.name(c.first)
  if (error === 0) error = request.target(c.second)
  if (error < 0) return error
  return entry(c, c.tree.symlink(request.node, c.first, c.second))
}

export function link(c: Context): number {
  const { request } = c
  const error = request.name(c.first)
  if (error < 0) return error
  return entry(c, c.tree.link(request.u64(LINK_OLDNODEID), request.node, c.first))
}

export function unlink(c: Context): number {
  const error = c.request.name(c.first)
  return error < 0 ? error : c.tree.unlink(c.request.node, c.first)
}

export function rmdir(c: Context): number {
  const error = c.request.name(c.first)
  return error < 0 ? error : c.tree.rmdir(c.request.node, c.first)
}

export function rename(c: Context): number {
  return renameWith(c, 0)
}

export function rename2(c: Context): number {
  return renameWith(c, c.request.u32(RENAME2_FLAGS))
}

function renameWith(c: Context, flags: number): number {
  const { request } = c
  let error = request.name(c.first)
  if (error === 0) error = request.name(c.second)
  if (error < 0) return error
  return c.tree.rename(request.node, c.first, request.u64(RENAME_NEWDIR), c.second, flags)
}

/** Creates and opens: struct fuse_entry_out and fuse_open_out. */
export function create(c: Context): number {
  const { request } = c
  const error = request.name(c.first)
  if (error < 0) return error
  c.tree.request.umask = request.u32(CREATE_UMASK)
  const result = c.tree.create(request.node, c.first, request.u32(CREATE_FLAGS), request.u32(CREATE_MODE))
  const size = entry(c, result)
  return size < 0 ? size : c.reply.putOpened(c.tree.opened, size)
}

/** The name that comes with it is the kernel's own for a dentry without one. */
export function tmpfile(c: Context): number {
  const { request } = c
  c.tree.request.umask = request.u32(CREATE_UMASK)
  const result = c.tree.tmpfile(request.node, request.u32(CREATE_FLAGS), request.u32(CREATE_MODE))
  const size = entry(c, result)
  return size < 0 ? size : c.reply.putOpened(c.tree.opened, size)
}

/** Closes what nobody got. */
export function forgetCreated(c: Context): void {
  if (c.tree.opened.handle !== 0) c.tree.release(c.tree.entryNode, c.tree.opened.handle)
  forgetEntry(c)
}
