import type { ElfMachine } from './arch.ts'
import type { HostFile } from './host-file.ts'

export const ET_EXEC = 2
export const ET_DYN = 3
const PT_LOAD = 1
const PT_DYNAMIC = 2
const DT_NEEDED = 1
export const DT_STRTAB = 5

/** The kernel takes no more bytes of program headers (fs/binfmt_elf.c). */
const MAX_PROGRAM_HEADERS = 65536
/** Entries of a dynamic section, of a version table: far more than any real file has. */
export const MAX_ENTRIES = 2048
/** A name or a list of directories. */
const MAX_TEXT = 16 * 1024

const TYPES: Readonly<Record<number, string>> = { 0: 'nothing', 1: 'an object file', 4: 'a core dump' }

/** A program header. */
export interface Segment {
  readonly type: number
  readonly offset: number
  readonly address: number
  readonly size: number
}

/**
 * An ELF file's headers, and its content by file offset or by address (elf(5)). Its methods throw CosmosError
 * ENOEXEC for content that can't be.
 */
export class Image {
  readonly file: HostFile
  readonly machine: ElfMachine
  readonly type: number
  readonly entry: number
  readonly osAbi: number
  readonly segments: readonly Segment[]
  /** First value of each tag of the dynamic section. */
  readonly dynamic = new Map<number, number>()
  /** Offsets of the names in DT_NEEDED. */
  readonly needed: number[] = []

  constructor(file: HostFile) {
    this.file = file
    const ident = file.at(0, 16)
    if (ident.readUInt32BE(0) !== 0x7f454c46) throw file.invalid('is no ELF file')
    const [bits, littleEndian] = [ident[4] === 2 ? 64 : 32, ident[5] === 1] as const
    if (ident[4] !== 1 && ident[4] !== 2) throw file.invalid(`has the unknown ELF class ${ident[4]}`)
    if (ident[5] !== 1 && ident[5] !== 2) throw file.invalid(`has the unknown byte order ${ident[5]}`)
    this.osAbi = ident[7]!
    this.machine = { bits, littleEndian, machine: 0 }
    const header = file.at(0, bits === 64 ? 64 : 52)
    this.type = this.u16(header, 16)
    this.machine = { bits, littleEndian, machine: this.u16(header, 18) }
    if (this.type !== ET_EXEC && this.type !== ET_DYN)
      throw file.invalid(`is ${TYPES[this.type] ?? `of ELF type ${this.type}`}, no program or library`)
    this.entry = this.word(header, 24)
    const start = this.word(header, bits === 64 ? 32 : 28)
    const entrySize = this.u16(header, bits === 64 ? 54 : 42)
    const count = this.u16(header, bits === 64 ? 56 : 44)
    if (entrySize !== (bits === 64 ? 56 : 32) || count === 0 || count * entrySize > MAX_PROGRAM_HEADERS)
      throw file.invalid(`has ${count} program headers of ${entrySize} bytes`)
    const headers = file.at(start, count * entrySize)
    this.segments = Array.from({ length: count }, (_, i) => this.#segment(headers, i * entrySize))
    this.#readDynamic()
  }

  #segment(headers: Buffer, at: number): Segment {
    const wide = this.machine.bits === 64
    const segment = {
      type: this.u32(headers, at),
      offset: this.word(headers, at + (wide ? 8 : 4)),
      address: this.word(headers, at + (wide ? 16 : 8)),
      size: this.word(headers, at + (wide ? 32 : 16)),
    }
    if (segment.type === PT_LOAD && segment.offset + segment.size > this.file.size)
      throw this.file.invalid(
        `is truncated: it has ${this.file.size} of ${segment.offset + segment.size} bytes`,
      )
    return segment
  }

  #readDynamic(): void {
    const segment = this.segments.find(({ type }) => type === PT_DYNAMIC)
    if (!segment) return
    const wordSize = this.machine.bits / 8
    const count = Math.floor(segment.size / (2 * wordSize))
    for (let i = 0; i < count; i++) {
      if (i === MAX_ENTRIES) throw this.file.invalid(`has ${count} dynamic entries`)
      const entry = this.file.at(segment.offset + i * 2 * wordSize, 2 * wordSize)
      const tag = this.word(entry, 0)
      const value = this.word(entry, wordSize)
      if (tag === 0) return
      if (tag === DT_NEEDED) this.needed.push(value)
      else if (!this.dynamic.has(tag)) this.dynamic.set(tag, value)
    }
  }

  u16(bytes: Buffer, at: number): number {
    return this.machine.littleEndian ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)
  }

  u32(bytes: Buffer, at: number): number {
    return this.machine.littleEndian ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)
  }

  /** An address, offset or size; over 2^53 it is no exact number, and beyond any file. */
  word(bytes: Buffer, at: number): number {
    if (this.machine.bits === 32) return this.u32(bytes, at)
    const [low, high] = this.machine.littleEndian ? [at, at + 4] : [at + 4, at]
    return this.u32(bytes, high) * 0x1_0000_0000 + this.u32(bytes, low)
  }

  /** Content by its address in memory. */
  mapped(address: number, length: number): Buffer {
    return this.file.at(this.offsetOf(address), length)
  }

  offsetOf(address: number): number {
    for (const { type, offset, address: start, size } of this.segments)
      if (type === PT_LOAD && address >= start && address < start + size) return offset + (address - start)
    throw this.file.invalid(`has nothing at the address 0x${address.toString(16)}`)
  }

  /** A string of the dynamic string table. */
  text(index: number): string {
    const table = this.dynamic.get(DT_STRTAB)
    if (table === undefined) throw this.file.invalid('has names, and no table of them')
    const start = this.offsetOf(table + index)
    const bytes = this.file.at(start, Math.min(MAX_TEXT, this.file.size - start))
    const end = bytes.indexOf(0)
    if (end < 0) throw this.file.invalid('has a name without an end')
    return bytes.toString('latin1', 0, end)
  }

  textOf(tag: number): string | undefined {
    const index = this.dynamic.get(tag)
    return index === undefined ? undefined : this.text(index)
  }
}
