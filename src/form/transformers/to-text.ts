import { type DefaultTreeAdapterTypes, parse } from 'parse5'
import { decoded } from '../mappers/html.ts'
import { textOf } from '../text.ts'
import { atMost, type Transformer } from '../transformer.ts'
import type { MappedNode } from '../tree.ts'
import { textOfNode } from '../value.ts'
import { outlineText } from './to-ox.ts'

const UNSEEN = new Set(['script', 'style', 'template', 'noscript', 'title'])
const BLOCKS = new Set(
  (
    'address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer form ' +
    'h1 h2 h3 h4 h5 h6 header hgroup hr html li main nav ol p pre section summary table tbody tfoot thead tr ul'
  ).split(' '),
)
const BINARY = ['tar', 'zip', 'mbox', 'dir']

/** What a person reads of it, UTF-8: of HTML and XML the text, of archives and directories an outline, else as it is. */
export const toText: Transformer = {
  name: 'to-text',
  arguments: '',
  async transform(bytes, args, source) {
    atMost('to-text', args, 0)
    if (source.form === 'html') return Buffer.from(htmlText(bytes))
    if (source.form === 'xml') return Buffer.from(xmlText(await source.tree()))
    if (source.form !== undefined && BINARY.includes(source.form))
      return Buffer.from(outlineText(await source.tree()))
    return Buffer.from(textOf(bytes))
  },
}

function xmlText(root: MappedNode): string {
  const lines: string[] = []
  const visit = (node: MappedNode): void => {
    if (node.text !== undefined) lines.push(textOfNode(node).replace(/\s+/g, ' ').trim())
    for (const child of node.children ?? []) visit(child)
  }
  visit(root)
  return lines.map((line) => `${line}\n`).join('')
}

function htmlText(bytes: Buffer): string {
  let text = ''
  const breakLine = (): void => {
    text = text.replace(/ $/, '')
    if (text !== '' && !text.endsWith('\n')) text += '\n'
  }
  const visit = (node: DefaultTreeAdapterTypes.ChildNode, isPre: boolean): void => {
    if ('value' in node) {
      const piece = isPre ? node.value : node.value.replace(/\s+/g, ' ')
      text += !isPre && (text === '' || /\s$/.test(text.slice(-1))) ? piece.trimStart() : piece
    }
    if (!('tagName' in node) || UNSEEN.has(node.tagName)) return
    const isBlock = BLOCKS.has(node.tagName)
    if (isBlock || node.tagName === 'br') breakLine()
    for (const child of node.childNodes) visit(child, isPre || node.tagName === 'pre')
    if (isBlock) breakLine()
    else if (node.tagName === 'td' || node.tagName === 'th') text += ' '
  }
  for (const child of parse(decoded(bytes)).childNodes) visit(child, false)
  breakLine()
  return text
}
