import { parse, TomlDate, TomlError } from 'smol-toml'
import type { Budget } from '../budget.ts'
import { budgetFor, type Mapper, malformed } from '../mapper.ts'
import { utf8Of } from '../text.ts'
import type { MappedNode } from '../tree.ts'

const MAX_DEPTH = 200

/** TOML 1.0 (package smol-toml). */
export const toml: Mapper = {
  name: 'toml',
  extensions: ['toml'],
  map(bytes, options) {
    const budget = budgetFor('toml', bytes, options)
    try {
      const table = parse(utf8Of('toml', bytes), { integersAsBigInt: 'asNeeded', maxDepth: MAX_DEPTH })
      return nodeOf(table, '', 0, budget)
    } catch (error) {
      if (!(error instanceof TomlError)) throw error
      const why = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '')
      throw malformed('toml', error.line, error.column, why)
    }
  },
}

function nodeOf(value: unknown, name: string, level: number, budget: Budget): MappedNode {
  budget.node(level)
  if (Array.isArray(value))
    return { name, type: 'array', children: value.map((one, i) => nodeOf(one, String(i), level + 1, budget)) }
  if (value instanceof TomlDate) return { name, text: value.toISOString(), type: 'date' }
  if (typeof value === 'object' && value !== null) {
    const children = Object.entries(value).map(([key, one]) => nodeOf(one, key, level + 1, budget))
    return { name, type: 'object', children }
  }
  const text = String(value)
  if (typeof value === 'boolean') return { name, text, type: 'boolean' }
  const isNumber = typeof value === 'bigint' || Number.isFinite(value)
  return isNumber ? { name, text, type: 'number' } : { name, text }
}
