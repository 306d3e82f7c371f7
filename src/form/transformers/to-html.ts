import MarkdownIt from 'markdown-it'
import { Budget } from '../budget.ts'
import { type DivineNode, divineOf } from '../divine.ts'
import { textOf } from '../text.ts'
import { atMost, type Transformer } from '../transformer.ts'
import type { Value } from '../value.ts'
import { rowsOf } from './to-csv.ts'
import { escaped } from './to-divine.ts'
import { sourceValue } from './to-json.ts'

/** Tags that HTML does not close. */
const VOID = new Set('area base br col embed hr img input link meta source track wbr'.split(' '))

/**
 * Any form as HTML: Markdown and divine as what they mean, CSV as a table, other forms as lists, text as it is. HTML
 * stays as it is.
 */
export const toHtml: Transformer = {
  name: 'to-html',
  arguments: '',
  async transform(bytes, args, source) {
    atMost('to-html', args, 0)
    switch (source.form) {
      case 'html':
        return bytes
      case 'md':
        return page(new MarkdownIt({ html: true, linkify: false }).render(textOf(bytes)))
      case 'divine':
        return Buffer.from(divineHtml(textOf(bytes)))
      case 'csv':
        return page(table(rowsOf(await sourceValue(source))))
      case undefined:
        return page(`<pre>${escaped(textOf(bytes))}</pre>\n`)
      default:
        return page(`${list(await sourceValue(source), '')}\n`)
    }
  },
}

function page(body: string): Buffer {
  return Buffer.from(
    `<!DOCTYPE html>\n<html>\n<head><meta charset="utf-8"></head>\n<body>\n${body}</body>\n</html>\n`,
  )
}

function table([names = [], ...rows]: readonly (readonly string[])[]): string {
  const row = (tag: string, cells: readonly string[]): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>\n`
  return `<table>\n${row('th', names)}${rows.map((cells) => row('td', cells)).join('')}</table>\n`
}

function list(value: Value, indent: string): string {
  const below = `${indent}  `
  if (value.kind === 'list')
    return `<ol start="0">\n${value.items.map((item) => `${below}<li>${list(item, below)}</li>\n`).join('')}${indent}</ol>`
  if (value.kind === 'map') {
    const members = value.members.map(
      ([name, member]) => `${below}<dt>${escaped(name)}</dt>\n${below}<dd>${list(member, below)}</dd>\n`,
    )
    return `<dl>\n${members.join('')}${indent}</dl>`
  }
  return value.kind === 'null' ? '' : escaped(value.text)
}

/** divine as HTML, an element a line, indented by two spaces. Throws CosmosError EFBIG. */
function divineHtml(text: string): string {
  const budget = new Budget('divine document')
  const lines: string[] = []
  const write = (node: DivineNode, level: number): void => {
    budget.node(level)
    const indent = '  '.repeat(level - 1)
    if (node.kind === 'text') {
      lines.push(indent + node.text)
      return
    }
    const attributes = [...node.attributes].map(
      ([name, value]) => ` ${name}="${value.replaceAll('"', '&quot;')}"`,
    )
    const open = `${indent}<${node.tag}${attributes.join('')}>`
    if (VOID.has(node.tag.toLowerCase())) {
      lines.push(open)
      for (const child of node.body) write(child, level)
      return
    }
    if (node.body.length === 0) lines.push(`${open}</${node.tag}>`)
    else {
      lines.push(open)
      for (const child of node.body) write(child, level + 1)
      lines.push(`${indent}</${node.tag}>`)
    }
  }
  for (const node of divineOf(text, budget)) write(node, 1)
  return lines.map((line) => `${line}\n`).join('')
}
