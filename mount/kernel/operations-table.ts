import { ENOSYS, ENOTTY } from '../../src/os/errno.ts'
import * as abi from './abi.ts'
import { getattr, readlink, setattr, statfs, statx } from './attributes.ts'
import type { Handler, Operation } from './context.ts'
import {
  create,
  forgetCreated,
  forgetEntry,
  link,
  lookup,
  mkdir,
  mknod,
  rename,
  rename2,
  rmdir,
  symlink,
  tmpfile,
  unlink,
} from './entries.ts'
import * as files from './files.ts'
import { batchForget, destroy, forget, init, interrupt } from './session.ts'
import { getxattr, listxattr, removexattr, setxattr } from './xattrs.ts'

const notImplemented: Handler = () => -ENOSYS
const noSuchIoctl: Handler = () => -ENOTTY

/**
 * What is answered to each operation, by opcode. ENOSYS is remembered by the kernel, which then does without:
 * - opendir, releasedir: directories need no handle, and the kernel caches what they list;
 * - access: the kernel checks by itself (default_permissions); locks: it keeps them by itself;
 * - bmap, poll, syncfs: the kernel has its own answer.
 */
export const OPERATIONS: readonly (Operation | undefined)[] = table([
  [abi.OP_LOOKUP, { name: 'LOOKUP', size: 0, handle: lookup, undo: forgetEntry }],
  [abi.OP_FORGET, { name: 'FORGET', size: 8, handle: forget, silent: true }],
  [abi.OP_GETATTR, { name: 'GETATTR', size: 16, handle: getattr }],
  [abi.OP_SETATTR, { name: 'SETATTR', size: 88, handle: setattr }],
  [abi.OP_READLINK, { name: 'READLINK', size: 0, handle: readlink }],
  [abi.OP_SYMLINK, { name: 'SYMLINK', size: 0, handle: symlink, undo: forgetEntry }],
  [abi.OP_MKNOD, { name: 'MKNOD', size: 16, handle: mknod, undo: forgetEntry }],
  [abi.OP_MKDIR, { name: 'MKDIR', size: 8, handle: mkdir, undo: forgetEntry }],
  [abi.OP_UNLINK, { name: 'UNLINK', size: 0, handle: unlink }],
  [abi.OP_RMDIR, { name: 'RMDIR', size: 0, handle: rmdir }],
  [abi.OP_RENAME, { name: 'RENAME', size: 8, handle: rename }],
  [abi.OP_LINK, { name: 'LINK', size: 8, handle: link, undo: forgetEntry }],
  [abi.OP_OPEN, { name: 'OPEN', size: 8, handle: files.open, undo: files.forgetOpened }],
  [abi.OP_READ, { name: 'READ', size: 40, handle: files.read }],
  [abi.OP_WRITE, { name: 'WRITE', size: 40, handle: files.write, finish: files.putSize }],
  [abi.OP_STATFS, { name: 'STATFS', size: 0, handle: statfs }],
  [abi.OP_RELEASE, { name: 'RELEASE', size: 24, handle: files.release }],
  [abi.OP_FSYNC, { name: 'FSYNC', size: 16, handle: files.fsync }],
  [abi.OP_SETXATTR, { name: 'SETXATTR', size: 8, handle: setxattr }],
  [abi.OP_GETXATTR, { name: 'GETXATTR', size: 8, handle: getxattr }],
  [abi.OP_LISTXATTR, { name: 'LISTXATTR', size: 8, handle: listxattr }],
  [abi.OP_REMOVEXATTR, { name: 'REMOVEXATTR', size: 0, handle: removexattr }],
  [abi.OP_FLUSH, { name: 'FLUSH', size: 24, handle: files.flush }],
  [abi.OP_INIT, { name: 'INIT', size: 16, handle: init }],
  [abi.OP_OPENDIR, { name: 'OPENDIR', size: 8, handle: notImplemented }],
  [abi.OP_READDIR, { name: 'READDIR', size: 40, handle: files.readdir }],
  [abi.OP_RELEASEDIR, { name: 'RELEASEDIR', size: 24, handle: notImplemented }],
  [abi.OP_FSYNCDIR, { name: 'FSYNCDIR', size: 16, handle: files.fsyncdir }],
  [abi.OP_GETLK, { name: 'GETLK', size: 48, handle: notImplemented }],
  [abi.OP_SETLK, { name: 'SETLK', size: 48, handle: notImplemented }],
  [abi.OP_SETLKW, { name: 'SETLKW', size: 48, handle: notImplemented }],
  [abi.OP_ACCESS, { name: 'ACCESS', size: 8, handle: notImplemented }],
  [abi.OP_CREATE, { name: 'CREATE', size: 16, handle: create, undo: forgetCreated }],
  [abi.OP_INTERRUPT, { name: 'INTERRUPT', size: 8, handle: interrupt, silent: true }],
  [abi.OP_BMAP, { name: 'BMAP', size: 16, handle: notImplemented }],
  [abi.OP_DESTROY, { name: 'DESTROY', size: 0, handle: destroy }],
  [abi.OP_IOCTL, { name: 'IOCTL', size: 32, handle: noSuchIoctl }],
  [abi.OP_POLL, { name: 'POLL', size: 24, handle: notImplemented }],
  [abi.OP_NOTIFY_REPLY, { name: 'NOTIFY_REPLY', size: 40, handle: interrupt, silent: true }],
  [abi.OP_BATCH_FORGET, { name: 'BATCH_FORGET', size: 8, handle: batchForget, silent: true }],
  [abi.OP_FALLOCATE, { name: 'FALLOCATE', size: 32, handle: files.fallocate }],
  [abi.OP_READDIRPLUS, { name: 'READDIRPLUS', size: 40, handle: files.readdirplus }],
  [abi.OP_RENAME2, { name: 'RENAME2', size: 16, handle: rename2 }],
  [abi.OP_LSEEK, { name: 'LSEEK', size: 24, handle: files.lseek, finish: files.putWide }],
  [
    abi.OP_COPY_FILE_RANGE,
    { name: 'COPY_FILE_RANGE', size: 56, handle: files.copyFileRange, finish: files.putSize },
  ],
  [abi.OP_SYNCFS, { name: 'SYNCFS', size: 8, handle: notImplemented }],
  [abi.OP_TMPFILE, { name: 'TMPFILE', size: 16, handle: tmpfile, undo: forgetCreated }],
  [abi.OP_STATX, { name: 'STATX', size: 24, handle: statx }],
  [
    abi.OP_COPY_FILE_RANGE_64,
    { name: 'COPY_FILE_RANGE_64', size: 56, handle: files.copyFileRange64, finish: files.putWide },
  ],
])

function table(rows: [number, Operation][]): (Operation | undefined)[] {
  const all = new Array<Operation | undefined>(abi.OP_COPY_FILE_RANGE_64 + 1).fill(undefined)
  for (const [opcode, operation] of rows) all[opcode] = operation
  return all
}
