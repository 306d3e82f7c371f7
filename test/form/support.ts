import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CosmosError } from '../../src/errors.ts'
import { type MapOptions, runMapper } from '../../src/form/mapper.ts'
import { mapperNamed } from '../../src/form/mappers/index.ts'
import type { Source } from '../../src/form/transformer.ts'
import { transformerNamed } from '../../src/form/transformers/index.ts'
import { type IndexEntry, type MappedNode, writeTree } from '../../src/form/tree.ts'

/** Runs with a directory of its own, which is gone afterwards. */
export async function inDirectory<T>(act: (directory: string) => T | Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'cosmos-form-'))
  try {
    return await act(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** What lies in a directory: directories with a slash, links with their target, files with their content. */
export function listing(directory: string, path = ''): Record<string, string> {
  const found: Record<string, string> = {}
  for (const entry of readdirSync(join(directory, path), { withFileTypes: true })) {
    const below = path === '' ? entry.name : `${path}/${entry.name}`
    if (entry.isDirectory()) {
      const inside = listing(directory, below)
      if (Object.keys(inside).length === 0) found[`${below}/`] = ''
      Object.assign(found, inside)
    } else if (entry.isSymbolicLink()) found[below] = `-> ${readlinkSync(join(directory, below))}`
    else found[below] = readFileSync(join(directory, below), 'latin1')
  }
  return found
}

/** A document mapped to disk: files, and the index. */
export function mapped(
  form: string,
  document: string | Buffer,
  options?: MapOptions,
): Promise<{ files: Record<string, string>; index: readonly IndexEntry[]; left: number }> {
  return inDirectory(async (directory) => {
    const tree = await mapTree(form, document, options)
    const { index, left } = writeTree(
      tree,
      join(directory, 'tree'),
      options?.depth,
      options?.more,
      options?.limits,
    )
    return { files: listing(join(directory, 'tree')), index, left }
  })
}

export function mapTree(form: string, document: string | Buffer, options?: MapOptions): Promise<MappedNode> {
  return runMapper(mapperNamed(form)!, Buffer.from(document), options)
}

/** The result of a transformer; throws where it is a tree. */
export async function transformed(
  name: string,
  document: string | Buffer,
  args: readonly string[] = [],
  form?: string,
): Promise<Buffer> {
  const bytes = Buffer.from(document)
  const source: Source = { form, tree: () => mapTree(form ?? 'json', bytes) }
  const made = await transformerNamed(name)!.transform(bytes, args, source)
  if (!(made instanceof Uint8Array)) throw new Error(`${name} made a tree`)
  return made
}

/** The error that something ends with: its code and message. */
export async function failure(act: () => unknown): Promise<string> {
  try {
    await act()
  } catch (error) {
    if (error instanceof CosmosError) return `${error.code} ${error.message}`
    throw error
  }
  return 'no error'
}
