import { createHash } from 'node:crypto'
import { atMost, type Transformer } from '../transformer.ts'

/** The SHA-256 of the stream, hexadecimal, and a newline. */
export const sha256: Transformer = {
  name: 'sha256',
  arguments: '',
  transform(bytes, args) {
    atMost('sha256', args, 0)
    return Buffer.from(`${createHash('sha256').update(bytes).digest('hex')}\n`)
  },
}
