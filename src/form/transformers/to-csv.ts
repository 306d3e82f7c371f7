import { atMost, type Transformer } from '../transformer.ts'
import { jsonOf, type Value } from '../value.ts'
import { sourceValue } from './to-json.ts'

type Members = readonly (readonly [string, Value])[]

/** A list of records as CSV with a first row of names; a set of members as two columns, `name` and `value`. */
export const toCsv: Transformer = {
  name: 'to-csv',
  arguments: '',
  async transform(_, args, source) {
    atMost('to-csv', args, 0)
    const value = await sourceValue(source)
    return Buffer.from(
      rowsOf(value)
        .map((row) => `${row.map(quoted).join(',')}\n`)
        .join(''),
    )
  },
}

/** A table of a value: the first row are names. */
export function rowsOf(value: Value): string[][] {
  if (value.kind === 'map') {
    const rows = value.members.map(([name, member]) => [name, cellOf(member)])
    return [['name', 'value'], ...rows]
  }
  if (value.kind !== 'list') return [['value'], [cellOf(value)]]
  if (!value.items.every((item) => item.kind === 'map'))
    return [
      ['value'],
      ...value.items.map((item) => (item.kind === 'list' ? item.items.map(cellOf) : [cellOf(item)])),
    ]
  const records: Members[] = value.items.map((item) => (item.kind === 'map' ? item.members : []))
  const names = [...new Set(records.flatMap((members) => members.map(([name]) => name)))]
  const rows = records.map((members) => {
    const cells = new Map(members)
    return names.map((name) => (cells.has(name) ? cellOf(cells.get(name)!) : ''))
  })
  return names.length === 0 ? [] : [names, ...rows]
}

function cellOf(value: Value): string {
  if (value.kind === 'null') return ''
  return value.kind === 'map' || value.kind === 'list' ? jsonOf(value).replace(/\n\s*/g, ' ') : value.text
}

/** RFC 4180; a row of one empty cell would read as no row. */
function quoted(cell: string, _: number, row: readonly string[]): string {
  const needsQuotes = /[",\r\n]/.test(cell) || cell !== cell.trim() || (cell === '' && row.length === 1)
  return needsQuotes ? `"${cell.replaceAll('"', '""')}"` : cell
}
