/**
 * The numbers of the FUSE protocol that this driver uses, from Linux's include/uapi/linux/fuse.h (7.45).
 * Sizes and offsets are bytes. Numbers on the wire are little-endian here: both machines that Node on Linux
 * runs FUSE on (x86-64, arm64) are.
 */

/** The version that this driver speaks. */
export const MAJOR = 7
export const MINOR = 45
/** Below this the structures differ in size; Linux 5.4 has it. */
export const MINOR_LOWEST = 31

export const OP_LOOKUP = 1
export const OP_FORGET = 2
export const OP_GETATTR = 3
export const OP_SETATTR = 4
export const OP_READLINK = 5
export const OP_SYMLINK = 6
export const OP_MKNOD = 8
export const OP_MKDIR = 9
export const OP_UNLINK = 10
export const OP_RMDIR = 11
export const OP_RENAME = 12
export const OP_LINK = 13
export const OP_OPEN = 14
export const OP_READ = 15
export const OP_WRITE = 16
export const OP_STATFS = 17
export const OP_RELEASE = 18
export const OP_FSYNC = 20
export const OP_SETXATTR = 21
export const OP_GETXATTR = 22
export const OP_LISTXATTR = 23
export const OP_REMOVEXATTR = 24
export const OP_FLUSH = 25
export const OP_INIT = 26
export const OP_OPENDIR = 27
export const OP_READDIR = 28
export const OP_RELEASEDIR = 29
export const OP_FSYNCDIR = 30
export const OP_GETLK = 31
export const OP_SETLK = 32
export const OP_SETLKW = 33
export const OP_ACCESS = 34
export const OP_CREATE = 35
export const OP_INTERRUPT = 36
export const OP_BMAP = 37
export const OP_DESTROY = 38
export const OP_IOCTL = 39
export const OP_POLL = 40
export const OP_NOTIFY_REPLY = 41
export const OP_BATCH_FORGET = 42
export const OP_FALLOCATE = 43
export const OP_READDIRPLUS = 44
export const OP_RENAME2 = 45
export const OP_LSEEK = 46
export const OP_COPY_FILE_RANGE = 47
export const OP_SYNCFS = 50
export const OP_TMPFILE = 51
export const OP_STATX = 52
export const OP_COPY_FILE_RANGE_64 = 53

/** struct fuse_in_header: len 0, opcode 4, unique 8, nodeid 16, uid 24, gid 28, pid 32, extensions 36. */
export const IN_HEADER_SIZE = 40
/** struct fuse_out_header: len 0, error 4, unique 8. */
export const OUT_HEADER_SIZE = 16
/** struct fuse_write_in; the data follows. */
export const WRITE_IN_SIZE = 40
/** struct fuse_entry_out: nodeid 0, generation 8, entry_valid 16, attr_valid 24, their nanoseconds 32, attr 40. */
export const ENTRY_OUT_SIZE = 128
/** struct fuse_attr_out: attr_valid 0, nanoseconds 8, attr 16. */
export const ATTR_OUT_SIZE = 104
/** struct fuse_open_out: fh 0, open_flags 8, backing_id 12. */
export const OPEN_OUT_SIZE = 16
/** struct fuse_statx_out: attr_valid 0, nanoseconds 8, flags 12, stat 32. */
export const STATX_OUT_SIZE = 288
/** struct fuse_statfs_out. */
export const STATFS_OUT_SIZE = 80
/** struct fuse_dirent without its name: ino 0, off 8, namelen 16, type 20. */
export const DIRENT_SIZE = 24
/** struct fuse_init_out; struct fuse_init_in has as many since 7.36, 16 before. */
export const INIT_OUT_SIZE = 64
/** struct fuse_setxattr_in with FUSE_SETXATTR_EXT, and without. */
export const SETXATTR_IN_SIZE = 16
export const SETXATTR_IN_COMPAT_SIZE = 8

/** Longest name of a directory entry (NAME_MAX) and longest target of a symbolic link. */
export const NAME_MAX = 255
export const TARGET_MAX = 4095

/** High 32 bits of fuse_in_header.unique: FUSE_UNIQUE_RESEND, the request was sent to a daemon before this one. */
export const UNIQUE_RESEND_HIGH = 0x80000000

// fuse_setattr_in.valid
export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_SIZE = 1 << 3
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_FH = 1 << 6
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8
export const FATTR_KILL_SUIDGID = 1 << 11

export const GETATTR_FH = 1 << 0
export const OPEN_KILL_SUIDGID = 1 << 0
export const WRITE_CACHE = 1 << 0
export const WRITE_KILL_SUIDGID = 1 << 2
export const FSYNC_FDATASYNC = 1 << 0
export const SETXATTR_ACL_KILL_SGID = 1 << 0

// fuse_open_out.open_flags
export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
export const FOPEN_NOFLUSH = 1 << 5
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6
export const FOPEN_PASSTHROUGH = 1 << 7

// fuse_init_in.flags
export const INIT_ASYNC_READ = 1 << 0
export const INIT_ATOMIC_O_TRUNC = 1 << 3
export const INIT_BIG_WRITES = 1 << 5
export const INIT_DONT_MASK = 1 << 6
export const INIT_AUTO_INVAL_DATA = 1 << 12
export const INIT_DO_READDIRPLUS = 1 << 13
export const INIT_ASYNC_DIO = 1 << 15
export const INIT_PARALLEL_DIROPS = 1 << 18
export const INIT_POSIX_ACL = 1 << 20
export const INIT_MAX_PAGES = 1 << 22
export const INIT_CACHE_SYMLINKS = 1 << 23
export const INIT_NO_OPENDIR_SUPPORT = 1 << 24
export const INIT_HANDLE_KILLPRIV_V2 = 1 << 28
export const INIT_SETXATTR_EXT = 1 << 29
export const INIT_EXT = 1 << 30

// fuse_init_in.flags2: bits 32 to 63 of the header file's values.
export const INIT2_HAS_EXPIRE_ONLY = 1 << 3
export const INIT2_DIRECT_IO_ALLOW_MMAP = 1 << 4
export const INIT2_PASSTHROUGH = 1 << 5
export const INIT2_HAS_RESEND = 1 << 7

export const NOTIFY_INVAL_INODE = 2
export const NOTIFY_INVAL_ENTRY = 3
export const NOTIFY_RESEND = 7
/** Since 7.44: every cached name is asked for again at its next use. */
export const NOTIFY_INC_EPOCH = 8
export const NOTIFY_INC_EPOCH_MINOR = 44
export const EXPIRE_ONLY = 1 << 0

/** _IOW(229, 1, struct fuse_backing_map) and _IOW(229, 2, uint32_t). */
export const IOC_BACKING_OPEN = 0x4010e501
export const IOC_BACKING_CLOSE = 0x4004e502
