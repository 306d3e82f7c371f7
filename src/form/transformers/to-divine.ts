import { atMost, type Transformer } from '../transformer.ts'
import type { MappedNode } from '../tree.ts'
import { textOfNode } from '../value.ts'

/** Any form as divine: names are ids, texts are text. */
export const toDivine: Transformer = {
  name: 'to-divine',
  arguments: '',
  async transform(_, args, source) {
    atMost('to-divine', args, 0)
    const lines: string[] = []
    write(await source.tree(), '', lines)
    return Buffer.from(lines.map((line) => `${line}\n`).join(''))
  },
}

/** The text and the children of a node. */
function write(node: MappedNode, indent: string, lines: string[]): void {
  if (node.text !== undefined)
    for (const line of textOfNode(node).split(/\r?\n/)) lines.push(`${indent}"${escaped(line)}`)
  for (const child of node.children ?? []) {
    if (child.type === 'line') lines.push(`${indent}"${escaped(textOfNode(child))}`)
    else {
      lines.push(indent + headOf(child))
      write(child, `${indent}  `, lines)
    }
  }
}

/** Text of divine is HTML. */
export function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

function headOf({ name, properties }: MappedNode): string {
  const tag = properties?.get('tag')
  if (tag !== undefined) {
    const attributes = [...properties!].filter(([key]) => key !== 'tag')
    return `<${tag}${attributes.map(([key, value]) => ` ${key}="${value}"`).join('')}>`
  }
  const classes = (properties?.get('class') ?? '').split(' ').filter(Boolean)
  const isClass = classes.length > 0 && properties?.get('id') === undefined
  const id = isClass
    ? ''
    : name
        .trim()
        .replace(/[^\p{L}\p{N}_-]+/gu, '-')
        .replace(/^-+|-+$/g, '')
  const classed = classes.map((one) => `.${one}`).join(' ')
  return `${id || (classed === '' ? 'item' : '')} ${classed}`.trim()
}
