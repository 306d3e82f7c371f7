import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import koffi from 'koffi'
import { CosmosError, describeError } from '../../src/errors.ts'

/** Function of the library that hands back the answer of one operation and wakes the thread that waits for it. */
type Signal = (record: Buffer, result: number, ...more: unknown[]) => void
/** Called by the library for one operation: its request record, the operation's number, then what it hands over. */
export type LibraryHandler = (record: Buffer, op: number, ...handed: unknown[]) => void

/** Names of the operations that this driver answers, as the library calls them. */
export const OPERATION_NAMES = [
  'init',
  'statfs',
  'fgetattr',
  'getattr',
  'flush',
  'fsync',
  'fsyncdir',
  'readdir',
  'truncate',
  'ftruncate',
  'utimens',
  'readlink',
  'chown',
  'chmod',
  'mknod',
  'setxattr',
  'getxattr',
  'listxattr',
  'removexattr',
  'open',
  'read',
  'write',
  'release',
  'create',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
] as const
export type OperationName = (typeof OPERATION_NAMES)[number]

/** The native part of fuse-native 2.2. Its JavaScript part is not used: that limits it further (see `record.ts`). */
export type Library = {
  readonly sizeof_fuse_thread_t: number
  fuse_native_mount(
    mount: string,
    options: string,
    state: Buffer,
    self: object,
    allocate: (size: number) => Buffer,
    handlers: LibraryHandler[],
    implemented: Uint32Array,
  ): void
  /** Lets the process end; takes nothing away from the mount. */
  fuse_native_unmount(mount: string, state: Buffer): void
} & { readonly [name in `op_${OperationName}`]: number } & {
  readonly [name in `fuse_native_signal_${OperationName}`]: Signal
}

/** What the library itself loads its native part and its copy of libfuse by; they are found beside it. */
const LOADER = 'node-gyp-build'
const LIBFUSE = 'fuse-shared-library'

const HINT = 'npm install fuse-native, or use the kernel driver'

/** Loads the library; throws CosmosError ENOSYS where that is not possible. */
export function loadLibrary(): Library {
  if (!isMainThread)
    throw new CosmosError(
      'ENOSYS',
      'fuse-native',
      'takes its requests on the event loop of the main thread',
      'start it there, not in a worker',
    )
  const require = createRequire(import.meta.url)
  let directory: string
  try {
    directory = dirname(require.resolve('fuse-native/package.json'))
  } catch (cause) {
    throw new CosmosError('ENOSYS', 'fuse-native', 'is not installed', HINT, { cause })
  }
  try {
    return loadFrom(directory)
  } catch (cause) {
    throw new CosmosError('ENOSYS', 'fuse-native', `does not load: ${describeError(cause)}`, HINT, { cause })
  }
}

function loadFrom(directory: string): Library {
  const require = createRequire(join(directory, 'index.js'))
  const load = require(LOADER) as (directory: string) => Library
  try {
    return load(directory)
  } catch (error) {
    // Without libfuse 2 on the machine the one that comes with the library will do, once it is in the process.
    try {
      koffi.load((require(LIBFUSE) as { lib: string }).lib)
    } catch {
      throw error
    }
    return load(directory)
  }
}
