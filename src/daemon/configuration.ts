import { existsSync, readFileSync, statSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'smol-toml'
import { CosmosError, describeError } from '../errors.ts'
import type { Instance } from './instance.ts'

/** What cosmos.conf and the environment say (design §10). */
export interface Configuration {
  /** Host directory whose content the mount's root shows. */
  readonly root: string
  /** What this host is called: `me@NAME` in the tree, and to peers. */
  readonly host: string
  /** Whether paths are read as URLs are: `a.html` may be made of `a.md` (docs/fudge.md). */
  readonly fudge: boolean
  /** Seconds that it may take to make one thing of another. */
  readonly deadline: number
  /** The tables `[source.NAME]`, by name. */
  readonly sources: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}

const DEADLINE = 60

/**
 * Reads the configuration of an instance: the nearest layer's `etc/cosmos/cosmos.conf` that has a setting wins,
 * the environment comes before all. `shipped` is the cosm of the package.
 * Throws CosmosError EINVAL for a file that is no TOML or a value that can't be, ENOTDIR for a root that is none.
 */
export function readConfiguration(
  instance: Instance,
  shipped: string,
  environment: NodeJS.ProcessEnv = process.env,
): Configuration {
  const files = [
    join(instance.home, 'etc/cosmos/cosmos.conf'),
    '/.cosm/etc/cosmos/cosmos.conf',
    '/etc/cosmos/cosmos.conf',
    join(shipped, 'etc/cosmos/cosmos.conf'),
  ]
  const settings = files.filter((file) => existsSync(file)).map((file) => ({ file, tables: parseFile(file) }))
  const url = environment.COSMOS_ROOT_URL || first(settings, 'root', 'url', isText, 'text')
  return {
    root: url ? directoryOf(url) : instance.root,
    host: first(settings, 'host', 'name', isText, 'text') ?? hostname(),
    fudge: first(settings, 'lookup', 'fudge', isBoolean, 'true or false') ?? false,
    deadline: first(settings, 'lookup', 'deadline', isSeconds, 'a number of seconds') ?? DEADLINE,
    sources: sourceTables(settings),
  }
}

interface Settings {
  readonly file: string
  readonly tables: Record<string, unknown>
}

/** What the nearest file says that has a setting; an empty text says nothing. */
function first<T>(
  settings: readonly Settings[],
  table: string,
  key: string,
  isValue: (value: unknown) => value is T,
  what: string,
): T | undefined {
  for (const { file, tables } of settings) {
    const values = tables[table]
    if (values === undefined) continue
    if (!isTable(values)) throw new CosmosError('EINVAL', file, `\`${table}\` is not a table`)
    const value = values[key]
    if (value === undefined || value === '') continue
    if (!isValue(value)) throw new CosmosError('EINVAL', file, `\`${table}.${key}\` is not ${what}`)
    return value
  }
  return undefined
}

/** What each source is told: a setting of the nearest file that has it. */
function sourceTables(settings: readonly Settings[]): Configuration['sources'] {
  const all: Record<string, Record<string, unknown>> = {}
  for (const { file, tables } of settings) {
    const sources = tables.source ?? {}
    if (!isTable(sources)) throw new CosmosError('EINVAL', file, '`source` is not a table')
    for (const [name, values] of Object.entries(sources)) {
      if (!isTable(values)) throw new CosmosError('EINVAL', file, `\`source.${name}\` is not a table`)
      all[name] = { ...values, ...all[name] }
    }
  }
  return all
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === 'boolean'
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && Number.isFinite(value)
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseFile(file: string): Record<string, unknown> {
  try {
    return parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new CosmosError(
      'EINVAL',
      file,
      describeError(error).split('\n', 1)[0] ?? 'is no TOML',
      `edit ${file}`,
    )
  }
}

/** The directory that a `file:` URL or an absolute path names. */
function directoryOf(url: string): string {
  const path = url.startsWith('file:') ? fileURLToPath(url) : url
  if (!path.startsWith('/'))
    throw new CosmosError('EINVAL', url, 'the root is a file:// URL or an absolute path')
  const directory = resolve(path)
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory())
    throw new CosmosError('ENOTDIR', directory, 'the root is not a directory', `mkdir -p ${directory}`)
  return directory
}
