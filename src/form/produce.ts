import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename } from 'node:path'
import { CosmosError } from '../errors.ts'
import type { Mapper } from './mapper.ts'
import { runMapper } from './mapper.ts'
import { mapperFor, mapperNamed } from './mappers/index.ts'
import type { Source, Transformer } from './transformer.ts'
import {
  fillTree,
  INDEX_SUFFIX,
  LEFT_SUFFIX,
  type MappedNode,
  nodeAt,
  readTree,
  writeIndex,
  writeLeftNames,
  writeTree,
} from './tree.ts'

/** A production: what makes a file or a directory of a store from another. */
export interface Production {
  /** Host paths. A directory as input is a tree. */
  readonly input: string
  /** Device and inode that the input must have, as stat(2) tells them: it may have been replaced meanwhile. */
  readonly identity?: string
  /** Must not exist. It is there whole or not at all; a tree's index lies beside it (`INDEX_SUFFIX`). */
  readonly output: string
  /** What the input is: a mapper's name. Left out: what the extension of the input's name says. */
  readonly form?: string
  /** Maps the input where `form` says no shipped one. */
  readonly mapper?: Mapper
  /** Levels that are written; left out: all. */
  readonly depth?: number
  /** Nodes below those levels that are written too. */
  readonly more?: number
  /** Entries from the root to the node that the result is of; left out: the root. */
  readonly at?: readonly string[]
}

/** What came of it: a file, or a tree. */
export type Produced =
  | { readonly size: number }
  | {
      readonly entries: number
      /** Directories whose children are not written. */
      readonly left: number
    }

/** The mapper that is named, or is for a file's name. */
export function findMapper(form: string | undefined, path: string): Mapper | undefined {
  return form === undefined ? mapperFor(basename(path)) : mapperNamed(form)
}

/** Maps a file into a directory. Throws CosmosError as the mapper, and of the file system. */
export async function produceMap(mapper: Mapper, production: Production): Promise<Produced> {
  const { input, identity, depth, more = 0, at = [] } = production
  const levels = depth === undefined ? {} : { depth: depth + at.length, more }
  const root = await runMapper(mapper, readInput(input, identity), { at, ...levels })
  return keepTree(nodeAt(root, at), production)
}

/**
 * Writes what was left of a tree: the directory `at` in `output`, which is the whole tree, and those behind it as far as
 * `more` goes. Throws CosmosError as the mapper, and of the file system.
 */
export async function produceFill(mapper: Mapper, production: Production): Promise<Produced> {
  const { input, identity, output, at = [], more = 0 } = production
  const options = { at, depth: at.length + FILL_DEPTH, more }
  const root = await runMapper(mapper, readInput(input, identity), options)
  const { entries, left, index } = fillTree(nodeAt(root, at.slice(0, -1)), output, at, FILL_DEPTH, more)
  writeIndex(output, index)
  return { entries, left }
}

/** Levels of a directory that was left which are written in any case. */
const FILL_DEPTH = 1

/** Transforms a file, or a tree, into a file, or a directory. Throws CosmosError. */
export async function produceTransform(
  transformer: Transformer,
  args: readonly string[],
  production: Production,
): Promise<Produced> {
  const { input, identity, at = [] } = production
  const isDirectory = statOf(input).isDirectory()
  const bytes = isDirectory ? Buffer.alloc(0) : readInput(input, identity)
  const source = isDirectory ? directorySource(input) : streamSource(bytes, production)
  if (transformer.from && !transformer.from.includes(source.form ?? ''))
    throw new CosmosError(
      'EINVAL',
      transformer.name,
      `takes ${transformer.from.join(', ')}, not ${source.form}`,
    )
  const made = await transformer.transform(bytes, args, source)
  return made instanceof Uint8Array
    ? keepFile(made, production.output)
    : keepTree(nodeAt(made, at), production)
}

function streamSource(bytes: Buffer, { form, input, mapper = findMapper(form, input) }: Production): Source {
  return {
    form: form ?? mapper?.name,
    tree: async () => {
      if (mapper) return runMapper(mapper, bytes)
      throw new CosmosError(
        'EINVAL',
        basename(input),
        'no mapper is for this',
        'name one before: NAME.ox.to-json',
      )
    },
  }
}

function directorySource(input: string): Source {
  return { form: 'dir', tree: async () => readTree(input) }
}

/** Puts bytes where the result is to be. */
export function keepFile(bytes: Uint8Array, output: string): Produced {
  keep(output, (part) => writeFileSync(part, bytes, { flag: 'wx' }))
  return { size: bytes.length }
}

/** Writes a tree where the result is to be. */
export function keepTree(node: MappedNode, { output, depth, more }: Production): Produced {
  let produced: Produced = { entries: 0, left: 0 }
  keep(output, (part) => {
    const { entries, left, index, leftNames } = writeTree(node, part, depth, more)
    produced = { entries, left }
    rmSync(output + INDEX_SUFFIX, { force: true })
    writeIndex(output, index)
    rmSync(output + LEFT_SUFFIX, { recursive: true, force: true })
    writeLeftNames(output, leftNames)
  })
  return produced
}

/** Makes something beside its place and puts it there when it is whole. */
export function keep(output: string, make: (part: string) => void): void {
  if (lstatSync(output, { throwIfNoEntry: false })) throw CosmosError.fromErrno(-17, output)
  const part = partOf(output)
  rmSync(part, { recursive: true, force: true })
  try {
    make(part)
    renameSync(part, output)
  } catch (error) {
    rmSync(part, { recursive: true, force: true })
    rmSync(output + INDEX_SUFFIX, { force: true })
    rmSync(output + LEFT_SUFFIX, { recursive: true, force: true })
    if (error instanceof CosmosError) throw error
    throw ioError(error, output)
  }
}

/** Where something is made before it is whole. */
export function partOf(output: string): string {
  return `${output}.part`
}

function readInput(path: string, identity: string | undefined): Buffer {
  const fd = openInput(path, identity)
  try {
    return readFileSync(fd)
  } catch (error) {
    throw ioError(error, path)
  } finally {
    closeSync(fd)
  }
}

/**
 * Opens an input for reading; where its device and inode are given, nothing else in its place: no link is followed.
 * Throws CosmosError ESTALE for another file, and of the file system.
 */
export function openInput(path: string, identity: string | undefined): number {
  let fd = -1
  try {
    fd = openSync(path, identity === undefined ? 'r' : constants.O_RDONLY | constants.O_NOFOLLOW)
    const stats = fstatSync(fd, { bigint: true })
    if (identity === undefined || `${stats.dev}:${stats.ino}` === identity) return fd
  } catch (error) {
    if (fd >= 0) closeSync(fd)
    throw ioError(error, path)
  }
  closeSync(fd)
  throw new CosmosError('ESTALE', path, 'was replaced meanwhile')
}

function statOf(path: string): ReturnType<typeof statSync> & object {
  try {
    return statSync(path)
  } catch (error) {
    throw ioError(error, path)
  }
}

function ioError(error: unknown, subject: string): CosmosError {
  const { errno, message } = error as NodeJS.ErrnoException
  return errno === undefined
    ? new CosmosError('EIO', subject, message)
    : CosmosError.fromErrno(errno, subject)
}
