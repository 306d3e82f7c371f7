import { atMost, type Source, type Transformer } from '../transformer.ts'
import { jsonOf, treeValue, type Value } from '../value.ts'

/** Forms whose properties are a part of what they say. */
const WITH_PROPERTIES = ['xml', 'html', 'divine', 'mbox']

/** Any form as JSON, indented by two spaces. */
export const toJson: Transformer = {
  name: 'to-json',
  arguments: '',
  async transform(_, args, source) {
    atMost('to-json', args, 0)
    return Buffer.from(`${jsonOf(await sourceValue(source))}\n`)
  },
}

/** What a stream says. Throws CosmosError as {@link Source.tree} does. */
export async function sourceValue(source: Source): Promise<Value> {
  return treeValue(await source.tree(), source.form !== undefined && WITH_PROPERTIES.includes(source.form))
}
