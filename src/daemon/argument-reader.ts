import { CosmosError } from '../errors.ts'
import { isMap } from '../form/msgpack.ts'
import { fromWire } from '../form/wire.ts'
import type { RunExit } from '../vm/runs.ts'
import type { BytesText } from './handlers.ts'
import type { BindKind } from './results.ts'

/** Longest path of a system call (limits.h), a URL's escapes counted. */
const MAX_PATH = 3 * 4096

/** Reads the arguments that a client sent with an operation. Its methods throw CosmosError that names the argument. */
export class ArgumentReader {
  readonly #operation: string
  readonly #fields: Record<string, unknown>

  constructor(operation: string, sent: unknown) {
    this.#operation = operation
    if (sent !== undefined && sent !== null && !isMap(sent)) throw this.#wrong('args', 'a map')
    this.#fields = isMap(sent) ? sent : {}
  }

  path(name: string): BytesText {
    return this.#text(name, this.#fields[name])
  }

  paths(name: string): BytesText[] {
    const list = this.#fields[name]
    if (!Array.isArray(list) || list.length === 0) throw this.#wrong(name, 'a list of paths or URLs')
    return list.map((item: unknown) => this.#text(name, item))
  }

  flag(name: string): boolean {
    const value = this.#fields[name] ?? false
    if (typeof value !== 'boolean') throw this.#wrong(name, 'true or false')
    return value
  }

  kind(name: string): BindKind {
    const value = this.#fields[name]
    if (value !== 'bind' && value !== 'cascade') throw this.#wrong(name, 'bind or cascade')
    return value
  }

  word(name: string, otherwise?: string): string {
    const value = this.#fields[name] ?? otherwise
    if (typeof value !== 'string') throw this.#wrong(name, 'text')
    return value
  }

  /** A list of words; empty where there is none. */
  words(name: string): string[] {
    const list = this.#fields[name] ?? []
    if (!Array.isArray(list)) throw this.#wrong(name, 'a list')
    return list.map((item: unknown) => {
      if (typeof item !== 'string') throw this.#wrong(name, 'a list of texts')
      return item
    })
  }

  number(name: string): number {
    const value = this.#fields[name]
    if (typeof value !== 'number' || !Number.isInteger(value)) throw this.#wrong(name, 'a whole number')
    return value
  }

  /** A list of any texts; empty where there is none. */
  texts(name: string): BytesText[] {
    const list = this.#fields[name] ?? []
    if (!Array.isArray(list)) throw this.#wrong(name, 'a list')
    return list.map((item: unknown) => {
      if (typeof item !== 'string' && !(item instanceof Uint8Array)) throw this.#wrong(name, 'texts or bytes')
      return fromWire(item)
    })
  }

  exit(name: string): RunExit {
    const value = this.#fields[name]
    if (isMap(value) && typeof value.code === 'number') return { code: value.code }
    if (isMap(value) && typeof value.signal === 'number') return { signal: value.signal }
    throw this.#wrong(name, 'a code or a signal')
  }

  #text(name: string, value: unknown): BytesText {
    if (typeof value !== 'string' && !(value instanceof Uint8Array)) throw this.#wrong(name, 'text or bytes')
    const text = fromWire(value)
    if (text.length === 0) throw new CosmosError('ENOENT', `${this.#operation} ${name}`, 'is empty')
    if (text.length > MAX_PATH)
      throw new CosmosError('ENAMETOOLONG', `${this.#operation} ${name}`, `is longer than ${MAX_PATH} bytes`)
    if (text.includes('\0')) throw this.#wrong(name, 'without a NUL byte')
    return text
  }

  #wrong(name: string, expected: string): CosmosError {
    return new CosmosError('EINVAL', `${this.#operation} ${name}`, `must be ${expected}`)
  }
}
