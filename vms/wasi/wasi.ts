import { constants } from 'node:os'
import { WASI } from 'node:wasi'
import { CosmosError } from '../../src/errors.ts'
import type { GuestBuffers, Streams } from './guest-api.ts'
import { EFAULT, ENOTSUP, FIRST_VIRTUAL, SCHEMES, VirtualFiles, type WasiFunction } from './virtual-files.ts'

/**
 * WASI for an instance: node:wasi, and before it the files that are none (virtual-files.ts). A C library resolves a
 * path by the names of the directories that it is given, so `api://input` needs a directory `api:`. It is given one,
 * and every function that would use it is answered here.
 */

/** Import modules of WASI, and what node:wasi calls their versions. */
const VERSIONS = { wasi_snapshot_preview1: 'preview1', wasi_unstable: 'unstable' } as const
export type WasiModule = keyof typeof VERSIONS

/** What a program finds. */
export interface WasiContext {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Host directories by the names that the program has for them. */
  readonly directories: Readonly<Record<string, string>>
  readonly streams: Streams
  readonly buffers: GuestBuffers
}

/** The directory behind the names that are none: always there, and nothing that would be missed. */
const STAND_IN = '/proc/self/fdinfo'

/** How a program ends that does not trap. */
export type ProgramEnd = { readonly code: number } | { readonly signal: number; readonly core: false }

/** Thrown through a program to end it. */
export class ProgramEnding {
  readonly end: ProgramEnd
  constructor(end: ProgramEnd) {
    this.end = end
  }
}

/** A guest handles no signals, so writing where nobody reads ends it, as it does a program of the host. */
export const BROKEN_PIPE: ProgramEnd = { signal: constants.signals.SIGPIPE, core: false }
const EPIPE = 64

/** Positions of the parameters that are descriptors, where they are not just the first. */
const DESCRIPTORS: Readonly<Record<string, readonly number[]>> = {
  path_link: [0, 4],
  path_rename: [0, 3],
  path_symlink: [2],
  fd_renumber: [0, 1],
}
/** What a program may ask of a directory that is none: that it is there. */
const HARMLESS: ReadonlySet<string> = new Set(['fd_prestat_get', 'fd_prestat_dir_name', 'fd_fdstat_get'])
const HAS_URL = /^(api|https?):\/\//

/** Whether a module's name is WASI's. */
export function isWasi(module: string): module is WasiModule {
  return Object.hasOwn(VERSIONS, module)
}

/** Names of WASI's functions. */
export const WASI_FUNCTIONS: ReadonlySet<string> = new Set(
  Object.keys(new WASI({ version: 'preview1', returnOnExit: true }).wasiImport),
)

/** WASI for one instance. */
export class InstanceWasi {
  readonly #wasi: WASI
  readonly #native: Record<string, WasiFunction>
  readonly #files: VirtualFiles
  /** Descriptors of the first directory that is none, and after the last. */
  readonly #firstScheme: number
  readonly #afterSchemes: number
  #memory: WebAssembly.Memory | undefined
  /** The largest descriptor that the program has had. */
  #largest: number

  constructor(module: WasiModule, context: WasiContext) {
    const { argv, env, directories, streams, buffers } = context
    const preopens: Record<string, string> = { ...directories }
    for (const scheme of SCHEMES) preopens[scheme] = STAND_IN
    try {
      this.#wasi = new WASI({
        version: VERSIONS[module],
        args: [...argv],
        env,
        preopens,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        returnOnExit: true,
      })
    } catch (error) {
      const code = /UVWASI_(E\w+)/.exec(String(error))?.[1] ?? 'EINVAL'
      const lent = Object.values(directories).join(', ')
      throw new CosmosError(code, lent, 'cannot be lent to the program', undefined, { cause: error })
    }
    this.#native = this.#wasi.wasiImport as Record<string, WasiFunction>
    this.#files = new VirtualFiles(buffers, () => this.#memory)
    this.#firstScheme = 3 + Object.keys(directories).length
    this.#afterSchemes = this.#firstScheme + SCHEMES.length
    this.#largest = this.#afterSchemes - 1
  }

  /** The function of this name as an import. One of JavaScript: an instance takes its own ten times as long to bind. */
  function(name: string): WasiFunction {
    const native = this.#native[name] as WasiFunction
    if (name === 'proc_exit')
      return (code: number) => {
        throw new ProgramEnding({ code: code & 0xff })
      }
    if (name === 'path_open')
      return (...args: [number, number, number, number, number, bigint, bigint, number, number]) =>
        this.#pathOpen(args)
    if (!/^(fd|path|sock)_/.test(name)) return passing(native)
    return this.#guarded(name, native)
  }

  /** A function on descriptors: real ones go to node:wasi, the others stay here. */
  #guarded(name: string, native: WasiFunction): WasiFunction {
    const pass = passing(native) as (...args: (number | bigint)[]) => unknown
    const own = this.#files.functions[name] as typeof pass | undefined
    const harmless = HARMLESS.has(name)
    const positions = DESCRIPTORS[name] ?? [0]
    return (...args: (number | bigint)[]) => {
      for (const position of positions) {
        const fd = Number(args[position]) >>> 0
        if (fd >= FIRST_VIRTUAL) return own === undefined ? ENOTSUP : own(...args)
        if (!harmless && this.#isScheme(fd)) return ENOTSUP
      }
      const answer = pass(...args)
      if (answer === EPIPE) throw new ProgramEnding(BROKEN_PIPE)
      return answer
    }
  }

  #isScheme(fd: number): boolean {
    return fd >= this.#firstScheme && fd < this.#afterSchemes
  }

  #pathOpen(args: [number, number, number, number, number, bigint, bigint, number, number]): unknown {
    const [directory, , pointer, length, , rights, , , result] = args
    const all = this.#memory?.buffer
    const start = pointer >>> 0
    const size = length >>> 0
    if (all === undefined || start + size > all.byteLength) return EFAULT
    const path = Buffer.from(all, start, size).toString('utf8')
    const scheme = this.#isScheme(directory) ? SCHEMES[directory - this.#firstScheme] : undefined
    if (scheme !== undefined || HAS_URL.test(path)) {
      const url = scheme === undefined ? path : `${scheme}//${path.replace(/^\/+/, '')}`
      return this.#files.open(url, rights, result >>> 0)
    }
    const answer = (this.#native.path_open as (...all: unknown[]) => unknown)(...args)
    if (answer === 0) this.#largest = Math.max(this.#largest, new DataView(all).getUint32(result >>> 0, true))
    return answer
  }

  /** Binds to the instance; its memory is what pointers point into. */
  bind(instance: WebAssembly.Instance, memory: WebAssembly.Memory): void {
    this.#memory = memory
    this.#wasi.finalizeBindings(instance, { memory })
  }

  /** Closes the files and directories that the program has left open. The streams are not its own. */
  close(): void {
    // What was never bound, because its module could not be instantiated, has its directories open as well.
    if (this.#memory === undefined)
      this.#wasi.finalizeBindings({ exports: {} }, { memory: new WebAssembly.Memory({ initial: 1 }) })
    const closeOne = this.#native.fd_close as (fd: number) => unknown
    for (let fd = 3; fd <= this.#largest; fd++) closeOne(fd)
  }
}

/** A function of JavaScript with as many parameters as node:wasi insists on. */
function passing(native: WasiFunction): WasiFunction {
  const call = native as (...args: unknown[]) => unknown
  switch (native.length) {
    case 0:
      return () => call()
    case 1:
      return (a) => call(a)
    case 2:
      return (a, b) => call(a, b)
    case 3:
      return (a, b, c) => call(a, b, c)
    case 4:
      return (a, b, c, d) => call(a, b, c, d)
    case 5:
      return (a, b, c, d, e) => call(a, b, c, d, e)
    default:
      return (...args) => call(...args)
  }
}
