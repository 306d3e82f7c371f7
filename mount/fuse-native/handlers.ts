import {
  type AttributeChange,
  type HandleId,
  type Name,
  type NodeId,
  SET_ATIME,
  SET_GID,
  SET_MODE,
  SET_MTIME,
  SET_SIZE,
  SET_UID,
  type TreeOperations,
} from '../../src/frame/operations.ts'
import { O_RDWR } from '../../src/os/constants.ts'
import { EBADF, ENAMETOOLONG } from '../../src/os/errno.ts'
import { addressOf, allocateNative } from '../../src/os/memory.ts'
import type { Call } from './call.ts'
import { finish } from './jobs.ts'
import type { OperationName } from './library.ts'
import { type PathNodes, ReusableName } from './path-nodes.ts'

/** What the handlers of operations share. */
export interface Context {
  readonly tree: TreeOperations
  readonly paths: PathNodes
  readonly call: Call
  /** Nodes of open files by handle; each holds a lookup. */
  readonly open: Map<HandleId, NodeId>
}

/** Does one operation and answers it: by itself, or with the 0 or `-errno` that it returns. */
type Handler = (c: Context) => number | undefined

const MOST_NAME = 255
const MOST_PATH = 4096
const NO_ID = 0xffffffff
const first = new ReusableName(MOST_NAME)
const second = new ReusableName(MOST_NAME)
const target = new ReusableName(65_536)
const link = allocateNative(MOST_PATH)
const change: AttributeChange = {
  valid: 0,
  mode: 0,
  uid: 0,
  gid: 0,
  size: 0,
  atime: 0,
  atimensec: 0,
  mtime: 0,
  mtimensec: 0,
}

/** Does something in the directory of a path with the path's last name. */
function inDirectory(
  c: Context,
  path: string,
  name: ReusableName,
  operation: (parent: NodeId, name: Name) => number,
): number {
  const parent = c.paths.parent(path)
  if (parent < 0) return parent
  const last = path.slice(path.lastIndexOf('/') + 1)
  if (last.length > MOST_NAME) return -ENAMETOOLONG
  return finish(c.tree, () => operation(parent, name.set(last)))
}

/** Makes an entry: the lookup that the tree counts for it is undone at the operation's end. */
function make(c: Context, path: string, operation: (parent: NodeId, name: Name) => number): number {
  const result = inDirectory(c, path, first, operation)
  if (result === 0) c.paths.hold(c.tree.entryNode)
  return result
}

/** Does something with the node of the operation's path. */
function atPath(c: Context, operation: (node: NodeId) => number, address = 0): number {
  const node = c.paths.node(c.call.path)
  return node < 0 ? node : finish(c.tree, () => operation(node), address)
}

/** Does something with an open file; its handle was handed over at a position. */
function atHandle(
  c: Context,
  at: number,
  operation: (node: NodeId, handle: HandleId) => number,
  address = 0,
): number {
  const handle = c.call.number(at)
  const node = c.open.get(handle)
  return node === undefined ? -EBADF : finish(c.tree, () => operation(node, handle), address)
}

function setAttributes(c: Context, valid: number, handleAt = -1): number {
  change.valid = valid
  return handleAt < 0
    ? atPath(c, (node) => c.tree.setattr(node, 0, change))
    : atHandle(c, handleAt, (node, handle) => c.tree.setattr(node, handle, change))
}

/** Answers the attributes that an operation left, or its error. */
function answerAttributes(c: Context, result: number): number | undefined {
  if (result < 0) return result
  c.call.answerAttributes(c.tree.attributes)
  return undefined
}

function answerOpened(c: Context, node: NodeId): void {
  const { handle, directIo } = c.tree.opened
  c.open.set(handle, node)
  c.paths.keep(node)
  c.call.answerOpened(handle, directIo)
}

/** Address of memory that may be empty. */
function addressOfAny(bytes: Uint8Array): number {
  return bytes.length === 0 ? 0 : addressOf(bytes)
}

function setTime(milliseconds: number, key: 'atime' | 'mtime'): void {
  const seconds = Math.floor(milliseconds / 1000)
  change[key] = seconds
  change[`${key}nsec`] = (milliseconds - seconds * 1000) * 1_000_000
}

/** All operations that are answered, by the library's names. */
export const handlers: Readonly<Record<Exclude<OperationName, 'init'>, Handler>> = {
  getattr(c) {
    // A lookup has read them already.
    return answerAttributes(c, c.paths.node(c.call.path))
  },
  fgetattr(c) {
    return answerAttributes(
      c,
      atHandle(c, 1, (node, handle) => c.tree.getattr(node, handle)),
    )
  },
  statfs(c) {
    const result = atPath(c, (node) => c.tree.statfs(node))
    if (result < 0) return result
    c.call.answerStatistics(c.tree.statistics)
    return undefined
  },
  readlink(c) {
    const length = atPath(c, (node) => c.tree.readlink(node, link.address, MOST_PATH))
    if (length < 0) return length
    c.call.answerLink(link.bytes.subarray(0, length))
    return undefined
  },

  chmod(c) {
    change.mode = c.call.number(1)
    return setAttributes(c, SET_MODE)
  },
  chown(c) {
    change.uid = c.call.number(1)
    change.gid = c.call.number(2)
    return setAttributes(c, (change.uid === NO_ID ? 0 : SET_UID) | (change.gid === NO_ID ? 0 : SET_GID))
  },
  truncate(c) {
    change.size = c.call.wide(1)
    return setAttributes(c, SET_SIZE)
  },
  ftruncate(c) {
    change.size = c.call.wide(2)
    return setAttributes(c, SET_SIZE, 1)
  },
  utimens(c) {
    setTime(c.call.accessTime, 'atime')
    setTime(c.call.modificationTime, 'mtime')
    return setAttributes(c, SET_ATIME | SET_MTIME)
  },

  mkdir(c) {
    const mode = c.call.number(1)
    return make(c, c.call.path, (parent, name) => c.tree.mkdir(parent, name, mode))
  },
  mknod(c) {
    const mode = c.call.number(1)
    const device = c.call.number(2)
    return make(c, c.call.path, (parent, name) => c.tree.mknod(parent, name, mode, device))
  },
  symlink(c) {
    target.set(c.call.path)
    return make(c, c.call.otherPath, (parent, name) => c.tree.symlink(parent, name, target))
  },
  link(c) {
    const node = c.paths.node(c.call.path)
    if (node < 0) return node
    return make(c, c.call.otherPath, (parent, name) => c.tree.link(node, parent, name))
  },
  unlink(c) {
    return inDirectory(c, c.call.path, first, (parent, name) => c.tree.unlink(parent, name))
  },
  rmdir(c) {
    c.paths.forgetAll()
    return inDirectory(c, c.call.path, first, (parent, name) => c.tree.rmdir(parent, name))
  },
  rename(c) {
    const path = c.call.path
    const parent = c.paths.parent(path)
    if (parent < 0) return parent
    const name = path.slice(path.lastIndexOf('/') + 1)
    if (name.length > MOST_NAME) return -ENAMETOOLONG
    c.paths.forgetAll()
    return inDirectory(c, c.call.otherPath, second, (newParent, newName) =>
      c.tree.rename(parent, first.set(name), newParent, newName, 0),
    )
  },

  open(c) {
    const node = c.paths.node(c.call.path)
    if (node < 0) return node
    const flags = c.call.number(1)
    const result = finish(c.tree, () => c.tree.open(node, flags))
    if (result < 0) return result
    answerOpened(c, node)
    return undefined
  },
  create(c) {
    const mode = c.call.number(1)
    const flags = c.call.createFlags ?? O_RDWR
    const result = inDirectory(c, c.call.path, first, (parent, name) =>
      c.tree.create(parent, name, flags, mode),
    )
    if (result < 0) return result
    const node = c.tree.entryNode
    c.paths.hold(node)
    answerOpened(c, node)
    return undefined
  },
  read(c) {
    const bytes = c.call.bytes(2)
    const address = addressOf(bytes)
    const position = c.call.wide(4)
    c.call.answerWith(
      atHandle(c, 1, (node, handle) => c.tree.read(node, handle, address, bytes.length, position), address),
      bytes,
    )
    return undefined
  },
  write(c) {
    const bytes = c.call.bytes(2)
    const address = addressOf(bytes)
    const position = c.call.wide(4)
    c.call.answerWith(
      atHandle(c, 1, (node, handle) =>
        c.tree.write(node, handle, address, bytes.length, position, false, false),
      ),
      bytes,
    )
    return undefined
  },
  flush(c) {
    return atHandle(c, 1, (node, handle) => c.tree.flush(node, handle))
  },
  fsync(c) {
    const dataOnly = c.call.number(1) !== 0
    return atHandle(c, 2, (node, handle) => c.tree.fsync(node, handle, dataOnly))
  },
  release(c) {
    const result = atHandle(c, 1, (node, handle) => c.tree.release(node, handle))
    const handle = c.call.number(1)
    const node = c.open.get(handle)
    if (node !== undefined) c.paths.hold(node)
    c.open.delete(handle)
    return result
  },

  readdir(c) {
    const node = c.paths.node(c.call.path)
    if (node < 0) return node
    // The sink takes every entry: one call lists all.
    c.call.answerEntries((sink) => c.tree.readdir(node, 0, 0, false, sink))
    return undefined
  },
  fsyncdir(c) {
    return atPath(c, (node) => c.tree.fsyncdir(node))
  },

  getxattr(c) {
    const value = c.call.bytes(2)
    first.set(c.call.xattrName)
    const result = atPath(c, (node) => c.tree.getxattr(node, first, addressOfAny(value), value.length))
    c.call.answerWith(result, value)
    return undefined
  },
  setxattr(c) {
    const value = c.call.bytes(2)
    const flags = c.call.number(4)
    first.set(c.call.xattrName)
    const result = atPath(c, (node) => c.tree.setxattr(node, first, addressOfAny(value), value.length, flags))
    c.call.answerWith(result, value)
    return undefined
  },
  listxattr(c) {
    const names = c.call.bytes(1)
    c.call.answerWith(
      atPath(c, (node) => c.tree.listxattr(node, addressOfAny(names), names.length)),
      names,
    )
    return undefined
  },
  removexattr(c) {
    first.set(c.call.xattrName)
    return atPath(c, (node) => c.tree.removexattr(node, first))
  },
}
