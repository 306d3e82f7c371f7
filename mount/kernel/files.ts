import { SET_KILL_PRIVILEGES } from '../../src/frame/operations.ts'
import { EINVAL, EIO, ENXIO } from '../../src/os/errno.ts'
import { FSYNC_FDATASYNC, OPEN_KILL_SUIDGID, WRITE_CACHE, WRITE_KILL_SUIDGID } from './abi.ts'
import { type Context, checkPosition } from './context.ts'

/** Operations on open files and on directories' contents. */

const OPEN_FLAGS = 0
const OPEN_OPEN_FLAGS = 4

/** struct fuse_read_in and fuse_write_in begin alike; so do the handles of release, flush, fsync, fallocate, lseek. */
const HANDLE = 0
const IO_OFFSET = 8
const IO_SIZE = 16
const WRITE_FLAGS = 20
const FSYNC_FLAGS = 8
const FALLOCATE_OFFSET = 8
const FALLOCATE_LENGTH = 16
const FALLOCATE_MODE = 24
const LSEEK_OFFSET = 8
const LSEEK_WHENCE = 16
const COPY_OFF_IN = 8
const COPY_NODEID_OUT = 16
const COPY_FH_OUT = 24
const COPY_OFF_OUT = 32
const COPY_LEN = 40
const COPY_FLAGS = 48

/** Most bytes of one copy: it ends in bounded time, and callers go on from a short one. */
const COPY_MOST = 128 << 20

export function open(c: Context): number {
  const { request, tree } = c
  const result = tree.open(request.node, request.u32(OPEN_FLAGS))
  if (result !== 0) return result
  const size = c.reply.putOpened(tree.opened, 0)
  // Opened with O_TRUNC by a caller without CAP_FSETID.
  if (request.u32(OPEN_OPEN_FLAGS) & OPEN_KILL_SUIDGID) {
    c.change.valid = SET_KILL_PRIVILEGES
    tree.setattr(request.node, tree.opened.handle, c.change)
  }
  return size
}

/** Closes what nobody got. */
export function forgetOpened(c: Context): void {
  if (c.tree.opened.handle !== 0) c.tree.release(c.request.node, c.tree.opened.handle)
}

export function read(c: Context): number {
  const { request, reply } = c
  const position = request.u64(IO_OFFSET)
  // Nothing lies there.
  if (checkPosition(position) < 0) return 0
  const size = Math.min(request.u32(IO_SIZE), reply.capacity)
  return c.tree.read(request.node, request.u64(HANDLE), reply.address, size, position)
}

/** Asked only of files that were opened so. */
export function flush(c: Context): number {
  return c.tree.flush(c.request.node, c.request.u64(HANDLE))
}

export function write(c: Context): number {
  const { request } = c
  const size = request.u32(IO_SIZE)
  const address = request.data(size)
  if (address === 0) return -EIO
  const position = request.u64(IO_OFFSET)
  const error = checkPosition(position)
  if (error < 0) return error
  const flags = request.u32(WRITE_FLAGS)
  const kill = (flags & WRITE_KILL_SUIDGID) !== 0
  const cached = (flags & WRITE_CACHE) !== 0
  return putSize(c, c.tree.write(request.node, request.u64(HANDLE), address, size, position, kill, cached))
}

/** struct fuse_write_out of a number of bytes; also fuse_getxattr_out. */
export function putSize(c: Context, result: number): number {
  if (result < 0) return result
  c.reply.setWord(0, result)
  c.reply.setWord(1, 0)
  return 8
}

/** struct fuse_lseek_out and fuse_copy_file_range_out: one 64-bit number. */
export function putWide(c: Context, result: number): number {
  if (result < 0) return result
  c.reply.setWide(0, result)
  return 8
}

export function release(c: Context): number {
  return c.tree.release(c.request.node, c.request.u64(HANDLE))
}

export function fsync(c: Context): number {
  const dataOnly = (c.request.u32(FSYNC_FLAGS) & FSYNC_FDATASYNC) !== 0
  return c.tree.fsync(c.request.node, c.request.u64(HANDLE), dataOnly)
}

export function fallocate(c: Context): number {
  const { request } = c
  const position = request.u64(FALLOCATE_OFFSET)
  const length = request.u64(FALLOCATE_LENGTH)
  const error = checkPosition(position + length)
  if (error < 0) return error
  return c.tree.fallocate(request.node, request.u64(HANDLE), request.u32(FALLOCATE_MODE), position, length)
}

export function lseek(c: Context): number {
  const { request } = c
  const position = request.u64(LSEEK_OFFSET)
  if (checkPosition(position) < 0) return -ENXIO
  return putWide(c, c.tree.lseek(request.node, request.u64(HANDLE), position, request.u32(LSEEK_WHENCE)))
}

export function copyFileRange(c: Context): number {
  return putSize(c, copy(c))
}

export function copyFileRange64(c: Context): number {
  return putWide(c, copy(c))
}

function copy(c: Context): number {
  const { request } = c
  if (request.u64(COPY_FLAGS) !== 0) return -EINVAL
  const from = request.u64(COPY_OFF_IN)
  const to = request.u64(COPY_OFF_OUT)
  const error = checkPosition(Math.max(from, to))
  if (error < 0) return error
  return c.tree.copyFileRange(
    request.node,
    request.u64(HANDLE),
    from,
    request.u64(COPY_NODEID_OUT),
    request.u64(COPY_FH_OUT),
    to,
    Math.min(request.u64(COPY_LEN), COPY_MOST),
  )
}

export function readdir(c: Context): number {
  return list(c, false)
}

export function readdirplus(c: Context): number {
  return list(c, true)
}

function list(c: Context, plus: boolean): number {
  const { request, directory } = c
  directory.begin(plus, Math.min(request.u32(IO_SIZE), c.reply.capacity))
  const cookieLow = request.u32(IO_OFFSET)
  const cookieHigh = request.u32(IO_OFFSET + 4)
  const result = c.tree.readdir(request.node, cookieLow, cookieHigh, plus, directory)
  return result === 0 ? directory.size : result
}

export function fsyncdir(c: Context): number {
  return c.tree.fsyncdir(c.request.node)
}
