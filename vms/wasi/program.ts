import { closeSync, existsSync, openSync } from 'node:fs'
import { CosmosError, describeError } from '../../src/errors.ts'
import { protocolError } from '../../src/form/msgpack.ts'
import { close, umask } from '../../src/os/libc.ts'
import { countOf, limitOf, listOf, mapOf, textOf, textsOf } from './arguments.ts'
import { GuestBuffers, type Streams } from './guest-api.ts'
import { limitMemory } from './limits.ts'
import { Linked, type Plan, plan } from './link.ts'
import type { ModuleCache } from './modules.ts'
import { StreamError, writeAll } from './streams.ts'
import { trapReason } from './trap.ts'
import { SCHEMES } from './virtual-files.ts'
import { BROKEN_PIPE, type ProgramEnd, ProgramEnding, type WasiContext } from './wasi.ts'

/** One execution of a WASI program. */

/** Exit code of a program that traps: what a shell shows for SIGABRT, as other WebAssembly runtimes have it. */
export const TRAPPED = 134
/** RLIMIT_AS of getrlimit(2): what the caller's limit of address space says of a guest is that of its memories. */
const RLIMIT_AS = 9

/** A program that is ready to run. */
export interface Program {
  readonly plan: Plan
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly directories: Readonly<Record<string, string>>
  readonly umask: number
  /** Most seconds that it may take. */
  readonly seconds: number | undefined
  /** Most bytes that a memory of it may have. */
  readonly memory: number | undefined
  readonly streams: Streams
}

/**
 * Reads the arguments of `exec` and loads what the program needs. `descriptors` are those that came, in the order of
 * `args.descriptors`. Throws CosmosError: ENOEXEC for what is no program; EPROTO.
 */
export function prepareProgram(
  args: Record<string, unknown>,
  descriptors: readonly number[],
  cache: ModuleCache,
): Program {
  const route = mapOf(args.route, 'route')
  const limits = mapOf(route.limits, 'limits')
  const loaded = cache.load(textOf(route.payload, 'payload'))
  const planned = plan(loaded, textsOf(route.modules, 'modules'), cache)
  const start = loaded.signatures.exports.get('_start')
  if (start === undefined || start.params.length > 0)
    throw new CosmosError(
      'ENOEXEC',
      loaded.path,
      'exports no function _start',
      'a module without it is a library: cosmos call',
    )
  const numbers = listOf(args.descriptors, 'descriptors')
  const handed = (number: number): number => descriptors[numbers.indexOf(number)] ?? -1
  return {
    plan: planned,
    argv: textsOf(args.argv, 'argv'),
    env: environment(textsOf(args.env, 'env')),
    directories: directories(route.lend, textOf(args.cwd, 'cwd')),
    umask: countOf(args.umask ?? 0o022, 'umask'),
    seconds: limitOf(limits.seconds, 'seconds'),
    memory: smaller(limitOf(limits.memory, 'memory'), addressSpace(args.limits)),
    streams: { stdin: handed(0), stdout: handed(1), stderr: handed(2) },
  }
}

function environment(entries: readonly string[]): Record<string, string> {
  const env: Record<string, string> = {}
  for (const entry of entries) {
    const at = entry.indexOf('=')
    if (at > 0) env[entry.slice(0, at)] = entry.slice(at + 1)
  }
  return env
}

/** What is lent, by the program's names for it; the working directory under both of its names where nothing is. */
function directories(lend: unknown, cwd: string): Record<string, string> {
  const pairs = listOf(lend, 'lend')
  // A working directory may be gone, or closed to this user; a program that does not use it runs all the same.
  if (pairs.length === 0) return existsSync(cwd) ? { '.': cwd, [cwd]: cwd } : {}
  const lent: Record<string, string> = {}
  for (const pair of pairs) {
    const [host, guest] = textsOf(pair, 'lend')
    if (host === undefined || guest === undefined) throw protocolError('lend is no list of pairs')
    if (SCHEMES.includes(guest)) throw new CosmosError('EINVAL', guest, 'is the name of no directory')
    lent[guest] = host
  }
  return lent
}

function addressSpace(limits: unknown): number | undefined {
  for (const limit of listOf(limits, 'limits'))
    if (Array.isArray(limit) && limit[0] === RLIMIT_AS && typeof limit[1] === 'number' && limit[1] >= 0)
      return limit[1]
  return undefined
}

function smaller(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b)
}

/**
 * Runs it to its end; answers how it ended. Throws CosmosError ENOEXEC or ENOMEM where it cannot begin, and what is
 * an error of this program.
 */
export function runProgram({ plan, streams, ...program }: Program): ProgramEnd {
  const opened: number[] = []
  const orNull = (fd: number): number => {
    if (fd >= 0) return fd
    opened.push(openSync('/dev/null', 'r+'))
    return opened.at(-1)!
  }
  const all = { stdin: orNull(streams.stdin), stdout: orNull(streams.stdout), stderr: orNull(streams.stderr) }
  const buffers = new GuestBuffers(all)
  const mask = umask(program.umask)
  limitMemory(program.memory)
  try {
    const end = start(plan, { ...program, streams: all, buffers })
    buffers.flush()
    return end
  } catch (error) {
    if (!(error instanceof StreamError)) throw error
    if (error.code === 'EPIPE') return BROKEN_PIPE
    complain(all.stderr, `${plan.loaded.path}: ${describeError(error)}`)
    return { code: 1 }
  } finally {
    limitMemory(undefined)
    umask(mask)
    for (const fd of opened) closeSync(fd)
  }
}

function start(plan: Plan, context: WasiContext): ProgramEnd {
  let linked: Linked | undefined
  try {
    linked = new Linked(plan, context)
    const main = linked.main.exports._start as () => void
    main()
    return { code: 0 }
  } catch (error) {
    if (error instanceof ProgramEnding) return error.end
    const reason = trapReason(error)
    if (reason === undefined) throw error
    complain(context.streams.stderr, `${plan.loaded.path}: trap: ${reason}`)
    return { code: TRAPPED }
  } finally {
    linked?.close()
  }
}

/** A line to the program's standard error; there is nobody to tell where that is closed. */
export function complain(stderr: number, line: string): void {
  try {
    writeAll(stderr, Buffer.from(`${line}\n`))
  } catch (error) {
    console.error(`${line} (${describeError(error)})`)
  }
}

/** Closes descriptors. */
export function closeAll(fds: readonly number[]): void {
  for (const fd of fds) close(fd)
}
