import { parseAliases } from '../../src/lookup/aliases.ts'
import type { Connector } from '../../src/lookup/fudge/connectors.ts'
import type { Namespace } from '../../src/lookup/fudge/namespace.ts'

const MAPPERS = new Set('ox json yaml md csv tar zip raymarks divine'.split(' '))
const TRANSFORMERS = new Set('to-html to-json to-divine html grep unzip scale a-b'.split(' '))
const EXTENSIONS = new Set('json yaml md csv tar zip'.split(' '))
const PROPERTIES = new Set('mtime prod profile payload error body'.split(' '))
const SCHEMES = new Set('file http https ssh bind cascade'.split(' '))
const PROGRAMS = new Set(['cc', 'c', 'wc', 'sort'])
const ALIASES = parseAliases(
  `
  thumb = "scale 128"
  tiny = "thumb 9"
  lines = ["wc", "-l"]
  open = ["grep", "NOT YET"]
  round = "about"
  about = "round"
  lost = "nothing"
  `,
  'aliases.toml',
)
const CONNECTORS: readonly Connector[] = [
  ['ox', 'divine', 'divine'],
  ['dir', 'ox', 'ox'],
  ['dir', 'raymarks', 'raymarks'],
  ['yaml', 'to-json', 'json'],
  ['md', 'to-html', 'html'],
  ['divine', 'html', 'html'],
  ['csv', 'yaml', 'yaml'],
  ['raymarks', 'missing', 'html'],
].map(([from, modifier, to]) => ({ from: from!, modifier: modifier!, to: to! }))

/** A directory with these children; a name that ends in `/` is a directory. `asked` counts questions. */
export function directory(children: readonly string[], isRoot = false): Namespace & { asked: string[] } {
  const names = new Map(children.map((name) => [name.replace(/\/$/, ''), name.endsWith('/')]))
  const asked: string[] = []
  return {
    asked,
    exists: (name) => {
      asked.push(name)
      return names.has(name)
    },
    names: () => names.keys(),
    formOf: (name) => (names.get(name) ? 'dir' : /\.([^.]+)$/.exec(name)?.[1]),
    isProperty: (name) => PROPERTIES.has(name),
    isScheme: (name) => isRoot && SCHEMES.has(name),
    isMapper: (name) => MAPPERS.has(name),
    isTransformer: (name) => TRANSFORMERS.has(name),
    alias: (name) => ALIASES.get(name),
    isExecutable: (name) => PROGRAMS.has(name),
    mapperOf: (form) => (MAPPERS.has(form) ? form : form === 'yml' ? 'yaml' : undefined),
    isExtension: (name) => EXTENSIONS.has(name),
    connectors: CONNECTORS,
  }
}
