import type { Idl } from '../cef/parser.ts'
import { formatPrototype, parseIdl, resolvePrototype } from '../cef/prototype.ts'
import { type RequirementsProfile, requirementsOf } from '../cef/requirements.ts'
import { prototypesOfExports } from '../cef/wasm.ts'
import { CosmosError } from '../errors.ts'
import { S_IFDIR, S_IFMT, S_IFREG } from '../os/constants.ts'
import { refusal, type VmVerdict } from '../vm/choice.ts'
import type { VmDefinition } from '../vm/definitions.ts'
import type { Route } from '../vm/route.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import { BACKED, FUNCTION, LIBRARY } from './frames.ts'
import { idlOf, type Library } from './functions.ts'
import { libraryOfFrame } from './lookup.ts'
import type { NodeId } from './operations.ts'
import { readable } from './paths.ts'
import { type Place, walkTo } from './queries.ts'
import { walk } from './walk.ts'

/** Questions about what can be run: what it is, which VM runs it, and how. All throw CosmosError. */

/** A VM that runs an executable, and what it is told of it. */
export interface FoundRoute {
  readonly vm: VmDefinition
  readonly route: Route
}

/** What a launch asks for beside its path. */
export interface Wanted {
  /** The only VM that may run it. */
  readonly vm?: string
  /** The path is a library's, and this function of it is called: a C prototype, or a name. */
  readonly prototype?: string
  readonly seconds?: number
}

/** The VM for what lies at a path, and what it is told. */
export function route(core: TreeCore, place: Place, { vm: wanted, prototype, seconds }: Wanted): FoundRoute {
  if (prototype !== undefined) return functionRoute(core, place, prototype, seconds)
  const walked = walkTo(core, place)
  try {
    const requirements = requirementsAt(core, walked.node, place)
    const { verdicts, chosen } = core.executables.judge(requirements, wanted)
    if (!chosen) throw refusal(readable(place.path), verdicts, wanted ?? requirements.vm)
    const limits = limitsOf(requirements, chosen)
    return { vm: chosen, route: { ...routeTo(core, walked.node, requirements, place), ...limits } }
  } finally {
    walked.release()
  }
}

/** A function of a library that the caller describes. */
function functionRoute(core: TreeCore, place: Place, text: string, seconds: number | undefined): FoundRoute {
  const { vm, path, idl } = describedLibrary(core, place)
  const prototype = resolvePrototype(text, idl)
  const { kind } = requirementsOf(path)
  return {
    vm,
    route: {
      path: place.path,
      payload: path,
      kind: kind === 'wasm' ? kind : 'function',
      library: path,
      prototype: formatPrototype(prototype),
      modules: moduleDirectories(core),
      ...(seconds === undefined ? {} : { limits: { seconds } }),
    },
  }
}

/** What every VM says to what lies at a path. */
export function accepts(
  core: TreeCore,
  place: Place,
): {
  path: string
  kind: string
  chosen?: string
  verdicts: { vm: string; accepts: boolean; reason?: string }[]
} {
  const walked = walkTo(core, place)
  try {
    const requirements = requirementsAt(core, walked.node, place)
    const { verdicts, chosen } = core.executables.judge(requirements)
    return {
      path: walked.path,
      kind: requirements.kind,
      ...(chosen ? { chosen: chosen.name } : {}),
      verdicts: verdicts.map(toReport),
    }
  } finally {
    walked.release()
  }
}

/** All VMs of the cosm, and the name of the default one. */
export function vms(core: TreeCore): { vms: VmDefinition[]; defaultName: string } {
  const { vms: definitions } = core.executables
  return { vms: [...definitions.all()], defaultName: definitions.defaultName() }
}

/** The library of a path, the VM that calls its functions, and the prototypes that are known of it. */
export function library(
  core: TreeCore,
  place: Place,
): { vm: VmDefinition; library: string; prototypes: string[] } {
  const { vm, path, idl } = describedLibrary(core, place)
  return { vm, library: path, prototypes: [...idl.prototypes.values()].map(formatPrototype) }
}

/** A library by its path, or by the name of one that `.cosm/lib` has or the host's linker knows. */
function describedLibrary(core: TreeCore, place: Place): { vm: VmDefinition; path: string; idl: Idl } {
  const cosm = walk(core, '/.cosm')
  try {
    const stack = core.stackOf(cosm.node)
    const named = place.path.includes('/') ? undefined : core.libraries.find(stack, place.path)
    const { path } = named ?? libraryAtPath(core, place)
    const requirements = functionRequirements(path, '')
    const { verdicts, chosen } = core.executables.judge(requirements)
    if (!chosen) throw refusal(readable(place.path), verdicts, undefined)
    const written = idlOf(stack, path)
    const told = prototypesOfExports(requirements.exports ?? [])
    const idl = written.prototypes.size > 0 ? written : parseIdl(told.map((each) => `${each};`).join('\n'))
    return { vm: chosen, path, idl }
  } finally {
    cosm.release()
  }
}

/** What a frame needs to be run. Throws CosmosError for one that nothing could run. */
export function requirementsOfFrame(core: TreeCore, node: NodeId): RequirementsProfile | undefined {
  const { frames } = core
  switch (frames.kind(node)) {
    case BACKED:
      return frames.type(node) === S_IFREG ? requirementsOf(core.hostPath(node)) : undefined
    case LIBRARY: {
      const found = libraryOfFrame(core, node)
      return found && requirementsOf(found.path)
    }
    case FUNCTION: {
      const found = libraryOfFrame(core, frames.parent(node))
      return found && functionRequirements(found.path, frames.nameText(node))
    }
    default:
      return undefined
  }
}

/** The host file that is run for a frame. */
export function payloadOf(core: TreeCore, node: NodeId): string | undefined {
  const { frames } = core
  switch (frames.kind(node)) {
    case BACKED:
      return frames.type(node) === S_IFREG ? core.hostPath(node) : undefined
    case LIBRARY:
      return libraryOfFrame(core, node)?.path
    case FUNCTION:
      return libraryOfFrame(core, frames.parent(node))?.path
    default:
      return undefined
  }
}

/** What each VM says, a line each: the content of `name:vms`. */
export function describeVerdicts(core: TreeCore, requirements: RequirementsProfile): string {
  const { verdicts, chosen } = core.executables.judge(requirements)
  return verdicts
    .map(toReport)
    .map(
      ({ vm, accepts: yes, reason }) =>
        `${vm} ${yes ? (vm === chosen?.name ? 'runs it' : 'accepts') : `refuses: ${reason}`}\n`,
    )
    .join('')
}

function toReport({ vm, verdict }: VmVerdict): { vm: string; accepts: boolean; reason?: string } {
  return verdict.accepts
    ? { vm: readable(vm.name), accepts: true }
    : { vm: readable(vm.name), accepts: false, reason: verdict.reason }
}

/** A function of a native library is its own kind; one of a module goes where the module goes. */
function functionRequirements(path: string, symbol: string): RequirementsProfile {
  const requirements = requirementsOf(path)
  const isNative = requirements.kind === 'library' || requirements.soname !== undefined
  return { ...requirements, symbol, ...(isNative ? { kind: 'function' as const } : {}) }
}

function requirementsAt(core: TreeCore, node: NodeId, place: Place): RequirementsProfile {
  const requirements = requirementsOfFrame(core, node)
  if (requirements) return requirements
  const isDirectory = node === ROOT_NODE || (core.frames.type(node) & S_IFMT) === S_IFDIR
  throw new CosmosError(
    'EACCES',
    readable(place.path),
    isDirectory ? 'is a directory' : 'is nothing that can be run',
    `cosmos inspect ${readable(place.path)}`,
  )
}

function routeTo(core: TreeCore, node: NodeId, requirements: RequirementsProfile, place: Place): Route {
  const { kind, path: payload, interpreter, interpreterArguments, symbol, peer } = requirements
  const path = place.path.startsWith('/') ? place.path : `${place.cwd}/${place.path}`
  const modules = kind === 'wasm' ? { modules: moduleDirectories(core) } : {}
  const base: Route = { path, payload, kind, ...modules, ...(peer !== undefined && { peer }) }
  if (symbol !== undefined)
    return { ...base, library: payload, prototype: prototypeOf(core, node, requirements, symbol) }
  if (kind !== 'script' || interpreter === undefined) return base
  return { ...base, interpreter, interpreterArguments }
}

/** What an execution may use at most: what its own profile says and its VM's, the less of both. */
function limitsOf(requirements: RequirementsProfile, vm: VmDefinition): Pick<Route, 'limits'> {
  const both = [requirements.limits, vm.capabilities?.limits]
  const least = (of: 'seconds' | 'memory'): number => Math.min(...both.map((each) => each?.[of] ?? Infinity))
  const [seconds, memory] = [least('seconds'), least('memory')]
  const limits = {
    ...(Number.isFinite(seconds) ? { seconds } : {}),
    ...(Number.isFinite(memory) ? { memory } : {}),
  }
  return Object.keys(limits).length > 0 ? { limits } : {}
}

/** The prototype of a function: what an IDL file says, or the types that a WebAssembly module has. */
function prototypeOf(
  core: TreeCore,
  node: NodeId,
  requirements: RequirementsProfile,
  symbol: string,
): string {
  const { path: library, exports = [] } = requirements
  const prototype = idlOf(core.stackOf(node), library).prototypes.get(symbol)
  if (prototype) return formatPrototype(prototype)
  const exported = exports.find((each) => each.name === symbol)
  const [told] = prototypesOfExports(exported ? [exported] : [])
  if (told !== undefined) return told
  const name = readable(library.slice(library.lastIndexOf('/') + 1))
  throw new CosmosError(
    'ENOEXEC',
    readable(symbol),
    `its prototype is not known`,
    `write it, as in int ${readable(symbol)}(int);, to ~/.cosm/lib/${name}.idl`,
  )
}

/** Where the modules that a WebAssembly module imports are looked for. */
function moduleDirectories(core: TreeCore): string[] {
  return [core.places.home, '/.cosm', core.places.shipped].flatMap((layer) => [
    `${layer}/lib/cosmos/modules`,
    `${layer}/lib`,
    `${layer}/bin`,
  ])
}

function libraryAtPath(core: TreeCore, place: Place): Library {
  const walked = walkTo(core, place)
  try {
    const path = payloadOf(core, walked.node)
    const found = path === undefined ? undefined : core.libraries.at(path)
    if (found) return found
    throw new CosmosError(
      'ENOEXEC',
      readable(place.path),
      'is no library whose functions can be called',
      `cosmos inspect ${readable(place.path)}`,
    )
  } finally {
    walked.release()
  }
}
