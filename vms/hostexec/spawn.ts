import { CosmosError } from '../../src/errors.ts'
import { type WireText, wireReadable } from '../../src/form/wire.ts'
import { Arena } from '../../src/os/arena.ts'
import { errnoName } from '../../src/os/errno.ts'
import { close, fcntl, umask } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import {
  addChdir,
  addDup2,
  destroyActions,
  initActions,
  OPAQUE,
  SETPGROUP,
  spawn,
  spawnAttributes,
} from '../../src/os/posix-spawn.ts'
import { access } from './calls.ts'
import { applyTo, type Limit, lowerOwn, raiseOwn } from './limits.ts'

const F_DUPFD_CLOEXEC = 1030
const X_OK = 1
const F_OK = 0

/** What is started. */
export interface Program {
  /** Host file that execve(2) gets. */
  readonly file: WireText
  readonly argv: readonly WireText[]
  readonly env: readonly WireText[]
  readonly cwd: WireText
  readonly umask: number
  /** By resource. */
  readonly limits: readonly Limit[]
  /** Descriptors of this process, and the numbers that they have in the program; no others are open there. */
  readonly descriptors: readonly (readonly [from: number, to: number])[]
}

/** A process group of its own, every signal at its default, none blocked. */
const attributes = spawnAttributes(SETPGROUP)

const actions = allocateNative(OPAQUE)
const pidOut = allocateNative(4)
const arena = new Arena()
const ownUmask = umask(0)
umask(ownUmask)

/**
 * Starts a program; answers its pid, which is also its process group's. The descriptors stay this process's too.
 * Throws CosmosError as posix_spawn(3) fails, about the file that is at fault.
 */
export function spawnProgram(program: Program): number {
  const { file, argv, env, cwd, limits, descriptors } = program
  const highest = descriptors.reduce((most, [, to]) => Math.max(most, to), 2)
  arena.begin(file, cwd, argv, env)
  const raised: number[] = []
  initActions(actions.address)
  const given = lowerOwn(limits, highest)
  umask(program.umask)
  let error: number
  try {
    const targets = new Set(descriptors.map(([, to]) => to))
    for (const [from, to] of descriptors) {
      // A number that is another's place would be filled before it is read.
      const source = from !== to && targets.has(from) ? raise(from, highest, raised) : from
      addDup2(actions.address, source, to)
    }
    addChdir(actions.address, arena.text(cwd))
    error = spawn(
      pidOut.address,
      arena.text(file),
      actions.address,
      attributes.address,
      arena.vector(argv),
      arena.vector(env),
    )
  } finally {
    umask(ownUmask)
    raiseOwn(given)
    destroyActions(actions.address)
    for (const fd of raised) close(fd)
  }
  if (error !== 0) throw explain(errnoName(error), program)
  const pid = pidOut.view.getInt32(0, true)
  applyTo(pid, limits, given)
  return pid
}

/** A copy of a descriptor above all places. */
function raise(from: number, highest: number, raised: number[]): number {
  const fd = fcntl(from, F_DUPFD_CLOEXEC, highest + 1)
  if (fd < 0) throw CosmosError.fromErrno(fd, `descriptor ${from}`)
  raised.push(fd)
  return fd
}

/** posix_spawn(3) tells an errno only: which file it is about shows where it is looked at. */
function explain(code: string, { file, cwd }: Program): CosmosError {
  const directory = wireReadable(cwd)
  const name = wireReadable(file)
  arena.begin(file, cwd)
  const entered = access(arena.text(cwd), X_OK)
  if (entered < 0) return new CosmosError(errnoName(-entered), directory, 'cannot be the working directory')
  if (code === 'ENOENT' && access(arena.text(file), F_OK) === 0)
    return new CosmosError(code, name, 'its interpreter or loader is not there')
  return new CosmosError(code, name, WHY[code] ?? code)
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'is not there',
  EACCES: 'may not be executed',
  ENOEXEC: 'is no program of this machine',
  E2BIG: 'its arguments or environment are too long',
  ETXTBSY: 'is being written',
}
