import type { Budget } from '../budget.ts'
import { type DivineNode, divineOf } from '../divine.ts'
import { budgetFor, type Mapper } from '../mapper.ts'
import { textOf } from '../text.ts'
import type { MappedNode } from '../tree.ts'

/**
 * divine, the outline that becomes HTML. A child is called by its id, else its first class, else its tag; properties
 * are `id`, `class`, `tag` and the tag's attributes. Mixins are in their places.
 */
export const divine: Mapper = {
  name: 'divine',
  extensions: ['divine', 'div'],
  map(bytes, options) {
    const budget = budgetFor('divine', bytes, options)
    return nodeOf('', new Map(), divineOf(textOf(bytes), budget), 0, budget)
  },
}

function nodeOf(
  name: string,
  properties: ReadonlyMap<string, string>,
  nodes: readonly DivineNode[],
  level: number,
  budget: Budget,
): MappedNode {
  budget.node(level)
  const texts = nodes.filter((node) => node.kind === 'text').map((node) => node.text)
  const children = nodes
    .filter((node) => node.kind !== 'text')
    .map((node) => {
      const about = new Map(node.attributes)
      if (node.kind === 'tag') about.set('tag', node.tag)
      const childName = about.get('id') || about.get('class')?.split(' ')[0] || node.tag
      return nodeOf(childName, about, node.body, level + 1, budget)
    })
  const said = texts.length > 0 && { text: texts.join('\n') }
  const about = properties.size > 0 && { properties }
  return name === '' || children.length > 0
    ? { name, children, ...said, ...about }
    : { name, ...said, ...about }
}
