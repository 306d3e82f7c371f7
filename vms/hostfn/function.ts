import koffi, { type TypeObject } from 'koffi'
import { changedParameters, checkCount, isChar, parameterName } from '../../src/cef/arguments.ts'
import {
  type CallResult,
  type CType,
  layoutOf,
  type Parameter,
  type Prototype,
  type Value,
} from '../../src/cef/ctypes.ts'
import { CosmosError } from '../../src/errors.ts'
import { viewOf } from '../../src/os/memory.ts'
import { addressAt, bytes, readString, reserve, resetArena } from './memory.ts'
import { nativeType } from './native-types.ts'
import {
  fromAddress,
  readList,
  readText,
  readValue,
  toAddress,
  toBool,
  toFloat,
  toInteger,
  toText,
  writeList,
  writeText,
  writeValue,
  writeWideText,
} from './values.ts'

/**
 * Library functions that are called with the values of messages. koffi passes registers only: what is pointed to lies
 * in the arena, and its address is passed as a number.
 */

/** Declares a symbol of a library: koffi's `func` of a loaded one. */
export type Declare = (name: string, result: TypeObject, parameters: (TypeObject | string)[]) => Native
type Native = (...args: unknown[]) => unknown

/** Turns an argument to what koffi passes. */
type Convert = (value: unknown) => unknown

const errnoAddress: () => number = koffi.load('libc.so.6').func('uintptr_t __errno_location()')
const errno = new Int32Array(viewOf(errnoAddress(), 4))

/** A function of a library that is loaded. */
export class NativeFunction {
  readonly prototype: Prototype
  readonly #native: Native
  readonly #steps: readonly Step[]
  /** Those that are pointed to. */
  readonly #placed: readonly PlacedStep[]
  readonly #values: unknown[]
  readonly #result: (raw: unknown) => Value
  /** Arguments that it is called with. */
  readonly #count: number
  readonly #changes: boolean

  constructor(prototype: Prototype, declare: Declare) {
    this.prototype = prototype
    const { name, parameters, variable } = prototype
    const types: (TypeObject | string)[] = parameters.map((parameter) =>
      parameter.pass === 'value' ? nativeType(parameter.type) : koffi.types.uintptr_t,
    )
    if (variable) types.push('...')
    this.#native = declare(name, nativeType(prototype.result), types)
    this.#result = resultOf(prototype.result)
    this.#steps = stepsOf(prototype)
    this.#placed = this.#steps.filter(isPlaced)
    this.#changes = changedParameters(prototype).length > 0
    this.#count = this.#steps.filter((step) => step.parameter?.direction !== 'out').length
    this.#values = new Array<unknown>(types.length)
    if (variable) this.#values.length += 2 * variable.length - 1
    for (const step of this.#steps) if (step.type) this.#values[step.position - 1] = step.type
  }

  /** Calls it. Throws CosmosError EINVAL, ERANGE for arguments that it does not take; then it was not called. */
  call(args: readonly unknown[]): CallResult {
    if (args.length !== this.#count) checkCount(this.prototype, args.length)
    resetArena()
    const values = this.#values
    let next = 0
    // Lengths are known before what they tell the length of: values first, then the rest.
    for (const step of this.#steps) {
      if (step.parameter?.direction === 'out') continue
      const value = args[next++]
      if (step.convert) values[step.position] = step.convert(value)
      else step.given = value
    }
    for (const step of this.#placed) this.#place(step)
    errno[0] = 0
    const raw = this.#invoke(values)
    const code = errno[0]!
    const value = this.#result(raw)
    const result: { value: Value; out?: Value[]; errno?: number } = { value }
    if (this.#changes) result.out = this.#changed()
    if (code !== 0) result.errno = code
    return result
  }

  #invoke(values: readonly unknown[]): unknown {
    const native = this.#native
    switch (values.length) {
      case 0:
        return native()
      case 1:
        return native(values[0])
      case 2:
        return native(values[0], values[1])
      case 3:
        return native(values[0], values[1], values[2])
      default:
        return native(...values)
    }
  }

  /** Puts what is pointed to into the arena. */
  #place(step: PlacedStep): void {
    const { parameter } = step
    const { type, direction } = parameter
    const { size, alignment } = layoutOf(type)
    const value = direction === 'out' ? undefined : (step.given ?? null)
    const length = this.#lengthOf(parameter, step)
    step.asBytes = value instanceof Uint8Array
    if (value === null) step.at = -1
    else if (direction === 'out') {
      step.size = (length ?? 1) * size
      step.at = reserve(Math.max(1, step.size), alignment)
      bytes.fill(0, step.at, step.at + step.size)
    } else if (parameter.pass === 'text') this.#placeText(step, value, (length ?? 0) * size, size === 4)
    else if (parameter.pass === 'pointer') {
      step.size = size
      step.at = reserve(size, alignment)
      writeValue(type, value, step.at, step.subject)
    } else placeArray(step, type, value, length!)
    this.#values[step.position] = step.at < 0 ? 0 : addressAt(step.at)
  }

  /** A text is placed with room for what it may become; one that is only read may be as long as it likes. */
  #placeText(step: PlacedStep, value: unknown, room: number, wide: boolean): void {
    const at = wide ? writeWideText(value, room, step.subject) : writeText(value, room, step.subject)
    const given = textSize(value as string | Uint8Array, wide)
    const writable = step.parameter.direction === 'inout' && room > 0
    if (writable && given > room)
      throw new CosmosError('EINVAL', step.subject, `is longer than its buffer of ${room} bytes`)
    if (!writable && given + (wide ? 4 : 1) < room)
      throw new CosmosError(
        'EINVAL',
        step.subject,
        `is shorter than the ${room} bytes that it is said to have`,
      )
    step.at = at
    step.size = room || given
  }

  #lengthOf({ length }: Parameter, step: Step): number | undefined {
    if (length === undefined || typeof length === 'number') return length
    const told = Number(this.#values[step.lengthAt])
    if (told < 0) throw new CosmosError('EINVAL', length, `${told} is no length`)
    return told
  }

  #changed(): Value[] {
    const out: Value[] = []
    for (const step of this.#placed) {
      const { parameter, at, size } = step
      if (parameter.direction === 'in') continue
      if (at < 0) out.push(null)
      else if (parameter.pass === 'text') out.push(readText(at, size, layoutOf(parameter.type).size === 4))
      else if (parameter.pass === 'pointer') out.push(readValue(parameter.type, at))
      else if (step.asBytes || isByte(parameter.type)) out.push(Buffer.from(bytes.subarray(at, at + size)))
      else out.push(readList(parameter.type, size / layoutOf(parameter.type).size, at))
    }
    return out
  }
}

/** What is done with one argument. */
interface Step {
  /** Among what koffi is called with. */
  readonly position: number
  /** undefined: a variable argument, whose `type` comes before it. */
  readonly parameter?: Parameter
  readonly type?: TypeObject
  readonly subject: string
  /** Of what is passed as it is. */
  readonly convert?: Convert
  /** Position of the value that tells the length. */
  readonly lengthAt: number
  given: unknown
  /** Place in the arena; -1: NULL was passed. */
  at: number
  size: number
  /** An array came as bytes, and goes back so. */
  asBytes: boolean
}

type PlacedStep = Step & { readonly parameter: Parameter }

function isPlaced(step: Step): step is PlacedStep {
  return step.convert === undefined
}

function stepsOf(prototype: Prototype): Step[] {
  const { parameters, variable = [] } = prototype
  const state = { given: undefined, at: -1, size: 0, asBytes: false, lengthAt: -1 }
  const steps: Step[] = parameters.map((parameter, position) => {
    const subject = parameterName(parameter, prototype)
    const lengthAt = parameters.findIndex(({ name }) => name === parameter.length)
    const convert = parameter.pass === 'value' ? conversion(parameter.type, subject) : undefined
    return { ...state, position, parameter, subject, lengthAt, ...(convert && { convert }) }
  })
  for (const [i, type] of variable.entries()) {
    const subject = `argument ${parameters.length + i + 1}`
    const position = parameters.length + 2 * i + 1
    steps.push({ ...state, position, type: nativeType(type), subject, convert: conversion(type, subject) })
  }
  return steps
}

/** Bytes of a text without its NUL. */
function textSize(text: string | Uint8Array, wide: boolean): number {
  if (typeof text !== 'string') return text.length
  return wide ? 4 * [...text].length : Buffer.byteLength(text)
}

function placeArray(step: Step, type: CType, value: unknown, length: number): void {
  const { size, alignment } = layoutOf(type)
  step.size = length * size
  step.at = reserve(Math.max(1, step.size), alignment)
  const given = value instanceof Uint8Array ? value.length / size : Array.isArray(value) ? value.length : -1
  if (given < 0) throw new CosmosError('EINVAL', step.subject, 'is no list')
  if (given < length)
    throw new CosmosError('EINVAL', step.subject, `has ${given} elements where ${length} are said to be`)
  if (value instanceof Uint8Array) {
    if (hasPointers(type)) throw new CosmosError('EINVAL', step.subject, 'cannot be given as bytes')
    bytes.set(value.subarray(0, step.size), step.at)
  } else writeList(type, (value as unknown[]).slice(0, length), step.at, step.subject)
}

function isByte(type: CType): boolean {
  return type.kind === 'integer' && type.size === 1 && !type.signed && !isChar(type)
}

function hasPointers(type: CType): boolean {
  if (type.kind === 'struct') return type.fields.some((field) => hasPointers(field.type))
  return type.kind === 'string' || type.kind === 'address' || (type.kind === 'array' && hasPointers(type.of))
}

function conversion(type: CType, subject: string): Convert {
  switch (type.kind) {
    case 'integer':
      return (value) => toInteger(type, value, subject)
    case 'float':
      return (value) => toFloat(value, subject)
    case 'bool':
      return (value) => toBool(value, subject)
    case 'string':
      return (value) => toText(value, type.wide, subject)
    case 'address':
      return (value) => toAddress(value, subject)
    default: {
      // koffi wants a struct as an object of its own making: it reads one that is written to the arena.
      const native = nativeType(type)
      const { size, alignment } = layoutOf(type)
      return (value) => {
        const at = reserve(size, alignment)
        writeValue(type, value, at, subject)
        return koffi.decode(BigInt(addressAt(at)), native)
      }
    }
  }
}

function resultOf(type: CType): (raw: unknown) => Value {
  switch (type.kind) {
    case 'void':
      return () => null
    case 'string':
      return (raw) => (raw === 0 ? null : readString(Number(raw), type.wide))
    case 'address':
      return (raw) => fromAddress(raw as number | bigint)
    case 'struct': {
      const native = nativeType(type)
      return (raw) => {
        const at = reserve(type.size, type.alignment)
        koffi.encode(BigInt(addressAt(at)), native, raw)
        return readValue(type, at)
      }
    }
    default:
      return (raw) => raw as Value
  }
}
