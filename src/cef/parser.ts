import { CosmosError } from '../errors.ts'
import {
  ADDRESS,
  BYTE,
  CHAR,
  type CType,
  INTEGER_WORDS,
  integerOf,
  layOut,
  NAMED_TYPES,
  type Parameter,
  type Prototype,
  type Types,
  VOID,
  WCHAR,
} from './ctypes.ts'

/** The parser of the IDL, whose rules are told in `prototype.ts`. */

/** What an IDL file says. */
export interface Idl {
  /** By name, in the file's order. */
  readonly prototypes: ReadonlyMap<string, Prototype>
  readonly types: Types
}

interface Token {
  readonly text: string
  readonly line: number
}

/** Skipped: white space and comments. Then a name, a number, `...`, or a character of its own. */
const TOKEN = /(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/)*(\.\.\.|[A-Za-z_]\w*|\d\w*|[^\s])?/y

function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  let line = 1
  TOKEN.lastIndex = 0
  for (;;) {
    const from = TOKEN.lastIndex
    const match = TOKEN.exec(text)
    const token = match?.[1]
    const lines = text.slice(from, from + (match?.[0].length ?? 0)).split('\n').length - 1
    line += lines
    if (token === undefined) return [...tokens, { text: '', line }]
    tokens.push({ text: token, line })
  }
}

/** Words that say nothing about how a value crosses. */
const IGNORED = new Set(['volatile', 'restrict', '__restrict', 'register', 'extern', 'inline', 'noexcept'])
/** Integers with these names tell the length of a pointer that follows. */
const LENGTH_NAMES = new Set(['n', 'count', 'len', 'length', 'size'])

/** A declaration before it is known what it is for. */
interface Declaration {
  readonly name: string
  /** The type at its start; undefined: a struct that is not defined. */
  readonly base: CType | undefined
  readonly constBase: boolean
  /** Of each `*`: whether it is const. */
  readonly pointers: readonly boolean[]
  /** What is in the brackets; undefined: there are none. */
  readonly length: number | string | undefined
  readonly line: number
}

/** Reads one text. `subject` is what an error calls a line of it. */
export class Parser {
  readonly #tokens: Token[]
  readonly #subject: (line: number) => string
  readonly #types: Map<string, CType | undefined>
  #at = 0

  constructor(text: string, subject: (line: number) => string, types: Types = new Map()) {
    this.#tokens = tokenize(text)
    this.#subject = subject
    this.#types = new Map(types)
  }

  /** All that is declared and defined. Throws CosmosError EINVAL. */
  declarations(): Idl {
    const prototypes = new Map<string, Prototype>()
    while (this.#peek() !== '') {
      if (this.#take(';')) continue
      const line = this.#line()
      const prototype = this.#declaration()
      if (prototype && prototypes.has(prototype.name)) this.#fail(`${prototype.name} is declared twice`, line)
      if (prototype) prototypes.set(prototype.name, prototype)
      if (this.#peek() !== '') this.#expect(';')
    }
    const types = new Map<string, CType>()
    for (const [name, type] of this.#types) if (type) types.set(name, type)
    return { prototypes, types }
  }

  /** A prototype; undefined after a definition. */
  #declaration(): Prototype | undefined {
    if (this.#take('typedef')) {
      const { name, ...declared } = this.#declarator()
      if (name === '') this.#fail('a typedef without a name')
      if (declared.length !== undefined) this.#fail(`typedef ${name} is an array`)
      const opaque = declared.base === undefined && declared.pointers.length === 0
      this.#types.set(name, opaque ? undefined : this.#valueType({ name, ...declared }))
      return undefined
    }
    if (this.#peek() === 'struct' && (this.#peek(2) === '{' || this.#peek(2) === ';')) {
      this.#at++
      const name = this.#name()
      if (this.#peek() === '{') this.#struct(name)
      else if (!this.#types.has(`struct ${name}`)) this.#types.set(`struct ${name}`, undefined)
      return undefined
    }
    return this.#prototype()
  }

  #struct(name: string): CType {
    const line = this.#line()
    this.#expect('{')
    const members: { name: string; type: CType }[] = []
    while (!this.#take('}')) {
      const member = this.#declarator()
      if (member.name === '') this.#fail(`a member of struct ${name} without a name`)
      if (members.some((other) => other.name === member.name))
        this.#fail(`struct ${name} has ${member.name} twice`)
      if (typeof member.length === 'string') this.#fail(`${member.name}: the length of a member is a number`)
      const type = this.#valueType(member)
      if (type.kind === 'void') this.#fail(`${member.name} is void`)
      members.push({
        name: member.name,
        type: typeof member.length === 'number' ? { kind: 'array', of: type, length: member.length } : type,
      })
      this.#expect(';')
    }
    if (members.length === 0) this.#fail(`struct ${name} has no members`, line)
    if (this.#types.get(`struct ${name}`)) this.#fail(`struct ${name} is defined twice`, line)
    const struct = layOut(name, members)
    this.#types.set(`struct ${name}`, struct)
    return struct
  }

  #prototype(): Prototype {
    const declared = this.#declarator()
    if (declared.name === '') this.#fail('a name is missing')
    if (declared.length !== undefined) this.#fail(`${declared.name} is no function`)
    const result = this.#valueType(declared)
    if (this.#peek() !== '(') this.#fail(`${declared.name} is no function: ( is missing`)
    this.#at++
    const parameters: Parameter[] = []
    if (this.#peek() === 'void' && this.#peek(1) === ')') this.#at++
    let variable: CType[] | undefined
    while (!this.#take(')')) {
      if (parameters.length > 0 || variable) this.#expect(',')
      if (this.#take('...')) {
        if (variable || parameters.length === 0) this.#fail('... is not in its place')
        variable = []
        continue
      }
      const parameter = this.#parameter(parameters.at(-1))
      if (variable) variable.push(variableType(parameter, this.#subject(this.#line())))
      else parameters.push(parameter)
      // `int f(int x,)` and the like: what follows is a comma or the end.
      if (this.#peek() !== ',' && this.#peek() !== ')')
        this.#fail(`${this.#found()} where , or ) was expected`)
    }
    this.#checkLengths(parameters, declared.line)
    return { name: declared.name, result, parameters, ...(variable && { variable }) }
  }

  #checkLengths(parameters: readonly Parameter[], line: number): void {
    const names = new Set<string>()
    for (const { name, length } of parameters) {
      if (name !== '' && names.has(name)) this.#fail(`${name} is there twice`, line)
      names.add(name)
      if (typeof length !== 'string') continue
      const told = parameters.find((other) => other.name === length)
      if (told?.pass !== 'value' || told.type.kind !== 'integer')
        this.#fail(`the length of ${name || 'a parameter'}, ${length}, is no integer parameter`, line)
    }
  }

  #parameter(former: Parameter | undefined): Parameter {
    const out = this.#peek() === 'out' && /^\w/.test(this.#peek(1))
    if (out) this.#at++
    const declared = this.#declarator()
    const { name, base, pointers, constBase } = declared
    const label = name || 'a parameter'
    if (pointers.length === 0 && declared.length === undefined) {
      if (out) this.#fail(`${label} is out, and no pointer`)
      const type = this.#valueType(declared)
      if (type.kind === 'void') this.#fail(`${label} is void`)
      return { name, type, pass: 'value', direction: 'in' }
    }
    // The outermost level is the parameter's own: what remains is the type of an element.
    const levels = declared.length === undefined ? pointers.slice(0, -1) : pointers
    const isConst = levels.at(-1) ?? constBase
    if (out && isConst) this.#fail(`${label} is out, and const`)
    const direction = isConst ? 'in' : out ? 'out' : 'inout'
    const follows =
      former?.pass === 'value' && former.type.kind === 'integer' && LENGTH_NAMES.has(former.name)
    const bare = levels.length === 0
    const isText = bare && (base === CHAR || base === WCHAR)
    if (declared.length === undefined) {
      if (isText && isConst) {
        return { name, type: { kind: 'string', wide: base === WCHAR }, pass: 'value', direction }
      }
      if (bare && (base === undefined || base.kind === 'void')) {
        if (out) this.#fail(`${label}: it is not known how much is written to it`)
        return { name, type: ADDRESS, pass: 'value', direction: 'in' }
      }
      if (isText && !follows) {
        if (out) this.#fail(`${label}: how long it is is missing, as in out char ${name || 's'}[64]`)
        return { name, type: base, pass: 'text', direction }
      }
    }
    const element = this.#valueType({ ...declared, pointers: levels })
    const type = element.kind === 'void' ? BYTE : element
    const length = declared.length ?? (follows ? former.name : undefined)
    if (length === undefined) return { name, type, pass: 'pointer', direction }
    return { name, type, pass: isText ? 'text' : 'array', direction, length }
  }

  #declarator(): Declaration {
    const line = this.#line()
    let constBase = this.#qualifiers()
    const base = this.#baseType()
    constBase = this.#qualifiers() || constBase
    const pointers: boolean[] = []
    while (this.#take('*')) pointers.push(this.#qualifiers())
    if (this.#peek() === '(')
      if (this.#peek(1) === '*')
        this.#fail('a callback cannot be passed: the function runs in a process of its own')
      else this.#fail('a name is missing')
    const name = /^[A-Za-z_]/.test(this.#peek()) ? this.#next() : ''
    let length: number | string | undefined
    if (this.#take('[')) {
      length = this.#next()
      if (length === ']')
        this.#fail(`the length of ${name || 'an array'} is missing, as in ${name || 'xs'}[n]`)
      if (/^\d/.test(length)) {
        const number = Number(length)
        if (!Number.isInteger(number) || number < 1) this.#fail(`${length} is no length`)
        length = number
      } else if (!/^[A-Za-z_]/.test(length)) this.#fail(`${length} is no length`)
      this.#expect(']')
      if (this.#peek() === '[') this.#fail(`${name || 'an array'} has more than one dimension`)
    }
    if (this.#peek() === ':') this.#fail(`${name} is a bit field`)
    return { name, base, constBase, pointers, length, line }
  }

  /** Skips qualifiers; whether const is one. */
  #qualifiers(): boolean {
    let isConst = false
    for (;;) {
      if (this.#take('const')) isConst = true
      else if (IGNORED.has(this.#peek())) this.#at++
      else return isConst
    }
  }

  #baseType(): CType | undefined {
    const word = this.#peek()
    if (INTEGER_WORDS.has(word)) {
      const words: string[] = []
      while (INTEGER_WORDS.has(this.#peek())) words.push(this.#next())
      if (this.#take('double')) words.push('double')
      const text = words.join(' ')
      if (text === 'long double') this.#fail(`${text} cannot be passed`)
      return integerOf(words) ?? this.#fail(`${text} is no type`)
    }
    if (this.#take('enum')) {
      this.#name()
      return integerOf(['int'])
    }
    if (this.#take('struct')) {
      const name = this.#name()
      return this.#peek() === '{' ? this.#struct(name) : this.#types.get(`struct ${name}`)
    }
    if (word === 'union') this.#fail('a union cannot be passed')
    if (!/^[A-Za-z_]/.test(word)) this.#fail(`${this.#found()} where a type was expected`)
    this.#at++
    const named = NAMED_TYPES.get(word)
    if (named) return named
    if (!this.#types.has(word)) this.#fail(`${word} is no type that is known`)
    return this.#types.get(word)
  }

  /** The type of what stands by itself: a result, a member, an element, a parameter that is passed as it is. */
  #valueType({ base, pointers, name }: Declaration): CType {
    if (pointers.length === 0) return base ?? this.#fail(`the struct of ${name || 'a value'} is not defined`)
    if (pointers.length === 1 && (base === CHAR || base === WCHAR))
      return { kind: 'string', wide: base === WCHAR }
    return ADDRESS
  }

  #peek(ahead = 0): string {
    return this.#tokens[this.#at + ahead]?.text ?? ''
  }

  #line(): number {
    return this.#tokens[this.#at]?.line ?? 0
  }

  #next(): string {
    const text = this.#peek()
    if (text !== '') this.#at++
    return text
  }

  #take(text: string): boolean {
    if (this.#peek() !== text) return false
    this.#at++
    return true
  }

  #expect(text: string): void {
    if (!this.#take(text)) this.#fail(`${this.#found()} where ${text} was expected`)
  }

  #name(): string {
    if (!/^[A-Za-z_]/.test(this.#peek())) this.#fail(`${this.#found()} where a name was expected`)
    return this.#next()
  }

  #found(): string {
    return this.#peek() || 'the end'
  }

  #fail(why: string, line = this.#line()): never {
    throw new CosmosError('EINVAL', this.#subject(line), why)
  }
}

/** The type of a variable argument. Throws CosmosError EINVAL for what is not passed as it is, or is promoted. */
export function variableType({ type, pass }: Parameter, subject: string): CType {
  const promoted =
    type.kind === 'bool' || (type.kind === 'integer' && type.size < 4)
      ? 'int'
      : type.kind === 'float' && type.size < 8
        ? 'double'
        : undefined
  if (promoted)
    throw new CosmosError('EINVAL', subject, `a variable argument of this type is passed as ${promoted}`)
  if (pass !== 'value' || type.kind === 'struct' || type === VOID)
    throw new CosmosError('EINVAL', subject, 'a variable argument is a number, a const char * or a void *')
  return type
}
