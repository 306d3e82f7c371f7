import { CosmosError } from '../../errors.ts'
import type { SourceFile, SourceNode } from '../service.ts'
import { Cursor, type CursorFile } from './cursor.ts'

/** Bytes between a cursor and a place that are rather read than asked for anew. */
const NEAR = 1024 * 1024
/** Cursors of one file that nobody waits for. */
const CURSORS = 3

/** A file whose bytes are all here. */
export class HeldFile implements SourceFile {
  readonly node: SourceNode
  readonly #bytes: Uint8Array

  constructor(node: SourceNode, bytes: Uint8Array) {
    this.node = node
    this.#bytes = bytes
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    return this.#bytes.slice(position, position + length)
  }

  /** Copies into memory of the caller's; how many bytes. */
  async readInto(position: number, target: Uint8Array): Promise<number> {
    const part = this.#bytes.subarray(position, position + target.length)
    target.set(part)
    return part.length
  }

  async close(): Promise<void> {}
}

/**
 * A file that is read as it comes. Reads go to the cursor that is nearest; where there is none a new one asks for
 * that place. Without a known size there is one cursor, and no other place.
 */
export class StreamedFile implements SourceFile {
  readonly node: SourceNode
  readonly #file: CursorFile
  readonly #hasRanges: () => boolean
  readonly #cursors: Cursor[]
  #closed = false

  /** `first` reads from the start on; `hasRanges` says whether the server can begin elsewhere, as far as is known. */
  constructor(node: SourceNode, file: CursorFile, first: Cursor, hasRanges: () => boolean) {
    this.node = node
    this.#file = file
    this.#cursors = [first]
    this.#hasRanges = hasRanges
  }

  async read(position: number, length: number, signal: AbortSignal): Promise<Uint8Array> {
    const { size } = this.node
    const target = Buffer.allocUnsafeSlow(
      size === undefined ? length : Math.max(0, Math.min(length, size - position)),
    )
    const count = await this.readInto(position, target, signal)
    return count === target.length ? target : target.subarray(0, count)
  }

  /** Fills memory of the caller's, which spares new memory for each read; fewer bytes than it holds only at the end. */
  async readInto(position: number, target: Uint8Array, signal: AbortSignal): Promise<number> {
    signal.throwIfAborted()
    const { size } = this.node
    const wanted =
      size === undefined ? target : target.subarray(0, Math.max(0, Math.min(target.length, size - position)))
    if (wanted.length === 0) return 0
    for (;;) {
      if (this.#closed) throw new CosmosError('EBADF', this.#file.display, 'is closed')
      const count = await this.#cursorAt(position).read(position, wanted, signal)
      if (count !== undefined) return count
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const closed = new CosmosError('EBADF', this.#file.display, 'was closed')
    for (const cursor of this.#cursors.splice(0)) cursor.stop(closed)
  }

  #cursorAt(position: number): Cursor {
    const isSeekable = this.node.size !== undefined
    const reach = isSeekable && !this.#hasRanges() ? Number.POSITIVE_INFINITY : NEAR
    const holds = (cursor: Cursor) => position >= cursor.start && position < cursor.end
    const near = this.#cursors
      .filter((cursor) => holds(cursor) || (!cursor.failed && isNear(cursor, position, reach)))
      .sort((a, b) => Number(holds(b)) - Number(holds(a)) || b.end - a.end)[0]
    if (near) return near
    if (!isSeekable) {
      const [only] = this.#cursors
      if (only && (only.failed || only.complete) && position >= only.start) return only
      throw new CosmosError('EINVAL', this.#file.display, 'its size is not known: it is read in order only')
    }
    this.#makeRoom()
    const cursor = new Cursor(this.#file, position)
    this.#cursors.push(cursor)
    return cursor
  }

  #makeRoom(): void {
    const idle = this.#cursors.filter((cursor) => !cursor.busy).sort((a, b) => a.used - b.used)
    const gone = idle.filter((cursor, index) => cursor.failed || index <= idle.length - CURSORS)
    for (const cursor of gone) {
      this.#cursors.splice(this.#cursors.indexOf(cursor), 1)
      cursor.stop(new CosmosError('EBADF', this.#file.display, 'is read elsewhere'))
    }
  }
}

function isNear(cursor: Cursor, position: number, reach: number): boolean {
  return position >= cursor.start && position <= cursor.end + reach
}
