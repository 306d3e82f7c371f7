import { CosmosError } from '../../errors.ts'
import { readable } from '../../frame/paths.ts'
import { readEscapes } from './escape.ts'
import type { Namespace } from './namespace.ts'
import { parseModifier } from './parse.ts'
import type { ReadSuffix } from './peel.ts'

/** What an alias begins with that calls a function of a library: `call libfoo.so.1 my_function`. */
export const CALL = 'call'

/** A suffix whose name is known. */
export interface KnownSuffix {
  /** `directory` is `.d`; a `form` is one that connectors lead to: `to-json` without a transformer of that name. */
  readonly kind: 'mapper' | 'transformer' | 'program' | 'call' | 'form' | 'directory' | 'property'
  readonly name: string
  readonly args: readonly string[]
}

/**
 * Reads suffixes against a namespace. On plain paths only what is named as such is one (design §4); in URLs, and where
 * a cosm says so (`fudge`), also programs and forms. Throws CosmosError ELOOP for aliases that lead in a circle.
 */
export function suffixReader(namespace: Namespace, fudge: boolean): ReadSuffix<KnownSuffix> {
  return (mark, text, inner) => {
    if (mark === ':') {
      const name = readEscapes(text)
      const isKnown = name === '' ? inner === 0 : namespace.isProperty(name)
      return isKnown ? { kind: 'property', name, args: [] } : undefined
    }
    const suffix = readModifier(namespace, text, fudge)
    const isName = suffix?.kind === 'mapper' && suffix.args.length === 0 && inner === 0 && !fudge
    return isName && namespace.isExtension(suffix.name) ? undefined : suffix
  }
}

/** The kind of a modifier that makes something of a stream or a tree: a mapper before a transformer. */
export function kindOf(namespace: Namespace, name: string): 'mapper' | 'transformer' | undefined {
  if (namespace.isMapper(name)) return 'mapper'
  return namespace.isTransformer(name) ? 'transformer' : undefined
}

/** A dash may be in a modifier's name: of `to-html-x`, the longest part that is known is the name. */
function readModifier(namespace: Namespace, text: string, fudge: boolean): KnownSuffix | undefined {
  const { words } = parseModifier(text)
  for (let count = words.length; count > 0; count--) {
    const name = count === 1 ? words[0] : words.slice(0, count).join('-')
    const known = knownAs(namespace, name, words.slice(count), fudge)
    if (known) return known
  }
  return undefined
}

function knownAs(
  namespace: Namespace,
  name: string,
  args: readonly string[],
  fudge: boolean,
  isNamed = false,
): KnownSuffix | undefined {
  if (name === '') return undefined
  // Only who wrote an alias may name code of any library.
  if (isNamed && name === CALL) return args.length === 2 ? { kind: 'call', name, args } : undefined
  if (name === 'd') return args.length === 0 ? { kind: 'directory', name, args } : undefined
  const kind = kindOf(namespace, name)
  if (kind) return { kind, name, args }
  const target = follow(namespace, name)
  if (target.name !== name) {
    const known = knownAs(namespace, target.name, [...target.args, ...args], true, true)
    if (known) return known
  }
  if (fudge && namespace.isExecutable(name, isNamed)) return { kind: 'program', name, args }
  const form = name.startsWith('to-') ? name.slice(3) : fudge ? name : ''
  const isForm = args.length === 0 && namespace.connectors.some(({ to }) => to === form)
  return isForm ? { kind: 'form', name: form, args } : undefined
}

/** What a name stands for, over all aliases: the name of a mapper or a transformer is never an alias. */
function follow(namespace: Namespace, name: string): { name: string; args: readonly string[] } {
  let target = { name, args: [] as readonly string[] }
  const seen = [name]
  while (!kindOf(namespace, target.name)) {
    const alias = namespace.alias(target.name)
    if (!alias) break
    if (seen.includes(alias.name))
      throw new CosmosError(
        'ELOOP',
        readable(name),
        `the aliases ${[...seen, alias.name].map(readable).join(' → ')} lead in a circle`,
        'edit etc/cosmos/aliases.toml',
      )
    seen.push(alias.name)
    target = { name: alias.name, args: [...alias.args, ...target.args] }
  }
  return target
}
