import { stringify } from 'yaml'
import { atMost, type Transformer } from '../transformer.ts'
import { plainOf } from '../value.ts'
import { sourceValue } from './to-json.ts'

/** Any form as YAML 1.2. */
export const toYaml: Transformer = {
  name: 'to-yaml',
  arguments: '',
  async transform(_, args, source) {
    atMost('to-yaml', args, 0)
    const value = plainOf(await sourceValue(source), (members) => new Map(members))
    return Buffer.from(stringify(value, { lineWidth: 0, aliasDuplicateObjects: false }))
  },
}
