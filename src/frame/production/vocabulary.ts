import { placeOf, readSmallFile } from '../../cef/host-file.ts'
import { CosmosError } from '../../errors.ts'
import { MAPPER_EXTENSIONS, TRANSFORMER_NAMES } from '../../form/known.ts'
import { type Alias, parseAliases } from '../../lookup/aliases.ts'
import { CONNECTORS } from '../../lookup/fudge/connectors.ts'
import type { Namespace } from '../../lookup/fudge/namespace.ts'
import type { Step } from '../../lookup/production.ts'
import type { SourceNode } from '../../source/service.ts'
import { ANCHOR_PRODUCED } from '../../source/stacks.ts'
import type { TreeCore } from '../core.ts'
import { REMOTE } from '../frames.ts'
import { mergedNames } from '../listing.ts'
import { type NodeId, PENDING } from '../operations.ts'
import { makeName } from '../paths.ts'
import { isPropertyName } from '../properties.ts'
import { type Domain, Domains } from './domains.ts'
import { type Executable, Executables } from './executables.ts'
import { OwnForms } from './own-forms.ts'

/** What the words of a lookup mean in this tree: mappers, transformers and aliases, shipped ones and users' own. */

/** How long the aliases are believed, milliseconds. */
const ALIASES_FRESH = 1000
const OWN_UID = process.getuid?.() ?? 0
const MAX_ALIASES = 64 * 1024

/** Where the words are from. */
export interface VocabularyParts {
  /** Directories that may have `aliases.toml` and `lookup.toml`, nearest first; one character a byte. */
  readonly aliases: readonly string[]
  /** Cosms whose `lib/cosmos` has users' mappers and transformers, nearest first; one character a byte. */
  readonly layers: readonly string[]
  /** Whether names are read as in URLs: what is missing is completed, and programs are modifiers (design §4). */
  readonly fudge: boolean
  readonly log: (line: string) => void
}

export class Vocabulary {
  readonly #core: TreeCore
  readonly #parts: VocabularyParts
  readonly #own: OwnForms
  readonly #executables: Executables
  readonly #domains: Domains
  #aliasesAt = Number.NEGATIVE_INFINITY
  #aliasTable: ReadonlyMap<string, Alias> = new Map()

  constructor(core: TreeCore, parts: VocabularyParts) {
    this.#core = core
    this.#parts = parts
    this.#own = new OwnForms(parts.layers)
    this.#executables = new Executables(core, parts.layers)
    this.#domains = new Domains(parts.aliases, parts.log)
  }

  /** The directory of a frame as a lookup sees it. */
  namespace(parent: NodeId): Namespace {
    const core = this.#core
    const isRemote = core.frames.kind(parent) === REMOTE
    const isMapper = (name: string): boolean => MAPPERS.has(name) || this.#own.has('map', name)
    const mapperOf = (form: string): string | undefined => (isMapper(form) ? form : MAPPER_OF.get(form))
    return {
      exists: (name) =>
        isRemote ? isFile(core.remotes.child(parent, name)) : core.statChild(parent, makeName(name)) >= 0,
      names: () => {
        const names = isRemote ? core.remotes.names(parent) : mergedNames(core, parent)
        if (names === PENDING) throw WAITING
        return typeof names === 'number' ? [] : names.keys()
      },
      formOf: (name) => mapperOf(/\.([^.]+)$/.exec(name.toLowerCase())?.[1] ?? ''),
      isProperty: isPropertyName,
      isScheme: () => false,
      isMapper,
      isTransformer: (name) => TRANSFORMERS.has(name) || this.#own.has('transform', name),
      alias: (name) => this.#aliases().get(name),
      // What an alias does not name, only this tree's own user may have run: it is run as that user.
      isExecutable: (name, isNamed) =>
        (isNamed || core.request.uid === OWN_UID) && this.#executables.program(name) !== undefined,
      mapperOf,
      isExtension: (name) => MAPPER_OF.has(name) && name !== 'ox',
      connectors: CONNECTORS,
    }
  }

  /** What takes part in a step that users may change: another text, another result. */
  makersOf(step: Step): string {
    const { kind, name, form } = step
    if (kind === 'source') return ''
    if (kind === 'run' || kind === 'call') return this.executable(step)?.identity ?? ''
    const makers = [this.#own.identity(kind, name)]
    // What a transformer asks the tree of.
    if (kind === 'transform' && form !== undefined) makers.push(this.#own.identity('map', form))
    return makers.filter((each) => each !== undefined).join('\n')
  }

  /** Directories with users' own, as the VM is told them. */
  modules(kind: Step['kind']): readonly string[] {
    return kind === 'map' || kind === 'transform' ? this.#own.directories(kind) : []
  }

  /** The program or library of a step; undefined where it has none, or it is gone. */
  executable({ kind, name }: Step): Executable | undefined {
    if (kind === 'run') return this.#executables.program(name)
    return kind === 'call' ? this.#executables.library(name) : undefined
  }

  /** Which lookup module reads the names of a directory: those of a source are always fudge's. */
  domain(parent: NodeId): Domain {
    const { frames } = this.#core
    let directory = parent
    for (;;) {
      if (frames.kind(directory) === REMOTE) return URL_DOMAIN
      const stack = this.#core.stackOf(directory)
      if (stack.type !== ANCHOR_PRODUCED) return this.#domains.of(this.#core.hostPath(directory))
      // What was made has the domain of what it was made from.
      directory = frames.parent(stack.slot)
    }
  }

  /** Whether names of a directory are read as in URLs: all of a source's are. */
  fudge(parent: NodeId): boolean {
    return this.#parts.fudge || this.#core.frames.kind(parent) === REMOTE
  }

  /** Something of it has changed. */
  forget(): void {
    this.#own.forget()
    this.#executables.forget()
    this.#domains.forget()
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

const URL_DOMAIN: Domain = { module: 'fudge', file: undefined }

/** Thrown where a source has to be asked first: the request at hand waits for it, and is read anew then. */
export const WAITING = new Error('a source is being asked')

/** Whether a source's node is a file, which something can be made of. Throws WAITING while nobody knows. */
function isFile(node: SourceNode | number): boolean {
  if (node === PENDING) throw WAITING
  return typeof node !== 'number' && node.type === 'file'
}

const MAPPERS: ReadonlySet<string> = new Set(Object.keys(MAPPER_EXTENSIONS))
const TRANSFORMERS: ReadonlySet<string> = new Set(TRANSFORMER_NAMES)
/** Mappers by extension. */
const MAPPER_OF: ReadonlyMap<string, string> = new Map(
  Object.entries(MAPPER_EXTENSIONS).flatMap(([name, extensions]) =>
    extensions.map((each) => [each, name] as const),
  ),
)
