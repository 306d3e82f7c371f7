import { checkRange, isChar } from '../../src/cef/arguments.ts'
import { type CType, type IntegerType, layoutOf, type Value } from '../../src/cef/ctypes.ts'
import { CosmosError } from '../../src/errors.ts'
import { addressAt, bytes, readString, reserve, textOf, view, wideTextOf } from './memory.ts'

/** Values of messages to C's in the arena, and back. `subject` is the parameter that an error names. */

/** Throws CosmosError EINVAL: a value is not what a type needs. */
function refuse(subject: string, wanted: string): never {
  throw new CosmosError('EINVAL', subject, `is no ${wanted}`)
}

/** An integer of a type. Throws CosmosError EINVAL, ERANGE. */
export function toInteger(type: IntegerType, value: unknown, subject: string): number | bigint {
  if (typeof value === 'number') {
    // The usual case first: what fits 31 bits fits all but the narrow types.
    if (value === (value | 0) && type.size >= 4 && (type.signed || value >= 0)) return value
    if (!Number.isInteger(value)) refuse(subject, `integer: ${value}`)
    const exact = Number.isSafeInteger(value) ? value : BigInt(value)
    checkRange(type, exact, subject)
    return exact
  }
  if (typeof value !== 'bigint') refuse(subject, 'integer')
  checkRange(type, value, subject)
  return value
}

/** A number of a float type. */
export function toFloat(value: unknown, subject: string): number {
  if (typeof value === 'number') return value
  return typeof value === 'bigint' ? Number(value) : refuse(subject, 'number')
}

/** A bool. */
export function toBool(value: unknown, subject: string): boolean {
  return typeof value === 'boolean' ? value : refuse(subject, 'bool')
}

const ADDRESS: IntegerType = { kind: 'integer', name: 'address', size: 8, signed: false }

/** An address that is handed on; nil is NULL. */
export function toAddress(value: unknown, subject: string): number | bigint {
  return value === null || value === undefined ? 0 : toInteger(ADDRESS, value, subject)
}

/** The address of a copy of a text, or 0 for nil. Throws CosmosError EINVAL for one with a NUL in it. */
export function toText(value: unknown, wide: boolean, subject: string): number {
  if (value === null || value === undefined) return 0
  const at = wide ? writeWideText(value, 0, subject) : writeText(value, 0, subject)
  return addressAt(at)
}

/**
 * Puts a text and a NUL into the arena, in at least `room` bytes that are zero after it; answers where. A text that
 * may have a NUL in it is given as bytes with a `room`.
 */
export function writeText(value: unknown, room: number, subject: string): number {
  if (typeof value === 'string') {
    // At most 3 bytes of UTF-8 for a unit of UTF-16.
    const at = reserve(Math.max(3 * value.length + 1, room), 1)
    const size = bytes.write(value, at)
    if (value.includes('\0')) refuse(subject, 'text: it has a NUL in it')
    bytes.fill(0, at + size, at + Math.max(size + 1, room))
    return at
  }
  if (!(value instanceof Uint8Array)) refuse(subject, 'text')
  if (room === 0 && value.includes(0)) refuse(subject, 'text: it has a NUL in it')
  const at = reserve(Math.max(value.length + 1, room), 1)
  bytes.set(value, at)
  bytes.fill(0, at + value.length, at + Math.max(value.length + 1, room))
  return at
}

/** As {@link writeText}, of wchar_t. */
export function writeWideText(value: unknown, room: number, subject: string): number {
  if (typeof value !== 'string') refuse(subject, 'text')
  if (value.includes('\0')) refuse(subject, 'text: it has a NUL in it')
  const size = Math.max(4 * value.length + 4, room)
  const at = reserve(size, 4)
  bytes.fill(0, at, at + size)
  let next = at
  for (const character of value) {
    view.setUint32(next, character.codePointAt(0)!, true)
    next += 4
  }
  return at
}

/** What is in a buffer of chars up to its NUL, or to its end. */
export function readText(at: number, size: number, wide: boolean): string | Buffer {
  const whole = bytes.subarray(at, at + size)
  if (!wide) {
    const end = whole.indexOf(0)
    return textOf(end < 0 ? whole : whole.subarray(0, end))
  }
  let end = 0
  while (end < size && view.getUint32(at + end, true) !== 0) end += 4
  return wideTextOf(whole.subarray(0, end))
}

/** Writes a value to the arena. */
export function writeValue(type: CType, value: unknown, at: number, subject: string): void {
  switch (type.kind) {
    case 'bool':
      bytes[at] = toBool(value, subject) ? 1 : 0
      return
    case 'integer':
      writeInteger(type, toInteger(type, value, subject), at)
      return
    case 'float':
      if (type.size === 8) view.setFloat64(at, toFloat(value, subject), true)
      else view.setFloat32(at, toFloat(value, subject), true)
      return
    case 'string':
      view.setBigUint64(at, BigInt(toText(value, type.wide, subject)), true)
      return
    case 'address':
      view.setBigUint64(at, BigInt(toAddress(value, subject)), true)
      return
    case 'struct': {
      if (typeof value !== 'object' || value === null) refuse(subject, `struct ${type.name}`)
      bytes.fill(0, at, at + type.size)
      const members = value as Record<string, unknown>
      for (const field of type.fields)
        writeValue(field.type, members[field.name], at + field.offset, `${subject}.${field.name}`)
      return
    }
    case 'array':
      writeMember(type.of, type.length, value, at, subject)
      return
    case 'void':
      refuse(subject, 'value')
  }
}

/** An array in a struct: fewer elements than it has leave the others 0. */
function writeMember(type: CType, length: number, value: unknown, at: number, subject: string): void {
  const { size } = layoutOf(type)
  if (isChar(type) && size === 1 && typeof value === 'string') {
    const text = Buffer.from(value)
    if (text.length > length) refuse(subject, `text of ${length} bytes`)
    bytes.set(text, at)
    return
  }
  if (value instanceof Uint8Array) {
    if (value.length > length * size) refuse(subject, `list of ${length}`)
    bytes.set(value, at)
    return
  }
  if (!Array.isArray(value) || value.length > length) refuse(subject, `list of ${length}`)
  writeList(type, value, at, subject)
}

/** Writes the elements of a list, one after the other. */
export function writeList(type: CType, list: readonly unknown[], at: number, subject: string): void {
  const { size } = layoutOf(type)
  const isDouble = type.kind === 'float' && type.size === 8
  for (let i = 0; i < list.length; i++) {
    const item = list[i]
    if (isDouble && typeof item === 'number') view.setFloat64(at + i * size, item, true)
    else writeValue(type, item, at + i * size, `${subject}[${i}]`)
  }
}

function writeInteger({ size }: IntegerType, value: number | bigint, at: number): void {
  if (size === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true)
  else if (size === 4) view.setUint32(at, Number(value), true)
  else if (size === 2) view.setUint16(at, Number(value), true)
  else view.setUint8(at, Number(value))
}

/** Reads a value from the arena. */
export function readValue(type: CType, at: number): Value {
  switch (type.kind) {
    case 'bool':
      return bytes[at] !== 0
    case 'integer':
      return readInteger(type, at)
    case 'float':
      return type.size === 8 ? view.getFloat64(at, true) : view.getFloat32(at, true)
    case 'string': {
      const address = Number(view.getBigUint64(at, true))
      return address === 0 ? null : readString(address, type.wide)
    }
    case 'address':
      return fromAddress(view.getBigUint64(at, true))
    case 'struct':
      return Object.fromEntries(
        type.fields.map(({ name, type: of, offset }) => [name, readValue(of, at + offset)]),
      )
    case 'array': {
      const { size } = layoutOf(type.of)
      return isChar(type.of)
        ? readText(at, size * type.length, size === 4)
        : readList(type.of, type.length, at)
    }
    case 'void':
      return null
  }
}

/** An address as a message has it: nil for NULL. */
export function fromAddress(address: number | bigint): Value {
  return narrow(BigInt(address)) || null
}

/** The elements of an array. */
export function readList(type: CType, length: number, at: number): Value[] {
  const { size } = layoutOf(type)
  const list = new Array<Value>(length)
  for (let i = 0; i < length; i++) list[i] = readValue(type, at + i * size)
  return list
}

function readInteger({ size, signed }: IntegerType, at: number): number | bigint {
  switch (size) {
    case 1:
      return signed ? view.getInt8(at) : view.getUint8(at)
    case 2:
      return signed ? view.getInt16(at, true) : view.getUint16(at, true)
    case 4:
      return signed ? view.getInt32(at, true) : view.getUint32(at, true)
    case 8:
      return narrow(signed ? view.getBigInt64(at, true) : view.getBigUint64(at, true))
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
