import { CosmosError } from '../../errors.ts'
import { readable } from '../../frame/paths.ts'
import { malformedEscape, readEscapes, unwrapOperand } from './escape.ts'
import {
  type Bind,
  type Bound,
  type Lookup,
  type Modifier,
  type Node,
  OPERATORS,
  type Operand,
  type Operator,
  type Origin,
  SCHEMES,
  type SchemeForm,
  type Schemes,
  type Step,
  type Suffix,
} from './grammar.ts'

const OPERATOR = new RegExp(`(${OPERATORS.map((operator) => operator.replace(/[.+]/g, '\\$&')).join('|')})`)

/** A part of a text as it is written, and its index there. */
export interface Piece {
  readonly text: string
  readonly at: number
}

/** A lookup in pieces: nothing in it is read yet, and nothing is an error. */
export interface Split {
  /** Starts at the root of the tree. */
  readonly rooted: boolean
  readonly scheme: string | undefined
  readonly form: SchemeForm | undefined
  /** What follows the scheme, where something must. */
  readonly authority: Piece | undefined
  readonly segments: readonly Piece[]
}

/**
 * Cuts a lookup (one character a byte) into its segments, as the kernel would: empty ones and `.` are dropped. Each is
 * then tried as it is written before it is read (`resolve`). A scheme is one only at the very beginning.
 */
export function split(text: string, schemes: Schemes = SCHEMES): Split {
  const segments: Piece[] = []
  for (let at = 0; at < text.length; ) {
    const slash = text.indexOf('/', at)
    const end = slash === -1 ? text.length : slash
    if (end > at) segments.push({ text: text.slice(at, end), at })
    at = end + 1
  }
  const first = segments[0]?.text ?? ''
  const scheme = first.endsWith(':') ? first.slice(0, -1) : ''
  const form = schemes.get(scheme)
  if (form) segments.shift()
  const authority = form && form !== 'path' ? segments.shift() : undefined
  return {
    rooted: text.startsWith('/'),
    scheme: form && scheme,
    form,
    authority,
    segments: segments.filter((segment) => segment.text !== '.'),
  }
}

/** Parses a lookup (one character a byte). Throws CosmosError EINVAL that names the column. */
export function parse(text: string, schemes: Schemes = SCHEMES): Lookup {
  return new Parser(text, schemes).lookup()
}

/** Parses the text of a node, which has no slash and no bind operator in it; never throws. */
export function parseNode(text: string): Node {
  const suffixes: Suffix[] = []
  let end = nextSuffix(text, 0)
  const name = readEscapes(text.slice(0, end))
  while (end < text.length) {
    const start = end
    end = nextSuffix(text, start + 1)
    suffixes.push(parseSuffix(text[start]!, text.slice(start + 1, end)))
  }
  return { kind: 'node', name, suffixes }
}

/** Parses what follows the dot of a modifier. */
export function parseModifier(text: string): Modifier {
  const [first, ...rest] = text.split('-')
  return { kind: 'modifier', words: [readEscapes(first!), ...rest.map(readEscapes)] }
}

/** The bind operator at an index of a text. */
export function operatorAt(text: string, index: number): Operator | undefined {
  return OPERATORS.find((operator) => text.startsWith(operator, index))
}

function parseSuffix(mark: string, text: string): Suffix {
  if (mark === '.') return parseModifier(text)
  if (mark === ':') return { kind: 'property', name: readEscapes(text) }
  return { kind: 'query', text }
}

function nextSuffix(text: string, from: number): number {
  for (let i = from; i < text.length; i++) if ('.:?'.includes(text[i]!)) return i
  return text.length
}

class Parser {
  readonly #text: string
  readonly #schemes: Schemes

  constructor(text: string, schemes: Schemes) {
    this.#text = text
    this.#schemes = schemes
  }

  lookup(): Lookup {
    const malformed = malformedEscape(this.#text)
    if (malformed !== -1)
      throw this.#error(malformed, '% is not followed by a byte in hexadecimal', 'a literal % is written %25')
    const nul = this.#text.indexOf('\0')
    if (nul !== -1) throw this.#error(nul, 'a NUL character is in no name')
    const pieces = split(this.#text, this.#schemes)
    const steps = pieces.segments.map((segment) => this.#step(segment))
    return { origin: this.#origin(pieces), steps }
  }

  #origin(pieces: Split): Origin {
    const { scheme, form, authority } = pieces
    if (form !== 'merge' || scheme === undefined) return place(pieces)
    const operands: Operand[] = []
    let at = authority?.at ?? 0
    for (const text of authority?.text.split(',') ?? []) {
      operands.push(this.#operand({ text, at }))
      at += text.length + 1
    }
    return { kind: 'merge', scheme, operands }
  }

  #step(segment: Piece): Step {
    if (segment.text === '..') return { kind: 'up' }
    const [first, ...rest] = splitBinds(segment)
    const left = this.#node(first)
    if (rest.length === 0) return left
    const [head, ...tail] = rest.map(
      ({ operator, ...piece }): Bound => ({ operator, right: this.#operand(piece) }),
    )
    return { kind: 'bind', left, binds: [head!, ...tail] } satisfies Bind
  }

  #node({ text, at }: Piece): Node {
    const node = parseNode(text)
    if (node.name === '.' || node.name === '..') throw this.#error(at, `${node.name} is no name`)
    return node
  }

  #operand({ text, at }: Piece): Operand {
    if (text === '') throw this.#error(at, 'an operand is missing')
    const pieces = split(unwrapOperand(text), this.#schemes)
    if (pieces.form === 'merge') throw this.#error(at, `${pieces.scheme}: cannot be an operand`)
    const steps = pieces.segments.map((segment) => {
      const step = this.#step({ text: segment.text, at })
      if (step.kind === 'bind') throw this.#error(at, 'a bind cannot be an operand')
      return step
    })
    return { origin: place(pieces), steps }
  }

  #error(index: number, why: string, hint?: string): CosmosError {
    const column = readable(this.#text.slice(0, index)).length + 1
    return new CosmosError('EINVAL', readable(this.#text), `column ${column}: ${why}`, hint)
  }
}

/** Where a lookup starts that is no merge. */
function place({ rooted, scheme, authority }: Split): Operand['origin'] {
  if (scheme === undefined) return { kind: rooted ? 'root' : 'here' }
  return { kind: 'url', scheme, ...(authority && { authority: readEscapes(authority.text) }) }
}

/** Cuts a segment at its bind operators: the left node, then each operator with what is right of it. */
export function splitBinds({ text, at }: Piece): [Piece, ...(Piece & { operator: Operator })[]] {
  const [left = '', ...rest] = text.split(OPERATOR)
  const binds: (Piece & { operator: Operator })[] = []
  let index = at + left.length
  for (let i = 0; i < rest.length; i += 2) {
    const operator = rest[i] as Operator
    const right = rest[i + 1]!
    binds.push({ operator, text: right, at: index + operator.length })
    index += operator.length + right.length
  }
  return [{ text: left, at }, ...binds]
}
