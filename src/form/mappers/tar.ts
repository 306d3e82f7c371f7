import { gunzipSync } from 'node:zlib'
import { Parser, type ReadEntry } from 'tar'
import { CosmosError } from '../../errors.ts'
import type { Budget } from '../budget.ts'
import { budgetFor, type Mapper } from '../mapper.ts'
import { Archive } from './archive.ts'

const BLOCK = 512

/**
 * tar: ustar, pax and GNU (package tar), also gzipped. Properties of an entry: `mode` (octal), `mtime`; of the root
 * `left-out`: entries that are no files, directories or links, or would lie outside, and why.
 */
export const tar: Mapper = {
  name: 'tar',
  extensions: ['tar', 'tgz'],
  async map(bytes, options) {
    const budget = budgetFor('tar', bytes, options)
    const archive = new Archive(budget, options?.depth)
    const plain = isGzip(bytes) ? unzipped(bytes, budget) : bytes
    // The package would unpack what is packed twice, without end.
    if (isGzip(plain) || (plain.length > 0 && plain.length < BLOCK)) throw broken('is no archive')
    await read(plain, archive, budget)
    return archive.tree()
  },
}

function isGzip(bytes: Buffer): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b
}

function unzipped(bytes: Buffer, budget: Budget): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: budget.room })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code === 'ERR_BUFFER_TOO_LARGE'
      ? budget.exceeded(`more than ${budget.room} bytes`)
      : broken(message)
  }
}

function broken(why: string): CosmosError {
  return new CosmosError('EILSEQ', 'tar document', why)
}

function read(bytes: Buffer, archive: Archive, budget: Budget): Promise<void> {
  return new Promise((resolve, reject) => {
    const parser = new Parser({
      // Nothing but tar: what else the package knows has been dealt with.
      gzip: false,
      brotli: false,
      zstd: false,
      onReadEntry: (entry) => {
        try {
          take(entry, archive, budget, reject)
        } catch (error) {
          reject(error)
          entry.resume()
        }
      },
      onwarn: (code, message) => {
        if (code === 'TAR_ENTRY_INFO' || code === 'TAR_ENTRY_UNSUPPORTED') return
        reject(broken(String(message)))
      },
    })
    parser.on('error', (error: Error) => reject(broken(error.message)))
    parser.on('end', () => resolve())
    parser.end(bytes)
  })
}

function take(entry: ReadEntry, archive: Archive, budget: Budget, fail: (error: unknown) => void): void {
  const { type, path, linkpath = '' } = entry
  const parts = archive.pathOf(path)
  const properties = propertiesOf(entry)
  if (!parts || archive.isTooDeep(parts)) entry.resume()
  else if (type === 'File' || type === 'OldFile' || type === 'ContiguousFile') {
    const pieces: Buffer[] = []
    entry.on('data', (piece: Buffer) => {
      try {
        budget.bytes(piece.length)
        pieces.push(piece)
      } catch (error) {
        fail(error)
      }
    })
    entry.on('end', () => {
      try {
        archive.addFile(parts, { bytes: Buffer.concat(pieces), properties })
      } catch (error) {
        fail(error)
      }
    })
  } else {
    entry.resume()
    if (type === 'Directory' || type === 'GNUDumpDir') archive.addFolder(parts, properties)
    else if (type === 'SymbolicLink') archive.addLink(parts, linkpath, properties)
    else if (type === 'Link') archive.addHardLink(parts, linkpath, properties)
    else archive.leaveOut(path, `is a ${type}`)
  }
}

function propertiesOf({ mode, mtime }: ReadEntry): Map<string, string> {
  const properties = new Map<string, string>()
  if (mode !== undefined) properties.set('mode', mode.toString(8).padStart(4, '0'))
  if (mtime && !Number.isNaN(mtime.getTime())) properties.set('mtime', mtime.toISOString())
  return properties
}
