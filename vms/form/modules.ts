import { accessSync, constants, statSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { CosmosError } from '../../src/errors.ts'
import type { Mapper } from '../../src/form/mapper.ts'
import type { Transformer } from '../../src/form/transformer.ts'

/** What users add: a module of JavaScript, whose default export is a mapper or transformer, or an executable. */
export type UserForm = { readonly module: Mapper | Transformer } | { readonly program: string }

const MODULES = ['.mjs', '.js']

/**
 * The mapper or transformer that users have under this name: `NAME.mjs`, `NAME.js`, or an executable `NAME`, in the
 * first of the directories that has one. Throws CosmosError ENOEXEC for a module that is none.
 */
export async function findUserForm(
  name: string,
  kind: 'map' | 'transform',
  directories: readonly string[],
): Promise<UserForm | undefined> {
  if (name === '' || name.includes('/') || name.startsWith('.')) return undefined
  for (const directory of directories) {
    for (const suffix of MODULES) {
      const path = join(directory, name + suffix)
      if (isFile(path)) return { module: await load(path, name, kind) }
    }
    const path = join(directory, name)
    if (isFile(path) && isExecutable(path)) return { program: path }
  }
  return undefined
}

/** A process loads a module once: one that has loaded any ends with its session, so that the next sees changes. */
async function load(path: string, name: string, kind: 'map' | 'transform'): Promise<Mapper | Transformer> {
  let exported: unknown
  try {
    exported = ((await import(pathToFileURL(path).href)) as { default?: unknown }).default
  } catch (error) {
    throw new CosmosError('ENOEXEC', path, `cannot be loaded: ${(error as Error).message}`, undefined, {
      cause: error,
    })
  }
  if (typeof exported !== 'object' || exported === null || typeof Reflect.get(exported, kind) !== 'function')
    throw new CosmosError('ENOEXEC', path, `its default export has no function ${kind}`)
  return { extensions: [], arguments: '', ...exported, name } as unknown as Mapper | Transformer
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
