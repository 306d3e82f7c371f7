import { gunzipSync } from 'node:zlib'
import { CosmosError } from '../../errors.ts'
import { atMost, MAX_UNPACKED, type Transformer } from '../transformer.ts'

/** What is packed with gzip. */
export const gunzip: Transformer = {
  name: 'gunzip',
  arguments: '',
  transform(bytes, args) {
    atMost('gunzip', args, 0)
    try {
      return gunzipSync(bytes, { maxOutputLength: MAX_UNPACKED })
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'ERR_BUFFER_TOO_LARGE')
        throw new CosmosError('EFBIG', 'gunzip', `unpacks to more than ${MAX_UNPACKED} bytes`)
      throw new CosmosError('EILSEQ', 'gunzip', message)
    }
  },
}
