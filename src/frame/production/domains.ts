import { placeOf, readSmallFile } from '../../cef/host-file.ts'
import { Table } from '../../cef/table.ts'
import { CosmosError } from '../../errors.ts'

/**
 * Which lookup module reads the names of a directory (design §4): the one that the nearest `.cosm/etc/cosmos/lookup.toml`
 * names, of the directory itself or of one above it, then those of the cosms that all directories have. Paths have one
 * character a byte.
 */

/** `fudge`: names may stand for what is made of others; `literal`: for themselves and their properties only. */
const MODULES = ['fudge', 'literal'] as const
type LookupModule = (typeof MODULES)[number]

export interface Domain {
  readonly module: LookupModule
  /** Who says so; undefined where nobody does. */
  readonly file: string | undefined
}

/** A domain, and when it was read (performance.now()). */
interface Known {
  readonly domain: Domain
  readonly since: number
}

/** How long a file is believed, milliseconds. */
const FRESH = 1000
/** Directories that are remembered. */
const CAPACITY = 1000
const MAX_FILE = 64 * 1024
const FILE = 'lookup.toml'
const BUILT_IN: Domain = { module: 'fudge', file: undefined }

export class Domains {
  readonly #common: readonly string[]
  readonly #log: (line: string) => void
  readonly #known = new Map<string, Known>()
  /** Errors that were told: each is, once. */
  readonly #told = new Set<string>()

  /** `common`: directories `etc/cosmos` of the cosms that all have, nearest first. */
  constructor(common: readonly string[], log: (line: string) => void) {
    this.#common = common
    this.#log = log
  }

  /** The domain of a host directory. A file that is wrong is told of, and names none. */
  of(directory: string): Domain {
    return this.#at(directory, performance.now()).domain
  }

  /** Something that was read may have changed. */
  forget(): void {
    this.#known.clear()
  }

  #at(directory: string, now: number): Known {
    const known = this.#known.get(directory)
    if (known && now - known.since < FRESH) return known
    const found = this.#find(directory, now)
    if (this.#known.size >= CAPACITY) this.#known.clear()
    this.#known.set(directory, found)
    return found
  }

  #find(directory: string, since: number): Known {
    const isRoot = directory === '/' || directory === ''
    const cosm = `${isRoot ? '' : directory}/.cosm`
    // Most directories have none: that costs least to know.
    const own = typeof placeOf(cosm) === 'string' ? undefined : this.#read(`${cosm}/etc/cosmos/${FILE}`)
    if (own) return { domain: own, since }
    // What is inherited is as old as it is there.
    if (!isRoot) return this.#at(directory.slice(0, directory.lastIndexOf('/')) || '/', since)
    for (const etc of this.#common) {
      const common = this.#read(`${etc}/${FILE}`)
      if (common) return { domain: common, since }
    }
    return { domain: BUILT_IN, since }
  }

  #read(file: string): Domain | undefined {
    if (typeof placeOf(file) === 'string') return undefined
    try {
      const module = parseLookup(Buffer.from(readSmallFile(file, MAX_FILE), 'latin1').toString('utf8'), file)
      return module && { module, file }
    } catch (error) {
      if (!(error instanceof CosmosError)) throw error
      if (!this.#told.has(error.message)) this.#log(error.message)
      if (this.#told.size >= CAPACITY) this.#told.clear()
      this.#told.add(error.message)
      return undefined
    }
  }
}

/** The module that `lookup.toml` names; undefined for none. Throws CosmosError EINVAL that names file, key and reason. */
function parseLookup(text: string, file: string): LookupModule | undefined {
  const table = Table.parse(text, file)
  const name = table.text('module')
  const module = MODULES.find((each) => each === name)
  if (name !== undefined && !module) throw table.invalid('module', `is one of ${MODULES.join(', ')}`)
  table.end()
  return module
}
