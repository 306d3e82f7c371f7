import { type Document, isMap, isScalar, isSeq, type Node, parseAllDocuments, Scalar } from 'yaml'
import type { MappedNode } from '../tree.ts'
import type { Edit } from './change.ts'

/** A YAML document with a change: a value in its place, or as the library writes the document, with its comments. */
export function* yamlCandidates(text: string, edit: Edit): Generator<string> {
  const place = find(text, edit)
  if (!place) return
  const child = itemOf(place.container, edit.index)
  const range = isScalar(child) ? child.range : undefined
  if (edit.action === 'set' && range) {
    const around = (value: string): string => text.slice(0, range[0]) + value + text.slice(range[1])
    for (const value of valueTexts(edit.node)) yield around(value)
  }
  const { container, document, documents } = place
  const value = edit.node.children ? {} : plainValue(edit.node)
  if (isMap(container)) {
    if (edit.action === 'remove') container.items.splice(edit.index, 1)
    else if (edit.isNew) container.add(document.createPair(edit.node.name, value))
    else if (container.items[edit.index])
      container.items[edit.index]!.value = document.createNode(value) as Node
  } else if (isSeq(container)) {
    if (edit.action === 'remove') container.items.splice(edit.index, 1)
    else container.items[edit.index] = document.createNode(value)
  } else if (document.contents === null && edit.isNew)
    document.contents = document.createNode({ [edit.node.name]: value }) as never
  else return
  yield documents.map((each) => each.toString({ lineWidth: 0 })).join('')
}

interface Place {
  readonly container: unknown
  readonly document: Document.Parsed
  readonly documents: readonly Document.Parsed[]
}

/** What has the entry; undefined where an alias is on the way, which stands for something else. */
function find(text: string, { path }: Edit): Place | undefined {
  const parsed = parseAllDocuments(text, { uniqueKeys: false, logLevel: 'silent', intAsBigInt: true })
  const documents: Document.Parsed[] = Array.isArray(parsed) ? parsed : []
  const [which, ...rest] = documents.length > 1 ? path : [0, ...path]
  const document = documents[which ?? -1]
  if (!document) return undefined
  let container: unknown = document.contents
  for (const index of rest) container = itemOf(container, index)
  return { container, document, documents }
}

function itemOf(container: unknown, index: number): unknown {
  if (isMap(container)) return container.items[index]?.value
  return isSeq(container) ? container.items[index] : undefined
}

/** As plain text where that reads back as it, else quoted. */
function valueTexts({ text = '', type }: MappedNode): string[] {
  const plain = String(text)
  return type === undefined && (plain === '' || plain.includes('\n'))
    ? [JSON.stringify(plain)]
    : [plain, JSON.stringify(plain)]
}

function plainValue({ text = '', type }: MappedNode): unknown {
  const value = String(text)
  if (type === 'null') return null
  if (type === 'boolean') return value === 'true'
  if (type !== 'number') return new Scalar(value)
  const number = new Scalar(Number(value))
  number.source = value
  return number
}
