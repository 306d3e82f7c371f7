import { CosmosError } from '../../errors.ts'

/** What `[source.http]` or `[source.https]` of cosmos.conf says. Times in milliseconds. */
export interface HttpSettings {
  /** How long a connection may take; `connect_timeout`, seconds. */
  readonly connectTimeout: number
  /** How long a server may think before it answers; `header_timeout`, seconds. */
  readonly headerTimeout: number
  /** How long it may be silent amid a body; `idle_timeout`, seconds. */
  readonly idleTimeout: number
  /** Bytes of the largest file that is read; undefined: any. `max_size`. */
  readonly maxSize: number | undefined
  /** PEM file of certificates that are trusted besides the usual; `ca`. */
  readonly ca: string | undefined
}

/** Reads a service's table. Throws CosmosError EINVAL for what can't be. */
export function readSettings(table: Readonly<Record<string, unknown>>): HttpSettings {
  return {
    connectTimeout: seconds(table, 'connect_timeout', 10),
    headerTimeout: seconds(table, 'header_timeout', 15),
    idleTimeout: seconds(table, 'idle_timeout', 30),
    maxSize: optional(table, 'max_size', (value) => isPositive(value) && value, 'a number of bytes'),
    ca: optional(table, 'ca', (value) => typeof value === 'string' && value, 'the path of a PEM file'),
  }
}

function seconds(table: Readonly<Record<string, unknown>>, name: string, usual: number): number {
  return (optional(table, name, (value) => isPositive(value) && value, 'a number of seconds') ?? usual) * 1000
}

function isPositive(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && Number.isFinite(value)
}

function optional<T>(
  table: Readonly<Record<string, unknown>>,
  name: string,
  accept: (value: unknown) => T | false | '',
  what: string,
): T | undefined {
  const value = table[name]
  if (value === undefined) return undefined
  const accepted = accept(value)
  if (accepted === false || accepted === '')
    throw new CosmosError('EINVAL', `source.http ${name}`, `is not ${what}`, 'edit etc/cosmos/cosmos.conf')
  return accepted
}
