/** Constants of Linux's system calls, x86-64 and arm64 alike unless said otherwise (fcntl.h, stat.h, mman.h). */

const arm = process.arch === 'arm64'

export const O_RDONLY = 0
export const O_WRONLY = 1
export const O_RDWR = 2
export const O_ACCMODE = 3
export const O_CREAT = 0o100
export const O_EXCL = 0o200
export const O_NOCTTY = 0o400
export const O_TRUNC = 0o1000
export const O_APPEND = 0o2000
export const O_NONBLOCK = 0o4000
/** O_DIRECT, O_DIRECTORY and O_NOFOLLOW have other values on arm64 (asm/fcntl.h). */
export const O_DIRECT = arm ? 0o200000 : 0o40000
export const O_DIRECTORY = arm ? 0o40000 : 0o200000
export const O_NOFOLLOW = arm ? 0o100000 : 0o400000
export const O_CLOEXEC = 0o2000000
export const O_PATH = 0o10000000
export const O_TMPFILE = 0o20000000 | O_DIRECTORY

export const AT_FDCWD = -100
export const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_REMOVEDIR = 0x200
export const AT_SYMLINK_FOLLOW = 0x400
export const AT_NO_AUTOMOUNT = 0x800
export const AT_EMPTY_PATH = 0x1000
/** statx(2): answers what is cached; a FUSE or network file system is not asked. */
export const AT_STATX_DONT_SYNC = 0x4000
export const STATX_BASIC_STATS = 0x7ff
export const STATX_BTIME = 0x800

export const S_IFMT = 0o170000
export const S_IFIFO = 0o010000
export const S_IFCHR = 0o020000
export const S_IFDIR = 0o040000
export const S_IFBLK = 0o060000
export const S_IFREG = 0o100000
export const S_IFLNK = 0o120000
export const S_IFSOCK = 0o140000

/** Directory entry types (dirent.h): the file type's bits of a mode, shifted right by 12. */
export const DT_DIR = 4
export const DT_REG = 8
export const DT_LNK = 10

export const RENAME_NOREPLACE = 1
export const RENAME_EXCHANGE = 2

export const XATTR_CREATE = 1
export const XATTR_REPLACE = 2

export const UTIME_NOW = 0x3fffffff
export const UTIME_OMIT = 0x3ffffffe

export const POLLIN = 1
export const POLLPRI = 2
export const POLLERR = 8

export const PROT_READ = 1
export const PROT_WRITE = 2
export const MAP_SHARED = 1
export const MADV_REMOVE = 9

export const IN_MODIFY = 0x2
export const IN_ATTRIB = 0x4
export const IN_MOVED_FROM = 0x40
export const IN_MOVED_TO = 0x80
export const IN_CREATE = 0x100
export const IN_DELETE = 0x200
export const IN_UNMOUNT = 0x2000
export const IN_Q_OVERFLOW = 0x4000
export const IN_IGNORED = 0x8000
export const IN_ONLYDIR = 0x1000000
