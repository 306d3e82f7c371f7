import { existsSync, readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'smol-toml'
import { CosmosError, describeError } from '../errors.ts'
import type { Instance } from './instance.ts'

/** What cosmos.conf and the environment say (design §10). */
export interface Configuration {
  /** Host directory whose content the mount's root shows. */
  readonly root: string
}

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
  const url = environment.COSMOS_ROOT_URL || firstRootUrl(files)
  return { root: url ? directoryOf(url) : instance.root }
}

function firstRootUrl(files: readonly string[]): string | undefined {
  for (const file of files) {
    if (!existsSync(file)) continue
    const { root } = parseFile(file)
    if (root === undefined) continue
    if (!isTable(root)) throw new CosmosError('EINVAL', file, '`root` is not a table')
    const { url } = root
    if (url !== undefined && typeof url !== 'string')
      throw new CosmosError('EINVAL', file, '`root.url` is not text')
    if (url) return url
  }
  return undefined
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
