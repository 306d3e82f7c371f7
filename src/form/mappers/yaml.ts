import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
} from 'yaml'
import { CosmosError } from '../../errors.ts'
import type { Budget } from '../budget.ts'
import { budgetFor, type Mapper, malformed } from '../mapper.ts'
import { utf8Of } from '../text.ts'
import type { MappedNode } from '../tree.ts'

const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/
/** Its parser recurses. */
const MAX_FLOW = 1000

/** YAML 1.2 (package yaml). Several documents are children 0, 1, …; an alias is what it stands for, and counts as that. */
export const yaml: Mapper = {
  name: 'yaml',
  extensions: ['yaml', 'yml'],
  map(bytes, options) {
    const budget = budgetFor('yaml', bytes, options)
    const text = utf8Of('yaml', bytes)
    refuseDepth(text)
    const lineCounter = new LineCounter()
    const parsed = parseAllDocuments(text, {
      lineCounter,
      prettyErrors: false,
      uniqueKeys: false,
      logLevel: 'silent',
      intAsBigInt: true,
    })
    // An empty stream is answered as an array of its own kind.
    const documents: Document.Parsed[] = Array.isArray(parsed) ? parsed : []
    for (const { errors } of documents) {
      const [error] = errors
      if (!error) continue
      const { line, col } = lineCounter.linePos(error.pos[0])
      throw malformed('yaml', line, col, error.message)
    }
    const roots = documents.map((document, i) =>
      new Walk(budget).node(
        document.contents,
        documents.length > 1 ? String(i) : '',
        documents.length > 1 ? 1 : 0,
      ),
    )
    if (roots.length === 1) return roots[0]!
    return roots.length === 0
      ? { name: '', text: 'null', type: 'null' }
      : { name: '', type: 'array', children: roots }
  },
}

/** Brackets alone can nest so deep that the parser takes all time there is. */
function refuseDepth(text: string): void {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x5b || code === 0x7b) depth++
    else if (code === 0x0a) depth = Math.max(0, depth)
    else if (code === 0x5d || code === 0x7d) depth = Math.max(0, depth - 1)
    if (depth > MAX_FLOW) throw new CosmosError('EFBIG', 'yaml document', 'nested too deeply')
  }
}

class Walk {
  readonly #budget: Budget
  readonly #anchors = new Map<string, Node>()

  constructor(budget: Budget) {
    this.#budget = budget
  }

  node(node: unknown, name: string, level: number): MappedNode {
    this.#budget.node(level)
    if (isAlias(node)) {
      this.#budget.nodes--
      return this.node(this.#anchors.get(node.source), name, level)
    }
    if ((isMap(node) || isSeq(node) || isScalar(node)) && node.anchor) this.#anchors.set(node.anchor, node)
    if (isMap(node)) {
      const children = node.items.map(({ key, value }) => this.node(value, keyName(key), level + 1))
      return { name, type: 'object', children }
    }
    if (isSeq(node)) {
      const children = node.items.map((item, i) => this.node(item, String(i), level + 1))
      return { name, type: 'array', children }
    }
    return isScalar(node) ? this.#scalar(node.value, node.source, name) : { name, text: 'null', type: 'null' }
  }

  #scalar(value: unknown, source: string | undefined, name: string): MappedNode {
    let text = String(value)
    if (typeof value === 'number' || typeof value === 'bigint') {
      // The digits as they stand, where they are a number everywhere.
      if (source !== undefined && JSON_NUMBER.test(source)) text = source
      this.#budget.bytes(text.length)
      return JSON_NUMBER.test(text) ? { name, text, type: 'number' } : { name, text: source ?? text }
    }
    this.#budget.bytes(text.length)
    if (typeof value === 'boolean') return { name, text, type: 'boolean' }
    return value === null ? { name, text, type: 'null' } : { name, text }
  }
}

function keyName(key: unknown): string {
  if (isScalar(key)) return key.value === null ? 'null' : (key.source ?? String(key.value))
  return String(key)
}
