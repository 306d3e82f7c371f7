import { createRequire } from 'node:module'

/** What is used of a prepared statement, alike in better-sqlite3 and node:sqlite. */
export interface Statement {
  run(...values: SqlValue[]): { lastInsertRowid: number | bigint }
  all(...values: SqlValue[]): unknown[]
}
export type SqlValue = string | number | bigint | Uint8Array | null

/** The part of a database connection that cosmos uses. */
export interface Database {
  exec(sql: string): unknown
  prepare(sql: string): Statement
  close(): unknown
}

/**
 * Opens the cosmosdb: what is state and must outlive the daemon (design §8). WAL, so that a killed daemon loses
 * nothing that was answered; better-sqlite3, or Node's own SQLite where it could not be built.
 */
export function openDatabase(file: string): Database {
  const database = connect(file)
  database.exec('PRAGMA journal_mode = WAL')
  database.exec('PRAGMA synchronous = NORMAL')
  database.exec('PRAGMA busy_timeout = 5000')
  database.exec(SCHEMA)
  return database
}

const SCHEMA = `
CREATE TABLE IF NOT EXISTS bind (
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, path BLOB NOT NULL UNIQUE, local BLOB NOT NULL, layers TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS whiteout (
  context TEXT NOT NULL, path BLOB NOT NULL, PRIMARY KEY (context, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copied (
  context TEXT NOT NULL, device INTEGER NOT NULL, ino TEXT NOT NULL,
  number_low INTEGER NOT NULL, number_high INTEGER NOT NULL, PRIMARY KEY (context, device, ino)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peer (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, addresses TEXT NOT NULL, since INTEGER NOT NULL,
  grants TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS production (
  key TEXT PRIMARY KEY, instruction BLOB NOT NULL, input BLOB NOT NULL, generation TEXT NOT NULL, made_at INTEGER NOT NULL,
  milliseconds INTEGER NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS production_age ON production (made_at);
`

type BetterSqlite = new (file: string) => Database

function connect(file: string): Database {
  const Better = loadBetterSqlite()
  if (Better) return new Better(file)
  const sqlite: typeof import('node:sqlite') = require('node:sqlite')
  return new sqlite.DatabaseSync(file)
}

const require = createRequire(import.meta.url)

function loadBetterSqlite(): BetterSqlite | undefined {
  try {
    const Better: BetterSqlite = require('better-sqlite3')
    new Better(':memory:').close()
    return Better
  } catch {
    // Its native part does not load here: no binary for this machine, and nothing to build one with.
    return undefined
  }
}
