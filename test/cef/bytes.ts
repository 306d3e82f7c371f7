/** What an ELF file of a few bytes is made of. */
export interface TinyElf {
  bits?: 32 | 64
  bigEndian?: boolean
  machine?: number
  /** 2 is a program, 3 a shared object. */
  type?: number
  /** Tags and values of its dynamic section; offsets of names are into `names`. */
  dynamic?: [tag: number, value: number][]
  /** Its string table, with NULs between. */
  names?: string
  notes?: Buffer
  /** More of its segment, from `TAIL_AT` on. */
  tail?: Buffer
}

const DYNAMIC_AT = 0x200
const NAMES_AT = 0x400
const NOTES_AT = 0x800
export const TAIL_AT = 0x900

/** An ELF file by hand: headers, one segment with everything, a dynamic section, names and notes. */
export function tinyElf(parts: TinyElf = {}): Buffer {
  const { bits = 64, bigEndian = false, machine = 62, type = 2, dynamic, names = '', notes, tail } = parts
  const size = TAIL_AT + (tail?.length ?? 0)
  const bytes = Buffer.alloc(size)
  const wide = bits === 64
  const u16 = (at: number, value: number) =>
    bigEndian ? bytes.writeUInt16BE(value, at) : bytes.writeUInt16LE(value, at)
  const u32 = (at: number, value: number) =>
    bigEndian ? bytes.writeUInt32BE(value, at) : bytes.writeUInt32LE(value, at)
  const word = (at: number, value: number) => {
    if (!wide) return u32(at, value)
    return bigEndian ? bytes.writeBigUInt64BE(BigInt(value), at) : bytes.writeBigUInt64LE(BigInt(value), at)
  }
  bytes.write(`\x7fELF${wide ? '\x02' : '\x01'}${bigEndian ? '\x02' : '\x01'}\x01`, 'latin1')
  u16(16, type)
  u16(18, machine)
  u32(20, 1)
  const start = wide ? 64 : 52
  const headerSize = wide ? 56 : 32
  word(wide ? 32 : 28, start)
  u16(wide ? 54 : 42, headerSize)
  const segments: [type: number, offset: number, size: number][] = [[1, 0, size]]
  if (dynamic) segments.push([2, DYNAMIC_AT, (dynamic.length + 2) * (wide ? 16 : 8)])
  if (notes) segments.push([4, NOTES_AT, notes.length])
  u16(wide ? 56 : 44, segments.length)
  segments.forEach(([kind, offset, length], i) => {
    const at = start + i * headerSize
    u32(at, kind)
    word(at + (wide ? 8 : 4), offset)
    word(at + (wide ? 16 : 8), offset)
    word(at + (wide ? 32 : 16), length)
  })
  const entries: [number, number][] = [[5, NAMES_AT], ...(dynamic ?? [])]
  entries.forEach(([tag, value], i) => {
    const at = DYNAMIC_AT + i * (wide ? 16 : 8)
    word(at, tag)
    word(at + (wide ? 8 : 4), value)
  })
  bytes.write(names, NAMES_AT, 'latin1')
  notes?.copy(bytes, NOTES_AT)
  tail?.copy(bytes, TAIL_AT)
  return bytes
}

/** NT_GNU_ABI_TAG, little-endian. */
export function abiNote(system: number, ...version: [number, number, number]): Buffer {
  const note = Buffer.alloc(32)
  ;[4, 16, 1].forEach((value, i) => {
    note.writeUInt32LE(value, i * 4)
  })
  note.write('GNU\0', 12, 'latin1')
  ;[system, ...version].forEach((value, i) => {
    note.writeUInt32LE(value, 16 + i * 4)
  })
  return note
}

/** LEB128 of a number below 2^14. */
function leb(value: number): number[] {
  return value < 128 ? [value] : [(value & 0x7f) | 0x80, value >> 7]
}

/** A WebAssembly module of these sections. */
export function wasmModule(...sections: [id: number, content: number[]][]): Buffer {
  const bytes = sections.flatMap(([id, content]) => [id, ...leb(content.length), ...content])
  return Buffer.from([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, ...bytes])
}

/** A text as WebAssembly has it. */
export function wasmText(text: string): number[] {
  return [...leb(Buffer.byteLength(text)), ...Buffer.from(text)]
}

/** A module that takes `fd_write` of these modules, and exports `_start`. */
export function wasmImporting(...modules: string[]): Buffer {
  const imports = modules.flatMap((module) => [...wasmText(module), ...wasmText('fd_write'), 0, 0])
  return wasmModule(
    [1, [1, 0x60, 0, 0]],
    [2, [modules.length, ...imports]],
    [3, [1, 0]],
    [7, [1, ...wasmText('_start'), 0, ...leb(modules.length)]],
    [10, [1, 2, 0, 0x0b]],
  )
}
