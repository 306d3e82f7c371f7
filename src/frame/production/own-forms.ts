import { lstatSync, readdirSync, type Stats } from 'node:fs'
import { identityOf, placeOf } from '../../cef/host-file.ts'
import { pathBytes } from '../paths.ts'

/** Mappers and transformers of users: what lies in `lib/cosmos/scanners` and `lib/cosmos/transformers` of a layer. */

/** What a production is: a mapper's, or a transformer's. */
export type FormKind = 'map' | 'transform'

/** How long a reading of the directories is believed, milliseconds. */
const FRESH = 1000
const MODULES = ['.mjs', '.js']
const PARTS: Readonly<Record<FormKind, string>> = { map: 'scanners', transform: 'transformers' }

interface Listing {
  readonly directories: readonly string[]
  /** Host paths of the files that are taken, by the name that they go by. */
  readonly files: ReadonlyMap<string, string>
}

/** Paths and names have one character a byte. */
export class OwnForms {
  readonly #layers: readonly string[]
  #readAt = Number.NEGATIVE_INFINITY
  #listings: Readonly<Record<FormKind, Listing>> = { map: EMPTY, transform: EMPTY }

  /** `layers` are directories of cosms, the nearest first. */
  constructor(layers: readonly string[]) {
    this.#layers = layers
  }

  has(kind: FormKind, name: string): boolean {
    return this.#listing(kind).files.has(name)
  }

  /** The directories that are there, for the VM to look in, the nearest first. */
  directories(kind: FormKind): readonly string[] {
    return this.#listing(kind).directories
  }

  /** What tells a user's own from every other, and from what it was before it was changed; undefined for none. */
  identity(kind: FormKind, name: string): string | undefined {
    const path = this.#listing(kind).files.get(name)
    const stats = path === undefined ? undefined : fileAt(path)
    return stats && `${path} ${identityOf(stats)}`
  }

  /** Something of it has changed. */
  forget(): void {
    this.#readAt = Number.NEGATIVE_INFINITY
  }

  #listing(kind: FormKind): Listing {
    const now = performance.now()
    if (now - this.#readAt >= FRESH) {
      this.#readAt = now
      this.#listings = { map: list(this.#layers, 'map'), transform: list(this.#layers, 'transform') }
    }
    return this.#listings[kind]
  }
}

const EMPTY: Listing = { directories: [], files: new Map() }

function list(layers: readonly string[], kind: FormKind): Listing {
  const directories: string[] = []
  const files = new Map<string, string>()
  for (const layer of layers) {
    // Where it leads: this process may not look into a tree.
    const place = placeOf(`${layer}/lib/cosmos/${PARTS[kind]}`)
    if (typeof place === 'string' || !place.stats.isDirectory()) continue
    directories.push(place.path)
    // Within a directory modules are taken before executables, as the VM does.
    const own = new Map<string, { path: string; rank: number }>()
    for (const entry of namesOf(place.path)) {
      const suffix = MODULES.find((each) => entry.endsWith(each) && entry.length > each.length)
      const name = suffix === undefined ? entry : entry.slice(0, -suffix.length)
      const rank = suffix === undefined ? MODULES.length : MODULES.indexOf(suffix)
      const path = `${place.path}/${entry}`
      const known = own.get(name)
      if (name.startsWith('.') || name === 'd' || (known && known.rank < rank)) continue
      const stats = fileAt(path)
      if (!stats || (suffix === undefined && (stats.mode & 0o111) === 0)) continue
      own.set(name, { path, rank })
    }
    for (const [name, { path }] of own) if (!files.has(name)) files.set(name, path)
  }
  return { directories, files }
}

function namesOf(directory: string): string[] {
  try {
    return readdirSync(pathBytes(directory), { encoding: 'buffer' }).map((name) =>
      Buffer.from(name).toString('latin1'),
    )
  } catch {
    // One that may not be read has nothing for this user.
    return []
  }
}

/** The regular file at a path, or behind a link there that leads to no tree. */
function fileAt(path: string): Stats | undefined {
  const own = lstatSync(pathBytes(path), { throwIfNoEntry: false })
  if (!own?.isSymbolicLink()) return own?.isFile() ? own : undefined
  const place = placeOf(path)
  return typeof place === 'string' || !place.stats.isFile() ? undefined : place.stats
}
