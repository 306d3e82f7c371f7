import { CosmosError } from '../errors.ts'
import { type WireText, wireBytes } from '../form/wire.ts'
import {
  BYTE,
  type CallResult,
  type CType,
  type IntegerType,
  type Parameter,
  type Prototype,
  type Value,
} from './ctypes.ts'

/** Arguments of a function as a shell has them, and its results for people and for programs. */

/** The parameters that a caller gives: all but those that are only written. */
export function givenParameters(prototype: Prototype): Parameter[] {
  return prototype.parameters.filter((parameter) => parameter.direction !== 'out')
}

/** The parameters whose values come back. */
export function changedParameters(prototype: Prototype): Parameter[] {
  return prototype.parameters.filter((parameter) => parameter.direction !== 'in')
}

/** What an error calls a parameter. */
export function parameterName(parameter: Parameter, prototype: Prototype): string {
  return parameter.name || `parameter ${prototype.parameters.indexOf(parameter) + 1}`
}

/** Throws CosmosError EINVAL when a call has not as many arguments as it needs. */
export function checkCount(prototype: Prototype, given: number): void {
  const wanted = givenParameters(prototype).length + (prototype.variable?.length ?? 0)
  if (given === wanted) return
  const few = given < wanted ? 'few' : 'many'
  throw new CosmosError('EINVAL', prototype.name, `too ${few} arguments: takes ${wanted}, ${given} given`)
}

const LIMITS = new Map(
  [1, 2, 4, 8].flatMap((size): [string, { min: bigint; max: bigint }][] => {
    const bits = BigInt(8 * size)
    return [
      [`true${size}`, { min: -(1n << (bits - 1n)), max: (1n << (bits - 1n)) - 1n }],
      [`false${size}`, { min: 0n, max: (1n << bits) - 1n }],
    ]
  }),
)

/** Throws CosmosError ERANGE for an integer that a type does not hold. */
export function checkRange(type: IntegerType, value: number | bigint, subject: string): void {
  const limits = LIMITS.get(`${type.signed}${type.size}`)!
  if (value >= limits.min && value <= limits.max) return
  throw new CosmosError('ERANGE', subject, `${value} is not in ${limits.min}…${limits.max} (${type.name})`)
}

/**
 * The arguments of a call from a command line, one for each parameter that is not `out`, then the variable ones.
 * Numbers as in C (decimal, 0x, 0b, 0o) or JSON; bool as true, false, 1, 0; text as it is; arrays as JSON lists or
 * `1,2,3`; structs as JSON. `null` is the null pointer where something is pointed to but text.
 * Throws CosmosError EINVAL or ERANGE with the parameter as its subject.
 */
export function parseArguments(prototype: Prototype, argv: readonly WireText[]): Value[] {
  checkCount(prototype, argv.length)
  const given = givenParameters(prototype)
  return argv.map((argument, i) => {
    const parameter = given[i]
    if (parameter) return parseParameter(parameter, argument, parameterName(parameter, prototype))
    const nth = i - given.length
    return parseValue(prototype.variable![nth]!, argument, `argument ${i + 1}`)
  })
}

function parseParameter({ type, pass }: Parameter, argument: WireText, subject: string): Value {
  if (pass === 'value') return parseValue(type, argument, subject)
  if (pass === 'text') return checkText(argument, subject)
  const text = readable(argument)
  if (text === 'null') return null
  if (pass === 'pointer') return parseValue(type, argument, subject)
  if (text.trim().startsWith('[')) {
    const list = parseJson(text, subject)
    return Array.isArray(list)
      ? list.map((item: unknown, i) => fromJson(type, item, `${subject}[${i}]`))
      : null
  }
  if (type === BYTE) return wireBytes(argument)
  if (text === '') return []
  return text.split(',').map((item, i) => parseValue(type, item.trim(), `${subject}[${i}]`))
}

function parseValue(type: CType, argument: WireText, subject: string): Value {
  if (type.kind === 'string') return checkText(argument, subject)
  const text = readable(argument).trim()
  switch (type.kind) {
    case 'bool':
      if (text === 'true' || text === '1') return true
      if (text === 'false' || text === '0') return false
      throw new CosmosError('EINVAL', subject, `${text || 'an empty text'} is neither true nor false`)
    case 'integer':
      return parseInteger(type, text, subject)
    case 'float':
      return parseNumber(text, subject)
    case 'address':
      return text === 'null' ? null : parseInteger(ADDRESS_INTEGER, text, subject)
    default:
      return fromJson(type, parseJson(text, subject), subject)
  }
}

const ADDRESS_INTEGER: IntegerType = { kind: 'integer', name: 'address', size: 8, signed: false }

function parseInteger(type: IntegerType, text: string, subject: string): number | bigint {
  const [, sign = '', digits = ''] = /^([+-]?)(\d+|0[xX][\da-fA-F]+|0[bB][01]+|0[oO][0-7]+)$/.exec(text) ?? []
  if (digits === '') throw new CosmosError('EINVAL', subject, `${text || 'an empty text'} is no integer`)
  const value = sign === '-' ? -BigInt(digits) : BigInt(digits)
  checkRange(type, value, subject)
  return narrow(value)
}

/** A number where that is exact. */
function narrow(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

const FLOAT_NAMES = new Map([
  ['nan', Number.NaN],
  ['inf', Number.POSITIVE_INFINITY],
  ['infinity', Number.POSITIVE_INFINITY],
])

function parseNumber(text: string, subject: string): number {
  const [, sign = '', digits = ''] = /^([+-]?)(.*)$/s.exec(text) ?? []
  const value = FLOAT_NAMES.get(digits.toLowerCase()) ?? (/^[\d.]/.test(digits) ? Number(digits) : Number.NaN)
  if (Number.isNaN(value) && digits.toLowerCase() !== 'nan')
    throw new CosmosError('EINVAL', subject, `${text || 'an empty text'} is no number`)
  return sign === '-' ? -value : value
}

function checkText(argument: WireText, subject: string): WireText {
  const hasNul = typeof argument === 'string' ? argument.includes('\0') : argument.includes(0)
  if (hasNul) throw new CosmosError('EINVAL', subject, 'a text cannot have a NUL in it')
  return argument
}

function readable(argument: WireText): string {
  return typeof argument === 'string' ? argument : wireBytes(argument).toString()
}

/** JSON whose integers beyond 2^53 are bigint. */
function parseJson(text: string, subject: string): unknown {
  const exact = (_: string, value: unknown, { source }: { source?: string } = {}) =>
    typeof value === 'number' && source !== undefined && /^-?\d+$/.test(source)
      ? narrow(BigInt(source))
      : value
  try {
    return JSON.parse(text, exact)
  } catch {
    throw new CosmosError('EINVAL', subject, `${text || 'an empty text'} is no JSON`)
  }
}

/** A value that came as JSON, checked against its type. */
function fromJson(type: CType, json: unknown, subject: string): Value {
  const refuse = (what: string): never => {
    throw new CosmosError('EINVAL', subject, `${JSON.stringify(json, bigintText)} is no ${what}`)
  }
  switch (type.kind) {
    case 'struct': {
      if (typeof json !== 'object' || json === null || Array.isArray(json))
        return refuse(`struct ${type.name}`)
      const members = json as Record<string, unknown>
      for (const name of Object.keys(members))
        if (!type.fields.some((field) => field.name === name))
          throw new CosmosError('EINVAL', subject, `struct ${type.name} has no ${name}`)
      const entries = type.fields.map((field): [string, Value] => {
        const member = members[field.name]
        if (member === undefined) throw new CosmosError('EINVAL', subject, `${field.name} is missing`)
        return [field.name, fromJson(field.type, member, `${subject}.${field.name}`)]
      })
      return Object.fromEntries(entries)
    }
    case 'array': {
      if (typeof json === 'string' && isChar(type.of)) return json
      if (!Array.isArray(json) || json.length > type.length) return refuse(`list of ${type.length}`)
      return json.map((item: unknown, i) => fromJson(type.of, item, `${subject}[${i}]`))
    }
    case 'string':
      if (json === null) return null
      return typeof json === 'string' ? checkText(json, subject) : refuse('text')
    case 'address':
      if (json === null) return null
      return isInteger(json) ? json : refuse('address')
    case 'bool':
      return typeof json === 'boolean' ? json : refuse('bool')
    case 'integer':
      if (!isInteger(json)) return refuse('integer')
      checkRange(type, json, subject)
      return json
    case 'float':
      if (typeof json === 'string') return parseNumber(json, subject)
      return typeof json === 'number' || typeof json === 'bigint' ? Number(json) : refuse('number')
    case 'void':
      return refuse('value')
  }
}

function isInteger(value: unknown): value is number | bigint {
  return Number.isInteger(value) || typeof value === 'bigint'
}

/** Whether elements of a type are text together. */
export function isChar(type: CType): boolean {
  return type.kind === 'integer' && (type.name === 'char' || type.name === 'wchar_t')
}

function bigintText(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}

/**
 * A result for people, each part a line: the value (none of void), then the values of changed parameters. Text is as
 * it is, arrays and structs are JSON. Bytes, because text need not be UTF-8.
 */
export function formatResult(prototype: Prototype, result: CallResult): Buffer {
  const parts: Buffer[] = []
  const line = (type: CType, value: Value) => parts.push(formatValue(type, value), Buffer.from('\n'))
  if (prototype.result.kind !== 'void') line(prototype.result, result.value)
  for (const [i, parameter] of changedParameters(prototype).entries()) {
    const isText = parameter.pass === 'text'
    line(isText ? { kind: 'string', wide: false } : parameter.type, result.out?.[i] ?? null)
  }
  return Buffer.concat(parts)
}

function formatValue(type: CType, value: Value): Buffer {
  if (value instanceof Uint8Array && type.kind === 'string') return wireBytes(value)
  if (typeof value === 'string') return Buffer.from(value)
  if (typeof value === 'number') return Buffer.from(Object.is(value, -0) ? '-0' : String(value))
  return Buffer.from(JSON.stringify(toJson(value)))
}

/** A result for programs: what JSON.stringify prints as `{value, out?: {name: value}, errno?}`, integers exactly. */
export function resultToJson(prototype: Prototype, result: CallResult): object {
  const changed = changedParameters(prototype)
  const out = changed.map((parameter, i) => [
    parameterName(parameter, prototype),
    toJson(result.out?.[i] ?? null),
  ])
  return {
    value: toJson(result.value),
    ...(out.length > 0 && { out: Object.fromEntries(out) }),
    ...(result.errno !== undefined && { errno: result.errno }),
  }
}

/** The part of the standard (ECMA-262, JSON.parse source text access) that the compiler's library does not list. */
const rawJson = (JSON as unknown as { rawJSON(text: string): object }).rawJSON

/** Bytes become a list; what JSON has no number for (NaN, infinities) its name. */
function toJson(value: Value): unknown {
  if (typeof value === 'bigint') return rawJson(value.toString())
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (value instanceof Uint8Array) return [...value]
  if (Array.isArray(value)) return (value as readonly Value[]).map(toJson)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, toJson(member as Value)]))
}
