import { onTestFinished } from 'vitest'
import { httpService } from '../../src/source/http/index.ts'
import type { SourceAccess, SourceFile, SourcePath, SourceService } from '../../src/source/service.ts'

export const READ: SourceAccess = { read: true, write: false, truncate: false }

/** A signal that nobody aborts. */
export const calm = new AbortController().signal

/** A service of a test, which ends with it. */
export function makeService(
  settings: Record<string, unknown> = {},
  environment: Record<string, string> = {},
  log: string[] = [],
): SourceService {
  const service = httpService({ home: '/', environment, settings, log: (line) => log.push(line) })
  onTestFinished(() => service.close?.())
  return service
}

/** A path of the tree from what is behind the scheme: `host/a/b`. */
export function at(text: string, scheme = 'http'): SourcePath {
  return { scheme, segments: text.split('/') }
}

/** All of a file, read in pieces. */
export async function readAll(file: SourceFile, piece = 128 * 1024): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for (let position = 0; ; ) {
    const part = await file.read(position, piece, calm)
    if (part.length === 0) return Buffer.concat(parts)
    parts.push(part)
    position += part.length
  }
}

/** Opens a file, reads all of it, closes it. */
export async function fetchAll(service: SourceService, path: SourcePath): Promise<Buffer> {
  const file = await service.open(path, READ, calm)
  try {
    return await readAll(file)
  } finally {
    await file.close()
  }
}

/** The names of a directory. */
export async function namesOf(service: SourceService, path: SourcePath): Promise<string[]> {
  return (await service.list(path, calm)).map((entry) => entry.name)
}

/** Bytes that tell where they are. */
export function pattern(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i + 4 <= size; i += 4) bytes.writeUInt32LE(i, i)
  return bytes
}
