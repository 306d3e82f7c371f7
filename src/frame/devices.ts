import { readFileSync } from 'node:fs'

/**
 * What kind of file system a device is, by /proc/self/mountinfo: no file system is touched for it, so that a
 * dead or our own mount can't make the tree thread wait.
 */
export type DeviceClass =
  /** Watched and cached: a disk or memory. */
  | 'local'
  /** Content that changes without a trace (proc, sysfs, cgroup …) or lies elsewhere (nfs, FUSE): not cached. */
  | 'volatile'
  /** A cosmos mount: never entered. */
  | 'cosmos'

const LOCAL = new Set([
  'ext2',
  'ext3',
  'ext4',
  'xfs',
  'btrfs',
  'f2fs',
  'tmpfs',
  'ramfs',
  'devtmpfs',
  'overlay',
  'squashfs',
  'erofs',
  'vfat',
  'exfat',
  'ntfs3',
  'iso9660',
  'udf',
  'zfs',
  'bcachefs',
  'jfs',
  'reiserfs',
  'hfsplus',
])

/** What the kernel makes as it is read; who asks decides what that is. */
const MADE_BY_KERNEL = new Set([
  'proc',
  'sysfs',
  'cgroup',
  'cgroup2',
  'debugfs',
  'tracefs',
  'securityfs',
  'configfs',
  'selinuxfs',
  'smackfs',
  'fusectl',
  'bpf',
  'binfmt_misc',
  'efivarfs',
  'pstore',
  'resctrl',
  'nfsd',
  'rpc_pipefs',
  'nsfs',
])

/** How long one reading of mountinfo is believed, milliseconds. */
const FRESH = 100

export class DeviceTable {
  #classes = new Map<number, DeviceClass>()
  #madeByKernel = new Set<number>()
  #cosmosMountPoints = new Set<string>()
  #readAt = Number.NEGATIVE_INFINITY

  /** The class of a device, given as in `Stat.device`. */
  classOf(device: number): DeviceClass {
    const now = performance.now()
    // Anonymous devices (major 0) are used again for other mounts; a disk's are not.
    if (device >>> 20 === 0 ? now - this.#readAt > FRESH : !this.#classes.has(device)) this.#read(now)
    return this.#classes.get(device) ?? 'local'
  }

  /** Whether a cosmos mount is at a host path (one character a byte), by a reading of at most `age` milliseconds. */
  isCosmosMountPoint(path: string, age = 0): boolean {
    const now = performance.now()
    if (now - this.#readAt >= age) this.#read(now)
    return this.#cosmosMountPoints.has(path)
  }

  /** Whether a device is proc, sysfs or their like. */
  isMadeByKernel(device: number): boolean {
    return device >>> 20 === 0 && this.classOf(device) === 'volatile' && this.#madeByKernel.has(device)
  }

  /** What was read of mounts is not true any more. */
  forget(): void {
    this.#readAt = Number.NEGATIVE_INFINITY
    this.#classes.clear()
  }

  #read(now: number): void {
    this.#readAt = now
    const classes = new Map<number, DeviceClass>()
    const madeByKernel = new Set<number>()
    const cosmosMountPoints = new Set<string>()
    for (const line of readFileSync('/proc/self/mountinfo', 'latin1').split('\n')) {
      const [, , numbers, , path] = line.split(' ', 5)
      const type = line.slice(line.indexOf(' - ') + 3).split(' ', 1)[0]
      if (!numbers || !type) continue
      const [major, minor] = numbers.split(':').map(Number)
      const device = (((major ?? 0) << 20) | (minor ?? 0)) >>> 0
      classes.set(device, type === 'fuse.cosmos' ? 'cosmos' : LOCAL.has(type) ? 'local' : 'volatile')
      if (MADE_BY_KERNEL.has(type)) madeByKernel.add(device)
      if (type === 'fuse.cosmos' && path) cosmosMountPoints.add(unescapeOctal(path))
    }
    this.#classes = classes
    this.#madeByKernel = madeByKernel
    this.#cosmosMountPoints = cosmosMountPoints
  }
}

/** Blanks and the like are written in octal (proc_pid_mountinfo(5)). */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
