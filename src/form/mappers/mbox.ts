import PostalMime, { decodeWords, type Email } from 'postal-mime'
import { CosmosError } from '../../errors.ts'
import type { Budget } from '../budget.ts'
import { budgetFor, type Mapper, malformed } from '../mapper.ts'
import type { MappedNode } from '../tree.ts'

const FROM = Buffer.from('From ')
const SEPARATOR = Buffer.from('\n\nFrom ')
const SEPARATOR_CRLF = Buffer.from('\r\n\r\nFrom ')

/**
 * mbox (RFC 4155; package postal-mime): messages 0, 1, … with their headers as properties, and the children `text`,
 * `html` and `attachments`.
 */
export const mbox: Mapper = {
  name: 'mbox',
  extensions: ['mbox'],
  async map(bytes, options) {
    const budget = budgetFor('mbox', bytes, options)
    const children: MappedNode[] = []
    for (const message of messagesOf(bytes)) {
      budget.node(1)
      const name = String(children.length)
      if (options?.depth !== undefined && options.depth < 2) children.push({ name, left: true })
      else children.push(nodeOf(name, await parsed(message, name), budget))
    }
    return { name: '', type: 'array', children }
  },
}

/** Each without its `From ` line, quoted lines as they were. */
function* messagesOf(bytes: Buffer): Generator<Buffer> {
  if (bytes.length === 0) return
  if (!bytes.subarray(0, FROM.length).equals(FROM))
    throw malformed('mbox', 1, 1, 'does not begin with "From "')
  // The next of each is kept: one that a mailbox does not have is looked for once, not once a message.
  const separators = [SEPARATOR, SEPARATOR_CRLF].map((text) => ({ text, at: -1 }))
  let start = 0
  while (start < bytes.length) {
    let next = bytes.length
    for (const separator of separators) {
      const { text } = separator
      if (separator.at < start) {
        const at = bytes.indexOf(text, start)
        separator.at = at < 0 ? Number.POSITIVE_INFINITY : at
      }
      next = Math.min(next, separator.at + text.length - FROM.length)
    }
    const head = bytes.indexOf(10, start)
    const message = bytes.subarray(head < 0 ? next : Math.min(head + 1, next), next)
    yield Buffer.from(message.toString('latin1').replace(/^>(>*From )/gm, '$1'), 'latin1')
    start = next
  }
}

/** Throws CosmosError EILSEQ: whatever the package throws is about the message. */
async function parsed(message: Buffer, name: string): Promise<Email> {
  try {
    return await PostalMime.parse(message)
  } catch (error) {
    throw new CosmosError('EILSEQ', 'mbox document', `message ${name}: ${(error as Error).message}`)
  }
}

function nodeOf(name: string, { headers, text, html, attachments }: Email, budget: Budget): MappedNode {
  const properties = new Map<string, string>()
  for (const { key, value } of headers) {
    const former = properties.get(key)
    const text = decodeWords(value)
    properties.set(key, former === undefined ? text : `${former}\n${text}`)
  }
  const children: MappedNode[] = []
  if (text) children.push({ name: 'text', text: text.replace(/\n$/, '') })
  if (html) children.push({ name: 'html', text: html.replace(/\n$/, '') })
  if (attachments.length > 0)
    children.push({
      name: 'attachments',
      children: attachments.map(({ filename, content, mimeType }, i) => {
        budget.node(3)
        const bytes = typeof content === 'string' ? Buffer.from(content) : new Uint8Array(content)
        budget.bytes(bytes.length)
        return { name: filename || String(i), text: bytes, properties: new Map([['type', mimeType]]) }
      }),
    })
  return { name, properties, children }
}
