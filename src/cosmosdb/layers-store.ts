import type { Database, Statement } from './database.ts'

/** A lasting bind or cascade. Paths are bytes, written with one character a byte (latin1). */
export interface BindRecord {
  id: number
  kind: 'bind' | 'cascade'
  /** Where in the tree, from the mount's root: `/projects/all`. */
  path: string
  /** Host directory that writes go to. */
  local: string
  /** Host directories below it, nearest first. */
  layers: string[]
}

/** An inode number that a copied-up file keeps. */
export interface CopiedNumber {
  device: number
  /** Inode of the copy, decimal. */
  ino: string
  low: number
  high: number
}

/** Binds, whiteouts and kept inode numbers in the cosmosdb. Every change is written at once. */
export class LayersStore {
  readonly #database: Database
  readonly #statements = new Map<string, Statement>()

  constructor(database: Database) {
    this.#database = database
  }

  binds(): BindRecord[] {
    const rows = this.#run('SELECT id, kind, path, local, layers FROM bind ORDER BY id').all() as {
      id: number
      kind: 'bind' | 'cascade'
      path: Uint8Array
      local: Uint8Array
      layers: string
    }[]
    return rows.map((row) => ({
      id: Number(row.id),
      kind: row.kind,
      path: text(row.path),
      local: text(row.local),
      layers: JSON.parse(row.layers) as string[],
    }))
  }

  /** Adds a bind, or replaces the one at the same path. */
  putBind(bind: Omit<BindRecord, 'id'>): BindRecord {
    const added = this.#run(
      'INSERT INTO bind (kind, path, local, layers) VALUES (?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET kind = excluded.kind, local = excluded.local, layers = excluded.layers RETURNING id',
    ).all(bind.kind, bytes(bind.path), bytes(bind.local), JSON.stringify(bind.layers)) as { id: number }[]
    return { id: Number(added[0]?.id), ...bind }
  }

  /** Removes a bind with what was hidden and kept in it; its number is never used again. */
  removeBind(id: number): void {
    this.#run('DELETE FROM bind WHERE id = ?').run(id)
    for (const table of ['whiteout', 'copied'])
      this.#run(`DELETE FROM ${table} WHERE context = ?`).run(`bind:${id}`)
  }

  /** Paths below the context's root that hide what lower layers have there. */
  whiteouts(context: string): string[] {
    const rows = this.#run('SELECT path FROM whiteout WHERE context = ?').all(context) as {
      path: Uint8Array
    }[]
    return rows.map((row) => text(row.path))
  }

  addWhiteout(context: string, path: string): void {
    this.#run('INSERT OR IGNORE INTO whiteout (context, path) VALUES (?, ?)').run(context, bytes(path))
  }

  removeWhiteout(context: string, path: string): void {
    this.#run('DELETE FROM whiteout WHERE context = ? AND path = ?').run(context, bytes(path))
  }

  copiedNumbers(context: string): CopiedNumber[] {
    const rows = this.#run('SELECT device, ino, number_low, number_high FROM copied WHERE context = ?').all(
      context,
    ) as { device: number; ino: string; number_low: number; number_high: number }[]
    return rows.map((row) => ({
      device: Number(row.device),
      ino: row.ino,
      low: Number(row.number_low),
      high: Number(row.number_high),
    }))
  }

  addCopied(context: string, copied: CopiedNumber): void {
    this.#run(
      'INSERT OR REPLACE INTO copied (context, device, ino, number_low, number_high) VALUES (?, ?, ?, ?, ?)',
    ).run(context, copied.device, copied.ino, copied.low, copied.high)
  }

  removeCopied(context: string, device: number, ino: string): void {
    this.#run('DELETE FROM copied WHERE context = ? AND device = ? AND ino = ?').run(context, device, ino)
  }

  #run(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}
