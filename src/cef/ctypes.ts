/** The C types that a value can cross a process's border in, as the IDL knows them (see `prototype.ts`). */

/** An integer; enums are `int`. */
export interface IntegerType {
  readonly kind: 'integer'
  /** Its C name, such as `unsigned long`. */
  readonly name: string
  /** Bytes. */
  readonly size: 1 | 2 | 4 | 8
  readonly signed: boolean
}

/** A struct of fixed size. */
export interface StructType {
  readonly kind: 'struct'
  readonly name: string
  readonly fields: readonly Field[]
  /** Bytes, padding included. */
  readonly size: number
  readonly alignment: number
}

/** A member of a struct. */
export interface Field {
  readonly name: string
  readonly type: CType
  /** Bytes from the struct's start. */
  readonly offset: number
}

/** The type of a value, an element or a member. */
export type CType =
  | { readonly kind: 'void' }
  | { readonly kind: 'bool' }
  | IntegerType
  | { readonly kind: 'float'; readonly name: 'float' | 'double'; readonly size: 4 | 8 }
  /** `char *`, or `wchar_t *` where wide: text up to its NUL. */
  | { readonly kind: 'string'; readonly wide: boolean }
  /** A pointer that is only handed on: `void *`, or one to a struct that is not defined. */
  | { readonly kind: 'address' }
  | StructType
  /** A member with a fixed number of elements. */
  | { readonly kind: 'array'; readonly of: CType; readonly length: number }

/**
 * A parameter. `value`: as it is. `pointer`: to one `type`. `array`: to several. `text`: to chars (or wchar_t) that
 * the function may change.
 */
export interface Parameter {
  /** Empty where the prototype names none. */
  readonly name: string
  /** Of the value, or of what is pointed to. */
  readonly type: CType
  readonly pass: 'value' | 'pointer' | 'array' | 'text'
  /** What crosses: to the function, back from it, both. A parameter that is `out` is not given by the caller. */
  readonly direction: 'in' | 'out' | 'inout'
  /** Elements: a number, or the name of the parameter that tells it. */
  readonly length?: number | string
}

/** A function. */
export interface Prototype {
  readonly name: string
  readonly result: CType
  readonly parameters: readonly Parameter[]
  /** The types of the variable arguments of a call; undefined for a function that takes none. */
  readonly variable?: readonly CType[]
}

/** Types by how they are named: `struct point`, or the name of a typedef. */
export type Types = ReadonlyMap<string, CType>

/** What an argument or a result is in JavaScript and in a message. Integers beyond 2^53 are bigint. */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly Value[]
  | { readonly [name: string]: Value }

/** How a call ended. */
export interface CallResult {
  /** null for void and NULL. */
  readonly value: Value
  /** One for each parameter that the function may change, in their order. */
  readonly out?: readonly Value[]
  /** errno where the function has set it; it is 0 before. */
  readonly errno?: number
}

export const VOID: CType = { kind: 'void' }
export const ADDRESS: CType = { kind: 'address' }

const integer = (name: string, size: IntegerType['size'], signed: boolean): IntegerType => ({
  kind: 'integer',
  name,
  size,
  signed,
})

export const CHAR = integer('char', 1, process.arch !== 'arm64')
export const WCHAR = integer('wchar_t', 4, process.arch !== 'arm64')
export const BYTE = integer('unsigned char', 1, false)
const DOUBLE: CType = { kind: 'float', name: 'double', size: 8 }

/** Integers with a name of one word beside C's own, and their sizes on 64-bit Linux; negative: signed. */
const NAMED_INTEGERS: Record<string, number> = {
  size_t: 8,
  ssize_t: -8,
  ptrdiff_t: -8,
  intptr_t: -8,
  uintptr_t: 8,
  int8_t: -1,
  int16_t: -2,
  int32_t: -4,
  int64_t: -8,
  uint8_t: 1,
  uint16_t: 2,
  uint32_t: 4,
  uint64_t: 8,
  off_t: -8,
  time_t: -8,
  clock_t: -8,
  pid_t: -4,
  uid_t: 4,
  gid_t: 4,
  mode_t: 4,
}

/** Types of one word. */
export const NAMED_TYPES: Types = new Map<string, CType>([
  ['void', VOID],
  ['bool', { kind: 'bool' }],
  ['_Bool', { kind: 'bool' }],
  ['float', { kind: 'float', name: 'float', size: 4 }],
  ['double', DOUBLE],
  ['wchar_t', WCHAR],
  ...Object.entries(NAMED_INTEGERS).map(([name, size]): [string, CType] => [
    name,
    integer(name, Math.abs(size) as IntegerType['size'], size < 0),
  ]),
])

/** Words that C's integers are put together from. */
export const INTEGER_WORDS: ReadonlySet<string> = new Set([
  'char',
  'short',
  'int',
  'long',
  'signed',
  'unsigned',
])

/** The integer that words such as `unsigned long int` mean; undefined for words that mean none. */
export function integerOf(words: readonly string[]): IntegerType | undefined {
  const key = words.toSorted().join(' ')
  const signed = !words.includes('unsigned')
  const kind = key
    .replace(/(un)?signed|\bint\b/g, '')
    .trim()
    .replace(/ +/g, ' ')
  if (words.filter((word) => word.endsWith('signed')).length > 1) return undefined
  if (words.filter((word) => word === 'int').length > 1) return undefined
  const prefix = signed ? '' : 'unsigned '
  switch (kind) {
    case '':
      return integer(`${prefix}int`, 4, signed)
    case 'short':
      return integer(`${prefix}short`, 2, signed)
    case 'long':
      return integer(`${prefix}long`, 8, signed)
    case 'long long':
      return integer(`${prefix}long long`, 8, signed)
    case 'char':
      if (words.includes('int')) return undefined
      if (words.length === 1) return CHAR
      return signed ? integer('signed char', 1, true) : BYTE
    default:
      return undefined
  }
}

/** Bytes of a type, and what its address is a multiple of. */
export function layoutOf(type: CType): { size: number; alignment: number } {
  switch (type.kind) {
    case 'void':
    case 'bool':
      return { size: 1, alignment: 1 }
    case 'integer':
    case 'float':
      return { size: type.size, alignment: type.size }
    case 'string':
    case 'address':
      return { size: 8, alignment: 8 }
    case 'struct':
      return type
    case 'array': {
      const { size, alignment } = layoutOf(type.of)
      return { size: size * type.length, alignment }
    }
  }
}

/** A struct with its members laid out as C does (System V ABI): each at the next multiple of its alignment. */
export function layOut(name: string, members: readonly { name: string; type: CType }[]): StructType {
  const fields: Field[] = []
  let at = 0
  let alignment = 1
  for (const member of members) {
    const layout = layoutOf(member.type)
    at = Math.ceil(at / layout.alignment) * layout.alignment
    fields.push({ ...member, offset: at })
    at += layout.size
    alignment = Math.max(alignment, layout.alignment)
  }
  return { kind: 'struct', name, fields, size: Math.ceil(at / alignment) * alignment, alignment }
}
