import { HOST_ARCH, kernelArchs } from './arch.ts'
import { type Limits, Table } from './table.ts'

/** What an executable is, by how it is run (design §5). */
export type CefKind =
  /** An ELF program. */
  | 'native'
  /** An ELF shared object that is no program. */
  | 'library'
  /** A text with a `#!` line. */
  | 'script'
  /** A WebAssembly module. */
  | 'wasm'
  /** Anything else: run by a VM that knows its suffix, or that it asks for. */
  | 'program'
  /** A function of a library. */
  | 'function'
  /** A program that a peer has. */
  | 'remote'

/** Processes of a VM. */
export interface Pool {
  readonly min: number
  readonly max: number
  /** Started ahead of need. */
  readonly spares: number
  /** One that had nothing to do for so long is stopped. */
  readonly idleSeconds: number
}

/** What a VM can run, and how it is run itself: the file `profile` in `.cosm/vm/<name>/`. */
export interface CapabilitiesProfile {
  readonly name: string
  readonly description?: string
  /** Executables that it runs; none where it only produces. */
  readonly kinds: readonly CefKind[]
  /** It has the operation `produce`: mappers and transformers. */
  readonly produces?: boolean
  /** What it accepts is what the kernel runs by itself: execve of the payload. */
  readonly native: boolean
  /** Architectures of ELF files that it takes. */
  readonly arch: readonly string[]
  /** Suffixes of the programs and scripts that it takes: `.py`. */
  readonly suffixes?: readonly string[]
  /** Names of the interpreters that it can stand for: `python3`. */
  readonly interpreters?: readonly string[]
  /** Modules that it offers to WebAssembly; any where it does not say. */
  readonly imports?: readonly string[]
  /** Whether an ELF file's libraries must be on this host. */
  readonly checksLibraries: boolean
  /** Program that speaks the VM protocol, relative to the VM's directory, or `BUILT_IN`. */
  readonly command: string
  /** Connections that one process serves at a time; 0: any number. */
  readonly sessions: number
  readonly pool: Pool
  readonly limits: Limits
}

/** The `command` of the VMs that ship: the daemon knows where their programs are. */
export const BUILT_IN = 'built-in'

const KINDS: readonly string[] = ['native', 'library', 'script', 'wasm', 'program', 'function', 'remote']
const DEFAULT_POOL: Pool = { min: 0, max: 1, spares: 0, idleSeconds: 300 }

/**
 * Parses a VM's profile (TOML); `file` is for messages. Keys: `kinds` and `command`, which must be there (`kinds` may
 * be empty where `produces` is true); `description`, `produces`, `native`, `sessions`, `arch`, `suffixes`, `interpreters`, `imports`, `check-libraries`; tables `[pool]` (`min`,
 * `max`, `spares`, `idle-seconds`) and `[limits]` (`memory`, `seconds`). Throws CosmosError EINVAL that names file,
 * key and reason; a key that is unknown is an error.
 */
export function parseCapabilities(name: string, text: string, file: string): CapabilitiesProfile {
  const table = Table.parse(text, file)
  const kinds = table.texts('kinds')
  const produces = table.boolean('produces') ?? false
  if (!kinds || (kinds.length === 0 && !produces)) throw table.invalid('kinds', 'is missing')
  const unknown = kinds.find((kind) => !KINDS.includes(kind))
  if (unknown !== undefined)
    throw table.invalid('kinds', `has "${unknown}", which is none of ${KINDS.join(', ')}`)
  const command = table.text('command')
  if (command === undefined) throw table.invalid('command', 'is missing')
  if (command.startsWith('/') || command.split('/').includes('..'))
    throw table.invalid('command', "leads out of the VM's directory")
  const suffixes = table.texts('suffixes')
  const bare = suffixes?.find((suffix) => !suffix.startsWith('.'))
  if (bare !== undefined) throw table.invalid('suffixes', `has "${bare}", which does not begin with a dot`)
  const native = table.boolean('native') ?? false
  const description = table.text('description')
  const interpreters = table.texts('interpreters')
  const imports = table.texts('imports')
  const profile: CapabilitiesProfile = {
    name,
    kinds: kinds as CefKind[],
    native,
    arch: table.texts('arch') ?? (native ? kernelArchs() : [HOST_ARCH]),
    checksLibraries: table.boolean('check-libraries') ?? native,
    command,
    sessions: table.count('sessions', 0) ?? 1,
    pool: poolOf(table),
    limits: table.limits() ?? {},
    ...(description !== undefined && { description }),
    ...(suffixes && { suffixes }),
    ...(interpreters && { interpreters }),
    ...(imports && { imports }),
    ...(produces && { produces }),
  }
  table.end()
  return profile
}

function poolOf(parent: Table): Pool {
  const table = parent.table('pool')
  if (!table) return DEFAULT_POOL
  const min = table.count('min', 0) ?? DEFAULT_POOL.min
  const max = table.count('max', 1) ?? Math.max(min, DEFAULT_POOL.max)
  const spares = table.count('spares', 0) ?? DEFAULT_POOL.spares
  const idleSeconds = table.count('idle-seconds', 0) ?? DEFAULT_POOL.idleSeconds
  if (max < min) throw table.invalid('max', `is less than min, ${min}`)
  table.end()
  return { min, max, spares, idleSeconds }
}
