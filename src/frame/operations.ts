/**
 * What a FUSE driver asks of the access tree. The drivers know the wire and the library;
 * the tree knows frames, layers and the disk. All of it runs on the tree thread and answers on the spot.
 *
 * Every operation answers a number: 0 or more is the result, `-errno` an error, `PENDING` work for
 * another thread. Results of more than a number are left in `attributes`, `entry`, `opened` and `job`,
 * which the next operation overwrites. Nothing is allocated for a request.
 */

/** Node ids of access frames: 1 is the root; below 2^24. */
export type NodeId = number
/** A handle of an open file, as given to the kernel; 0 for none. */
export type HandleId = number

/** Answer of an operation whose system call could block for long: `job` says what to run. */
export const PENDING = -0x40000000

/** Attributes of a node, decoded from statx(2). Times are seconds and nanoseconds since 1970. */
export interface Attributes {
  /** Inode number, low and high 32 bits, unsigned. */
  inoLow: number
  inoHigh: number
  mode: number
  nlink: number
  uid: number
  gid: number
  /** Device number of a special file, in the kernel's new_encode_dev form as FUSE sends it. */
  rdev: number
  /** Bytes. */
  size: number
  /** 512-byte blocks. */
  blocks: number
  blksize: number
  atime: number
  atimensec: number
  mtime: number
  mtimensec: number
  ctime: number
  ctimensec: number
  /** Birth time, for FUSE_STATX; 0 where unknown. */
  btime: number
  btimensec: number
}

/** How long the kernel may believe an answer, whole seconds (0: not at all). */
export interface Validity {
  /** A name's node; also of a name that does not exist. */
  entry: number
  attributes: number
}

/** A name or path in memory: NUL-terminated bytes, any but `/` and NUL in a name; not always UTF-8. */
export interface Name {
  bytes: Buffer
  offset: number
  length: number
  /** Native address of `bytes[offset]`; `bytes[offset + length]` is 0. */
  address: number
}

/** Who asks, and for which request; set by the driver before each operation. */
export interface Request {
  uid: number
  gid: number
  pid: number
  umask: number
  /** The request's number, low and high 32 bits; 0 where the driver has none. */
  uniqueLow: number
  uniqueHigh: number
  /** The kernel sent it again after a daemon died: it may have had its effect already. */
  resent: boolean
}

/** What setattr changes: bits of `valid`. */
export const SET_MODE = 1
export const SET_UID = 2
export const SET_GID = 4
export const SET_SIZE = 8
export const SET_ATIME = 16
export const SET_MTIME = 32
export const SET_ATIME_NOW = 64
export const SET_MTIME_NOW = 128
/** Clear setuid, setgid and capabilities as a write by an unprivileged caller does. */
export const SET_KILL_PRIVILEGES = 256
export interface AttributeChange {
  valid: number
  mode: number
  uid: number
  gid: number
  size: number
  atime: number
  atimensec: number
  mtime: number
  mtimensec: number
}

/** Result of open and create. */
export interface Opened {
  handle: HandleId
  /** Descriptor id that the kernel reads and writes by itself (passthrough); 0 where it asks us. */
  backingId: number
  /** The kernel's cached pages of the file are still right. */
  keepCache: boolean
  /** Reads and writes must not be cached (size unknown, endless stream). */
  directIo: boolean
  /** Whoever closes it waits for `flush`: something that was written may not have arrived yet. */
  flush: boolean
}

/**
 * A blocking piece of work that the driver runs on another thread.
 * `fsync`, `fdatasync`: descriptor. `read`: descriptor, position, length; the data is the reply.
 * `fallocate`: descriptor, mode, position, length. `copyRange`: descriptor, position, other descriptor,
 * other position, length. `copyUp`: copies `length` bytes from descriptor to other descriptor with holes kept.
 * `produce`: no work of a thread; the request waits until `nextEnded` tells its `key`, and is dispatched again.
 * `away`: the request is answered elsewhere, to the kernel itself.
 */
export type JobKind =
  | 'fsync'
  | 'fdatasync'
  | 'read'
  | 'fallocate'
  | 'copyRange'
  | 'copyUp'
  | 'produce'
  | 'away'
export interface Job {
  kind: JobKind
  descriptor: number
  otherDescriptor: number
  position: number
  otherPosition: number
  length: number
  mode: number
  /**
   * When it has ended the driver dispatches the same request again, after `tree.jobEnded(token, result)`;
   * otherwise the job's result is the request's result.
   */
  again: boolean
  token: number
  key: string
}

/**
 * Receives the entries of a directory: answers false when there is no room for this one (it will be asked again).
 * The cookie after the entry is given as two unsigned 32-bit halves. `type` is a DT_* number.
 * With `plus`, `tree.entryNode` (0: no node: `.` and `..`), `tree.attributes` and `tree.validity` describe it.
 */
export interface DirectorySink {
  add(
    bytes: Uint8Array,
    nameOffset: number,
    nameLength: number,
    inoLow: number,
    inoHigh: number,
    type: number,
    cookieLow: number,
    cookieHigh: number,
  ): boolean
}

export interface FileSystemStatistics {
  blocks: number
  freeBlocks: number
  availableBlocks: number
  files: number
  freeFiles: number
  blockSize: number
  nameLength: number
  fragmentSize: number
}

/** Notifications to the kernel's caches, sent by the driver from a thread that owes no replies. */
export interface CacheInvalidator {
  /** Everything that was to be told is told. */
  readonly idle: boolean
  /** Forget the attributes of a node, and its cached pages where `data`. */
  node(node: NodeId, data: boolean): void
  /** Ask again at the next use of a name. The bytes are copied. */
  name(parent: NodeId, bytes: Uint8Array, offset: number, length: number): void
  /** Ask again for every name (events were lost, or a new daemon took over). */
  everything(): void
}

/** Kernel passthrough of a descriptor: the driver's ioctls. */
export interface Passthrough {
  readonly available: boolean
  /** Registers a descriptor: its backing id, or `-errno`. */
  register(fd: number): number
  release(backingId: number): void
}

/** What the tree needs of its driver; given once, before the first operation. */
export interface DriverServices {
  readonly invalidate: CacheInvalidator
  readonly passthrough: Passthrough
}

/** The operations. Names and meanings are the kernel's (fuse.h, and the man page of each call). */
export interface TreeOperations {
  readonly request: Request
  readonly attributes: Attributes
  readonly validity: Validity
  readonly opened: Opened
  readonly job: Job
  readonly statistics: FileSystemStatistics
  /** Node that the last lookup-like operation or directory entry made known; counted for the kernel. */
  readonly entryNode: NodeId

  attach(services: DriverServices): void
  /** The reply of the current request is written (or there is none): what was noted of it may go. */
  answered(): void
  jobEnded(token: number, result: number): void
  /** A `produce` job that has ended, by its key; undefined for none. */
  nextEnded(): string | undefined
  /** Nobody waits for a `produce` job any more: who did was interrupted. */
  abandoned(key: string): void
  /** The caller of a request that was left to others (`away`), or of one that has been answered, was interrupted. */
  interrupted(uniqueLow: number, uniqueHigh: number): void

  /** 0, with `entryNode`, `attributes`, `validity`; -ENOENT may be cached for `validity.entry` seconds. */
  lookup(parent: NodeId, name: Name): number
  forget(node: NodeId, count: number): void
  getattr(node: NodeId, handle: HandleId): number
  setattr(node: NodeId, handle: HandleId, change: AttributeChange): number
  /** Length of the target, written at `address` (at most `size` bytes). */
  readlink(node: NodeId, address: number, size: number): number
  mknod(parent: NodeId, name: Name, mode: number, rdev: number): number
  mkdir(parent: NodeId, name: Name, mode: number): number
  symlink(parent: NodeId, name: Name, target: Name): number
  link(node: NodeId, newParent: NodeId, newName: Name): number
  unlink(parent: NodeId, name: Name): number
  rmdir(parent: NodeId, name: Name): number
  /** flags: RENAME_NOREPLACE, RENAME_EXCHANGE. */
  rename(parent: NodeId, name: Name, newParent: NodeId, newName: Name, flags: number): number
  /** 0, with `opened`. */
  open(node: NodeId, flags: number): number
  /** 0, with `opened`, `entryNode`, `attributes`, `validity`. */
  create(parent: NodeId, name: Name, flags: number, mode: number): number
  /** A file without a name in a directory's file system (O_TMPFILE); results as of `create`. */
  tmpfile(parent: NodeId, flags: number, mode: number): number
  /** Bytes read to `address`. */
  read(node: NodeId, handle: HandleId, address: number, size: number, position: number): number
  /**
   * Bytes written from `address`. `killPrivileges`: FUSE_WRITE_KILL_SUIDGID. `cached`: pages of a mapping come back
   * (FUSE_WRITE_CACHE), which have a position whatever the handle's flags say.
   */
  write(
    node: NodeId,
    handle: HandleId,
    address: number,
    size: number,
    position: number,
    killPrivileges: boolean,
    cached: boolean,
  ): number
  flush(node: NodeId, handle: HandleId): number
  release(node: NodeId, handle: HandleId): number
  fsync(node: NodeId, handle: HandleId, dataOnly: boolean): number
  /** Directories need no handle: a cookie says where to go on; 0 is the start. */
  readdir(node: NodeId, cookieLow: number, cookieHigh: number, plus: boolean, sink: DirectorySink): number
  fsyncdir(node: NodeId): number
  statfs(node: NodeId): number
  /** access(2), only asked where the kernel does not check by itself. */
  access(node: NodeId, mask: number): number
  /** Size of the value; -ERANGE when it does not fit; `size` 0 asks for the size. */
  getxattr(node: NodeId, name: Name, address: number, size: number): number
  setxattr(node: NodeId, name: Name, address: number, size: number, flags: number): number
  listxattr(node: NodeId, address: number, size: number): number
  removexattr(node: NodeId, name: Name): number
  /** The new position, for SEEK_DATA and SEEK_HOLE. */
  lseek(node: NodeId, handle: HandleId, position: number, whence: number): number
  fallocate(node: NodeId, handle: HandleId, mode: number, position: number, length: number): number
  copyFileRange(
    node: NodeId,
    handle: HandleId,
    position: number,
    outNode: NodeId,
    outHandle: HandleId,
    outPosition: number,
    length: number,
  ): number

  /** Polled by the loop beside its own descriptors: `drainWatches` is called when it is readable. */
  readonly watchDescriptor: number
  /**
   * The table of mounts, polled for POLLPRI (proc(5)), -1 for none: `mountsChanged` is called then. No directory
   * tells of a mount on it.
   */
  readonly mountsDescriptor: number
  mountsChanged(): void
  /** Polled too, -1 for none: `giveBack` is called when it is readable. */
  readonly timerDescriptor: number
  /** Closes what would keep a disk from being unmounted. */
  giveBack(): void
  /** Reads what happened outside (inotify) and invalidates; bounded work. */
  drainWatches(): void
}
