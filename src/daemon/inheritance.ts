import { closeSync, openSync } from 'node:fs'
import { mountFuse } from '../../mount/kernel/mounting.ts'
import { CosmosError } from '../errors.ts'
import { close, ftruncate, memfdCreate, setrlimit, setsockopt, socketpair } from '../os/libc.ts'
import { allocateNative, cString } from '../os/memory.ts'
import { type DriverName, STATE_HEADER_SIZE } from './handover.ts'

/** What the daemons of one mount inherit from each other: the descriptors of `handover.ts`, held by the supervisor. */
export interface Inheritance {
  readonly fuse: number
  readonly state: number
  readonly keepSend: number
  readonly keepReceive: number
  /** `major:minor` of the mount; empty where the driver mounts by itself. */
  readonly device: string
}

const MFD_CLOEXEC = 1
const AF_UNIX = 1
const SOCK_SEQPACKET_CLOEXEC = 5 | 0o2000000
const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SO_SNDBUFFORCE = 32
/** The kernel doubles it, and counts about 1 KiB for each descriptor in the queue. */
const KEEP_BYTES = 1 << 29
const RLIMIT_NOFILE = 7
/** Linux's own bound (fs.nr_open) unless it was changed. */
const MAX_DESCRIPTORS = 1 << 20

/** Mounts (with the kernel driver) and opens the rest. Throws CosmosError; nothing stays open or mounted by then. */
export function openInheritance(driver: DriverName, path: string): Inheritance {
  const state = openState()
  let keep: [number, number] | undefined
  try {
    keep = openKeep()
    const { fd, device } =
      driver === 'kernel' ? mountFuse(path) : { fd: openSync('/dev/null', 'r+'), device: '' }
    return { fuse: fd, state, keepSend: keep[0], keepReceive: keep[1], device }
  } catch (error) {
    for (const fd of [state, ...(keep ?? [])]) close(fd)
    throw error
  }
}

/** Lets go: a mount that no daemon holds is dead by then. */
export function closeInheritance({ fuse, state, keepSend, keepReceive }: Inheritance): void {
  closeSync(fuse)
  for (const fd of [state, keepSend, keepReceive]) close(fd)
}

function openState(): number {
  const state = memfdCreate(cString('cosmos-state').address, MFD_CLOEXEC)
  if (state < 0) throw CosmosError.fromErrno(state, 'state memory')
  const sized = ftruncate(state, STATE_HEADER_SIZE)
  if (sized >= 0) return state
  close(state)
  throw CosmosError.fromErrno(sized, 'state memory')
}

function openKeep(): [number, number] {
  const pair = allocateNative(8)
  const made = socketpair(AF_UNIX, SOCK_SEQPACKET_CLOEXEC, 0, pair.address)
  if (made < 0) throw CosmosError.fromErrno(made, 'socketpair')
  const ends: [number, number] = [pair.view.getInt32(0, true), pair.view.getInt32(4, true)]
  const size = allocateNative(4)
  size.view.setInt32(0, KEEP_BYTES, true)
  // Only root passes the system's bound (net.core.wmem_max); another user's queue is as large as that allows.
  for (const option of [SO_SNDBUFFORCE, SO_SNDBUF])
    if (setsockopt(ends[0], SOL_SOCKET, option, size.address, 4) === 0) break
  return ends
}

/** As root: lets this process and its daemons open as many files as the kernel allows. */
export function raiseDescriptorLimit(): void {
  if (process.geteuid?.() !== 0) return
  const limits = allocateNative(16)
  limits.view.setBigUint64(0, BigInt(MAX_DESCRIPTORS), true)
  limits.view.setBigUint64(8, BigInt(MAX_DESCRIPTORS), true)
  setrlimit(RLIMIT_NOFILE, limits.address)
}
