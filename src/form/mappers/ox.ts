import { budgetFor, type Mapper } from '../mapper.ts'
import { textOf } from '../text.ts'
import type { MappedNode } from '../tree.ts'
import { type Outline, outlineOf } from './outline.ts'

/** What a head is: `name: text`, or a name alone. */
const NAMED = /^(.*?\S):[ \t]+(.*)$/

/**
 * ox, the extensible outline: indentation is the tree, blank lines mean nothing. A head `name: text` is a child with
 * this text, any other line one whose text is the line itself. A line that begins with `"` is text of the line that
 * it stands below.
 */
export const ox: Mapper = {
  name: 'ox',
  extensions: ['ox'],
  map(bytes, options) {
    const outline = outlineOf(textOf(bytes), budgetFor('ox', bytes, options))
    return nodeOf({ head: '', line: 0, body: outline }, '', undefined)
  },
}

function nodeOf(outline: Outline, name: string, text: string | undefined): MappedNode {
  const quoted = outline.body.filter(({ head }) => head.startsWith('"')).map(({ head }) => head.slice(1))
  const own = text === undefined ? quoted : [text, ...quoted]
  const said = own.length > 0 && { text: own.join('\n') }
  const children = outline.body.filter(({ head }) => !head.startsWith('"')).map(childOf)
  if (name === '' || children.length > 0) return { name, children, ...said }
  return said ? { name, ...said } : { name, text: name, type: 'line' }
}

function childOf(outline: Outline): MappedNode {
  const [, name, text] = NAMED.exec(outline.head) ?? []
  return name === undefined ? nodeOf(outline, outline.head, undefined) : nodeOf(outline, name, text)
}
