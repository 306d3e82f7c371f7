import { CosmosError } from '../errors.ts'
import type { CType, Parameter, Prototype, StructType, Types } from './ctypes.ts'
import { type Idl, Parser, variableType } from './parser.ts'

/**
 * The IDL of library functions (design §5): C prototypes, with what a prototype does not tell made explicit.
 *
 * - `const char *s` is text; `char *s` is text that the function may change in place, within its length.
 * - `T xs[n]` is an array of as many elements as the parameter `n` says, `T xs[8]` one of 8. `T *xs` means the same
 *   where it follows an integer that is called n, count, len, length or size. `char s[n]` is a buffer for text.
 * - `const T *p` is read, `T *p` is read and changed, `out T *p` is written only: the caller does not give it.
 * - `void xs[n]` is bytes; `void *` and a pointer to a struct that is not defined are only handed on.
 * - After `...` come the types of a call's variable arguments: `int printf(const char *format, ..., int, double)`.
 */

/**
 * One prototype, and before it any definitions that it needs, each with a `;`. Throws CosmosError EINVAL with the
 * text as its subject.
 */
export function parsePrototype(text: string, types?: Types): Prototype {
  const { prototypes } = new Parser(text, () => text.trim(), types).declarations()
  const [prototype] = prototypes.values()
  if (prototype === undefined || prototypes.size > 1)
    throw new CosmosError('EINVAL', text.trim(), `is ${prototype ? 'more than one' : 'no'} prototype`)
  return prototype
}

/** A file of prototypes and definitions. Throws CosmosError EINVAL with `NAME:LINE` as its subject. */
export function parseIdl(text: string, name = 'idl'): Idl {
  return new Parser(text, (line) => `${name}:${line}`).declarations()
}

/**
 * A prototype for a call by what is known of the library: a bare name means the known prototype, and one that gives
 * types in the place of a known `...` means variable arguments. Throws CosmosError EINVAL, ENOENT for a name that is
 * not known.
 */
export function resolvePrototype(text: string, known: Idl): Prototype {
  if (/^\s*[A-Za-z_]\w*\s*$/.test(text)) {
    const prototype = known.prototypes.get(text.trim())
    if (prototype) return prototype
    throw new CosmosError(
      'ENOENT',
      text.trim(),
      'its prototype is not known',
      `write it, as in int ${text.trim()}(int)`,
    )
  }
  const given = parsePrototype(text, known.types)
  const model = known.prototypes.get(given.name)
  if (model?.variable === undefined || given.variable !== undefined) return given
  const fixed = model.parameters.length
  if (given.parameters.length < fixed) return given
  const variable = given.parameters.slice(fixed).map((parameter) => variableType(parameter, text.trim()))
  return { ...given, parameters: given.parameters.slice(0, fixed), variable }
}

/** A prototype as text that {@link parsePrototype} reads to the same, definitions of its structs included. */
export function formatPrototype(prototype: Prototype): string {
  const structs = new Map<string, StructType>()
  for (const type of [prototype.result, ...prototype.parameters.map((parameter) => parameter.type)])
    collectStructs(type, structs)
  const definitions = [...structs.values()].map((struct) => `${formatStruct(struct)}; `)
  const parameters = prototype.parameters.map(formatParameter)
  if (prototype.variable) parameters.push('...', ...prototype.variable.map((type) => declare(type, '')))
  return `${definitions.join('')}${declare(prototype.result, prototype.name)}(${parameters.join(', ') || 'void'})`
}

function collectStructs(type: CType, into: Map<string, StructType>): void {
  if (type.kind === 'array') collectStructs(type.of, into)
  if (type.kind !== 'struct' || into.has(type.name)) return
  for (const field of type.fields) collectStructs(field.type, into)
  into.set(type.name, type)
}

function formatStruct(struct: StructType): string {
  return `struct ${struct.name} { ${struct.fields.map((field) => `${declare(field.type, field.name)}; `).join('')}}`
}

/** A declaration: `int x`, `const char *s`, `double m[4]`. */
function declare(type: CType, name: string): string {
  if (type.kind === 'array') return `${declare(type.of, name)}[${type.length}]`
  const text = typeName(type)
  return name === '' || text.endsWith('*') ? `${text}${name}` : `${text} ${name}`
}

function typeName(type: CType): string {
  switch (type.kind) {
    case 'integer':
    case 'float':
      return type.name
    case 'string':
      return type.wide ? 'const wchar_t *' : 'const char *'
    case 'address':
      return 'void *'
    case 'struct':
      return `struct ${type.name}`
    default:
      return type.kind
  }
}

function formatParameter({ name, type, pass, direction, length }: Parameter): string {
  if (pass === 'value') return declare(type, name)
  const text = typeName(type)
  const pointee = direction !== 'in' ? text : text.endsWith('*') ? `${text}const` : `const ${text}`
  const prefix = direction === 'out' ? 'out ' : ''
  const space = /\w$/.test(pointee) ? ' ' : ''
  return `${prefix}${pointee}${space}${length === undefined ? `*${name}` : `${name}[${length}]`}`
}
