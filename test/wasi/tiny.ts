/** Modules of a few bytes, for tests that need no compiler. */

/** Types of values, as the binary format has them. */
export const I32 = 0x7f
export const I64 = 0x7e
export const F32 = 0x7d
export const F64 = 0x7c
const EXTERNREF = 0x6f

const FUNCTION = 0
const MEMORY = 2

interface FunctionType {
  params?: number[]
  results?: number[]
}

/** A module's parts. */
export interface Tiny {
  imports?: (FunctionType & { module: string; name: string })[]
  /** Exported functions; `code` without the `end`. */
  functions?: (FunctionType & { name: string; code: number[] })[]
  /** Pages of an exported memory. */
  memory?: number
  /** What lies in the memory at 64. */
  data?: string
}

/** The bytes of a module. */
export function tinyModule({ imports = [], functions = [], memory, data }: Tiny): Buffer {
  const types = [...imports, ...functions].map(({ params = [], results = [] }) => [
    0x60,
    ...counted(params.map(one)),
    ...counted(results.map(one)),
  ])
  const exports = functions.map(({ name }, i) => [...text(name), FUNCTION, ...leb(imports.length + i)])
  if (memory !== undefined) exports.push([...text('memory'), MEMORY, 0])
  const sections = [
    section(1, types),
    section(
      2,
      imports.map(({ module, name }, i) => [...text(module), ...text(name), FUNCTION, ...leb(i)]),
    ),
    section(
      3,
      functions.map((_, i) => leb(imports.length + i)),
    ),
    section(5, memory === undefined ? [] : [[0, ...leb(memory)]]),
    section(7, exports),
    section(
      10,
      functions.map(({ code }) => [...leb(code.length + 2), 0, ...code, 0x0b]),
    ),
    section(11, data === undefined ? [] : [[0, 0x41, ...sleb(64), 0x0b, ...text(data)]]),
  ]
  return Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()])
}

function section(id: number, items: number[][]): number[] {
  if (items.length === 0) return []
  const body = counted(items)
  return [id, ...leb(body.length), ...body]
}

function counted(items: number[][]): number[] {
  return [...leb(items.length), ...items.flat()]
}

function one(value: number): number[] {
  return [value]
}

function text(value: string): number[] {
  const bytes = [...Buffer.from(value)]
  return [...leb(bytes.length), ...bytes]
}

function leb(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)]
}

function sleb(value: number): number[] {
  return value < 64 ? [value] : [(value & 127) | 128, ...sleb(value >> 7)]
}

/** `i32.const value` */
export const constant = (value: number): number[] => [0x41, ...sleb(value)]
/** `local.get index` */
export const local = (index: number): number[] => [0x20, index]
/** `call index`; imports are counted first. */
export const call = (index: number): number[] => [0x10, index]
export const UNREACHABLE = [0x00]
/** A loop without an end. */
export const FOREVER = [0x03, 0x40, 0x0c, 0, 0x0b]

const WASI = 'wasi_snapshot_preview1'
const start = (code: number[]) => [{ name: '_start', code }]

/** Programs and libraries. */
export const tiny = {
  nothing: tinyModule({ functions: start([]) }),
  exit42: tinyModule({
    imports: [{ module: WASI, name: 'proc_exit', params: [I32] }],
    functions: start([...constant(42), ...call(0)]),
    memory: 1,
  }),
  trap: tinyModule({ functions: start(UNREACHABLE) }),
  spin: tinyModule({ functions: start(FOREVER) }),
  recursion: tinyModule({ functions: start(call(0)) }),
  /** Writes `tiny\n` to standard output: a vector at 0, the text at 64. */
  write: tinyModule({
    imports: [{ module: WASI, name: 'fd_write', params: [I32, I32, I32, I32], results: [I32] }],
    functions: start([
      ...[...constant(0), ...constant(64), 0x36, 2, 0],
      ...[...constant(4), ...constant(5), 0x36, 2, 0],
      ...[...constant(1), ...constant(0), ...constant(1), ...constant(16), ...call(0), 0x1a],
    ]),
    memory: 1,
    data: 'tiny\n',
  }),
  library: tinyModule({
    functions: [
      { name: 'add', params: [I32, I32], results: [I32], code: [...local(0), ...local(1), 0x6a] },
      { name: 'same', params: [I64], results: [I64], code: local(0) },
      {
        name: 'half',
        params: [F64],
        results: [F64],
        code: [...local(0), 0x44, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0xa2],
      },
      { name: 'single', params: [F32], results: [F32], code: local(0) },
      { name: 'both', params: [I32, I64], results: [I64, I32], code: [...local(1), ...local(0)] },
      { name: 'nothing', code: [] },
      { name: 'divide', params: [I32, I32], results: [I32], code: [...local(0), ...local(1), 0x6d] },
      { name: 'forever', code: FOREVER },
      { name: 'reference', params: [EXTERNREF], code: [] },
    ],
  }),
}
