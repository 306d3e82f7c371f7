import { type MappedNode, OWN_TEXT } from '../tree.ts'

/**
 * An element of XML or HTML. One that has only text is a leaf; where text stands between elements each piece is a
 * child `#text`, in its place, and space between elements is none.
 */
export function elementOf(
  name: string,
  properties: ReadonlyMap<string, string>,
  parts: readonly (MappedNode | string)[],
): MappedNode {
  const about = { name, ...(properties.size > 0 && { properties }) }
  if (parts.length === 0) return name === '' ? { ...about, children: [] } : about
  if (parts.every((part) => typeof part === 'string')) return { ...about, text: parts.join('') }
  const children: MappedNode[] = []
  for (const part of parts) {
    if (typeof part !== 'string') children.push(part)
    else if (part.trim() !== '') children.push({ name: OWN_TEXT, text: part })
  }
  return { ...about, children }
}
