import { capget, capset, setfsgid, setfsuid, umask } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import type { Request } from './operations.ts'

/**
 * What a daemon that runs as root makes belongs to the caller: for the length of a call this thread has the
 * caller's file system ids (setfsuid(2)), and keeps the right to pass directories, since the kernel has checked
 * the caller's own rights already (default_permissions).
 */

const LINUX_CAPABILITY_VERSION_3 = 0x20080522
const CAP_DAC_OVERRIDE = 1 << 1
const CAP_DAC_READ_SEARCH = 1 << 2
/** CHOWN, DAC_*, FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD: what the kernel takes away with the fsuid. */
const FILE_CAPABILITIES = 0x0800021f

const header = allocateNative(8)
const data = allocateNative(24)
/** All that this process may; nothing of it. */
const own = allocateNative(24)
const none = allocateNative(24)
const isRoot = process.getuid?.() === 0
let prepared = false
let currentMask = -1

/** Takes on the caller's ids and umask. Whatever comes after must end with `leaveCaller`. */
export function enterCaller(request: Request): void {
  if (request.umask !== currentMask) {
    umask(request.umask)
    currentMask = request.umask
  }
  if (!isRoot || (request.uid === 0 && request.gid === 0)) return
  setfsgid(request.gid)
  if (request.uid === 0) return
  if (!prepared) prepare()
  setfsuid(request.uid)
  capset(header.address, data.address)
}

/**
 * Takes on the caller's ids with no capability: for what the kernel itself makes (proc, sysfs …), where who opens,
 * reads and writes decides more than the mode of a file says. `/proc/PID/mem` would open another's memory to
 * whoever may name it.
 */
export function enterUnprivileged(request: Request): void {
  if (!isRoot || request.uid === 0) return
  if (!prepared) prepare()
  setfsgid(request.gid)
  setfsuid(request.uid)
  capset(header.address, none.address)
}

export function leaveUnprivileged(request: Request): void {
  if (!isRoot || request.uid === 0) return
  capset(header.address, own.address)
  setfsuid(0)
  setfsgid(0)
}

export function leaveCaller(request: Request): void {
  if (!isRoot || (request.uid === 0 && request.gid === 0)) return
  setfsuid(0)
  setfsgid(0)
}

function prepare(): void {
  header.view.setUint32(0, LINUX_CAPABILITY_VERSION_3, true)
  header.view.setUint32(4, 0, true)
  capget(header.address, data.address)
  own.bytes.set(data.bytes)
  none.bytes.set(data.bytes)
  none.view.setUint32(0, 0, true)
  none.view.setUint32(12, 0, true)
  const permitted = data.view.getUint32(4, true)
  const effective = (permitted & ~FILE_CAPABILITIES) | (permitted & (CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH))
  data.view.setUint32(0, effective >>> 0, true)
  data.view.setUint32(12, data.view.getUint32(16, true), true)
  prepared = true
}
