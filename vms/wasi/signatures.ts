/**
 * The types of a module's functions, read from its binary: JavaScript's API does not tell them. See the WebAssembly
 * core specification, chapter 5, "Binary Format". Only for bytes that the engine has validated.
 */

/** A value's type; `other` for those that no message carries (vectors, references). */
export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'other'

/** What a function takes and gives. */
export interface Signature {
  readonly params: readonly ValueType[]
  readonly results: readonly ValueType[]
}

/** The functions at a module's border. */
export interface Signatures {
  /** In the order of the module's imports, functions only. */
  readonly imports: readonly { module: string; name: string; signature: Signature }[]
  readonly exports: ReadonlyMap<string, Signature>
}

const SECTION = { type: 1, import: 2, function: 3, export: 7 }
const KIND = { function: 0, table: 1, memory: 2, global: 3, tag: 4 }
const FUNCTION_TYPE = 0x60
const VALUE_TYPES: ReadonlyMap<number, ValueType> = new Map([
  [0x7f, 'i32'],
  [0x7e, 'i64'],
  [0x7d, 'f32'],
  [0x7c, 'f64'],
])
/** `(ref null heap)` and `(ref heap)`: a heap type follows. */
const TYPED_REFERENCES: ReadonlySet<number> = new Set([0x63, 0x64])
const UNKNOWN: Signature = { params: ['other'], results: ['other'] }

/** Reads them. A module that has types which are not those of functions has signatures of `other` throughout. */
export function readSignatures(bytes: Uint8Array): Signatures {
  const reader = new Reader(bytes)
  reader.at = 8
  let types: Signature[] = []
  const functions: Signature[] = []
  const imports: { module: string; name: string; signature: Signature }[] = []
  const exports = new Map<string, Signature>()
  const typeAt = (index: number): Signature => types[index] ?? UNKNOWN
  while (reader.at < bytes.length) {
    const section = reader.byte()
    const end = reader.number() + reader.at
    if (section === SECTION.type) types = reader.types()
    if (section === SECTION.import)
      reader.times(() => {
        const module = reader.name()
        const name = reader.name()
        if (reader.byte(false) !== KIND.function) return reader.skipImport()
        reader.byte()
        const signature = typeAt(reader.number())
        functions.push(signature)
        imports.push({ module, name, signature })
      })
    if (section === SECTION.function) reader.times(() => functions.push(typeAt(reader.number())))
    if (section === SECTION.export)
      reader.times(() => {
        const name = reader.name()
        const kind = reader.byte()
        const index = reader.number()
        if (kind === KIND.function) exports.set(name, functions[index] ?? UNKNOWN)
      })
    reader.at = end
  }
  return { imports, exports }
}

/** Whether two functions can stand for each other. */
export function sameSignature(a: Signature, b: Signature): boolean {
  return describeSignature(a) === describeSignature(b)
}

/** For people: `(i32, i32) → i32`. */
export function describeSignature({ params, results }: Signature): string {
  return `(${params.join(', ')}) → ${results.length === 0 ? 'nothing' : results.join(', ')}`
}

class Reader {
  readonly #bytes: Uint8Array
  at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  byte(take = true): number {
    const byte = this.#bytes[this.at] ?? 0
    if (take) this.at++
    return byte
  }

  /** LEB128; signed ones (heap types) are skipped right as well. */
  number(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte()
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }

  times(each: () => void): void {
    for (let left = this.number(); left > 0; left--) each()
  }

  name(): string {
    const length = this.number()
    this.at += length
    return Buffer.from(this.#bytes.subarray(this.at - length, this.at)).toString('utf8')
  }

  valueType(): ValueType {
    const byte = this.byte()
    if (TYPED_REFERENCES.has(byte)) this.number()
    return VALUE_TYPES.get(byte) ?? 'other'
  }

  valueTypes(): ValueType[] {
    const types: ValueType[] = []
    this.times(() => types.push(this.valueType()))
    return types
  }

  /** The type section; empty where it has types of other kinds, whose forms are not read here. */
  types(): Signature[] {
    const types: Signature[] = []
    for (let left = this.number(); left > 0; left--) {
      if (this.byte() !== FUNCTION_TYPE) return []
      types.push({ params: this.valueTypes(), results: this.valueTypes() })
    }
    return types
  }

  /** What an import that is no function is said to be. */
  skipImport(): void {
    const kind = this.byte()
    if (kind === KIND.global || kind === KIND.table) this.valueType()
    if (kind === KIND.global || kind === KIND.tag) this.byte()
    if (kind === KIND.tag) this.number()
    if (kind !== KIND.table && kind !== KIND.memory) return
    const flags = this.byte()
    this.number()
    if (flags & 1) this.number()
    if (flags & 8) this.number()
  }
}
