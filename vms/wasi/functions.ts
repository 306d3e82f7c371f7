import { CosmosError } from '../../src/errors.ts'
import { GuestBuffers } from './guest-api.ts'
import { initialize, Linked, plan } from './link.ts'
import type { ModuleCache } from './modules.ts'
import { describeSignature, type Signature, type ValueType } from './signatures.ts'
import { trapReason } from './trap.ts'

/** Libraries: modules whose exported functions are called. Their state lives as long as the session. */

interface Library {
  readonly path: string
  readonly identity: string
  readonly linked: Linked
  readonly exports: ReadonlyMap<string, Signature>
  opened: number
}

interface BoundFunction {
  readonly library: Library
  readonly name: string
  readonly signature: Signature
  /** Whether an i32 or i64 that comes back is unsigned. */
  readonly unsigned: boolean
  readonly bool: boolean
  readonly run: (...args: (number | bigint)[]) => unknown
}

/** What a function is found by: its name, or a C prototype. */
interface Prototype {
  readonly name: string
  readonly parameters: number | undefined
  readonly result: string
}

const C_TYPES: Readonly<Record<ValueType, string>> = {
  i32: 'int',
  i64: 'long long',
  f32: 'float',
  f64: 'double',
  other: 'void *',
}
/** What a library reads and writes: nothing, and this process's log. */
const NOTHING = 0
const LOG = 2

export class Functions {
  readonly #cache: ModuleCache
  readonly #libraries = new Map<number, Library>()
  readonly #functions = new Map<number, BoundFunction>()
  #last = 0

  constructor(cache: ModuleCache) {
    this.#cache = cache
  }

  /** Loads a library; the number of one that is loaded already. Throws CosmosError ENOEXEC, ENOENT … */
  open(path: string, modules: readonly string[]): number {
    const loaded = this.#cache.load(path)
    for (const [number, library] of this.#libraries)
      if (library.identity === loaded.identity) {
        library.opened++
        return number
      }
    const streams = { stdin: NOTHING, stdout: LOG, stderr: LOG }
    const buffers = new GuestBuffers(streams)
    const context = { argv: [path], env: {}, directories: {}, streams, buffers }
    const planned = plan(loaded, modules, this.#cache)
    const linked = guarded(path, () => {
      const made = new Linked(planned, context)
      initialize(made.main)
      return made
    })
    const { identity, signatures } = loaded
    this.#libraries.set(++this.#last, { path, identity, linked, exports: signatures.exports, opened: 1 })
    return this.#last
  }

  /** A function of a library by its name or its C prototype. Throws CosmosError ENOENT, EINVAL, ENOTSUP. */
  symbol(number: number, prototype: string): { function: number; name: string; prototype: string } {
    const library = this.#library(number)
    const { name, parameters, result } = parsePrototype(prototype)
    const signature = library.exports.get(name)
    if (signature === undefined)
      throw new CosmosError('ENOENT', name, `${library.path} exports no such function`)
    if ([...signature.params, ...signature.results].includes('other'))
      throw new CosmosError('ENOTSUP', name, `its type ${describeSignature(signature)} is not one of numbers`)
    if (parameters !== undefined && parameters !== signature.params.length)
      throw new CosmosError(
        'EINVAL',
        name,
        `its type is ${describeSignature(signature)}`,
        describe(name, signature),
      )
    const run = library.linked.main.exports[name] as BoundFunction['run']
    const unsigned = /\bunsigned\b|\buint\w*_t\b|\bsize_t\b|\*/.test(result)
    const bool = /\b_?bool\b/i.test(result)
    this.#functions.set(++this.#last, { library, name, signature, unsigned, bool, run })
    const answered = parameters === undefined ? describe(name, signature) : prototype
    return { function: this.#last, name, prototype: answered }
  }

  /** Calls a function. Throws CosmosError EINVAL for arguments that are none, EFAULT for a trap. */
  call(number: number, args: readonly unknown[]): unknown {
    const called = this.#functions.get(number)
    if (called === undefined) throw new CosmosError('EBADF', 'call', `there is no function ${number}`)
    const { name, signature, run } = called
    if (args.length !== signature.params.length)
      throw new CosmosError('EINVAL', name, `${args.length} arguments; it takes ${signature.params.length}`)
    const values = args.map((value, i) => toWasm(value, signature.params[i]!, name, i))
    return fromWasm(
      guarded(name, () => run(...values)),
      called,
    )
  }

  /** Gives a library up once; unloads it when it was the last time. */
  close(number: number): void {
    const library = this.#library(number)
    if (--library.opened > 0) return
    library.linked.close()
    this.#libraries.delete(number)
    for (const [key, { library: of }] of this.#functions) if (of === library) this.#functions.delete(key)
  }

  /** Unloads all. */
  closeAll(): void {
    for (const { linked } of this.#libraries.values()) linked.close()
    this.#libraries.clear()
    this.#functions.clear()
  }

  #library(number: number): Library {
    const library = this.#libraries.get(number)
    if (library === undefined) throw new CosmosError('EBADF', 'library', `there is no library ${number}`)
    return library
  }
}

function parsePrototype(text: string): Prototype {
  const bare = /^\s*([^\s(),;*]+)\s*$/.exec(text)
  if (bare) return { name: bare[1]!, parameters: undefined, result: '' }
  const match = /^([^()]*?)([^\s(),;*]+)\s*\(([^()]*)\)\s*;?\s*$/.exec(text)
  if (match === null) throw new CosmosError('EINVAL', text, 'is no prototype', 'int add(int x, int y)')
  const [, result = '', name = '', inside = ''] = match
  const list = inside.trim()
  return { name, parameters: list === '' || list === 'void' ? 0 : list.split(',').length, result }
}

function describe(name: string, { params, results }: Signature): string {
  const result = results.length === 0 ? 'void' : results.map((type) => C_TYPES[type]).join(', ')
  return `${result} ${name}(${params.length === 0 ? 'void' : params.map((type) => C_TYPES[type]).join(', ')})`
}

function toWasm(value: unknown, type: ValueType, name: string, position: number): number | bigint {
  const plain = typeof value === 'boolean' ? Number(value) : value
  if (type === 'f32' || type === 'f64') {
    if (typeof plain === 'number' || typeof plain === 'bigint') return Number(plain)
  } else if (typeof plain === 'bigint' || (typeof plain === 'number' && Number.isInteger(plain))) {
    const bits = type === 'i32' ? 32n : 64n
    const integer = BigInt(plain)
    if (integer >= -(1n << (bits - 1n)) && integer < 1n << bits)
      return type === 'i32' ? Number(integer) : BigInt.asIntN(64, integer)
  }
  throw new CosmosError('EINVAL', name, `argument ${position + 1}, ${readable(plain)}, is no ${type}`)
}

function readable(value: unknown): string {
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : `a ${typeof value}`
}

function fromWasm(value: unknown, called: BoundFunction): unknown {
  if (Array.isArray(value)) return value.map((one) => fromWasm(one, called))
  if (called.bool) return Boolean(value)
  if (typeof value === 'bigint') {
    const integer = called.unsigned ? BigInt.asUintN(64, value) : value
    return Number.isSafeInteger(Number(integer)) ? Number(integer) : integer
  }
  if (typeof value !== 'number') return null
  return called.unsigned && called.signature.results[0] === 'i32' ? value >>> 0 : value
}

/** Does something in a guest; a trap is an error EFAULT. */
function guarded<T>(subject: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    const reason = trapReason(error)
    if (reason === undefined) throw error
    throw new CosmosError('EFAULT', subject, `trap: ${reason}`)
  }
}
