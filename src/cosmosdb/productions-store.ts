import type { Database, Statement } from './database.ts'

/** How a result in the store was made: its production instruction (design §2). Texts have one character a byte. */
export interface ProductionRecord {
  /** Names the result in the store. */
  readonly key: string
  /** Function and arguments, as people read them. */
  readonly instruction: string
  /** Host path of what it was made from, and which of its generations. */
  readonly input: string
  readonly generation: string
  /** When it was made, milliseconds since 1970; and how long that took. */
  readonly madeAt: number
  readonly milliseconds: number
  /** Bytes of a file, entries of a directory. */
  readonly size: number
}

/** Rows that are kept; the oldest go. */
const CAPACITY = 20_000
/** How often it is looked whether there are more. */
const TRIM_EVERY = 256

/** Production instructions of results, in the cosmosdb. */
export class ProductionsStore {
  readonly #put: Statement
  readonly #get: Statement
  readonly #remove: Statement
  readonly #trim: Statement
  #sinceTrim = 0

  constructor(database: Database) {
    this.#put = database.prepare(
      'INSERT OR REPLACE INTO production (key, instruction, input, generation, made_at, milliseconds, size) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    this.#get = database.prepare(
      'SELECT instruction, input, generation, made_at, milliseconds, size FROM production WHERE key = ?',
    )
    this.#remove = database.prepare('DELETE FROM production WHERE key = ?')
    this.#trim = database.prepare(
      'DELETE FROM production WHERE key IN (SELECT key FROM production ORDER BY made_at DESC LIMIT -1 OFFSET ?)',
    )
  }

  put({ key, instruction, input, generation, madeAt, milliseconds, size }: ProductionRecord): void {
    this.#put.run(key, bytes(instruction), bytes(input), generation, madeAt, milliseconds, size)
    if (++this.#sinceTrim < TRIM_EVERY) return
    this.#sinceTrim = 0
    this.#trim.run(CAPACITY)
  }

  get(key: string): ProductionRecord | undefined {
    const [row] = this.#get.all(key) as {
      instruction: Uint8Array
      input: Uint8Array
      generation: string
      made_at: number | bigint
      milliseconds: number | bigint
      size: number | bigint
    }[]
    return (
      row && {
        key,
        instruction: text(row.instruction),
        input: text(row.input),
        generation: row.generation,
        madeAt: Number(row.made_at),
        milliseconds: Number(row.milliseconds),
        size: Number(row.size),
      }
    )
  }

  remove(key: string): void {
    this.#remove.run(key)
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}
