import type { Budget } from './budget.ts'
import { indentOf } from './mappers/outline.ts'
import { linesOf } from './text.ts'

/**
 * divine: an outline of what will be HTML.
 *
 * - `id .class .other`: a `div` with id and classes; `.class` alone is one without id.
 * - `"text` and `'text`: text, as it is.
 * - `<a href="x">`: a tag; it is closed after what is indented below it. What follows the tag on its line is text.
 * - `$name`: a mixin: what the block `name` (or `name:`) has below it, here. `$name` inside of that block is where
 *   what is indented below the use goes.
 * - `// …`: a comment.
 * - A blank line ends a block. The first block that begins at the margin is the document, each other one that does a
 *   mixin; a block that begins indented belongs to nothing and is not shown.
 */

/** What a line of divine is. */
export type DivineNode =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'div' | 'tag'
      readonly tag: string
      readonly attributes: ReadonlyMap<string, string>
      readonly body: readonly DivineNode[]
    }

interface Line {
  readonly head: string
  readonly body: Line[]
}

const ELEMENT = /^([\p{L}\p{N}_-]*)((?:\s*\.[\p{L}\p{N}_-]+)*)\s*:?$/u
const TAG = /^<([a-zA-Z][\w:-]*)((?:[^<>"']|"[^"]*"|'[^']*')*)>(.*)$/
const ATTRIBUTE = /([^\s"'=<>/]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+)))?/g

/**
 * The document of a text in divine, mixins put in. What is put in several times is one node at several places: who
 * walks the nodes counts them. Throws CosmosError EFBIG for one that grows too large.
 */
export function divineOf(text: string, budget: Budget): DivineNode[] {
  const blocks = blocksOf(text, budget)
  const mixins = new Map<string, readonly Line[]>()
  for (const block of blocks)
    for (const { head, body } of block) {
      const name = nameOf(head)
      if (!mixins.has(name)) mixins.set(name, body)
    }
  return new Expansion(mixins, budget).nodes(blocks[0] ?? [], [], 1)
}

/** Blocks that begin at the margin. */
function blocksOf(text: string, budget: Budget): Line[][] {
  const blocks: Line[][] = []
  let open: { indent: number; body: Line[] }[] | undefined
  let isNew = true
  for (const line of linesOf(text)) {
    if (line.trim() === '') {
      isNew = true
      continue
    }
    const indent = indentOf(line)
    const head = line.trimStart()
    if (isNew) {
      const block: Line[] = []
      open = indent === 0 ? [{ indent: -1, body: block }] : undefined
      if (open) blocks.push(block)
      isNew = false
    }
    if (open === undefined || head.startsWith('//') || head.startsWith('#!')) continue
    while (open.at(-1)!.indent >= indent) open.pop()
    budget.node(open.length)
    const added: Line = { head, body: [] }
    open.at(-1)!.body.push(added)
    open.push({ indent, body: added.body })
  }
  return blocks
}

function nameOf(head: string): string {
  const trimmed = head.trim()
  const [, id = trimmed] = ELEMENT.exec(trimmed) ?? []
  return id || trimmed.split(/\s/)[0]!
}

interface Use {
  readonly name: string
  readonly inserted: readonly DivineNode[]
}

class Expansion {
  readonly #mixins: ReadonlyMap<string, readonly Line[]>
  readonly #budget: Budget

  constructor(mixins: ReadonlyMap<string, readonly Line[]>, budget: Budget) {
    this.#mixins = mixins
    this.#budget = budget
  }

  nodes(lines: readonly Line[], uses: readonly Use[], level: number): DivineNode[] {
    return lines.flatMap((line) => this.#node(line, uses, level))
  }

  #node({ head, body }: Line, uses: readonly Use[], level: number): readonly DivineNode[] {
    this.#budget.node(level)
    if (head[0] === '"' || head[0] === "'")
      return [{ kind: 'text', text: head.slice(1) }, ...this.nodes(body, uses, level + 1)]
    if (head[0] === '$') {
      const inserted = this.nodes(body, uses, level + 1)
      return this.#mixin(head.slice(1).trim(), inserted, uses, level)
    }
    const [, tag, attributes = '', rest = ''] = TAG.exec(head) ?? []
    if (tag !== undefined) {
      const said: DivineNode[] = rest.trim() === '' ? [] : [{ kind: 'text', text: rest }]
      const nodes = [...said, ...this.nodes(body, uses, level + 1)]
      return [{ kind: 'tag', tag, attributes: attributesOf(attributes), body: nodes }]
    }
    const [, id = head.trim(), classes = ''] = ELEMENT.exec(head.trim()) ?? []
    const about = new Map<string, string>()
    if (id !== '') about.set('id', id)
    if (classes !== '') about.set('class', classes.replaceAll('.', ' ').trim().replace(/\s+/g, ' '))
    return [{ kind: 'div', tag: 'div', attributes: about, body: this.nodes(body, uses, level + 1) }]
  }

  #mixin(
    name: string,
    inserted: readonly DivineNode[],
    uses: readonly Use[],
    level: number,
  ): readonly DivineNode[] {
    const outer = uses.find((use) => use.name === name)
    if (outer) {
      this.#budget.more(outer.inserted.length)
      return outer.inserted
    }
    const lines = this.#mixins.get(name)
    if (!lines) return inserted
    return this.nodes(lines, [{ name, inserted }, ...uses], level)
  }
}

function attributesOf(text: string): Map<string, string> {
  const attributes = new Map<string, string>()
  for (const [, name, double, single, bare] of text.matchAll(ATTRIBUTE))
    attributes.set(name!, double ?? single ?? bare ?? '')
  return attributes
}
