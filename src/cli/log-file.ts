import { watch } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { CosmosError } from '../errors.ts'

const BLOCK = 64 * 1024
/** A log is looked at this often at least: not every file system tells of its changes. */
const LOOK_MS = 1000

/** A place in a log file that may be renamed. */
interface LogPosition {
  readonly inode: bigint
  readonly offset: number
}

/** The last lines of a log, and where they end. Throws CosmosError ENOENT when there is none yet. */
export async function lastLines(
  path: string,
  count: number,
): Promise<{ bytes: Buffer; position: LogPosition }> {
  const file = await openLog(path)
  if (!file) throw new CosmosError('ENOENT', path, 'there is no log yet', 'cosmos up')
  try {
    const { size, ino } = await file.stat({ bigint: true })
    const blocks: Buffer[] = []
    let start = Number(size)
    let lines = 0
    while (start > 0 && lines <= count) {
      const length = Math.min(BLOCK, start)
      start -= length
      const block = await readAt(file, start, length)
      lines += newlines(block)
      blocks.unshift(block)
    }
    return { bytes: tail(Buffer.concat(blocks), count), position: { inode: ino, offset: Number(size) } }
  } finally {
    await file.close()
  }
}

/** What is added to a log from a position on; goes on with the next file when the log is rotated. */
export async function* followLog(path: string, from: LogPosition): AsyncGenerator<Buffer> {
  let file = await openLog(path)
  let { inode, offset } = from
  const changes = new Changes(path)
  try {
    for (;;) {
      const current = await stat(path, { bigint: true }).catch(() => undefined)
      // Read after a successor was seen: nothing that was still written to the old file is left out.
      while (file) {
        const found = await file.stat({ bigint: true })
        if (found.ino !== inode || Number(found.size) < offset) offset = 0
        inode = found.ino
        const bytes = await readAt(file, offset, BLOCK)
        if (bytes.length === 0) break
        offset += bytes.length
        yield bytes
      }
      if (current && (!file || current.ino !== inode)) {
        await file?.close()
        file = await openLog(path)
      } else await changes.next()
    }
  } finally {
    changes.close()
    await file?.close()
  }
}

async function openLog(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length)
  const { bytesRead } = await handle.read(buffer, 0, length, offset)
  return buffer.subarray(0, bytesRead)
}

function newlines(bytes: Buffer): number {
  let count = 0
  for (const byte of bytes) if (byte === 10) count++
  return count
}

/** The last lines of bytes that hold at least one more, or all there are. */
function tail(bytes: Buffer, count: number): Buffer {
  if (count === 0) return Buffer.alloc(0)
  // A newline at the very end ends the last line and begins none.
  let at = bytes.length - 1
  for (let left = count; left > 0; left--) {
    at = at <= 0 ? -1 : bytes.lastIndexOf(10, at - 1)
    if (at < 0) return bytes
  }
  return bytes.subarray(at + 1)
}

/** Waits for changes in a file's directory. */
class Changes {
  #changed = false
  #wake: (() => void) | undefined
  readonly #watcher

  constructor(path: string) {
    const name = basename(path)
    this.#watcher = watch(dirname(path), (_event, changed) => {
      if (changed !== null && changed !== name) return
      this.#changed = true
      this.#wake?.()
    })
    this.#watcher.on('error', () => {})
  }

  /** Settles at the next change, or soon without one. */
  async next(): Promise<void> {
    if (!this.#changed)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_MS)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    this.#changed = false
  }

  close(): void {
    this.#watcher.close()
  }
}
