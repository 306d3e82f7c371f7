import { CosmosError } from '../errors.ts'
import { pathBytes, readable } from '../frame/paths.ts'
import { Arena } from '../os/arena.ts'
import { O_CLOEXEC, O_RDWR } from '../os/constants.ts'
import { errnoName } from '../os/errno.ts'
import { call, lseek, memfdCreate, write } from '../os/libc.ts'
import { addressOf, allocateNative, cString } from '../os/memory.ts'
import {
  addDup2,
  destroyActions,
  initActions,
  OPAQUE,
  SETSID,
  spawn,
  spawnAttributes,
} from '../os/posix-spawn.ts'
import { kill, P_PID, pipe2, WEXITED, WNOHANG, waitId } from '../os/processes.ts'

/**
 * Children of the daemon's main thread. Node's own spawn copies the daemon's page tables (20 ms where it has 300 MiB);
 * posix_spawn(3) does not. Node's event loop tells of their ends by SIGCHLD.
 */

/** waitid(2): the child stays to be waited for. */
const WNOWAIT = 0x0100_0000
const SIGKILL = 9
/** si_code of SIGCHLD (sigaction(2)). */
const CLD_EXITED = 1
/** Where si_code, si_pid and si_status lie in siginfo_t. */
const SI_CODE = 8
const SI_PID = 16
const SI_STATUS = 24

/** close_range(2) has this number on every architecture; this flag marks instead of closing. */
const SYS_CLOSE_RANGE = 436
const CLOSE_RANGE_CLOEXEC = 4
const closeRange = call<(number: number, first: number, last: number, flags: number) => number>(
  'long syscall(long, ulong, ulong, ulong)',
)
const addOpen = call<(actions: number, fd: number, path: number, flags: number, mode: number) => number>(
  'int posix_spawn_file_actions_addopen(uintptr_t, int, uintptr_t, int, uint)',
)

/** What is started. Texts have one character a byte. */
export interface ChildProgram {
  /** Never a path below a cosmos mount: this thread waits until execve(2) has looked at it. */
  readonly file: string
  readonly argv: readonly string[]
  readonly env: readonly string[]
  /**
   * Descriptors of this process, and their numbers in the child, in the order in which they are put there: none may
   * have a number that was given before.
   */
  readonly descriptors: readonly (readonly [from: number, to: number])[]
  /** A terminal (`/dev/pts/N`) that becomes the child's, as its descriptors 0, 1 and 2. */
  readonly terminal?: string
}

/** How a child ended. */
export type ChildExit = { readonly code: number } | { readonly signal: number }

/** A session of its own, every signal at its default, none blocked. */
const attributes = spawnAttributes(SETSID)

const actions = allocateNative(OPAQUE)
const pidOut = allocateNative(4)
const info = allocateNative(128)
const arena = new Arena()
const children = new Map<number, (exit: ChildExit) => void>()
/** Node would not wait for a signal alone. */
let watch: NodeJS.Timeout | undefined
const WATCH_MS = 10_000

/**
 * Starts a child, which leads a session and a process group of its own; answers its pid. Its working directory is this
 * process's. `ended` is called once, when it has ended and what was left in its group has been killed. Throws
 * CosmosError as posix_spawn(3) fails.
 */
export function spawnChild(program: ChildProgram, ended: (exit: ChildExit) => void): number {
  const { file, descriptors, terminal = '' } = program
  const [fileBytes, terminalBytes] = [pathBytes(file), pathBytes(terminal)]
  const [argv, env] = [program.argv.map(pathBytes), program.env.map(pathBytes)]
  // Nothing of this process that is not handed over: it was started with descriptors of its supervisor.
  const marked = closeRange(SYS_CLOSE_RANGE, 3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC)
  if (marked < 0) throw CosmosError.fromErrno(marked, 'close_range', 'Linux 5.11 or newer')
  // Before it is there: a signal that nobody listens to is lost.
  if (children.size === 0) listen()
  arena.begin(fileBytes, terminalBytes, argv, env)
  initActions(actions.address)
  let error: number
  try {
    if (terminal !== '') {
      // The first terminal that a session's leader opens is the session's.
      addOpen(actions.address, 0, arena.text(terminalBytes), O_RDWR, 0)
      addDup2(actions.address, 0, 1)
      addDup2(actions.address, 0, 2)
    }
    for (const [from, to] of descriptors) addDup2(actions.address, from, to)
    error = spawn(
      pidOut.address,
      arena.text(fileBytes),
      actions.address,
      attributes.address,
      arena.vector(argv),
      arena.vector(env),
    )
  } finally {
    destroyActions(actions.address)
  }
  if (error !== 0) {
    if (children.size === 0) unlisten()
    throw new CosmosError(errnoName(error), readable(file), 'cannot be started')
  }
  const pid = pidOut.view.getInt32(0, true)
  children.set(pid, ended)
  return pid
}

function reap(): void {
  for (const [pid, ended] of children) {
    info.view.setInt32(SI_PID, 0, true)
    waitId(P_PID, pid, info.address, WEXITED | WNOHANG | WNOWAIT)
    if (info.view.getInt32(SI_PID, true) !== pid) continue
    // The number is its group's until it is waited for.
    kill(-pid, SIGKILL)
    waitId(P_PID, pid, info.address, WEXITED)
    children.delete(pid)
    const status = info.view.getInt32(SI_STATUS, true)
    ended(info.view.getInt32(SI_CODE, true) === CLD_EXITED ? { code: status } : { signal: status })
  }
  if (children.size === 0) unlisten()
}

function listen(): void {
  process.on('SIGCHLD', reap)
  watch = setInterval(reap, WATCH_MS)
}

function unlisten(): void {
  process.off('SIGCHLD', reap)
  clearInterval(watch)
}

/** Sends a signal to a process that has not been waited for, or, where the number is negative, to a group. */
export function sendSignal(pid: number, signal: number): void {
  kill(pid, signal)
}

const pair = allocateNative(8)

/** A pipe that no child inherits by itself. Throws CosmosError. */
export function openPipe(): { read: number; write: number } {
  const result = pipe2(pair.address, O_CLOEXEC)
  if (result < 0) throw CosmosError.fromErrno(result, 'pipe')
  return { read: pair.view.getInt32(0, true), write: pair.view.getInt32(4, true) }
}

const MFD_CLOEXEC = 1
const memoryFileName = cString('cosmos')

/** A file without a name that has this content, to be read from its start. Throws CosmosError. */
export function memoryFile(content: Uint8Array): number {
  const fd = memfdCreate(memoryFileName.address, MFD_CLOEXEC)
  if (fd < 0) throw CosmosError.fromErrno(fd, 'memfd_create')
  for (let at = 0; at < content.length; ) {
    const written = write(fd, addressOf(content) + at, content.length - at)
    if (written < 0) throw CosmosError.fromErrno(written, 'memory file')
    at += written
  }
  lseek(fd, 0, 0)
  return fd
}
