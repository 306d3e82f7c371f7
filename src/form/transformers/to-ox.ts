import { atMost, type Transformer } from '../transformer.ts'
import type { MappedNode } from '../tree.ts'
import { textOfNode } from '../value.ts'

/** Any form as an outline, which the mapper ox reads back. */
export const toOx: Transformer = {
  name: 'to-ox',
  arguments: '',
  async transform(_, args, source) {
    atMost('to-ox', args, 0)
    return Buffer.from(outlineText(await source.tree()))
  },
}

/** A tree as an outline, indented by two spaces. */
export function outlineText(root: MappedNode): string {
  const lines: string[] = []
  if (root.text !== undefined) quote(textOfNode(root), '', lines)
  for (const child of root.children ?? []) outline(child, '', lines)
  return lines.map((line) => `${line}\n`).join('')
}

function outline(node: MappedNode, indent: string, lines: string[]): void {
  const name = headOf(node.name)
  const text = textOfNode(node)
  if (node.text === undefined || node.type === 'line') lines.push(indent + name)
  else if (text !== '' && text === text.trim() && !/[\r\n]/.test(text))
    lines.push(`${indent}${name}: ${text}`)
  else {
    lines.push(indent + name)
    quote(text, `${indent}  `, lines)
  }
  for (const child of node.children ?? []) outline(child, `${indent}  `, lines)
}

function quote(text: string, indent: string, lines: string[]): void {
  for (const line of text.split('\n')) lines.push(`${indent}"${line}`)
}

/** A name as a head: what would read as something else is percent-escaped. */
function headOf(name: string): string {
  if (name === '') return '%'
  return name
    .replace(
      /^["\s]|\s$|[\r\n]/g,
      (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .replace(/:(?=[ \t])/g, '%3A')
}
