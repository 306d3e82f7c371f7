import { once } from 'node:events'
import { styleText } from 'node:util'
import { type WireText, wireBytes, wireReadable } from '../form/wire.ts'

/** Writes to standard output and waits while its reader is slow. */
export async function write(data: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(data)) await once(process.stdout, 'drain')
}

/** Writes a line. */
export async function line(text = ''): Promise<void> {
  await write(`${text}\n`)
}

/** Text in a colour or weight, on a terminal that wants it (NO_COLOR). */
export function style(format: Parameters<typeof styleText>[0], text: string): string {
  return styleText(format, text, { stream: process.stdout })
}

/** A path or name as it goes to standard output: its own bytes; on a terminal what is no text shows as `?`. */
export function nameBytes(name: WireText): Buffer {
  if (!process.stdout.isTTY) return wireBytes(name)
  return Buffer.from(shown(name))
}

/** A path or name for a person: control characters and bytes that are not UTF-8 show as `?`. */
export function shown(name: WireText): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about.
  return wireReadable(name).replace(/[\u0000-\u001f\u007f-\u009f\ufffd]/g, '?')
}

/** Rows in columns, two spaces between; the last column is not padded. Numbers stand to the right. */
export function table(rows: readonly (readonly (string | number)[])[], header?: readonly string[]): string {
  const all = header ? [header, ...rows] : rows
  const widths: number[] = []
  for (const row of all)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, String(cell).length)
  const format = (row: readonly (string | number)[]): string =>
    row
      .map((cell, i) => {
        const width = widths[i] ?? 0
        if (typeof cell === 'number') return String(cell).padStart(width)
        return i === row.length - 1 ? cell : cell.padEnd(width)
      })
      .join('  ')
      .trimEnd()
  const lines = rows.map(format)
  return [...(header ? [style('bold', format(header))] : []), ...lines].map((text) => `${text}\n`).join('')
}

/** Short texts side by side, down the columns first, as `ls` does it on a terminal. */
export function columns(texts: readonly string[], width: number): string {
  for (let rowCount = 1; rowCount <= texts.length; rowCount++) {
    const columnCount = Math.ceil(texts.length / rowCount)
    const widths: number[] = []
    for (let column = 0; column < columnCount; column++) {
      const part = texts.slice(column * rowCount, (column + 1) * rowCount)
      widths.push(Math.max(...part.map((text) => text.length)))
    }
    const total = widths.reduce((sum, each) => sum + each + 2, -2)
    if (total > width && rowCount < texts.length) continue
    let all = ''
    for (let row = 0; row < rowCount; row++) {
      const cells: string[] = []
      for (let column = 0; column < columnCount; column++) {
        const text = texts[column * rowCount + row]
        if (text !== undefined) cells.push(text.padEnd(widths[column] ?? 0))
      }
      all += `${cells.join('  ').trimEnd()}\n`
    }
    return all
  }
  return ''
}

/** A value as JSON on standard output. Bytes that are not UTF-8 show as U+FFFD, see {@link jsonBytes}. */
export async function json(value: unknown): Promise<void> {
  await line(JSON.stringify(value, jsonBytes, 2))
}

/** For JSON.stringify: names that came as bytes become text. */
function jsonBytes(this: unknown, key: string, value: unknown): unknown {
  // Buffer.toJSON has already been called on `value`.
  const raw = (this as Record<string, unknown>)[key]
  return raw instanceof Uint8Array ? wireReadable(raw) : value
}

/** A JSON list that is written as its items come. */
export class JsonList {
  #empty = true

  async add(item: unknown): Promise<void> {
    await write(`${this.#empty ? '[\n' : ',\n'}  ${JSON.stringify(item, jsonBytes)}`)
    this.#empty = false
  }

  async end(): Promise<void> {
    await write(this.#empty ? '[]\n' : '\n]\n')
  }
}
