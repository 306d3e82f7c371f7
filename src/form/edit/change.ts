import { CosmosError } from '../../errors.ts'
import { entryNames, originalName } from '../entry-names.ts'
import type { MappedNode, NodeType } from '../tree.ts'

/** A change of a mapped document, and the tree that it is to have then. */

/** What is done to an entry. */
export type Change =
  /** Its text; it is made where it is not there. */
  | { readonly action: 'set'; readonly text: string }
  | { readonly action: 'remove' }
  /** A node without children is made. */
  | { readonly action: 'mkdir' }

/** What a change means for a document. */
export interface Edit {
  readonly action: Change['action']
  /** Numbers of the children from the root to the node that has the entry. */
  readonly path: readonly number[]
  readonly parent: MappedNode
  /** Which child it is; the number of children for one that is to be made. */
  readonly index: number
  /** What is to be there; as it was, for one that is removed. */
  readonly node: MappedNode
  readonly isNew: boolean
  /** The whole tree after the change. */
  readonly expected: MappedNode
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/

/**
 * Finds what a change means. `isTyped`: values of the form have types. Throws CosmosError ENOENT for an entry whose
 * parent is not there, EEXIST, EROFS for one that is no member of its parent.
 */
export function editOf(root: MappedNode, at: readonly string[], change: Change, isTyped: boolean): Edit {
  const path: number[] = []
  const above: MappedNode[] = []
  let parent = root
  for (const entry of at.slice(0, -1)) {
    const index = indexOf(parent, entry)
    const child = parent.children?.[index]
    if (!child) throw new CosmosError('ENOENT', entry, 'is not in the document any more')
    above.push(parent)
    path.push(index)
    parent = child
  }
  const entry = at.at(-1) ?? ''
  const children = parent.children ?? []
  const found = indexOf(parent, entry)
  const isNew = found < 0
  const index = isNew ? children.length : found
  const former = children[index]
  if (isNew && change.action === 'remove')
    throw new CosmosError('ENOENT', entry, 'is not in the document any more')
  if (!isNew && change.action === 'mkdir') throw new CosmosError('EEXIST', entry, 'is in the document')
  if (isNew && parent.type === 'array' && entry !== String(children.length))
    throw new CosmosError('EROFS', entry, `is no element: the next is ${children.length}`)
  const name = former?.name ?? originalName(entry)
  const node = change.action === 'remove' ? former! : nodeFor(name, former, change, isTyped)
  const changed = children.toSpliced(index, isNew ? 0 : 1, ...(change.action === 'remove' ? [] : [node]))
  let expected: MappedNode = { ...parent, children: numbered(parent, changed) }
  for (let level = above.length - 1; level >= 0; level--) {
    const upper = above[level]!
    expected = { ...upper, children: upper.children!.with(path[level]!, expected) }
  }
  return { action: change.action, path, parent, index, node, isNew, expected }
}

/** Number of the child that an entry is of, -1 for none. Own text beside children is no child. */
function indexOf(node: MappedNode, entry: string): number {
  return entryNames(node.children ?? []).indexOf(entry)
}

function numbered(parent: MappedNode, children: readonly MappedNode[]): readonly MappedNode[] {
  return parent.type === 'array' ? children.map((child, i) => ({ ...child, name: String(i) })) : children
}

function nodeFor(
  name: string,
  former: MappedNode | undefined,
  change: Exclude<Change, { action: 'remove' }>,
  isTyped: boolean,
): MappedNode {
  if (change.action === 'mkdir') return { name, type: 'object', children: [] }
  if (former?.children) throw new CosmosError('EISDIR', name, 'has members')
  const type = isTyped ? typeOf(change.text, former) : undefined
  return { name, text: change.text, ...(type !== undefined && { type }) }
}

/** The type that a value had, where the text is such a value; of a new one and null what the text looks like. */
function typeOf(text: string, former: MappedNode | undefined): NodeType | undefined {
  const isAny = former === undefined || former.type === 'null'
  const may = (type: NodeType): boolean => isAny || former?.type === type
  if (may('number') && NUMBER.test(text)) return 'number'
  if (may('boolean') && (text === 'true' || text === 'false')) return 'boolean'
  if (isAny && text === 'null') return 'null'
  return former?.type === 'date' && !Number.isNaN(Date.parse(text)) ? 'date' : undefined
}

/** Whether two trees say the same. */
export function isSameTree(a: MappedNode, b: MappedNode): boolean {
  return JSON.stringify(plain(a)) === JSON.stringify(plain(b))
}

function plain({ name, text, type, children }: MappedNode): unknown {
  const own =
    text === undefined ? null : typeof text === 'string' ? text : Buffer.from(text).toString('latin1')
  return [name, own, type === 'line' ? null : (type ?? null), children?.map(plain) ?? null]
}
