import { flagsOf, type Transformer } from '../transformer.ts'
import { splitLines } from './lines.ts'

/** The lines in the order of their bytes. Flags: `n` of the numbers that they begin with, `r` the other way, `u` each once. */
export const sort: Transformer = {
  name: 'sort',
  arguments: '[n|r|u]…',
  transform(bytes, args) {
    const flags = flagsOf('sort', args, 'nru')
    const numbers = new Map<Buffer, number>()
    const lines = splitLines(bytes)
    if (flags.has('n')) for (const line of lines) numbers.set(line, numberOf(line))
    lines.sort((a, b) => (numbers.get(a) ?? 0) - (numbers.get(b) ?? 0) || Buffer.compare(a, b))
    if (flags.has('r')) lines.reverse()
    return Buffer.concat(flags.has('u') ? lines.filter((line, i) => !lines[i - 1]?.equals(line)) : lines)
  },
}

function numberOf(line: Buffer): number {
  return Number(/^\s*(-?\d+(?:\.\d+)?)/.exec(line.toString('latin1', 0, 64))?.[1] ?? 0)
}
