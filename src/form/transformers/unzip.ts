import { runMapper } from '../mapper.ts'
import { zip, zippedFile } from '../mappers/zip.ts'
import { atMost, type Transformer } from '../transformer.ts'

/** What a zip archive holds, as a tree; with a path, that file. */
export const unzip: Transformer = {
  name: 'unzip',
  arguments: '[PATH]',
  transform(bytes, args) {
    atMost('unzip', args, 1)
    const [path] = args
    return path === undefined ? runMapper(zip, bytes) : zippedFile(bytes, path)
  },
}
