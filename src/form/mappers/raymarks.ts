import { budgetFor, type Mapper } from '../mapper.ts'
import { linesOf, textOf, trimLines } from '../text.ts'
import type { MappedNode } from '../tree.ts'

const MARK = /^\s*==+\s*(\S.*?)\s*==+\s*$/
const END = /^\s*-{4,}\s*$/
const KIND = /^([A-Z][A-Z ]*):\s+(.*)$/

/**
 * raymarks: marks in plain notes. `== name ==` begins a piece, which ends at a line of four or more dashes or at the
 * next mark. `== KIND: name ==` gives it the property `kind`; `line` is where it begins. Text outside of the pieces is
 * the root's.
 */
export const raymarks: Mapper = {
  name: 'raymarks',
  extensions: ['raymarks', 'raymark'],
  map(bytes, options) {
    const budget = budgetFor('raymarks', bytes, options)
    const outside: string[] = []
    const pieces: { name: string; properties: Map<string, string>; lines: string[] }[] = []
    let lines = outside
    for (const [i, line] of linesOf(textOf(bytes)).entries()) {
      const mark = MARK.exec(line)?.[1]
      if (mark !== undefined) {
        budget.node(1)
        const [, kind, name = mark] = KIND.exec(mark) ?? []
        lines = []
        const properties = new Map([['line', String(i + 1)]])
        if (kind !== undefined) properties.set('kind', kind.toLowerCase())
        pieces.push({ name, properties, lines })
      } else if (END.test(line) && lines !== outside) lines = outside
      else lines.push(line)
    }
    const children = pieces.map(
      (piece): MappedNode => ({
        name: piece.name,
        properties: piece.properties,
        text: trimLines(piece.lines).join('\n'),
      }),
    )
    const text = trimLines(outside).join('\n')
    return { name: '', children, ...(text !== '' && { text }) }
  },
}
