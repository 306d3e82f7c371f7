import type { Budget } from '../budget.ts'
import { linesOf } from '../text.ts'

/** A line of an outline, and the lines that are indented below it. */
export interface Outline {
  /** Without its indentation. */
  readonly head: string
  /** From 1. */
  readonly line: number
  readonly body: Outline[]
}

const TAB = 8

/** The outline of a text. Tabs reach to the next multiple of 8 columns. Throws CosmosError EFBIG. */
export function outlineOf(text: string, budget: Budget): Outline[] {
  const root: Outline[] = []
  const open: { indent: number; body: Outline[] }[] = [{ indent: -1, body: root }]
  for (const [i, line] of linesOf(text).entries()) {
    const head = line.trim()
    if (head === '') continue
    const indent = indentOf(line)
    while (open.at(-1)!.indent >= indent) open.pop()
    budget.node(open.length)
    const outline: Outline = {
      head: line.trimStart().startsWith('"') ? line.trimStart() : head,
      line: i + 1,
      body: [],
    }
    open.at(-1)!.body.push(outline)
    open.push({ indent, body: outline.body })
  }
  return root
}

/** Width of a line's indentation. */
export function indentOf(line: string): number {
  let width = 0
  for (const character of line) {
    if (character === '\t') width += TAB - (width % TAB)
    else if (character === ' ') width++
    else break
  }
  return width
}
