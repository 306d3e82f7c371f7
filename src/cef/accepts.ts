import { readable } from '../frame/paths.ts'
import type { CapabilitiesProfile, CefKind } from './capabilities.ts'
import type { Host } from './host.ts'
import type { RequirementsProfile } from './requirements.ts'
import { findOnPath, isEnv, programOfEnv } from './script.ts'

/** Why a VM does not take an executable. */
export interface Refusal {
  readonly accepts: false
  /** errno name; EOPNOTSUPP where the VM is for other executables altogether: the least telling of the reasons. */
  readonly code: string
  /** One line that names the thing and what is missing; it follows the executable's name. */
  readonly reason: string
}

/** Whether a VM takes an executable. */
export type Verdict = { readonly accepts: true } | Refusal

/** Scripts that may stand one behind the other as interpreters (fs/exec.c). */
const MAX_INTERPRETERS = 5

/**
 * Decides whether a VM runs an executable on a machine (design §5). Synchronous; of the machine it asks only what
 * `host` answers, and where env(1) would find an interpreter. Never throws.
 */
export function accepts(
  requirements: RequirementsProfile,
  capabilities: CapabilitiesProfile,
  host: Host,
): Verdict {
  const refusal =
    refusedAsBroken(requirements) ??
    refusedAsOther(requirements, capabilities) ??
    refusedByMachine(requirements, capabilities, host) ??
    (capabilities.native
      ? refusedByKernel(requirements, capabilities, host, 0)
      : refusedByVm(requirements, capabilities)) ??
    refusedByLibraries(requirements, capabilities) ??
    refusedByDeclared(requirements, capabilities, host)
  return refusal ?? { accepts: true }
}

/** `reason` is text for people: what has one character a byte goes through `readable` first. */
function refuse(code: string, reason: string): Refusal {
  return { accepts: false, code, reason: reason.replace(/\p{Cc}/gu, '?') }
}

/** The VM is for another kind of executable, or the executable wants another VM. */
function refusedAsOther(
  { kind, soname, vm, suffix }: RequirementsProfile,
  { name, kinds }: CapabilitiesProfile,
): Refusal | undefined {
  if (vm !== undefined && vm !== name) return refuse('EOPNOTSUPP', `wants the VM ${vm}, this is ${name}`)
  // The kernel can run some libraries.
  const alsoLibrary = kind === 'native' && soname !== undefined && kinds.includes('library')
  if (kinds.includes(kind) || alsoLibrary) return undefined
  const what =
    kind === 'program'
      ? `a file ${suffix === undefined ? '' : `*${readable(suffix)} `}without #!`
      : NOUNS[kind]
  const runs = kinds.length === 0 ? 'no executables' : kinds.map((one) => PLURALS[one]).join(', ')
  return refuse('EOPNOTSUPP', `is ${what}; ${name} runs ${runs}`)
}

const NOUNS: Readonly<Record<Exclude<CefKind, 'program'>, string>> = {
  native: 'an ELF program',
  library: 'a library',
  script: 'a script',
  wasm: 'WebAssembly',
  function: "a library's function",
  remote: "a peer's program",
}

const PLURALS: Readonly<Record<CefKind, string>> = {
  native: 'ELF programs',
  library: 'libraries',
  script: 'scripts',
  wasm: 'WebAssembly',
  program: 'programs by their suffix',
  function: 'functions',
  remote: 'programs of peers',
}

function refusedAsBroken({ problem }: RequirementsProfile): Refusal | undefined {
  return problem && refuse(problem.code, problem.message)
}

/** Another processor, system, or a kernel that is too old. */
function refusedByMachine(
  { arch, kernel }: RequirementsProfile,
  { arch: archs, name }: CapabilitiesProfile,
  host: Host,
): Refusal | undefined {
  if (arch !== undefined && !archs.includes(arch)) {
    const has = archs.includes(host.arch) ? `this machine is ${host.arch}` : `${name} has ${archs.join(', ')}`
    return refuse('ENOEXEC', `needs ${arch}, ${has}`)
  }
  if (!kernel) return undefined
  const { system, atLeast } = kernel
  if (system !== host.system) return refuse('ENOEXEC', `is for ${system}, this machine has ${host.system}`)
  return atLeast !== undefined && isOlder(host.kernel, atLeast)
    ? refuse('ENOEXEC', `needs ${system} ${atLeast} or newer, this machine has ${host.kernel}`)
    : undefined
}

function isOlder(release: string, than: string): boolean {
  const numbers = (text: string): number[] => (text.match(/\d+/g) ?? []).slice(0, 3).map(Number)
  const [have, want] = [numbers(release), numbers(than)]
  for (let i = 0; i < want.length; i++) {
    const difference = (have[i] ?? 0) - want[i]!
    if (difference !== 0) return difference < 0
  }
  return false
}

/** What execve would refuse: no x bit, or an interpreter that it would not run. */
function refusedByKernel(
  requirements: RequirementsProfile,
  capabilities: CapabilitiesProfile,
  host: Host,
  depth: number,
): Refusal | undefined {
  const { kind, executable, interpreter } = requirements
  if (!executable) return refuse('EACCES', 'is not executable: no x bit, or a mount with noexec')
  if (interpreter === undefined) return undefined
  if (kind === 'native') return refusedLinker(requirements, interpreter, host)
  if (interpreter.endsWith('\r'))
    return refuse(
      'ENOENT',
      `has Windows line ends: its interpreter is ${readable(interpreter.slice(0, -1))} and a CR`,
    )
  const refusal = refusedInterpreter(interpreter, capabilities, host, depth)
  if (refusal || !isEnv(interpreter)) return refusal
  const name = programOfEnv(requirements.interpreterArguments[0] ?? '')
  if (name === undefined) return undefined
  const found = findOnPath(name, host.path)
  if (found === undefined) return refuse('ENOENT', `its interpreter ${readable(name)} is not on the PATH`)
  return refusedInterpreter(found, capabilities, host, depth)
}

function refusedInterpreter(
  path: string,
  capabilities: CapabilitiesProfile,
  host: Host,
  depth: number,
): Refusal | undefined {
  if (depth === MAX_INTERPRETERS) return refuse('ELOOP', `has more than ${MAX_INTERPRETERS} interpreters`)
  if (!path.startsWith('/')) return refuse('ENOENT', `its interpreter ${readable(path)} is no absolute path`)
  const profile = host.requirementsOf(path)
  if (profile.problem?.code === 'ENOENT')
    return refuse('ENOENT', `its interpreter ${readable(path)} is missing`)
  const isLoadable = profile.kind === 'library' || capabilities.kinds.includes(profile.kind)
  const refusal = isLoadable
    ? (refusedAsBroken(profile) ??
      refusedByMachine(profile, capabilities, host) ??
      refusedByKernel(profile, capabilities, host, depth + 1) ??
      refusedByLibraries(profile, capabilities))
    : (refusedAsBroken(profile) ?? refuse('ENOEXEC', 'is no program'))
  if (!refusal || refusal.code === 'ELOOP') return refusal
  return { ...refusal, reason: `its interpreter ${readable(path)}: ${refusal.reason}` }
}

/** The dynamic linker is mapped by the kernel: an ELF file of the program's own architecture. */
function refusedLinker({ arch }: RequirementsProfile, path: string, host: Host): Refusal | undefined {
  if (!path.startsWith('/')) return refuse('ENOENT', `its interpreter ${readable(path)} is no absolute path`)
  const linker = host.requirementsOf(path)
  if (linker.problem?.code === 'ENOENT')
    return refuse('ENOENT', `its interpreter ${readable(path)} is missing`)
  const its = `its interpreter ${readable(path)}`
  if (linker.problem) return refuse(linker.problem.code, `${its}: ${linker.problem.message}`)
  if (linker.arch !== arch) return refuse('ENOEXEC', `${its} is for ${linker.arch ?? 'no machine'}`)
  return linker.executable ? undefined : refuse('EACCES', `${its} is not executable`)
}

/** What a VM that is no kernel takes of scripts, programs and WebAssembly. */
function refusedByVm(
  { kind, suffix, vm, interpreter, interpreterArguments, imports }: RequirementsProfile,
  capabilities: CapabilitiesProfile,
): Refusal | undefined {
  const { name, suffixes, interpreters } = capabilities
  if (kind === 'wasm') {
    const lacking = imports?.find(({ module }) => capabilities.imports?.includes(module) === false)
    return lacking && refuse('ENOEXEC', `imports ${lacking.module}.${lacking.name}, which ${name} has not`)
  }
  if ((kind !== 'script' && kind !== 'program') || vm === name) return undefined
  if (suffix !== undefined && suffixes?.includes(suffix)) return undefined
  const named = interpreter && interpreterName(interpreter, interpreterArguments)
  if (named !== undefined && interpreters?.includes(named)) return undefined
  // A VM that names neither takes every script; a program has to be known.
  if (kind === 'script' && !suffixes && !interpreters) return undefined
  if (kind === 'script')
    return refuse('ENOEXEC', `is for ${readable(named ?? 'no interpreter')}, which ${name} has not`)
  return refuse('ENOEXEC', suffix === undefined ? 'has no suffix' : `${name} knows no ${readable(suffix)}`)
}

function interpreterName(interpreter: string, [argument]: readonly string[]): string {
  const program = isEnv(interpreter) ? (programOfEnv(argument ?? '') ?? interpreter) : interpreter
  return program.slice(program.lastIndexOf('/') + 1)
}

/** A library, or a version of its symbols, that is not on this machine; declared ones count for every VM. */
function refusedByLibraries(
  { kind, libraries }: RequirementsProfile,
  { checksLibraries }: CapabilitiesProfile,
): Refusal | undefined {
  const isElf = kind === 'native' || kind === 'library' || kind === 'function'
  if (isElf && !checksLibraries) return undefined
  const missing = libraries.filter(({ path }) => path === undefined).map(({ name }) => readable(name))
  if (missing.length > 0)
    return refuse('ENOENT', `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing`)
  for (const { name, missingVersions, problem } of libraries) {
    if (problem !== undefined) return refuse('ENOEXEC', `${readable(name)} ${problem}`)
    if (missingVersions.length > 0)
      return refuse('ENOEXEC', `${readable(name)} has no ${readable(missingVersions.join(', '))}`)
  }
  return undefined
}

/** Variables, files, devices and limits that the owner declared. */
function refusedByDeclared(
  { environment, files, devices, limits }: RequirementsProfile,
  capabilities: CapabilitiesProfile,
  host: Host,
): Refusal | undefined {
  const unset = environment.find((name) => !host.environment.has(name))
  if (unset !== undefined) return refuse('ENOENT', `needs the variable ${unset}, which is not set`)
  const lost = files.find((path) => host.kindOf(path) === undefined)
  if (lost !== undefined) return refuse('ENOENT', `needs the file ${readable(lost)}, which is missing`)
  const gone = devices.find((path) => host.kindOf(path) !== 'device')
  if (gone !== undefined) return refuse('ENODEV', `needs the device ${readable(gone)}, which is missing`)
  const { memory, seconds } = capabilities.limits
  if (limits?.memory !== undefined && memory !== undefined && limits.memory > memory)
    return refuse('ENOMEM', `needs ${limits.memory} bytes of memory, ${capabilities.name} gives ${memory}`)
  if (limits?.seconds !== undefined && seconds !== undefined && limits.seconds > seconds)
    return refuse('ETIME', `needs ${limits.seconds} seconds, ${capabilities.name} gives ${seconds}`)
  return undefined
}
