import MarkdownIt from 'markdown-it'
import { budgetFor, type Mapper } from '../mapper.ts'
import { linesOf, textOf, trimLines } from '../text.ts'
import type { MappedNode } from '../tree.ts'

const FRONT = '---'

interface Section {
  readonly name: string
  readonly level: number
  readonly properties: Map<string, string>
  text: string
  readonly children: Section[]
}

/**
 * Markdown (CommonMark and tables; package markdown-it): headings are a tree, each with the text up to the next
 * heading, as it is written. What stands before the first heading is the root's. Properties of a heading: `level`,
 * `line`; front matter of `key: value` lines are the root's.
 */
export const md: Mapper = {
  name: 'md',
  extensions: ['md', 'markdown'],
  map(bytes, options) {
    const budget = budgetFor('md', bytes, options)
    const source = textOf(bytes)
    const lines = linesOf(source)
    const { properties, end } = frontMatter(lines)
    const root: Section = { name: '', level: 0, properties, text: '', children: [] }
    const open = [root]
    let current = root
    let begin = end
    for (const heading of headingsOf([...lines.slice(0, end).fill(''), ...lines.slice(end)].join('\n'))) {
      current.text = trimLines(lines.slice(begin, heading.first)).join('\n')
      begin = heading.after
      while (open.at(-1)!.level >= heading.level) open.pop()
      const about = new Map([
        ['level', String(heading.level)],
        ['line', String(heading.first + 1)],
      ])
      current = { name: heading.name, level: heading.level, properties: about, text: '', children: [] }
      budget.node(open.length)
      open.at(-1)!.children.push(current)
      open.push(current)
    }
    current.text = trimLines(lines.slice(begin)).join('\n')
    return nodeOf(root)
  },
}

interface Heading {
  readonly name: string
  readonly level: number
  /** Lines of the heading itself, from 0. */
  readonly first: number
  readonly after: number
}

function headingsOf(source: string): Heading[] {
  const tokens = new MarkdownIt('commonmark').parse(source, {})
  const headings: Heading[] = []
  for (const [i, token] of tokens.entries()) {
    if (token.type !== 'heading_open' || token.level !== 0 || !token.map) continue
    const parts = tokens[i + 1]?.children ?? []
    const name = parts.map(({ type, content }) => (type === 'softbreak' ? ' ' : content)).join('')
    headings.push({
      name: name.trim(),
      level: Number(token.tag[1]),
      first: token.map[0],
      after: token.map[1],
    })
  }
  return headings
}

function nodeOf({ name, text, children, properties }: Section): MappedNode {
  if (name !== '' && children.length === 0) return { name, text, properties }
  return { name, properties, children: children.map(nodeOf), ...(text !== '' && { text }) }
}

/** Properties at a document's head, between two lines `---`, and the number of their lines. */
function frontMatter(lines: readonly string[]): { properties: Map<string, string>; end: number } {
  const properties = new Map<string, string>()
  const end = lines[0] === FRONT ? lines.indexOf(FRONT, 1) : -1
  for (const line of lines.slice(1, Math.max(1, end))) {
    const [, key, value] = /^([\w-]+):\s*(.*?)\s*$/.exec(line) ?? []
    if (key !== undefined && value) properties.set(key, value.replace(/^(["'])(.*)\1$/, '$2'))
  }
  return { properties, end: end + 1 }
}
