import { SaxesParser } from 'saxes'
import type { Budget } from '../budget.ts'
import { budgetFor, type Mapper, malformed } from '../mapper.ts'
import type { MappedNode } from '../tree.ts'
import { elementOf } from './markup.ts'

interface Open {
  readonly name: string
  readonly properties: Map<string, string>
  readonly parts: (MappedNode | string)[]
}

/**
 * XML 1.0 (package saxes). Elements are children, attributes properties. Entities that a document defines itself are
 * not known, so one is an error and none can grow.
 */
export const xml: Mapper = {
  name: 'xml',
  extensions: ['xml', 'svg', 'rss', 'atom', 'xsl', 'plist'],
  map(bytes, options) {
    return read(decoded(bytes), budgetFor('xml', bytes, options))
  },
}

function read(text: string, budget: Budget): MappedNode {
  const parser = new SaxesParser()
  const open: Open[] = [{ name: '', properties: new Map(), parts: [] }]
  parser.on('error', (error) => {
    throw malformed(
      'xml',
      parser.line,
      parser.column + 1,
      error.message.replace(/^\d+:\d+: /, '').replace(/\.$/, ''),
    )
  })
  parser.on('opentag', ({ name, attributes }) => {
    budget.node(open.length)
    open.push({ name, properties: new Map(Object.entries(attributes)), parts: [] })
  })
  parser.on('closetag', () => {
    const { name, properties, parts } = open.pop()!
    open.at(-1)!.parts.push(elementOf(name, properties, parts))
  })
  parser.on('text', (piece) => open.length > 1 && open.at(-1)!.parts.push(piece))
  parser.on('cdata', (piece) => open.at(-1)!.parts.push(piece))
  parser.write(text).close()
  return elementOf('', new Map(), open[0]!.parts)
}

/** By its byte order mark or declaration; UTF-8 where it has neither. */
function decoded(bytes: Buffer): string {
  const hasMark = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  const declared = /^\s*<\?xml[^>]{0,200}encoding\s*=\s*["']([\w.-]{1,40})["']/.exec(
    bytes.toString('latin1', 0, 300),
  )
  const label = hasMark ? (bytes[0] === 0xff ? 'utf-16le' : 'utf-16be') : (declared?.[1] ?? 'utf-8')
  try {
    return new TextDecoder(label, { fatal: true }).decode(bytes)
  } catch {
    throw malformed('xml', 1, 1, `is not ${label}`)
  }
}
