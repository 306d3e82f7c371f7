import { isUtf8 } from 'node:buffer'
import { type Entry, fromBuffer, getFileNameLowLevel, type ZipFile } from 'yauzl'
import { CosmosError } from '../../errors.ts'
import { Budget } from '../budget.ts'
import { budgetFor, type Mapper } from '../mapper.ts'
import { Archive } from './archive.ts'

/** Kinds of files in the upper half of `externalFileAttributes`, as of stat(2). */
const S_IFMT = 0o170000
const S_IFLNK = 0o120000
const MADE_ON_UNIX = 3
const MAX_TARGET = 4096

/**
 * zip and what is one (package yauzl). Properties of an entry: `mtime`, and `mode` (octal) where it has one; of the
 * root `left-out`: entries that are encrypted or would lie outside, and why.
 */
export const zip: Mapper = {
  name: 'zip',
  extensions: ['zip', 'jar', 'epub', 'docx', 'xlsx', 'pptx', 'odt', 'ods', 'odp', 'apk', 'whl'],
  async map(bytes, options) {
    const budget = budgetFor('zip', bytes, options)
    const archive = new Archive(budget, options?.depth)
    await eachEntry(bytes, (file, entry) => take(file, entry, archive, budget))
    return archive.tree()
  },
}

/** The bytes of one file of an archive. Throws CosmosError ENOENT, and as the mapper does. */
export async function zippedFile(bytes: Buffer, path: string): Promise<Buffer> {
  const budget = budgetFor('zip', bytes, undefined)
  let found: Buffer | undefined
  await eachEntry(bytes, async (file, entry) => {
    if (nameOf(entry) === path) found = await contentOf(file, entry, budget)
  })
  if (!found) throw new CosmosError('ENOENT', path, 'is not in the archive')
  return found
}

async function eachEntry(bytes: Buffer, act: (file: ZipFile, entry: Entry) => Promise<void>): Promise<void> {
  const file = await new Promise<ZipFile>((resolve, reject) => {
    fromBuffer(bytes, { lazyEntries: true, decodeStrings: false }, (error, opened) =>
      error ? reject(broken(error)) : resolve(opened),
    )
  })
  await new Promise<void>((resolve, reject) => {
    const fail = (error: unknown): void =>
      reject(error instanceof CosmosError ? error : broken(error as Error))
    file.on('error', fail)
    file.on('end', () => resolve())
    file.on('entry', (entry: Entry) => void act(file, entry).then(() => file.readEntry(), fail))
    file.readEntry()
  })
}

async function take(file: ZipFile, entry: Entry, archive: Archive, budget: Budget): Promise<void> {
  const name = nameOf(entry)
  const parts = archive.pathOf(name)
  if (!parts || archive.isTooDeep(parts)) return
  const mode = entry.versionMadeBy >> 8 === MADE_ON_UNIX ? entry.externalFileAttributes >>> 16 : 0
  const properties = new Map([['mtime', entry.getLastModDate().toISOString()]])
  if (mode !== 0) properties.set('mode', (mode & 0o7777).toString(8).padStart(4, '0'))
  if (name.endsWith('/')) archive.addFolder(parts, properties)
  else if (entry.isEncrypted()) archive.leaveOut(name, 'is encrypted')
  else if ((mode & S_IFMT) === S_IFLNK) {
    const target = await contentOf(
      file,
      entry,
      new Budget('zip document', { nodes: 1, depth: 1, bytes: MAX_TARGET }),
    )
    archive.addLink(parts, target.toString(), properties)
  } else archive.addFile(parts, { bytes: await contentOf(file, entry, budget), properties })
}

function contentOf(file: ZipFile, entry: Entry, budget: Budget): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    file.openReadStream(entry, (error, stream) => {
      if (error) {
        reject(broken(error))
        return
      }
      const pieces: Buffer[] = []
      stream.on('error', reject)
      stream.on('data', (piece: Buffer) => {
        try {
          budget.bytes(piece.length)
          pieces.push(piece)
        } catch (exceeded) {
          reject(exceeded)
          stream.destroy()
        }
      })
      stream.on('end', () => resolve(Buffer.concat(pieces)))
    })
  })
}

/** With `decodeStrings: false` a name is its bytes: UTF-8 where it is that, whatever the archive says. */
function nameOf(entry: Entry): string {
  const raw = entry.fileNameRaw
  const name = isUtf8(raw)
    ? raw.toString('utf8')
    : getFileNameLowLevel(entry.generalPurposeBitFlag, raw, entry.extraFields, false)
  return name.replaceAll('\\', '/')
}

function broken({ message }: Error): CosmosError {
  return new CosmosError('EILSEQ', 'zip document', message)
}
