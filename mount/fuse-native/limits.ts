/**
 * What this driver cannot do, in one table: docs/fuse-native.md shows the same rows, and the tests that both drivers
 * share are skipped by their ids.
 */

/** One thing that does not work through fuse-native. */
export interface Limit {
  readonly id: string
  /** What a program sees. */
  readonly what: string
  /** The cause, in the library or in what it builds on. */
  readonly why: string
}

/** What does not work anywhere. */
export const limits: readonly Limit[] = [
  {
    id: 'caller',
    what: 'What is made through the mount belongs to the user of the daemon, whoever made it',
    why: 'the library hands over no uid, gid or pid of the caller',
  },
  {
    id: 'utimens-one',
    what: 'Setting only one of the two times (`touch -m`, `touch -a`) changes nothing and reports success',
    why: 'libfuse 2.9 asks only when both are set, unless its caller opts in, and the library does not',
  },
  {
    id: 'times',
    what: 'Times that are set are cut to milliseconds',
    why: 'the library keeps them as milliseconds',
  },
  {
    id: 'rename-flags',
    what: 'RENAME_NOREPLACE and RENAME_EXCHANGE answer EINVAL',
    why: 'libfuse 2.9 has no rename with flags',
  },
  {
    id: 'fallocate',
    what: 'fallocate(2) answers EOPNOTSUPP; posix_fallocate(3) writes zeros instead',
    why: 'the library has no such operation',
  },
  {
    id: 'seek-holes',
    what: 'SEEK_DATA and SEEK_HOLE find no holes: a whole file is data',
    why: 'libfuse 2.9 has no lseek',
  },
  {
    id: 'copy-file-range',
    what: 'copy_file_range(2) passes every byte through the daemon',
    why: 'libfuse 2.9 has no such operation',
  },
  {
    id: 'tmpfile',
    what: 'Files without a name (O_TMPFILE) answer EOPNOTSUPP',
    why: 'libfuse 2.9 has no such operation',
  },
  {
    id: 'ioctl',
    what: 'ioctl(2) answers ENOTTY for every request',
    why: 'the library has no such operation',
  },
  {
    id: 'locks',
    what: 'flock(2) and POSIX locks hold within the mount, and do not meet locks on the layer itself',
    why: 'the library has no lock operations: the kernel keeps them by itself',
  },
  {
    id: 'acl',
    what: 'POSIX ACLs can be read and written but are not enforced; the umask counts beside a default ACL',
    why: 'libfuse 2.9 cannot negotiate them',
  },
  {
    id: 'open-unlinked',
    what: 'An open file that is removed or replaced stays in its directory as `.fuse_hidden…` until it is closed',
    why: 'libfuse 2.9 finds open files by path',
  },
  {
    id: 'removed-directory',
    what: 'A removed directory that is still open or somebody’s working directory cannot be listed',
    why: 'libfuse 2.9 finds it by its path',
  },
  {
    id: 'hard-link-cache',
    what: 'Each name of a file has page cache, locks and size of its own, a second apart while it is open',
    why: 'libfuse 2.9 gives the kernel a node for each path',
  },
  {
    id: 'invalidation',
    what: 'fstat(2) of an open file may be one second old where something outside changed the file',
    why: 'a path-based library tells the kernel nothing; attributes expire instead',
  },
  {
    id: 'mapping',
    what: 'A mapping may go on showing what a file was before something outside changed it',
    why: 'a path-based library tells the kernel nothing, and a mapping does not ask',
  },
  {
    id: 'replaced-outside',
    what: 'Where something outside replaces a file by another, open descriptors of the old one read the new one',
    why: 'libfuse 2.9 gives the kernel a node for each path',
  },
  {
    id: 'passthrough',
    what: 'Every read and write passes through the daemon, at most 128 KiB at a time',
    why: 'libfuse 2.9 knows neither passthrough nor larger requests',
  },
  {
    id: 'blocking',
    what: 'One slow disk operation (fsync, the copy of a large file to the local layer) delays all others',
    why: 'every operation runs on the one event loop',
  },
  {
    id: 'main-thread',
    what: 'The driver works only on the main thread of a process, once in its life',
    why: 'the library takes its requests on libuv’s default loop',
  },
  {
    id: 'takeover',
    what: 'A daemon that dies takes the mount with it; `cosmos reload` mounts anew',
    why: 'the library opens /dev/fuse itself and cannot be handed a mount',
  },
  {
    id: 'mount-path',
    what: 'A mount point must be UTF-8 and shorter than 1,024 bytes',
    why: 'the library copies it as text into a fixed array',
  },
]

/**
 * More of them where the library's request record cannot be read (see `record.ts`): anywhere but on Linux, x86-64.
 */
export const plainLimits: readonly Limit[] = [
  {
    id: 'mtime',
    what: 'The time of modification is set to the time of access',
    why: 'the library passes the first one twice',
  },
  {
    id: 'nanoseconds',
    what: 'All times are shown in milliseconds, those before 1970 wrong',
    why: 'the library passes them as milliseconds without a sign',
  },
  {
    id: 'inode-64',
    what: 'Inode numbers have 32 bits, so that two files may share one',
    why: 'the library passes them as 32-bit numbers',
  },
  {
    id: 'names-not-utf8',
    what: 'Names that are not UTF-8 answer EILSEQ and are not listed',
    why: 'the library passes names as text',
  },
  {
    id: 'direct-io',
    what: 'Files whose size is not known beforehand (those of /proc) read as empty',
    why: 'the library has no way to say so of one file',
  },
  {
    id: 'create-flags',
    what: 'O_EXCL is left to the kernel, which may be late by an outside change',
    why: 'the library passes no flags to create',
  },
]
