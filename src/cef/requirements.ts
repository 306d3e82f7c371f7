import { CosmosError } from '../errors.ts'
import { readable } from '../frame/paths.ts'
import type { CefKind } from './capabilities.ts'
import { type Declared, parseDeclared, readDeclared } from './declared.ts'
import { type Elf, parseElf } from './elf.ts'
import { HostFile, isExecutable, placeOf, whyOf } from './host-file.ts'
import { type LibraryNeed, resolveDeclared, resolveLibraries } from './libraries.ts'
import { peerOf } from './peer-program.ts'
import { declarationsIn, HEADER_SIZE, parseShebang, SHEBANG_SIZE } from './script.ts'
import type { Limits } from './table.ts'
import { parseWasm, type WasmExport, type WasmImport } from './wasm.ts'

/** Why something can't be run: an errno name, and words that follow its name. */
export interface Problem {
  readonly code: string
  readonly message: string
}

/**
 * What an executable needs of whoever runs it (design §5). Plain data: JSON and msgpack carry it. Paths and names
 * from files have one character a byte.
 */
export interface RequirementsProfile {
  readonly kind: CefKind
  /** Host path of the payload. */
  readonly path: string
  /** Whether this process may execute the payload: an x bit, on a mount without noexec. */
  readonly executable: boolean
  /** As uname(1) has it: `x86_64`. */
  readonly arch?: string
  /** The system that an ELF file was built for, and the oldest kernel of it. */
  readonly kernel?: { readonly system: string; readonly atLeast?: string }
  /** The dynamic linker, the program of the `#!` line, or the declared one. */
  readonly interpreter?: string
  readonly interpreterArguments: readonly string[]
  readonly libraries: readonly LibraryNeed[]
  /** DT_SONAME: a program that has one is a library too (libc.so.6). */
  readonly soname?: string
  /** Of a WebAssembly module. */
  readonly imports?: readonly WasmImport[]
  readonly exports?: readonly WasmExport[]
  /** The end of the name from its last dot: `.py`. */
  readonly suffix?: string
  /** The function, for kind `function`. */
  readonly symbol?: string
  /** The peer that has it, for kind `remote`: `me@gpubox`. */
  readonly peer?: string
  /** The only VM that it wants. */
  readonly vm?: string
  /** Variables that must be set. */
  readonly environment: readonly string[]
  /** Paths that must be there. */
  readonly files: readonly string[]
  readonly devices: readonly string[]
  /** What it may use at most. */
  readonly limits?: Limits
  /** Why it can't be run at all. */
  readonly problem?: Problem
}

/** What the payload itself tells. */
type Told = Pick<RequirementsProfile, 'kind'> & Partial<RequirementsProfile> & { elf?: Elf; header?: string }

/** As much of a file as names a peer. */
const MAX_PEER = 256
const ELF_MAGIC = 0x7f454c46
const WASM_MAGIC = 0x0061736d

/**
 * What the executable at an absolute host path (one character a byte) needs: what its content tells, and what its
 * header comments and `NAME.cef.toml` beside it declare, the latter first. Nothing of it is run. It never throws:
 * what can't be an executable has `problem`.
 */
export function requirementsOf(path: string): RequirementsProfile {
  const place = placeOf(path)
  const executable = typeof place !== 'string' && isExecutable(place)
  const suffix = /[^/](\.[^./]+)$/.exec(path)?.[1]
  let { elf, header, ...told } = examine(path, executable)
  let declared: Declared = {}
  let libraries: readonly LibraryNeed[] = []
  try {
    const directory = path.slice(0, path.lastIndexOf('/'))
    declared = {
      ...(header !== undefined && parseDeclared(header, directory, readable(path))),
      ...readDeclared(path),
    }
    contradict(told, declared, path)
    if (elf) libraries = resolveLibraries(path, elf, declared.libraries)
    else if (declared.libraries) libraries = resolveDeclared(path, declared.libraries, declared.arch)
  } catch (error) {
    told = { problem: problemOf(error, path), ...told }
  }
  const { environment = [], files = [], devices = [], libraries: _, ...rest } = declared
  return {
    path,
    executable,
    interpreterArguments: [],
    libraries,
    environment,
    files,
    devices,
    ...(suffix !== undefined && { suffix }),
    ...rest,
    ...told,
  }
}

function examine(path: string, executable: boolean): Told {
  try {
    return HostFile.use(path, (file) => {
      const magic = file.size < 4 ? 0 : file.head(4).readUInt32BE(0)
      if (magic === ELF_MAGIC) return attempt('native', path, () => toldByElf(parseElf(file)))
      if (magic === WASM_MAGIC) return attempt('wasm', path, () => ({ kind: 'wasm', ...parseWasm(file) }))
      const head = file.head(HEADER_SIZE)
      const header = declarationsIn(head)
      return { ...toldByText(head), ...(header !== undefined && { header }) }
    })
  } catch (error) {
    // The kernel runs what may be executed and not be read; only it can tell more.
    if (error instanceof CosmosError && error.code === 'EACCES' && executable) return { kind: 'native' }
    return { kind: 'program', problem: problemOf(error, path) }
  }
}

function attempt(kind: CefKind, path: string, work: () => Told): Told {
  try {
    return work()
  } catch (error) {
    return { kind, problem: problemOf(error, path) }
  }
}

function toldByElf(elf: Elf): Told {
  const { arch, interpreter, soname, isShared, abi } = elf
  return {
    elf,
    kind: elf.isProgram ? 'native' : 'library',
    arch,
    ...(abi && {
      kernel: { system: abi.system, ...(abi.atLeast !== '0.0.0' && { atLeast: abi.atLeast }) },
    }),
    ...(interpreter !== undefined && { interpreter }),
    ...(soname !== undefined && isShared && { soname }),
  }
}

function toldByText(head: Buffer): Told {
  const peer = peerOf(head.toString('latin1', 0, MAX_PEER))
  if (peer !== undefined) return { kind: 'remote', peer }
  if (head.toString('latin1', 0, 2) !== '#!') return { kind: 'program' }
  const shebang = parseShebang(head.subarray(0, SHEBANG_SIZE))
  if (!shebang)
    return { kind: 'script', problem: { code: 'ENOEXEC', message: 'has a #! line without an interpreter' } }
  const { interpreter, argument } = shebang
  return { kind: 'script', interpreter, ...(argument !== undefined && { interpreterArguments: [argument] }) }
}

/** What the file tells is so; a declaration can't change it. */
function contradict(told: Told, declared: Declared, path: string): void {
  for (const key of ['arch', 'interpreter'] as const) {
    const [is, said] = [told[key], declared[key]]
    if (is !== undefined && said !== undefined && is !== said)
      throw new CosmosError(
        'EINVAL',
        readable(path),
        `declares the ${key} ${readable(said)}, its content has ${readable(is)}`,
      )
  }
}

/** Errors of other files, such as declarations, keep their names. */
function problemOf(error: unknown, path: string): Problem {
  if (!(error instanceof CosmosError)) throw error
  const { code, subject, message } = error
  return { code, message: subject === readable(path) ? whyOf(error) : message }
}

/** A profile as aligned text for people: the content of `name:profile`. */
export function describeRequirements(profile: RequirementsProfile): string {
  const { kernel, limits, problem } = profile
  const lines: [string, string | undefined][] = [
    ['kind', profile.kind],
    ['path', readable(profile.path)],
    ['symbol', profile.symbol],
    ['peer', profile.peer],
    ['executable', profile.executable ? 'yes' : 'no'],
    ['problem', problem && `${problem.message} (${problem.code})`],
    ['vm', profile.vm],
    ['arch', profile.arch],
    ['kernel', kernel && [kernel.system, kernel.atLeast].filter(Boolean).join(' ')],
    [
      'interpreter',
      profile.interpreter && readable([profile.interpreter, ...profile.interpreterArguments].join(' ')),
    ],
    ['soname', profile.soname && readable(profile.soname)],
    ['suffix', profile.suffix && readable(profile.suffix)],
    ...listed('library', profile.libraries.map(describeLibrary)),
    ...listed(
      'import',
      profile.imports?.map(({ module, name, kind }) => `${module} ${name} (${kind})`),
    ),
    ...listed(
      'export',
      profile.exports?.map(({ name, kind }) => `${name} (${kind})`),
    ),
    ...listed('environment', profile.environment),
    ...listed('file', profile.files.map(readable)),
    ...listed('device', profile.devices.map(readable)),
    ['memory', limits?.memory === undefined ? undefined : `${limits.memory} bytes`],
    ['seconds', limits?.seconds?.toString()],
  ]
  return lines
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key.padEnd(12)}${oneLine(value!)}\n`)
    .join('')
}

function listed(key: string, values: readonly string[] = []): [string, string][] {
  return values.map((value, i) => [i === 0 ? key : '', value])
}

function describeLibrary({ name, path, missingVersions, problem }: LibraryNeed): string {
  const where = path === undefined ? 'is missing' : `=> ${readable(path)}`
  const lacks = missingVersions.length > 0 ? `, which has no ${readable(missingVersions.join(', '))}` : ''
  return `${readable(name)} ${where}${lacks}${problem === undefined ? '' : `, which ${problem}`}`
}

/** A name in a file may have any byte; a line of text may not. */
function oneLine(text: string): string {
  return text.replace(
    /\p{Cc}/gu,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}
