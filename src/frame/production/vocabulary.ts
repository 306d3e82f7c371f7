import { placeOf, readSmallFile } from '../../cef/host-file.ts'
import { CosmosError } from '../../errors.ts'
import { MAPPER_EXTENSIONS, TRANSFORMER_NAMES } from '../../form/known.ts'
import { type Alias, parseAliases } from '../../lookup/aliases.ts'
import type { Namespace } from '../../lookup/fudge/namespace.ts'
import type { Step } from '../../lookup/production.ts'
import type { TreeCore } from '../core.ts'
import type { NodeId } from '../operations.ts'
import { makeName } from '../paths.ts'
import { isPropertyName } from '../properties.ts'
import { OwnForms } from './own-forms.ts'

/** What the words of a lookup mean in this tree: mappers, transformers and aliases, shipped ones and users' own. */

/** How long the aliases are believed, milliseconds. */
const ALIASES_FRESH = 1000
const MAX_ALIASES = 64 * 1024

/** Where the words are from. */
export interface VocabularyParts {
  /** Directories that may have `aliases.toml`, nearest first; one character a byte. */
  readonly aliases: readonly string[]
  /** Cosms whose `lib/cosmos` has users' mappers and transformers, nearest first; one character a byte. */
  readonly layers: readonly string[]
  readonly log: (line: string) => void
}

export class Vocabulary {
  readonly #core: TreeCore
  readonly #parts: VocabularyParts
  readonly #own: OwnForms
  #aliasesAt = Number.NEGATIVE_INFINITY
  #aliasTable: ReadonlyMap<string, Alias> = new Map()

  constructor(core: TreeCore, parts: VocabularyParts) {
    this.#core = core
    this.#parts = parts
    this.#own = new OwnForms(parts.layers)
  }

  /** The directory of a frame as a lookup sees it. */
  namespace(parent: NodeId): Namespace {
    const core = this.#core
    const isMapper = (name: string): boolean => MAPPERS.has(name) || this.#own.has('map', name)
    const mapperOf = (form: string): string | undefined => (isMapper(form) ? form : MAPPER_OF.get(form))
    return {
      exists: (name) => core.statChild(parent, makeName(name)) >= 0,
      names: () => [],
      formOf: (name) => mapperOf(/\.([^.]+)$/.exec(name.toLowerCase())?.[1] ?? ''),
      isProperty: isPropertyName,
      isScheme: () => false,
      isMapper,
      isTransformer: (name) => TRANSFORMERS.has(name) || this.#own.has('transform', name),
      alias: (name) => this.#aliases().get(name),
      isExecutable: () => false,
      mapperOf,
      isExtension: (name) => MAPPER_OF.has(name) && name !== 'ox',
      connectors: [],
    }
  }

  /** What takes part in a step that users may change: another text, another result. */
  makersOf({ kind, name, form }: Step): string {
    const makers = [this.#own.identity(kind, name)]
    // What a transformer asks the tree of.
    if (kind === 'transform' && form !== undefined) makers.push(this.#own.identity('map', form))
    return makers.filter((each) => each !== undefined).join('\n')
  }

  /** Directories with users' own, as the VM is told them. */
  modules(kind: Step['kind']): readonly string[] {
    return this.#own.directories(kind)
  }

  /** Something of it has changed. */
  forget(): void {
    this.#own.forget()
    this.#aliasesAt = Number.NEGATIVE_INFINITY
  }

  /** `etc/cosmos/aliases.toml` of the layers, the nearest first. One that is wrong has no aliases. */
  #aliases(): ReadonlyMap<string, Alias> {
    const now = performance.now()
    if (now - this.#aliasesAt < ALIASES_FRESH) return this.#aliasTable
    this.#aliasesAt = now
    const all = new Map<string, Alias>()
    for (const directory of this.#parts.aliases) {
      const file = `${directory}/aliases.toml`
      if (typeof placeOf(file) === 'string') continue
      try {
        const text = Buffer.from(readSmallFile(file, MAX_ALIASES), 'latin1').toString('utf8')
        for (const [name, alias] of parseAliases(text, file)) if (!all.has(name)) all.set(name, alias)
      } catch (error) {
        if (!(error instanceof CosmosError)) throw error
        this.#parts.log(error.message)
      }
    }
    this.#aliasTable = all
    return all
  }
}

const MAPPERS: ReadonlySet<string> = new Set(Object.keys(MAPPER_EXTENSIONS))
const TRANSFORMERS: ReadonlySet<string> = new Set(TRANSFORMER_NAMES)
/** Mappers by extension. */
const MAPPER_OF: ReadonlyMap<string, string> = new Map(
  Object.entries(MAPPER_EXTENSIONS).flatMap(([name, extensions]) =>
    extensions.map((each) => [each, name] as const),
  ),
)
