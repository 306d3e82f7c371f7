import { stringify, TomlDate } from 'smol-toml'
import { CosmosError } from '../../errors.ts'
import { atMost, type Transformer } from '../transformer.ts'
import { plainOf, type Value } from '../value.ts'
import { sourceValue } from './to-json.ts'

/** Any form whose root has members as TOML 1.0, which has no null: such a member is left out. */
export const toToml: Transformer = {
  name: 'to-toml',
  arguments: '',
  async transform(_, args, source) {
    atMost('to-toml', args, 0)
    const value = await sourceValue(source)
    if (value.kind !== 'map') throw new CosmosError('EINVAL', 'to-toml', 'the document is no set of members')
    return Buffer.from(stringify(tomlOf(value)))
  },
}

function tomlOf(value: Value): unknown {
  if (value.kind === 'date') return new TomlDate(value.text)
  if (value.kind === 'list') return value.items.map(itemOf)
  if (value.kind !== 'map') return plainOf(value, () => undefined)
  const members = value.members.filter(([, member]) => member.kind !== 'null')
  return Object.fromEntries(members.map(([name, member]) => [name, tomlOf(member)]))
}

function itemOf(value: Value): unknown {
  if (value.kind === 'null') throw new CosmosError('EINVAL', 'to-toml', 'a list with null cannot be written')
  return tomlOf(value)
}
