import { escapeCharacter, wrapOperand } from './escape.ts'
import type { Bind, Lookup, Modifier, Node, Operand, Origin, Schemes, Step, Suffix } from './grammar.ts'
import { SCHEMES } from './grammar.ts'
import { operatorAt } from './parse.ts'

/**
 * The normal text of a lookup: `parse` reads it as the same lookup. Escapes are there only where they must be, so a text
 * that is printed again stays as it is.
 */
export function print({ origin, steps }: Lookup, schemes: Schemes = SCHEMES): string {
  const path = steps.map(printStep).join('/')
  if (origin.kind === 'url' || origin.kind === 'merge') {
    const authority = printAuthority(origin)
    return `${origin.scheme}://${authority}${authority === '' || path !== '' ? '/' : ''}${path}`
  }
  // A first segment that would be read as a scheme is none behind a dot.
  const first = path.split('/', 1)[0]!
  const dot = first.endsWith(':') && schemes.has(first.slice(0, -1)) ? './' : ''
  if (origin.kind === 'root') return `/${dot}${path}`
  return path === '' ? '.' : dot + path
}

/** The text of a node. */
export function printNode({ name, suffixes }: Node): string {
  return name.replace(/[%/.:?]/g, escapeCharacter) + suffixes.map(printSuffix).join('')
}

function printStep(step: Step): string {
  if (step.kind === 'up') return '..'
  return step.kind === 'bind' ? printBind(step) : printNode(step)
}

function printBind({ left, binds }: Bind): string {
  let text = printNode(left)
  for (const { operator, right } of binds) {
    const operand = printOperand(right)
    // `.=` before `=` would be `.==`.
    text += operator + (operator === '.=' ? operand.replace(/^=/, escapeCharacter) : operand)
  }
  return text
}

function printOperand(operand: Operand): string {
  return wrapOperand(print(operand))
}

function printAuthority(origin: Exclude<Origin, { kind: 'here' | 'root' }>): string {
  if (origin.kind === 'merge') return origin.operands.map(printOperand).join(',')
  const text = (origin.authority ?? '').replace(/[%/]/g, escapeCharacter)
  return text.replace(/\./g, (dot, index: number) => (operatorAt(text, index) ? escapeCharacter(dot) : dot))
}

function printSuffix(suffix: Suffix): string {
  if (suffix.kind === 'modifier') return printModifier(suffix)
  if (suffix.kind === 'query') return `?${suffix.text}`
  return `:${suffix.name.replace(/[%/.:?]/g, escapeCharacter)}`
}

function printModifier({ words }: Modifier): string {
  const text = `.${words.map((word) => word.replace(/[%/.:?-]/g, escapeCharacter)).join('-')}`
  const operator = operatorAt(text, 0)
  if (!operator) return text
  // What would be a bind operator is broken up; a dash is a separator, so in `.->` it is the other character.
  const at = operator === '.->' ? 2 : 1
  return text.slice(0, at) + escapeCharacter(text[at]!) + text.slice(at + 1)
}
