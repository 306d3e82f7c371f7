import type { HostFile } from './host-file.ts'

/** What a WebAssembly module takes from outside, or offers. */
export interface WasmExport {
  readonly name: string
  readonly kind: 'function' | 'table' | 'memory' | 'global' | 'tag'
  /** Of an exported function whose types C has. */
  readonly signature?: WasmSignature
}

/** Types of a function: those of numbers, as C names them. */
export interface WasmSignature {
  readonly parameters: readonly string[]
  readonly result: string
}

/** An import: its name in a module. */
export interface WasmImport extends WasmExport {
  readonly module: string
}

/** What is known of a module without compiling it. */
export interface WasmModule {
  readonly imports: readonly WasmImport[]
  readonly exports: readonly WasmExport[]
}

const KINDS = ['function', 'table', 'memory', 'global', 'tag'] as const
const TYPE_SECTION = 1
const IMPORT_SECTION = 2
const FUNCTION_SECTION = 3
const EXPORT_SECTION = 7
const MAX_SECTIONS = 100_000
/** The most that engines take (WebAssembly JavaScript interface, implementation limits). */
const MAX_ENTRIES = 1_000_000
/** A type that is a function's; and the value types that C has a number for. */
const FUNCTION_TYPE = 0x60
const C_TYPES: Readonly<Record<number, string>> = {
  127: 'int',
  126: 'long long',
  125: 'float',
  124: 'double',
}
/** Value types that are followed by a heap type: (ref null ht), (ref ht). */
const REF_NULL = 0x63
const REF = 0x64
/** Bits of a limits' flags (core specification and its threads, memory64 and page size proposals). */
const HAS_MAXIMUM = 1
const HAS_PAGE_SIZE = 8

/**
 * Reads the imports and exports of a WebAssembly module, stepping over everything else. Throws CosmosError
 * ENOEXEC for what is truncated, malformed, or a component.
 */
export function parseWasm(file: HostFile): WasmModule {
  const header = file.at(0, 8)
  const version = header.readUInt32LE(4)
  if (version >>> 16 !== 0) throw file.invalid('is a WebAssembly component; only modules are run')
  if (version !== 1) throw file.invalid(`is WebAssembly of version ${version}`)
  let imports: Imported[] = []
  let exports: Exported[] = []
  let types: (WasmSignature | undefined)[] = []
  let defined: number[] = []
  let at = 8
  for (let sections = 0; at < file.size; sections++) {
    if (sections === MAX_SECTIONS) throw file.invalid('has too many sections')
    const head = new Cursor(file.at(at, Math.min(6, file.size - at)), file)
    const id = head.byte()
    const size = head.unsigned()
    const start = at + head.position
    at = start + size
    if (at > file.size) throw file.invalid(`is truncated: it has ${file.size} of ${at} bytes`)
    if (id === TYPE_SECTION) types = new Cursor(file.at(start, size), file).types()
    else if (id === FUNCTION_SECTION) defined = new Cursor(file.at(start, size), file).indices()
    else if (id === IMPORT_SECTION) imports = new Cursor(file.at(start, size), file).imports()
    else if (id === EXPORT_SECTION) exports = new Cursor(file.at(start, size), file).exports()
  }
  const functions = [...imports.flatMap(({ type }) => (type === undefined ? [] : [type])), ...defined]
  return {
    imports: imports.map(({ module, name, kind }) => ({ module, name, kind })),
    exports: exports.map(({ name, kind, index }) => {
      const signature = kind === 'function' ? types[functions[index] ?? -1] : undefined
      return { name, kind, ...(signature && { signature }) }
    }),
  }
}

/** C prototypes of the functions that a module exports under names that C has. */
export function prototypesOfExports(exports: readonly WasmExport[]): string[] {
  return exports.flatMap(({ name, signature }) =>
    signature && /^[A-Za-z_]\w*$/.test(name)
      ? [`${signature.result} ${name}(${signature.parameters.join(', ') || 'void'})`]
      : [],
  )
}

/** An import, and the type of one that is a function. */
type Imported = WasmImport & { type?: number }
/** An export, and its number among those of its kind. */
type Exported = WasmExport & { index: number }

/** Reads a section's bytes from front to back, and never past its end. */
class Cursor {
  position = 0
  readonly #bytes: Buffer
  readonly #file: HostFile

  constructor(bytes: Buffer, file: HostFile) {
    this.#bytes = bytes
    this.#file = file
  }

  byte(): number {
    const byte = this.#bytes[this.position++]
    if (byte === undefined) throw this.#file.invalid('has a section that ends too early')
    return byte
  }

  /** LEB128 of at most 64 bits; over 2^53 it is no exact number, and beyond any file. */
  unsigned(): number {
    let value = 0
    for (let i = 0; i < 10; i++) {
      const byte = this.byte()
      value += (byte & 0x7f) * 2 ** (7 * i)
      if (byte < 0x80) return value
    }
    throw this.#file.invalid('has a number without an end')
  }

  text(): string {
    const length = this.unsigned()
    const start = this.position
    if (length > this.#bytes.length - start) throw this.#file.invalid('has a section that ends too early')
    this.position += length
    return this.#bytes.toString('utf8', start, start + length)
  }

  /** Function types; undefined for one with types that C has not. Empty where there are others than functions'. */
  types(): (WasmSignature | undefined)[] {
    let isPlain = true
    const all = this.#list(() => {
      if (!isPlain || this.byte() !== FUNCTION_TYPE) {
        isPlain = false
        return undefined
      }
      const parameters = this.#list(() => this.#cType())
      const results = this.#list(() => this.#cType())
      if (parameters.includes(undefined) || results.includes(undefined) || results.length > 1)
        return undefined
      return { parameters: parameters as string[], result: results[0] ?? 'void' }
    })
    return isPlain ? all : []
  }

  indices(): number[] {
    return this.#list(() => this.unsigned())
  }

  imports(): Imported[] {
    return this.#list(() => {
      const [module, name] = [this.text(), this.text()]
      const kind = this.#kind()
      if (kind === 'function') return { module, name, kind, type: this.unsigned() }
      if (kind === 'global') {
        this.#valueType()
        this.byte()
      } else if (kind === 'tag') {
        this.byte()
        this.unsigned()
      } else {
        if (kind === 'table') this.#valueType()
        this.#limits()
      }
      return { module, name, kind }
    })
  }

  exports(): Exported[] {
    return this.#list(() => ({ name: this.text(), kind: this.#kind(), index: this.unsigned() }))
  }

  #list<T>(entry: () => T): T[] {
    const count = this.unsigned()
    if (count > MAX_ENTRIES) throw this.#file.invalid(`has ${count} entries in a section`)
    return Array.from({ length: count }, entry)
  }

  #kind(): WasmExport['kind'] {
    const byte = this.byte()
    const kind = KINDS[byte]
    if (!kind) throw this.#file.invalid(`has an import or export of the unknown kind ${byte}`)
    return kind
  }

  #cType(): string | undefined {
    const type = this.byte()
    if (type === REF || type === REF_NULL) this.unsigned()
    return C_TYPES[type]
  }

  #valueType(): void {
    const type = this.byte()
    if (type === REF || type === REF_NULL) this.unsigned()
  }

  #limits(): void {
    const flags = this.byte()
    this.unsigned()
    if ((flags & HAS_MAXIMUM) !== 0) this.unsigned()
    if ((flags & HAS_PAGE_SIZE) !== 0) this.unsigned()
  }
}
