import { CsvError, parse } from 'csv-parse/sync'
import { budgetFor, type Mapper, malformed } from '../mapper.ts'
import { textOf } from '../text.ts'
import type { MappedNode } from '../tree.ts'

const DELIMITERS = [',', ';', '\t', '|']

/**
 * CSV (RFC 4180; package csv-parse). The first row names the columns; each other one is a child 0, 1, … with a child
 * for each column. The delimiter is the one of `,` `;` tab `|` that the first row has most of.
 */
export const csv: Mapper = {
  name: 'csv',
  extensions: ['csv', 'tsv'],
  map(bytes, options) {
    const budget = budgetFor('csv', bytes, options)
    const [header = [], ...rows] = rowsOf(textOf(bytes))
    const isLeft = (options?.depth ?? 2) < 2
    const children = rows.map((row, i): MappedNode => {
      budget.node(1)
      const name = String(i)
      if (isLeft) return { name, type: 'object', left: true }
      return {
        name,
        type: 'object',
        children: row.map((text, column) => {
          budget.node(2)
          return { name: header[column] ?? String(column), text }
        }),
      }
    })
    return { name: '', type: 'array', children }
  },
}

/** Rows of cells. Throws CosmosError EILSEQ. */
function rowsOf(text: string): string[][] {
  try {
    return parse(text, { relax_column_count: true, skip_empty_lines: true, delimiter: delimiterOf(text) })
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    const { lines, column } = error as CsvError & { lines?: number; column?: number | string }
    throw malformed('csv', lines ?? 1, typeof column === 'number' ? column + 1 : 1, error.message)
  }
}

function delimiterOf(text: string): string {
  const first = text.slice(0, Math.max(0, text.search(/\r?\n|$/)))
  const counts = DELIMITERS.map((delimiter) => first.split(delimiter).length)
  return DELIMITERS[counts.indexOf(Math.max(...counts))]!
}
