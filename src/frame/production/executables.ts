import { identityOf, isExecutable, placeOf } from '../../cef/host-file.ts'
import { findLibrary } from '../../cef/libraries.ts'
import type { TreeCore } from '../core.ts'

/** Programs and libraries of the host that make something of a file. Paths and names have one character a byte. */
export interface Executable {
  readonly path: string
  /** Another one when it is changed. */
  readonly identity: string
}

/** How long it is believed where a name leads, milliseconds. */
const FRESH = 1000
/** Names that are remembered, those that lead nowhere too. */
const CAPACITY = 1000

export class Executables {
  readonly #core: TreeCore
  readonly #layers: readonly string[]
  readonly #programs = new Map<string, { found: Executable | undefined; at: number }>()

  /** `layers` are directories of cosms, the nearest first. */
  constructor(core: TreeCore, layers: readonly string[]) {
    this.#core = core
    this.#layers = layers
  }

  /** The program of a name: of a cosm's `bin`, else of the PATH. */
  program(name: string): Executable | undefined {
    const now = performance.now()
    const known = this.#programs.get(name)
    if (known && now - known.at < FRESH) return known.found
    const found = this.#find(name)
    if (this.#programs.size >= CAPACITY) this.#programs.clear()
    this.#programs.set(name, { found, at: now })
    return found
  }

  /** The library of a name: of a cosm's `lib`, else one that the host's linker knows. */
  library(name: string): Executable | undefined {
    if (name.includes('/')) return undefined
    for (const layer of this.#layers) {
      const found = fileAt(`${layer}/lib/${name}`)
      if (found) return found
    }
    const path = findLibrary(name)
    return path === undefined ? undefined : fileAt(path)
  }

  forget(): void {
    this.#programs.clear()
  }

  #find(name: string): Executable | undefined {
    if (name.includes('/') || name === '.' || name === '..') return undefined
    for (const layer of this.#layers) {
      const path = `${layer}/bin/${name}`
      const place = placeOf(path)
      if (typeof place !== 'string' && isExecutable(place))
        return { path, identity: `${path} ${identityOf(place.stats)}` }
    }
    const path = this.#core.places.programs.find(name)
    return path === undefined ? undefined : fileAt(path)
  }
}

function fileAt(path: string): Executable | undefined {
  const place = placeOf(path)
  if (typeof place === 'string' || !place.stats.isFile()) return undefined
  return { path, identity: `${path} ${identityOf(place.stats)}` }
}
