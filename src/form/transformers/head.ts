import { CosmosError } from '../../errors.ts'
import { flagsOf, type Transformer } from '../transformer.ts'

const DEFAULT_COUNT = 10

/** The first lines, 10 where no number is given; with `c` so many bytes. */
export const head: Transformer = {
  name: 'head',
  arguments: '[COUNT [c]]',
  transform(bytes, [count = String(DEFAULT_COUNT), ...rest]) {
    if (!/^\d{1,15}$/.test(count)) throw new CosmosError('EINVAL', `head ${count}`, 'is no number of lines')
    if (flagsOf('head', rest, 'c').has('c')) return bytes.subarray(0, Number(count))
    let end = 0
    for (let lines = 0; lines < Number(count) && end < bytes.length; lines++) {
      const found = bytes.indexOf(10, end)
      end = found < 0 ? bytes.length : found + 1
    }
    return bytes.subarray(0, end)
  },
}
