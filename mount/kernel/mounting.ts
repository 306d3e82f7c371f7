import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import koffi from 'koffi'
import { CosmosError } from '../../src/errors.ts'
import { O_CLOEXEC, O_NONBLOCK, O_RDWR } from '../../src/os/constants.ts'
import * as errno from '../../src/os/errno.ts'
import { close, fcntl, mount, open, poll, recvmsg, socketpair } from '../../src/os/libc.ts'
import { allocateNative, cString } from '../../src/os/memory.ts'
import { COSMOS_TYPE, mountOf, readMountinfo } from '../mountinfo.ts'

/** A mount that waits for its server. */
export interface FuseMount {
  /** /dev/fuse of this mount, O_NONBLOCK and close-on-exec. The mount is dead when its last copy is closed. */
  readonly fd: number
  /** `major:minor`, as in mountinfo. */
  readonly device: string
}

const DEVICE = '/dev/fuse'
const MS_NOSUID = 2
const MNT_DETACH = 2
const UMOUNT_NOFOLLOW = 8
const F_GETFL = 3
const F_SETFL = 4
const AF_UNIX = 1
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000
const MSG_DONTWAIT = 0x40
const MSG_CMSG_CLOEXEC = 0x40000000
const POLLERR = 8

/** Names of the setuid helper, the present one first. */
const HELPERS = ['fusermount3', 'fusermount']

/**
 * Mounts a FUSE file system on a directory: by mount(2) as root, by fusermount3 as an ordinary user. Nobody serves
 * it yet. Throws CosmosError with what to do about it.
 */
export function mountFuse(path: string): FuseMount {
  const fd = isRoot() ? mountAsRoot(path) : mountByHelper(path)
  try {
    setNonBlocking(fd)
    const entry = mountOf(path, readMountinfo())
    if (entry?.path !== path || entry.type !== COSMOS_TYPE)
      throw new CosmosError('EIO', path, 'was mounted and is not in the mount table')
    return { fd, device: entry.device }
  } catch (error) {
    close(fd)
    throw error
  }
}

function isRoot(): boolean {
  return process.geteuid?.() === 0
}

function mountAsRoot(path: string): number {
  const fd = open(cString(DEVICE).address, O_RDWR | O_CLOEXEC, 0)
  if (fd < 0) throw deviceError(-fd)
  // Device files work as they do where they lie. Setuid bits and file capabilities do not, as on libfuse's mounts:
  // a tree that other machines add to may not make anybody root, and the kernel need not ask for them at each execve.
  const options = `fd=${fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions`
  const texts = ['cosmos', path, COSMOS_TYPE, options].map((text) => cString(text))
  const [source, target, type, data] = texts.map((text) => text.address) as [number, number, number, number]
  const mounted = mount(source, target, type, MS_NOSUID, data)
  if (mounted === 0) return fd
  close(fd)
  throw mountError(-mounted, path)
}

function mountError(number: number, path: string): CosmosError {
  const code = errno.errnoName(number)
  if (number === errno.EPERM)
    return new CosmosError(
      code,
      path,
      'mount(2) is not permitted here',
      'a container needs --cap-add SYS_ADMIN --device /dev/fuse',
    )
  if (number === errno.ENODEV) return new CosmosError(code, path, 'the kernel has no FUSE', 'modprobe fuse')
  return new CosmosError(code, path, `mount(2): ${code}`)
}

function deviceError(number: number): CosmosError {
  const code = errno.errnoName(number)
  if (number === errno.EACCES || number === errno.EPERM) {
    const hint = isRoot() ? 'a container needs --device /dev/fuse' : `as root: chmod 0666 ${DEVICE}`
    return new CosmosError(code, DEVICE, 'may not be opened by this user', hint)
  }
  if (number === errno.ENOENT && readFileSync('/proc/filesystems', 'utf8').includes('\tfuse\n'))
    return new CosmosError(code, DEVICE, 'is missing', `as root: mknod -m 0666 ${DEVICE} c 10 229`)
  return new CosmosError(code, DEVICE, 'the kernel has no FUSE', 'as root: modprobe fuse')
}

/** fusermount3 opens /dev/fuse with the user's rights, mounts, and sends the descriptor over a socket (_FUSE_COMMFD). */
function mountByHelper(path: string): number {
  checkDevice()
  const pair = allocateNative(8)
  const made = socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, pair.address)
  if (made < 0) throw CosmosError.fromErrno(made, 'socketpair')
  const ours = pair.view.getInt32(0, true)
  const theirs = pair.view.getInt32(4, true)
  try {
    const args = ['-o', 'fsname=cosmos,subtype=cosmos,default_permissions', '--', path]
    for (const helper of HELPERS) {
      const child = spawnSync(helper, args, {
        env: { ...process.env, LC_ALL: 'C', _FUSE_COMMFD: '3' },
        stdio: ['ignore', 'ignore', 'pipe', theirs],
        encoding: 'utf8',
      })
      if ((child.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') continue
      const fd = receiveDescriptor(ours)
      if (child.status === 0 && fd >= 0) return fd
      if (fd >= 0) close(fd)
      throw helperError(path, child.stderr || child.error?.message || `ended with ${child.status}`)
    }
    throw helperMissing()
  } finally {
    close(ours)
    close(theirs)
  }
}

function checkDevice(): void {
  try {
    accessSync(DEVICE, constants.R_OK | constants.W_OK)
  } catch (error) {
    throw deviceError(-((error as NodeJS.ErrnoException).errno ?? -errno.EIO))
  }
}

function helperMissing(): CosmosError {
  return new CosmosError(
    'ENOENT',
    'fusermount3',
    'is missing, and an ordinary user mounts by it',
    'as root: apt install fuse3',
  )
}

function helperError(path: string, complaint: string): CosmosError {
  const why =
    complaint
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/^fusermount3?: /, '') ?? ''
  if (/Operation not permitted/.test(why))
    return new CosmosError(
      'EPERM',
      path,
      `fusermount3: ${why}`,
      'as root: chmod u+s "$(command -v fusermount3)"; a container needs --cap-add SYS_ADMIN',
    )
  if (/too many FUSE filesystems/i.test(why))
    return new CosmosError('ENOSPC', path, `fusermount3: ${why}`, 'mount_max in /etc/fuse.conf')
  const code = /denied|no write access|not owner/i.test(why) ? 'EACCES' : 'EIO'
  return new CosmosError(code, path, `fusermount3: ${why}`, 'cosmos doctor')
}

/** Takes the descriptor that came with a message; -1 when there is none. */
function receiveDescriptor(socket: number): number {
  // struct msghdr (56) · struct iovec (16) · control message (24) · payload (1), 64-bit layout.
  const { view, address } = allocateNative(97)
  view.setBigUint64(16, BigInt(address + 56), true)
  view.setBigUint64(24, 1n, true)
  view.setBigUint64(32, BigInt(address + 72), true)
  view.setBigUint64(40, 24n, true)
  view.setBigUint64(56, BigInt(address + 96), true)
  view.setBigUint64(64, 1n, true)
  const size = recvmsg(socket, address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
  return size < 0 || view.getBigUint64(40, true) < 20n ? -1 : view.getInt32(88, true)
}

function setNonBlocking(fd: number): void {
  const flags = fcntl(fd, F_GETFL, 0)
  const set = flags < 0 ? flags : fcntl(fd, F_SETFL, flags | O_NONBLOCK)
  if (set < 0) throw CosmosError.fromErrno(set, DEVICE)
}

/** Whether a mount's connection lives: false once the last user of an unmounted tree has let go. */
export function isConnected(fd: number): boolean {
  const { view, address } = allocateNative(8)
  view.setInt32(0, fd, true)
  return poll(address, 1, 0) < 0 || (view.getUint16(6, true) & POLLERR) === 0
}

/** On a thread of its own: unmounting waits for the server to write back, and this thread may have to replace it. */
const umount2: { async(path: string, flags: number, done: (error: unknown, result: number) => void): void } =
  koffi.load(null).func('int umount2(const char *, int)')

/**
 * Takes a mount away; `lazily`, at once from the tree and when its last user lets go in fact.
 * False when it is busy. One that is gone already is taken away. Throws CosmosError where this user may not.
 */
export async function unmountFuse(path: string, lazily: boolean): Promise<boolean> {
  const before = mountAt(path)
  if (before === undefined) return true
  if (!isRoot()) return unmountByHelper(path, lazily)
  await new Promise<void>((resolve) => {
    umount2.async(path, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0), () => resolve())
  })
  // What failed is not told by an asynchronous call; root's only reason is EBUSY.
  return mountAt(path) !== before
}

/** Id of the mount whose mount point this is. */
function mountAt(path: string): number | undefined {
  const entry = mountOf(path, readMountinfo())
  return entry?.path === path ? entry.id : undefined
}

async function unmountByHelper(path: string, lazily: boolean): Promise<boolean> {
  for (const helper of HELPERS) {
    const complaint = await complaintOf(helper, [lazily ? '-uz' : '-u', '--', path])
    if (complaint === undefined) continue
    if (complaint === '' || mountAt(path) === undefined) return true
    if (/busy/i.test(complaint)) return false
    throw helperError(path, complaint)
  }
  throw helperMissing()
}

/** Runs a helper: empty when it succeeded, what it said when not, undefined where it is not installed. */
function complaintOf(helper: string, args: string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(helper, args, {
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let complaint = ''
    child.stderr.on('data', (data: Buffer) => {
      complaint += data
    })
    child.on('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code === 'ENOENT' ? undefined : error.message),
    )
    child.on('close', (code) => resolve(code === 0 ? '' : complaint || `ended with ${code}`))
  })
}
