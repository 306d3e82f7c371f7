import { realpathSync } from 'node:fs'
import { CosmosError, describeError } from '../../src/errors.ts'
import type { DriverServices, TreeOperations } from '../../src/frame/operations.ts'
import { POLLIN, POLLPRI } from '../../src/os/constants.ts'
import { ESTALE } from '../../src/os/errno.ts'
import { poll } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { Call } from './call.ts'
import { type Context, handlers } from './handlers.ts'
import {
  type Library,
  type LibraryHandler,
  loadLibrary,
  OPERATION_NAMES,
  type OperationName,
} from './library.ts'
import { MountPoint, unmount } from './mount-point.ts'
import { PathNodes, setRequest } from './path-nodes.ts'
import { RecordAccess } from './record.ts'

/** How often an idle driver looks for outside changes, and whether the mount is still there (milliseconds). */
const LOOK_EVERY = 500
/** How long the mount may take to be asked its first question (milliseconds). */
const START_PATIENCE = 10_000
const MOST_MOUNT_PATH = 1023
/** Operations have numbers below it. */
const OPERATIONS = 35

export interface FuseNativeOptions {
  readonly tree: TreeOperations
  /** Where to mount: an empty directory's path, as the operating system takes it (UTF-8). */
  readonly mount: string
  /** Other users may use it; as for fusermount, root's daemon allows it where not said otherwise. */
  readonly allowOther?: boolean
  /** Use nothing but what the library hands over, see `plainLimits`. For tests. */
  readonly plain?: boolean
  /** The mount has been taken away from outside. */
  onEnded(): void
  /** Where a line for the log goes; standard error where not given. */
  log?(line: string): void
}

/** A mount that is served. */
export interface FuseNativeMount {
  /** Unmounts (lazily where it is busy) and ends serving. */
  stop(): Promise<void>
}

/**
 * Mounts a tree through fuse-native and serves it on this thread's event loop, which must be the main thread's.
 * Throws CosmosError: ENOSYS where the library cannot be used, EIO where the mount fails.
 */
export async function startFuseNative(options: FuseNativeOptions): Promise<FuseNativeMount> {
  const library = loadLibrary()
  const path = checkMount(options.mount)
  const driver = new Driver(library, options, path)
  await driver.start()
  return driver
}

class Driver implements FuseNativeMount {
  readonly #library: Library
  readonly #options: FuseNativeOptions
  readonly #mountPoint: MountPoint
  readonly #context: Context
  /** The library's own memory: of the mount, and of each of its threads. */
  readonly #state: Buffer
  readonly #records: Buffer[] = []
  /** struct pollfd of the descriptors that tell of outside changes: in watched directories, and of mounts. */
  readonly #polled = allocateNative(24)
  #timer: NodeJS.Timeout | undefined
  #initialized: () => void = () => {}
  #ended = false

  constructor(library: Library, options: FuseNativeOptions, path: string) {
    const { tree } = options
    this.#library = library
    this.#options = options
    this.#mountPoint = new MountPoint(path)
    this.#state = Buffer.alloc(library.sizeof_fuse_thread_t)
    const record = RecordAccess.possible && !options.plain ? new RecordAccess() : undefined
    this.#context = {
      tree,
      paths: new PathNodes(tree),
      call: new Call(library, record),
      open: new Map(),
    }
    this.#polled.view.setInt32(0, tree.watchDescriptor, true)
    this.#polled.view.setInt16(4, POLLIN, true)
    this.#polled.view.setInt32(8, tree.mountsDescriptor, true)
    this.#polled.view.setInt16(12, POLLPRI, true)
    this.#polled.view.setInt32(16, tree.timerDescriptor, true)
    this.#polled.view.setInt16(20, POLLIN, true)
    tree.attach(this.#services())
  }

  async start(): Promise<void> {
    const mounted = new Promise<void>((resolve, reject) => {
      this.#initialized = resolve
      setTimeout(() => reject(new Error('the kernel does not ask')), START_PATIENCE).unref()
    })
    const { path } = this.#mountPoint
    try {
      this.#mount(path)
      await mounted
    } catch (cause) {
      this.#mountPoint.close()
      throw new CosmosError('EIO', path, `fuse-native: ${describeError(cause)}`, 'cosmos doctor', { cause })
    }
    this.#mountPoint.appeared()
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY)
  }

  async stop(): Promise<void> {
    if (this.#ended) return
    this.#end()
    // The supervisor may have been first.
    if (this.#mountPoint.exists()) await unmount(this.#mountPoint.path)
    this.#letGo()
  }

  #mount(path: string): void {
    const implemented = new Uint32Array(OPERATIONS)
    const table: LibraryHandler[] = new Array(OPERATIONS).fill(() => {})
    for (const name of OPERATION_NAMES) {
      const op = this.#library[`op_${name}`]
      implemented[op] = 1
      table[op] = name === 'init' ? this.#init : this.#handler(name)
    }
    const allocate = (size: number): Buffer => {
      const record = Buffer.from(new ArrayBuffer(size))
      this.#records.push(record)
      return record
    }
    this.#library.fuse_native_mount(
      path,
      this.#mountOptions(),
      this.#state,
      this,
      allocate,
      table,
      implemented,
    )
  }

  /** Option string as the library hands it to libfuse (mount.fuse(8) of version 2.9). */
  #mountOptions(): string {
    const isRoot = process.getuid?.() === 0
    const options = [
      'fsname=cosmos',
      'subtype=cosmos',
      'default_permissions',
      'use_ino',
      'big_writes',
      'max_write=131072',
      // A path is asked for at each use, which brings its attributes: outside changes are seen at once. Only an
      // open file's may be a second old.
      'entry_timeout=0',
      'negative_timeout=0',
      'attr_timeout=1',
    ]
    if (this.#options.allowOther ?? isRoot) options.push('allow_other')
    // libfuse forbids both where it is not told; the kernel driver does not.
    if (isRoot) options.push('dev', 'suid')
    return `-o${options.join(',')}`
  }

  readonly #init = (record: Buffer): void => {
    this.#library.fuse_native_signal_init(record, 0)
    this.#initialized()
  }

  #handler(name: Exclude<OperationName, 'init'>): LibraryHandler {
    const { call, paths, tree } = this.#context
    const handle = handlers[name]
    return (record, op, ...handed) => {
      try {
        if (!call.begin(name, record, op, handed)) this.#log('fuse-native: another layout, more limits')
        this.#seeOutside()
        setRequest(tree.request)
        paths.begin()
        let result = handle(this.#context)
        if (result === -ESTALE) {
          // Something remembered has moved: look it up again, as the kernel does of its own.
          paths.release()
          paths.forgetAll()
          paths.begin()
          result = handle(this.#context)
        }
        if (result !== undefined) call.answer(result)
      } catch (error) {
        this.#log(`${name}: ${error instanceof Error ? error.stack : String(error)}`)
        call.fail(error)
      } finally {
        paths.release()
        tree.answered()
      }
    }
  }

  /** Takes in what has happened outside before an operation is answered. */
  #seeOutside(): void {
    if (poll(this.#polled.address, 3, 0) <= 0) return
    const { tree } = this.#context
    if (this.#polled.view.getInt16(6, true) !== 0) tree.drainWatches()
    if (this.#polled.view.getInt16(14, true) !== 0) tree.mountsChanged()
    if (this.#polled.view.getInt16(22, true) !== 0) tree.giveBack()
  }

  #look(): void {
    this.#seeOutside()
    this.#context.tree.giveBack()
    if (!this.#mountPoint.isGone()) return
    this.#end()
    this.#letGo()
    this.#options.onEnded()
  }

  #end(): void {
    this.#ended = true
    clearInterval(this.#timer)
  }

  /** The mount is gone, or goes with its last user: closes what is open, and lets the process end. */
  #letGo(): void {
    const { open, paths, tree } = this.#context
    if (!this.#mountPoint.exists()) {
      for (const [handle, node] of open) {
        tree.release(node, handle)
        paths.hold(node)
      }
      open.clear()
      paths.end()
    }
    this.#mountPoint.close()
    this.#library.fuse_native_unmount(this.#mountPoint.path, this.#state)
  }

  /** The kernel's caches cannot be told: they expire. What this driver remembers is dropped. */
  #services(): DriverServices {
    const { forgetAll } = this.#context.paths
    return {
      invalidate: { idle: true, node() {}, name: forgetAll, everything: forgetAll },
      passthrough: { available: false, register: () => 0, release() {} },
    }
  }

  #log(line: string): void {
    if (this.#options.log) this.#options.log(line)
    else console.error(line)
  }
}

/** The mount point's real path; throws CosmosError on one that the library cannot take. */
function checkMount(mount: string): string {
  let path: string
  try {
    path = realpathSync(mount)
  } catch (cause) {
    throw new CosmosError('ENOENT', mount, 'mount point: no such directory', `mkdir -p ${mount}`, { cause })
  }
  if (path.includes('\ufffd')) throw new CosmosError('EILSEQ', mount, 'the mount point is not UTF-8')
  if (Buffer.byteLength(path) > MOST_MOUNT_PATH)
    throw new CosmosError('ENAMETOOLONG', mount, `the mount point has more than ${MOST_MOUNT_PATH} bytes`)
  return path
}
