import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { CosmosError } from '../../src/errors.ts'
import { GUEST_API, guestFunctions, guestSignature } from './guest-api.ts'
import { type LoadedModule, type ModuleCache, shorten } from './modules.ts'
import { describeSignature, type Signature, sameSignature } from './signatures.ts'
import { InstanceWasi, isWasi, WASI_FUNCTIONS, type WasiContext, type WasiModule } from './wasi.ts'

/**
 * Binding: what a module imports is WASI, the guest API, or a function of another module that is found under the
 * import's name. Everything that can be wrong with it is found before anything of it runs.
 */

/** A module with all that it needs. */
export interface Plan {
  readonly loaded: LoadedModule
  /** The version of WASI that it imports. */
  readonly wasi: WasiModule | undefined
  readonly usesGuestApi: boolean
  /** The modules that it imports functions of, by the import's name. */
  readonly bound: ReadonlyMap<string, Plan>
}

/**
 * Finds what a module needs in directories of modules. Throws CosmosError: ENOEXEC for what cannot be bound, ELOOP
 * for modules that need each other.
 */
export function plan(loaded: LoadedModule, directories: readonly string[], cache: ModuleCache): Plan {
  return planOne(loaded, new Map(), [], { directories, cache })
}

interface Search {
  readonly directories: readonly string[]
  readonly cache: ModuleCache
}

function planOne(loaded: LoadedModule, done: Map<string, Plan>, above: string[], search: Search): Plan {
  const known = done.get(loaded.identity)
  if (known !== undefined) return known
  const bound = new Map<string, Plan>()
  let wasi: WasiModule | undefined
  let usesGuestApi = false
  const signatures = signaturesOf(loaded)
  for (const { module, name, kind } of WebAssembly.Module.imports(loaded.module)) {
    const wants = `imports ${kind} ${name} of module ${module}`
    const refuse = (why: string): never => {
      throw new CosmosError('ENOEXEC', loaded.path, `${wants}, ${why}`)
    }
    if (kind !== 'function') refuse('but only functions can be imported')
    const signature = signatures.next().value as Signature
    if (isWasi(module)) {
      if (!WASI_FUNCTIONS.has(name)) refuse('which WASI does not have')
      if (wasi !== undefined && wasi !== module) refuse(`but ${wasi} too`)
      wasi = module
      continue
    }
    if (module === GUEST_API) {
      checkSignature(guestSignature(name) ?? refuse('which the guest API does not have'), signature, refuse)
      usesGuestApi = true
      continue
    }
    const other = bound.get(module) ?? planBound(module, [...above, loaded.identity])
    bound.set(module, other)
    const exported = other.loaded.signatures.exports.get(name)
    checkSignature(exported ?? refuse(`but ${other.loaded.path} exports no such function`), signature, refuse)

    function planBound(named: string, chain: string[]): Plan {
      const path = findModule(named, search.directories)
      if (path === undefined) return refuse(whereSought(search.directories))
      const next = search.cache.load(path)
      if (chain.includes(next.identity))
        throw new CosmosError('ELOOP', loaded.path, `${wants}, which needs ${basename(loaded.path)} itself`)
      return planOne(next, done, chain, search)
    }
  }
  const exportsMemory = WebAssembly.Module.exports(loaded.module).some(isMemory)
  if ((wasi !== undefined || usesGuestApi) && !exportsMemory)
    throw new CosmosError('ENOEXEC', loaded.path, `imports ${wasi ?? GUEST_API} and exports no memory`)
  const made = { loaded, wasi, usesGuestApi, bound }
  done.set(loaded.identity, made)
  return made
}

function isMemory({ name, kind }: WebAssembly.ExportDescriptor): boolean {
  return name === 'memory' && kind === 'memory'
}

function* signaturesOf({ signatures }: LoadedModule): Generator<Signature> {
  for (const { signature } of signatures.imports) yield signature
}

function checkSignature(has: Signature, wants: Signature, refuse: (why: string) => never): void {
  if (!sameSignature(has, wants))
    refuse(`as ${describeSignature(wants)}, but it is ${describeSignature(has)}`)
}

function findModule(name: string, directories: readonly string[]): string | undefined {
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) return undefined
  for (const directory of directories)
    for (const file of [name, `${name}.wasm`])
      if (existsSync(join(directory, file))) return join(directory, file)
  return undefined
}

function whereSought(directories: readonly string[]): string {
  if (directories.length === 0) return 'and no directory of modules is given'
  return `which is not in ${directories.join(', ')}`
}

/** Instances of a plan's modules, which live and end together. */
export class Linked {
  readonly #context: WasiContext
  readonly #instances = new Map<Plan, WebAssembly.Instance>()
  readonly #wasis: InstanceWasi[] = []
  readonly main: WebAssembly.Instance

  /**
   * Instantiates them, the bound ones first. Throws CosmosError ENOEXEC where that fails, ENOMEM where a memory is
   * larger than it may be; and what a module's start function throws.
   */
  constructor(root: Plan, context: WasiContext) {
    this.#context = context
    try {
      this.main = this.#instantiate(root)
    } catch (error) {
      this.close()
      throw error
    }
  }

  #instantiate(of: Plan): WebAssembly.Instance {
    const known = this.#instances.get(of)
    if (known !== undefined) return known
    const { path, module } = of.loaded
    const bound = new Map([...of.bound].map(([name, other]) => [name, this.#instantiateBound(other)]))
    const wasi = of.wasi && new InstanceWasi(of.wasi, this.#context)
    if (wasi) this.#wasis.push(wasi)
    let memory: WebAssembly.Memory | undefined
    const guest = of.usesGuestApi ? guestFunctions(this.#context.buffers, () => memory) : undefined
    const imports: WebAssembly.Imports = Object.create(null)
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      const functions = imports[from] ?? Object.create(null)
      imports[from] = functions
      if (isWasi(from)) functions[name] = wasi!.function(name)
      else if (from === GUEST_API) functions[name] = guest![name as keyof typeof guest]
      else functions[name] = bound.get(from)!.exports[name]
    }
    const instance = instantiate(path, module, imports)
    const exported = instance.exports.memory
    memory = exported instanceof WebAssembly.Memory ? exported : undefined
    if (wasi && memory) wasi.bind(instance, memory)
    this.#instances.set(of, instance)
    return instance
  }

  /** A module that is only called has an `_initialize` where it needs one. */
  #instantiateBound(of: Plan): WebAssembly.Instance {
    const known = this.#instances.get(of)
    if (known !== undefined) return known
    const instance = this.#instantiate(of)
    initialize(instance)
    return instance
  }

  /** Closes what the modules have left open. */
  close(): void {
    for (const wasi of this.#wasis.splice(0)) wasi.close()
  }
}

/** Calls `_initialize` of a module that has it. */
export function initialize(instance: WebAssembly.Instance): void {
  const { _initialize: start } = instance.exports
  if (typeof start === 'function') start()
}

function instantiate(
  path: string,
  module: WebAssembly.Module,
  imports: WebAssembly.Imports,
): WebAssembly.Instance {
  try {
    return new WebAssembly.Instance(module, imports)
  } catch (error) {
    if (error instanceof WebAssembly.LinkError) throw new CosmosError('ENOEXEC', path, shorten(error.message))
    if (error instanceof RangeError && error.message.includes('Out of memory'))
      throw new CosmosError('ENOMEM', path, 'needs more memory than it may have')
    throw error
  }
}
