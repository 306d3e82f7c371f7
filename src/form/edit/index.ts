import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { CosmosError } from '../../errors.ts'
import { mapperNamed } from '../mappers/index.ts'
import { openInput } from '../produce.ts'
import { utf8Of } from '../text.ts'
import type { MappedNode } from '../tree.ts'
import { type Change, type Edit, editOf, isSameTree } from './change.ts'
import { jsonCandidates } from './json.ts'
import { iniCandidates, oxCandidates, tomlCandidates } from './lines.ts'
import { yamlCandidates } from './yaml.ts'

export type { Change } from './change.ts'

/** Texts that a document may become; the first that maps to the tree that is wanted is it. */
type Candidates = (text: string, edit: Edit) => Iterable<string>

const CANDIDATES: Readonly<Record<string, Candidates>> = {
  json: jsonCandidates,
  yaml: yamlCandidates,
  toml: tomlCandidates,
  ini: iniCandidates,
  ox: oxCandidates,
}
/** Forms whose values have types. */
const TYPED: ReadonlySet<string> = new Set(['json', 'yaml', 'toml'])
/** Texts that are tried. */
const MAX_TRIES = 1000

/**
 * A document of a form after a change of the entry at a path of its mapped tree, everything else as it was. Throws
 * CosmosError EROFS for a form or a change that cannot be written, EILSEQ for a document that is malformed.
 */
export async function edited(
  form: string,
  bytes: Buffer,
  at: readonly string[],
  change: Change,
): Promise<Buffer> {
  const mapper = mapperNamed(form)
  const candidates = CANDIDATES[form]
  if (!mapper || !candidates) throw new CosmosError('EROFS', form, 'is not written to')
  const text = utf8Of(form, bytes)
  const mark = bytes.subarray(0, 3).equals(MARK) ? '\ufeff' : ''
  const edit = editOf(await mapper.map(bytes), at, change, TYPED.has(form))
  let tries = 0
  for (const candidate of candidates(text, edit)) {
    if (++tries > MAX_TRIES) break
    const result = Buffer.from(mark + candidate)
    const tree = await mapped(() => mapper.map(result))
    if (tree && isSameTree(tree, edit.expected)) return result
  }
  throw new CosmosError('EROFS', at.join('/'), `this change cannot be written in ${form}`)
}

const MARK = Buffer.from('\ufeff')

async function mapped(map: () => MappedNode | Promise<MappedNode>): Promise<MappedNode | undefined> {
  try {
    return await map()
  } catch {
    // It is no document of the form: the next text is tried.
    return undefined
  }
}

/**
 * Changes a file: another one with its mode and owner takes its place at once, and is on the disk then. `identity` is
 * device and inode that it must have. Throws CosmosError as {@link edited}, ESTALE, and of the file system.
 */
export async function editFile(
  path: string,
  identity: string | undefined,
  form: string,
  at: readonly string[],
  change: Change,
): Promise<{ size: number }> {
  const input = openInput(path, identity)
  const part = join(dirname(path), `.${basename(path).slice(0, 200)}.${process.pid}.part`)
  try {
    const { mode, uid, gid } = fstatSync(input)
    const bytes = await edited(form, readFileSync(input), at, change)
    const { O_WRONLY, O_CREAT, O_EXCL } = constants
    const output = openSync(part, O_WRONLY | O_CREAT | O_EXCL, 0o600)
    try {
      writeAll(output, bytes)
      if (process.getuid?.() === 0) fchownSync(output, uid, gid)
      fchmodSync(output, mode & 0o7777)
      fsyncSync(output)
    } finally {
      closeSync(output)
    }
    // What was put in its place meanwhile is not lost.
    closeSync(openInput(path, identity))
    renameSync(part, path)
    syncDirectory(dirname(path))
    return { size: bytes.length }
  } catch (error) {
    rmSync(part, { force: true })
    if (error instanceof CosmosError) throw error
    const { errno, message } = error as NodeJS.ErrnoException
    throw errno === undefined ? new CosmosError('EIO', path, message) : CosmosError.fromErrno(errno, path)
  } finally {
    closeSync(input)
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done)
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
