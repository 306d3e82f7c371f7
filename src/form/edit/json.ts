import type { MappedNode } from '../tree.ts'
import type { Edit } from './change.ts'

/** A part of a text. */
interface Span {
  readonly start: number
  readonly end: number
}

interface Member extends Span {
  readonly value: Span
}

/** A JSON document with a change, everything else in it as it stands. The document is known to be well-formed. */
export function* jsonCandidates(text: string, edit: Edit): Generator<string> {
  let container: Span = valueAt(text, 0)
  for (const index of edit.path) container = membersOf(text, container)[index]!.value
  const members = membersOf(text, container)
  const member = members[edit.index]
  if (edit.action === 'remove') {
    const next = members[edit.index + 1]
    const before = members[edit.index - 1]
    if (next) yield text.slice(0, member!.start) + text.slice(next.start)
    else yield text.slice(0, before?.end ?? container.start + 1) + text.slice(member!.end)
  } else if (member)
    yield text.slice(0, member.value.start) + valueText(edit.node) + text.slice(member.value.end)
  else {
    const isObject = text[container.start] === '{'
    const added = (isObject ? `${JSON.stringify(edit.node.name)}: ` : '') + valueText(edit.node)
    const last = members.at(-1)
    if (!last) yield `${text.slice(0, container.start + 1)}${added}${text.slice(container.end - 1)}`
    else {
      // As the members before it stand: on a line of its own, or on theirs.
      const lead = /\s*$/.exec(text.slice(container.start + 1, last.start))?.[0] ?? ''
      yield `${text.slice(0, last.end)},${lead || ' '}${added}${text.slice(last.end)}`
    }
  }
}

function valueText({ text, type, children }: MappedNode): string {
  if (children) return '{}'
  return type === undefined || type === 'date' ? JSON.stringify(text) : String(text)
}

/** Members of an object, elements of an array. */
function membersOf(text: string, { start, end }: Span): Member[] {
  const members: Member[] = []
  const isObject = text[start] === '{'
  for (let at = skipSpace(text, start + 1); at < end - 1; ) {
    const first = at
    if (isObject) at = skipSpace(text, skipSpace(text, stringEnd(text, at)) + 1)
    const value = valueAt(text, at)
    members.push({ start: first, end: value.end, value })
    at = skipSpace(text, value.end)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
  return members
}

function valueAt(text: string, from: number): Span {
  const start = skipSpace(text, from)
  const first = text[start]
  if (first === '"') return { start, end: stringEnd(text, start) }
  if (first !== '{' && first !== '[') {
    const rest = /[\s,\]}]|$/g
    rest.lastIndex = start
    return { start, end: rest.exec(text)!.index }
  }
  let depth = 0
  for (let at = start; ; at++) {
    const character = text[at]
    if (character === '"') at = stringEnd(text, at) - 1
    else if (character === '{' || character === '[') depth++
    else if ((character === '}' || character === ']') && --depth === 0) return { start, end: at + 1 }
  }
}

function stringEnd(text: string, start: number): number {
  for (let at = start + 1; ; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === '"') return at + 1
  }
}

function skipSpace(text: string, from: number): number {
  let at = from
  if (at === 0 && text.charCodeAt(0) === 0xfeff) at++
  while (/\s/.test(text[at] ?? 'x')) at++
  return at
}
