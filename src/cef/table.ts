import { parse } from 'smol-toml'
import { CosmosError } from '../errors.ts'

/** Most that one executable may use. */
export interface Limits {
  /** Bytes. */
  readonly memory?: number
  readonly seconds?: number
}

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

/**
 * A TOML table whose keys are read one by one; what nobody read is an error at the end. Every method throws
 * CosmosError EINVAL that names the file, the key and the reason.
 */
export class Table {
  readonly #file: string
  /** What comes before the keys in messages: `limits.`. */
  readonly #prefix: string
  readonly #values: ReadonlyMap<string, unknown>
  readonly #read = new Set<string>()

  private constructor(file: string, prefix: string, values: object) {
    this.#file = file
    this.#prefix = prefix
    this.#values = new Map(Object.entries(values))
  }

  /** Parses TOML; `file` is for messages. */
  static parse(text: string, file: string): Table {
    try {
      return new Table(file, '', parse(text))
    } catch (error) {
      const { message, line } = error as Error & { line?: number }
      const why = message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '')
      throw new CosmosError('EINVAL', line === undefined ? file : `${file}:${line}`, why, undefined, {
        cause: error,
      })
    }
  }

  /** The error of a key. */
  invalid(key: string, why: string): CosmosError {
    return new CosmosError('EINVAL', this.#file, `\`${this.#prefix}${key}\` ${why}`)
  }

  /** Its keys, in the order of the text. */
  keys(): string[] {
    return [...this.#values.keys()]
  }

  has(key: string): boolean {
    return this.#values.has(key)
  }

  isList(key: string): boolean {
    return Array.isArray(this.#values.get(key))
  }

  text(key: string): string | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    if (typeof value !== 'string' || value === '') throw this.invalid(key, 'is not text')
    if (value.includes('\0')) throw this.invalid(key, 'has a NUL character')
    return value
  }

  boolean(key: string): boolean | undefined {
    const value = this.#take(key)
    if (value !== undefined && typeof value !== 'boolean') throw this.invalid(key, 'is not true or false')
    return value
  }

  /** A list of texts; none is undefined. */
  texts(key: string): string[] | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    if (!Array.isArray(value) || !value.every((one) => typeof one === 'string' && one !== ''))
      throw this.invalid(key, 'is not a list of texts')
    if (value.some((one: string) => one.includes('\0'))) throw this.invalid(key, 'has a NUL character')
    return value
  }

  /** A whole number of at least `least`. */
  count(key: string, least: number): number | undefined {
    const value = this.number(key)
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
      throw this.invalid(key, `is not a whole number of ${least} or more`)
    return value
  }

  number(key: string): number | undefined {
    const value = this.#take(key)
    if (value !== undefined && (typeof value !== 'number' || !Number.isFinite(value)))
      throw this.invalid(key, 'is not a number')
    return value
  }

  /** The table `[limits]`: `memory` as a number of bytes or `"64 MiB"`, `seconds` as a number. */
  limits(): Limits | undefined {
    const table = this.table('limits')
    if (!table) return undefined
    const memory = table.#bytes('memory')
    const seconds = table.number('seconds')
    if (seconds !== undefined && seconds <= 0) throw table.invalid('seconds', 'is not more than 0')
    table.end()
    return { ...(memory !== undefined && { memory }), ...(seconds !== undefined && { seconds }) }
  }

  /** A table in this one. */
  table(key: string): Table | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Date)
      throw this.invalid(key, 'is not a table')
    return new Table(this.#file, `${this.#prefix}${key}.`, value)
  }

  /** Throws where there is a key that nobody read. */
  end(): void {
    for (const key of this.#values.keys()) if (!this.#read.has(key)) throw this.invalid(key, 'is unknown')
  }

  #bytes(key: string): number | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    const [, digits, unit = 'B'] = /^(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?$/.exec(String(value)) ?? []
    const bytes = Math.round(Number(digits) * (UNITS[unit] ?? Number.NaN))
    if (!(bytes > 0 && Number.isSafeInteger(bytes))) throw this.invalid(key, 'is no size such as "64 MiB"')
    return bytes
  }

  #take(key: string): unknown {
    this.#read.add(key)
    return this.#values.get(key)
  }
}
