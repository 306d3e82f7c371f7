import type { Attributes, DirectorySink, FileSystemStatistics } from '../../src/frame/operations.ts'
import { toBytesText } from '../../src/frame/paths.ts'
import { EIO } from '../../src/os/errno.ts'
import type { Library, OperationName } from './library.ts'
import { FIRST_TEXT, type RecordAccess, SECOND_TEXT, XATTR_NAME } from './record.ts'

const EILSEQ = 84

/** Thrown on text of a request whose bytes cannot be known. */
class UnknownBytes extends Error {}

/**
 * One operation that the library asks for. What it hands over is read by position; where its request record can be
 * read, what it leaves out comes from there, and so do the answers that it would cut (see `record.ts`).
 */
export class Call {
  readonly #library: Library
  #record: RecordAccess | undefined
  /** Hands back a result without touching the record's answer. */
  readonly #answerOnly: (record: Buffer, result: number) => void
  #name: OperationName = 'init'
  #handle: Buffer = Buffer.alloc(0)
  #handed: unknown[] = []
  #answered = false

  constructor(library: Library, record: RecordAccess | undefined) {
    this.#library = library
    this.#record = record
    this.#answerOnly = library.fuse_native_signal_flush
  }

  /**
   * Takes an operation in hand. False when its record turned out to be of another layout: from then on only what the
   * library hands over is used.
   */
  begin(name: OperationName, handle: Buffer, op: number, handed: unknown[]): boolean {
    this.#name = name
    this.#handle = handle
    this.#handed = handed
    this.#answered = false
    if (this.#record === undefined || this.#record.begin(handle, op)) return true
    this.#record = undefined
    return false
  }

  /** The path that the operation is about, one character a byte; a symlink's target. */
  get path(): string {
    return this.#text(0, FIRST_TEXT)
  }
  /** The other path: a new name. */
  get otherPath(): string {
    return this.#text(1, SECOND_TEXT)
  }
  get xattrName(): string {
    return this.#text(1, XATTR_NAME)
  }
  number(at: number): number {
    return this.#handed[at] as number
  }
  /** A 64-bit number, handed over in two halves. */
  wide(at: number): number {
    return this.number(at) + this.number(at + 1) * 0x100000000
  }
  bytes(at: number): Buffer {
    return this.#handed[at] as Buffer
  }
  /** Times to be set, milliseconds. */
  get accessTime(): number {
    return this.#record?.accessTime ?? this.wide(1)
  }
  get modificationTime(): number {
    return this.#record?.modificationTime ?? this.wide(3)
  }
  /** O_* flags of a create; undefined where they are not known. */
  get createFlags(): number | undefined {
    return this.#record?.openFlags
  }

  /** Answers 0 or `-errno`. */
  answer(result: number): void {
    this.#end()
    if (this.#record) this.#answerOnly(this.#handle, result)
    else this.#signal(result, ...this.#emptyAnswer())
  }

  /** Answers an operation that was handed memory: the library takes it back. */
  answerWith(result: number, memory: Buffer): void {
    this.#end()
    this.#signal(result, ...(this.#name === 'read' || this.#name === 'write' ? [0] : []), memory.buffer)
  }

  answerAttributes(attributes: Attributes): void {
    this.#end()
    if (!this.#record) {
      this.#signal(0, plainAttributes(attributes))
      return
    }
    this.#record.putAttributes(attributes)
    this.#answerOnly(this.#handle, 0)
  }

  answerStatistics(statistics: FileSystemStatistics): void {
    this.#end()
    if (!this.#record) {
      this.#signal(0, plainStatistics(statistics))
      return
    }
    this.#record.putStatistics(statistics)
    this.#answerOnly(this.#handle, 0)
  }

  answerLink(target: Uint8Array): void {
    this.#end()
    if (!this.#record) {
      this.#signal(0, Buffer.from(target).toString())
      return
    }
    this.#record.putLink(target)
    this.#answerOnly(this.#handle, 0)
  }

  answerOpened(handle: number, directIo: boolean): void {
    this.#end()
    if (directIo) this.#record?.setDirectIo()
    this.#signal(0, handle)
  }

  /** Answers a directory's entries, which `list` gives to the sink it is handed; it answers 0 or `-errno`. */
  answerEntries(list: (sink: DirectorySink) => number): void {
    const record = this.#record
    if (record) {
      const add: DirectorySink['add'] = (name, offset, length, low, high, type) =>
        record.putEntry(name, offset, length, low, high, type)
      this.answer(list({ add }))
      return
    }
    const names: string[] = []
    const result = list({
      add(bytes, offset, length) {
        const name = Buffer.from(bytes.subarray(offset, offset + length)).toString()
        if (!name.includes('\ufffd')) names.push(name)
        return true
      },
    })
    this.#end()
    this.#signal(result, names, [])
  }

  #text(at: number, recordAt: number): string {
    const text = this.#handed[at] as string
    // The library puts U+FFFD for what is not UTF-8: everything else it hands over whole.
    if (!text.includes('\ufffd')) return toBytesText(text)
    if (!this.#record) throw new UnknownBytes()
    return this.#record.text(recordAt)
  }

  #end(): void {
    this.#answered = true
  }

  #signal(result: number, ...more: unknown[]): void {
    this.#library[`fuse_native_signal_${this.#name}`](this.#handle, result, ...more)
  }

  /** What an operation's own signal function takes besides the result. */
  #emptyAnswer(): unknown[] {
    switch (this.#name) {
      case 'getattr':
      case 'fgetattr':
        return [new Uint32Array(18)]
      case 'statfs':
        return [new Uint32Array(11)]
      case 'readlink':
        return ['']
      case 'readdir':
        return [[], []]
      case 'open':
      case 'create':
        return [0]
      default:
        return []
    }
  }

  /** Answers what failed with an exception. */
  fail(error: unknown): void {
    if (this.#answered) return
    const result = error instanceof UnknownBytes ? -EILSEQ : -EIO
    const memory = this.#handed.find((each) => Buffer.isBuffer(each))
    if (memory) this.answerWith(result, memory)
    else this.answer(result)
  }
}

/** The array that the library makes a `struct stat` of. */
function plainAttributes(a: Attributes): Uint32Array {
  const ints = new Uint32Array(18)
  const wide = (at: number, value: number) => {
    ints[at] = value >>> 0
    ints[at + 1] = Math.floor(value / 0x100000000)
  }
  const milliseconds = (seconds: number, nanoseconds: number) =>
    Math.max(0, seconds * 1000 + Math.floor(nanoseconds / 1e6))
  ints[0] = a.mode
  ints[1] = a.uid
  ints[2] = a.gid
  wide(3, a.size)
  ints[6] = a.nlink
  ints[7] = a.inoLow
  ints[8] = a.rdev
  ints[9] = a.blksize
  wide(10, a.blocks)
  wide(12, milliseconds(a.atime, a.atimensec))
  wide(14, milliseconds(a.mtime, a.mtimensec))
  wide(16, milliseconds(a.ctime, a.ctimensec))
  return ints
}

/** The array that the library makes a `struct statvfs` of. */
function plainStatistics(s: FileSystemStatistics): Uint32Array {
  const counts = [s.blocks, s.freeBlocks, s.availableBlocks, s.files, s.freeFiles, s.freeFiles]
  return Uint32Array.from([
    s.blockSize,
    s.fragmentSize,
    ...counts.map((count) => Math.min(count, 0xffffffff)),
    0,
    0,
    s.nameLength,
  ])
}
