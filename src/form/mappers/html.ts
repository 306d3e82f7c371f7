import { type DefaultTreeAdapterTypes, defaultTreeAdapter, parse } from 'parse5'
import type { Budget } from '../budget.ts'
import { budgetFor, type Mapper } from '../mapper.ts'
import type { MappedNode } from '../tree.ts'
import { elementOf } from './markup.ts'

type ParentNode = DefaultTreeAdapterTypes.ParentNode

/** HTML as browsers read it (package parse5): no document is malformed. Elements are children, attributes properties. */
export const html: Mapper = {
  name: 'html',
  extensions: ['html', 'htm', 'xhtml'],
  map(bytes, options) {
    const budget = budgetFor('html', bytes, options)
    let level = 0
    const treeAdapter = {
      ...defaultTreeAdapter,
      // What nests without end costs the square of its depth.
      onItemPush: () => budget.level(++level),
      onItemPop: () => {
        level--
      },
    }
    return nodeOf(parse(decoded(bytes), { treeAdapter }), '', new Map(), 0, budget)
  },
}

function nodeOf(
  parent: ParentNode,
  name: string,
  properties: ReadonlyMap<string, string>,
  level: number,
  budget: Budget,
): MappedNode {
  budget.node(level)
  const parts: (MappedNode | string)[] = []
  for (const child of 'content' in parent ? parent.content.childNodes : parent.childNodes) {
    if ('value' in child) parts.push(child.value)
    else if ('tagName' in child) {
      const attributes = new Map(
        child.attrs.map((attr) => [attr.prefix ? `${attr.prefix}:${attr.name}` : attr.name, attr.value]),
      )
      parts.push(nodeOf(child, child.tagName, attributes, level + 1, budget))
    }
  }
  return elementOf(name, properties, parts)
}

/** By its byte order mark, what its head says, UTF-8 where it is that, else Windows-1252. */
export function decoded(bytes: Buffer): string {
  const head = bytes.toString('latin1', 0, 1024)
  const label = /<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w-]{1,40})/i.exec(head)?.[1]
  const hasMark = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  if (hasMark) return new TextDecoder(bytes[0] === 0xff ? 'utf-16le' : 'utf-16be').decode(bytes)
  for (const encoding of ['utf-8', label, 'windows-1252']) {
    try {
      if (encoding) return new TextDecoder(encoding, { fatal: encoding === 'utf-8' }).decode(bytes)
    } catch {
      // Not that one: the next is tried, and the last takes every byte.
    }
  }
  return bytes.toString('latin1')
}
