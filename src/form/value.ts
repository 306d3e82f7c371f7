import { isUtf8 } from 'node:buffer'
import { type MappedNode, OWN_TEXT } from './tree.ts'

/** A tree as a value, as JSON, YAML and TOML have them. Numbers are their digits. */
export type Value =
  | { readonly kind: 'map'; readonly members: readonly (readonly [string, Value])[] }
  | { readonly kind: 'list'; readonly items: readonly Value[] }
  | { readonly kind: 'string' | 'date'; readonly text: string }
  | { readonly kind: 'number' | 'boolean' | 'null'; readonly text: string }

const NULL: Value = { kind: 'null', text: 'null' }

/**
 * The value of a tree. With `properties` each is a member `@name`. Own text beside children is `#text`. Names that
 * come twice are one list, where the tree is not of a form with members of its own. Lines alone are a list.
 */
export function treeValue(node: MappedNode, properties: boolean): Value {
  const about = properties ? [...(node.properties ?? [])] : []
  if (node.children === undefined) {
    const own = scalarOf(node)
    if (about.length === 0) return own
    const text: [string, Value][] = node.text === undefined ? [] : [[OWN_TEXT, own]]
    return { kind: 'map', members: [...attributes(about), ...text] }
  }
  const values = node.children.map((child) => treeValue(child, properties))
  if (node.type === 'array') return { kind: 'list', items: values }
  const isLines = node.children.length > 0 && node.children.every(({ type }) => type === 'line')
  if (isLines && node.text === undefined && about.length === 0) return { kind: 'list', items: values }
  const members: [string, Value][] = attributes(about)
  if (node.text !== undefined) members.push([OWN_TEXT, scalarOf(node)])
  for (const [i, child] of node.children.entries())
    members.push([child.name, child.type === 'line' ? NULL : values[i]!])
  return { kind: 'map', members: node.type === 'object' ? members : grouped(members) }
}

function attributes(about: readonly (readonly [string, string])[]): [string, Value][] {
  return about.map(([name, text]) => [`@${name}`, { kind: 'string', text }])
}

function scalarOf(node: MappedNode): Value {
  const { type } = node
  if (node.text === undefined) return NULL
  const text = textOfNode(node)
  const isTyped = type === 'number' || type === 'boolean' || type === 'null' || type === 'date'
  return { kind: isTyped ? type : 'string', text }
}

/** A node's own text; bytes that are no text are base64. */
export function textOfNode({ text = '' }: MappedNode): string {
  if (typeof text === 'string') return text
  return Buffer.from(text).toString(isUtf8(text) ? 'utf8' : 'base64')
}

function grouped(members: readonly [string, Value][]): [string, Value][] {
  const byName = new Map<string, Value[]>()
  for (const [name, value] of members) {
    const same = byName.get(name)
    if (same) same.push(value)
    else byName.set(name, [value])
  }
  return [...byName].map(([name, values]) => [
    name,
    values.length === 1 ? values[0]! : { kind: 'list', items: values },
  ])
}

/** A value as JSON, indented by two spaces. */
export function jsonOf(value: Value, indent = ''): string {
  if (value.kind === 'string' || value.kind === 'date') return JSON.stringify(value.text)
  if (value.kind !== 'map' && value.kind !== 'list') return value.text
  const below = `${indent}  `
  const items =
    value.kind === 'list'
      ? value.items.map((item) => jsonOf(item, below))
      : value.members.map(([name, member]) => `${JSON.stringify(name)}: ${jsonOf(member, below)}`)
  const [open, close] = value.kind === 'list' ? ['[', ']'] : ['{', '}']
  if (items.length === 0) return open + close
  return `${open}\n${below}${items.join(`,\n${below}`)}\n${indent}${close}`
}

/** A value as JavaScript has it: `mapOf` makes the maps. Integers beyond 2^53 are bigints. */
export function plainOf(value: Value, mapOf: (members: [string, unknown][]) => unknown): unknown {
  switch (value.kind) {
    case 'map':
      return mapOf(value.members.map(([name, member]) => [name, plainOf(member, mapOf)]))
    case 'list':
      return value.items.map((item) => plainOf(item, mapOf))
    case 'number': {
      const number = Number(value.text)
      return /^-?\d+$/.test(value.text) && !Number.isSafeInteger(number) ? BigInt(value.text) : number
    }
    case 'boolean':
      return value.text === 'true'
    case 'null':
      return null
    default:
      return value.text
  }
}
