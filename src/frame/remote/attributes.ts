import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK } from '../../os/constants.ts'
import type { SourceChange, SourceNode, SourceType } from '../../source/service.ts'
import { setNumber } from '../answers.ts'
import { ROOT_NODE, type TreeCore } from '../core.ts'
import { REMOTE } from '../frames.ts'
import { hashNumber, hashText, number } from '../inode-number.ts'
import {
  type AttributeChange,
  type NodeId,
  SET_ATIME,
  SET_ATIME_NOW,
  SET_GID,
  SET_MODE,
  SET_MTIME,
  SET_MTIME_NOW,
  SET_SIZE,
  SET_UID,
} from '../operations.ts'
import { rootOf } from './path.ts'

/** Attributes of sources' nodes, as the kernel has them. */

const TYPES: Readonly<Record<SourceType, number>> = {
  file: S_IFREG,
  directory: S_IFDIR,
  link: S_IFLNK,
  fifo: S_IFIFO,
  socket: S_IFSOCK,
  block: S_IFBLK,
  character: S_IFCHR,
}
const USUAL_MODE: Readonly<Partial<Record<SourceType, number>>> = { directory: 0o755, link: 0o777 }
const USUAL_FILE = 0o644
const BLOCK = 512
const OWN_UID = process.getuid?.() ?? 0
const OWN_GID = process.getgid?.() ?? 0
const STARTED_AT = Date.now()

/** S_IFMT bits of a node. */
export function typeBits(node: SourceNode): number {
  return TYPES[node.type]
}

/**
 * Fills `attributes` of a frame, and how long they hold. An ordinary user's mount is that user's alone, and so is all in
 * it: who owns it elsewhere is there to be decided.
 */
export function fillRemote(core: TreeCore, slot: NodeId, node: SourceNode): void {
  const { attributes, frames, validity } = core
  if (node.identity !== undefined && frames.parent(slot) !== ROOT_NODE) {
    hashNumber(
      REMOTE,
      hashText(rootOf(core.treePath(slot))),
      hashText(node.identity),
      hashText(`${node.identity}#`),
    )
    frames.setNumber(slot, number.low, number.high)
  }
  setNumber(core, slot)
  const isOwn = node.uid === undefined || OWN_UID !== 0
  const seconds = Math.floor((node.mtime ?? STARTED_AT) / 1000)
  const nanoseconds = Math.floor(((node.mtime ?? STARTED_AT) - seconds * 1000) * 1e6)
  attributes.mode = TYPES[node.type] | (node.mode ?? USUAL_MODE[node.type] ?? USUAL_FILE)
  // What a peer grants it grants to this user alone.
  if (frames.parent(slot) === ROOT_NODE) attributes.mode &= ~0o077
  attributes.nlink = node.links ?? (node.type === 'directory' ? 2 : 1)
  attributes.uid = isOwn ? OWN_UID : (node.uid ?? OWN_UID)
  attributes.gid = isOwn ? OWN_GID : (node.gid ?? OWN_GID)
  attributes.rdev = 0
  attributes.size = node.size ?? 0
  attributes.blocks = Math.ceil(attributes.size / BLOCK)
  attributes.blksize = 4096
  attributes.mtime = attributes.atime = attributes.ctime = seconds
  attributes.mtimensec = attributes.atimensec = attributes.ctimensec = nanoseconds
  attributes.btime = attributes.btimensec = 0
  validity.attributes = Math.floor(node.fresh / 1000)
}

/** A change of attributes as a service has it. */
export function changeOf(change: AttributeChange): SourceChange {
  const { valid } = change
  const milliseconds = (seconds: number, nanoseconds: number): number => seconds * 1000 + nanoseconds / 1e6
  return {
    ...((valid & SET_MODE) !== 0 && { mode: change.mode & 0o7777 }),
    ...((valid & SET_UID) !== 0 && { uid: change.uid }),
    ...((valid & SET_GID) !== 0 && { gid: change.gid }),
    ...((valid & SET_SIZE) !== 0 && { size: change.size }),
    ...((valid & SET_ATIME) !== 0 && { atime: milliseconds(change.atime, change.atimensec) }),
    ...((valid & SET_MTIME) !== 0 && { mtime: milliseconds(change.mtime, change.mtimensec) }),
    ...((valid & SET_ATIME_NOW) !== 0 && { atime: Date.now() }),
    ...((valid & SET_MTIME_NOW) !== 0 && { mtime: Date.now() }),
  }
}
