import { parse, stringify } from 'smol-toml'
import type { MappedNode } from '../tree.ts'
import type { Edit } from './change.ts'

/**
 * Forms of lines: toml, ini, ox. Where an entry stands is not worked out: each line that could be it is tried, and who
 * asks takes the text that maps to the tree that is wanted.
 */

/** `key = value # comment` of TOML, on one line. */
const TOML_LINE =
  /^(\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+))*\s*=\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^#]*?)(\s*(?:#.*)?)$/
const TOML_BARE = /^[\w-]+$/
const INI_LINE = /^(\s*[^=:;#[\s][^=:]*?\s*[=:]\s*)(.*?)(\s*)$/
const HEADER = /^\s*\[.*\]\s*(?:[;#].*)?$/

/** TOML: a value in its line; else the whole as the library writes it, which has no comments. */
export function* tomlCandidates(text: string, edit: Edit): Generator<string> {
  const value = edit.node.children ? '{}' : tomlValue(edit.node)
  const key = TOML_BARE.test(edit.node.name) ? edit.node.name : JSON.stringify(edit.node.name)
  if (edit.node.children) yield* insertions(text, '', `\n[${[...namesTo(text, edit), key].join('.')}]`)
  yield* keyed(text, edit, TOML_LINE, value, `${key} = ${value}`)
  if (edit.action !== 'mkdir') yield rewritten(text, edit)
}

/** INI: a value in its line. */
export function* iniCandidates(text: string, edit: Edit): Generator<string> {
  if (edit.node.children) yield* insertions(text, '', `[${edit.node.name}]`)
  const separator = /^[^;#[=]*\S=\S/m.test(text) ? '=' : ' = '
  yield* keyed(
    text,
    edit,
    INI_LINE,
    String(edit.node.text ?? ''),
    `${edit.node.name}${separator}${edit.node.text}`,
  )
}

/** ox: `name: text`, and what is indented below it. */
export function* oxCandidates(text: string, edit: Edit): Generator<string> {
  const lines = text.split('\n')
  const { node, parent } = edit
  const head =
    String(node.text ?? '') === '' || edit.action === 'mkdir' ? node.name : `${node.name}: ${node.text}`
  if (edit.isNew) {
    if (edit.path.length === 0) yield* insertions(text, '', head)
    for (const [i, line] of lines.entries()) {
      if (!isHead(line, parent.name)) continue
      const end = blockEnd(lines, i)
      const below = end > i + 1 ? indentOf(lines[i + 1]!) : `${indentOf(line)}  `
      yield lines.toSpliced(end, 0, below + head).join('\n')
    }
    return
  }
  const former = edit.parent.children?.[edit.index]?.name ?? node.name
  for (const [i, line] of lines.entries()) {
    if (!isHead(line, former)) continue
    if (edit.action === 'remove') yield lines.toSpliced(i, blockEnd(lines, i) - i).join('\n')
    else {
      yield lines.with(i, indentOf(line) + head).join('\n')
      yield lines.toSpliced(i, blockEnd(lines, i) - i, indentOf(line) + head).join('\n')
    }
  }
}

/** Lines of `key = value`: changed, removed, or put behind each header and at the end. */
function* keyed(text: string, edit: Edit, pattern: RegExp, value: string, line: string): Generator<string> {
  const lines = text.split('\n')
  if (edit.isNew) {
    if (edit.action === 'set') yield* insertions(text, edit.parent.name, line)
    return
  }
  for (const [i, each] of lines.entries()) {
    const [, key, , rest] = pattern.exec(each) ?? []
    if (key === undefined || !key.includes(edit.node.name)) continue
    if (edit.action === 'remove') yield lines.toSpliced(i, 1).join('\n')
    else yield lines.with(i, key + value + rest).join('\n')
  }
}

/** A line more: at the end of each section whose header has the name in it; before the first for the root. */
function* insertions(text: string, section: string, line: string): Generator<string> {
  const lines = text.split('\n')
  const headers = lines.flatMap((each, i) => (HEADER.test(each) ? [i] : []))
  const first = headers[0] ?? lines.length
  if (section === '') {
    yield lines.toSpliced(lastText(lines, first), 0, line).join('\n')
    yield lines.toSpliced(lastText(lines, lines.length), 0, line).join('\n')
    return
  }
  for (const [n, i] of headers.entries())
    if (lines[i]!.includes(section))
      yield lines.toSpliced(lastText(lines, headers[n + 1] ?? lines.length), 0, line).join('\n')
}

/** Behind the last line with text before an index. */
function lastText(lines: readonly string[], before: number): number {
  let at = before
  while (at > 0 && lines[at - 1]!.trim() === '') at--
  return at
}

function isHead(line: string, name: string): boolean {
  const head = line.trim()
  return head === name || head.startsWith(`${name}:`)
}

/** Behind the lines that are indented below a line. */
function blockEnd(lines: readonly string[], at: number): number {
  const indent = indentOf(lines[at]!).length
  let end = at + 1
  for (let i = end; i < lines.length; i++) {
    if (lines[i]!.trim() === '') continue
    if (indentOf(lines[i]!).length <= indent) break
    end = i + 1
  }
  return end
}

function indentOf(line: string): string {
  return /^\s*/.exec(line)![0]
}

function tomlValue({ text = '', type }: MappedNode): string {
  return type === undefined ? JSON.stringify(String(text)) : String(text)
}

/** Names of the tables from the root to what has the entry. */
function namesTo(text: string, edit: Edit): string[] {
  const names: string[] = []
  let value: unknown = parse(text)
  for (const index of edit.path) {
    const [name, below] = Object.entries(value as object)[index] ?? ['', undefined]
    names.push(TOML_BARE.test(name) ? name : JSON.stringify(name))
    value = below
  }
  return names
}

/** The document as the library writes it. */
function rewritten(text: string, edit: Edit): string {
  const root = parse(text, { integersAsBigInt: 'asNeeded' })
  let container = root as Record<string, unknown>
  for (const index of edit.path) container = Object.values(container)[index] as Record<string, unknown>
  const key = Array.isArray(container) ? String(edit.index) : edit.node.name
  if (edit.action === 'remove') {
    if (Array.isArray(container)) container.splice(edit.index, 1)
    else delete container[key]
  } else
    container[key] = (
      parse(`v = ${tomlValue(edit.node)}`, { integersAsBigInt: 'asNeeded' }) as { v: unknown }
    ).v
  return stringify(root)
}
