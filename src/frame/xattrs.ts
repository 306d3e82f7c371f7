import { IN_ATTRIB, XATTR_CREATE, XATTR_REPLACE } from '../os/constants.ts'
import { EEXIST, ENODATA, EOPNOTSUPP, EPERM, ERANGE, ESTALE } from '../os/errno.ts'
import * as libc from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import { ensureLocal } from './copy-up.ts'
import type { TreeCore } from './core.ts'
import { ANCHOR, BACKED, FLAG_NO_CAPABILITIES } from './frames.ts'
import type { Name, NodeId } from './operations.ts'
import { descriptorPath, nameIs, nameText, toBytesText } from './paths.ts'
import { isTextProperty, nodeProperty } from './properties.ts'

/**
 * Extended attributes are the backing's own, POSIX ACLs among them; beside them the node's properties can be read
 * as `user.cosmos.NAME`. Those are not listed: what copies a tree must not try to write them.
 */

const PREFIX = 'user.cosmos.'
/** Journal kind. */
const XATTR_CHANGED = 5
const list = allocateNative(65536)

export function getxattr(core: TreeCore, node: NodeId, name: Name, address: number, size: number): number {
  if (!core.frames.exists(node)) return -ESTALE
  if (isOurs(name)) return getProperty(core, node, name, address, size)
  // The kernel asks for capabilities at each start of a program, and before the first write to a file.
  const capabilities = nameIs(name, 'security.capability')
  if (capabilities && core.frames.hasFlag(node, FLAG_NO_CAPABILITIES)) return -ENODATA
  const fd = backing(core, node)
  const result = fd < 0 ? fd : libc.getxattr(descriptorPath(fd), name.address, address, size)
  if (capabilities && result === -ENODATA && core.isWatched(core.frames.parent(node)))
    core.frames.setFlag(node, FLAG_NO_CAPABILITIES)
  return result === -EOPNOTSUPP && isAccessList(name) ? -ENODATA : result
}

/**
 * The kernel reads a node's ACL to decide who may reach it, and takes "not supported" for a failure: where a file
 * system has no ACLs nobody but the owner would come in.
 */
function isAccessList(name: Name): boolean {
  return nameIs(name, 'system.posix_acl_access') || nameIs(name, 'system.posix_acl_default')
}

export function setxattr(
  core: TreeCore,
  node: NodeId,
  name: Name,
  address: number,
  size: number,
  flags: number,
): number {
  const { request } = core
  if (!core.frames.exists(node)) return -ESTALE
  if (isOurs(name)) return -EPERM
  const local = ensureLocal(core, node)
  if (local < 0) return local
  const fd = backing(core, node)
  if (fd < 0) return fd
  const again = request.resent && core.journal.find(request.uniqueLow, request.uniqueHigh, XATTR_CHANGED)
  core.journal.begin(request.uniqueLow, request.uniqueHigh, XATTR_CHANGED, 0, 0, 0, 0)
  const kept = again ? flags & ~(XATTR_CREATE | XATTR_REPLACE) : flags
  core.frames.clearFlag(node, FLAG_NO_CAPABILITIES)
  const result = libc.setxattr(descriptorPath(fd), name.address, address, size, kept)
  if (result === -EEXIST && again) return 0
  if (result < 0) core.journal.failed()
  attributesChanged(core, node)
  return result
}

export function removexattr(core: TreeCore, node: NodeId, name: Name): number {
  const { request } = core
  if (!core.frames.exists(node)) return -ESTALE
  if (isOurs(name)) return -EPERM
  const local = ensureLocal(core, node)
  if (local < 0) return local
  const fd = backing(core, node)
  if (fd < 0) return fd
  const again = request.resent && core.journal.find(request.uniqueLow, request.uniqueHigh, XATTR_CHANGED)
  core.journal.begin(request.uniqueLow, request.uniqueHigh, XATTR_CHANGED, 0, 0, 0, 0)
  const result = libc.removexattr(descriptorPath(fd), name.address)
  if (result < 0 && !again) core.journal.failed()
  attributesChanged(core, node)
  return result === -ENODATA && again ? 0 : result
}

export function listxattr(core: TreeCore, node: NodeId, address: number, size: number): number {
  if (!core.frames.exists(node)) return -ESTALE
  const fd = backing(core, node)
  if (fd === -EOPNOTSUPP) return 0
  if (fd < 0) return fd
  if (core.request.uid === 0) return libc.listxattr(descriptorPath(fd), address, size)
  // An ordinary caller does not see `trusted.*` (xattr(7)), which this daemon may.
  const length = libc.listxattr(descriptorPath(fd), list.address, list.bytes.length)
  if (length < 0) return length
  const visible = list.bytes
    .toString('latin1', 0, length)
    .split('\0')
    .filter((each) => each !== '' && !each.startsWith('trusted.'))
    .map((each) => `${each}\0`)
    .join('')
  if (size === 0) return visible.length
  return visible.length > size ? -ERANGE : core.writeText(visible, address, size)
}

function getProperty(core: TreeCore, node: NodeId, name: Name, address: number, size: number): number {
  const property = nameText(name).slice(PREFIX.length)
  const text = isTextProperty(property) ? nodeProperty(core, node, property) : undefined
  if (text === undefined) return -ENODATA
  const value = toBytesText(text).replace(/\n$/, '')
  if (size === 0) return value.length
  return value.length > size ? -ERANGE : core.writeText(value, address, size)
}

/** Descriptor of what has extended attributes; -EOPNOTSUPP where nothing on a disk does. */
function backing(core: TreeCore, node: NodeId): number {
  const kind = core.frames.kind(node)
  return kind === BACKED || kind === ANCHOR ? core.nodeFd(node) : -EOPNOTSUPP
}

function attributesChanged(core: TreeCore, node: NodeId): void {
  if (core.frames.kind(node) === BACKED)
    core.outside.own(IN_ATTRIB, core.frames.parent(node), core.ownName(node), node, undefined)
}

function isOurs(name: Name): boolean {
  if (name.length <= PREFIX.length) return false
  for (let i = 0; i < PREFIX.length; i++)
    if (name.bytes[name.offset + i] !== PREFIX.charCodeAt(i)) return false
  return true
}
