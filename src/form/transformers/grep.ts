import { isUtf8 } from 'node:buffer'
import { CosmosError } from '../../errors.ts'
import { flagsOf, type Transformer } from '../transformer.ts'
import { splitLines } from './lines.ts'

/**
 * The lines that match a pattern, a regular expression of JavaScript. Flags: `i` whatever the case, `v` those that do
 * not match, `c` their number, `n` each with its number, `F` the pattern is a text. None is no error.
 */
export const grep: Transformer = {
  name: 'grep',
  arguments: 'PATTERN [i|v|c|n|F]…',
  transform(bytes, args) {
    const leading = args.findIndex((arg) => !/^-\w+$/.test(arg))
    const pattern = args[leading]
    if (pattern === undefined) throw new CosmosError('EINVAL', 'grep', 'no pattern')
    const flags = flagsOf('grep', args.toSpliced(leading, 1), 'ivcnF')
    const encoding = isUtf8(bytes) ? 'utf8' : 'latin1'
    const expression = expressionOf(pattern, flags)
    const found: Buffer[] = []
    let count = 0
    for (const [i, line] of splitLines(bytes).entries()) {
      const text = line.toString(encoding).replace(/\r?\n$/, '')
      if (expression.test(text) === flags.has('v')) continue
      count++
      if (flags.has('n')) found.push(Buffer.from(`${i + 1}:`))
      found.push(line)
    }
    return flags.has('c') ? Buffer.from(`${count}\n`) : Buffer.concat(found)
  },
}

function expressionOf(pattern: string, flags: ReadonlySet<string>): RegExp {
  const source = flags.has('F') ? pattern.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&') : pattern
  try {
    return new RegExp(source, flags.has('i') ? 'i' : '')
  } catch (error) {
    throw new CosmosError('EINVAL', `grep ${pattern}`, (error as Error).message)
  }
}
