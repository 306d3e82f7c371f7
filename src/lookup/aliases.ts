import { Table } from '../cef/table.ts'
import { toBytesText } from '../frame/paths.ts'
import { CALL } from './fudge/modifiers.ts'

/** What an alias stands for: a modifier and its first arguments (one character a byte). */
export interface Alias {
  readonly name: string
  readonly args: readonly string[]
}

/**
 * Parses `etc/cosmos/aliases.toml` (design §4); `file` is for messages. `thumb = "scale 128"` makes `name.thumb` mean
 * `name.scale-128`; a list, `["grep", "to do"]`, has arguments with spaces; `call libfoo.so.1 function` calls a function
 * of a library. Throws CosmosError EINVAL that names file,
 * key and reason.
 */
export function parseAliases(text: string, file: string): Map<string, Alias> {
  const table = Table.parse(text, file)
  const aliases = new Map<string, Alias>()
  for (const key of table.keys()) {
    const [name, ...args] = words(table, key)
    if (name === undefined) throw table.invalid(key, 'names no modifier')
    if (!/^[^./:?%\0]+$/.test(key)) throw table.invalid(key, 'cannot be written as a modifier')
    if (key === CALL) throw table.invalid(key, 'is taken: it calls a function of a library')
    if (name === CALL && args.length !== 2)
      throw table.invalid(key, 'calls no function: call LIBRARY FUNCTION')
    if (key === 'd') throw table.invalid(key, 'is taken: .d is the inside of a file')
    aliases.set(toBytesText(key), { name: toBytesText(name), args: args.map(toBytesText) })
  }
  return aliases
}

function words(table: Table, key: string): string[] {
  if (table.isList(key)) return table.texts(key) ?? []
  return table.text(key)?.split(/\s+/).filter(Boolean) ?? []
}
