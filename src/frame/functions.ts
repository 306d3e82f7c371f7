import { exportedFunctions } from '../cef/elf.ts'
import { identityOf, placeOf } from '../cef/host-file.ts'
import { IDL_SUFFIX, readIdl } from '../cef/idl.ts'
import { findLibrary } from '../cef/libraries.ts'
import { namesIn } from '../cef/linker.ts'
import type { Idl } from '../cef/parser.ts'
import { requirementsOf } from '../cef/requirements.ts'
import { CosmosError } from '../errors.ts'
import { ANCHOR_COSM, type Stack } from '../source/stacks.ts'
import type { TreeCore } from './core.ts'
import type { NodeId } from './operations.ts'

/**
 * Shared libraries as directories: `.cosm/lib/NAME/` has an executable file for each function that the library
 * exports (design §3). A library lies in a layer's `lib`, or is one that the host's linker knows.
 */

/** A library of the tree. */
export interface Library {
  /** Its file on the host; one character a byte. */
  readonly path: string
  readonly functions: ReadonlySet<string>
}

interface KnownLibrary {
  readonly identity: string
  /** Undefined for a file that is no library. */
  readonly library: Library | undefined
}

/** Libraries whose functions are remembered. */
const CAPACITY = 64
const IS_LIBRARY_NAME = /\.so(\.[0-9.]+)?$/

export class FunctionLibraries {
  readonly #known = new Map<string, KnownLibrary>()

  /** The library of a name in a cosm's `lib`; undefined for none. */
  find(stack: Stack, name: string): Library | undefined {
    for (const { path, at } of stack.layers) {
      if (at !== '') continue
      const library = this.at(`${path}/lib/${name}`)
      if (library) return library
    }
    if (!IS_LIBRARY_NAME.test(name)) return undefined
    const path = findLibrary(name)
    return path === undefined ? undefined : this.at(path)
  }

  /** The library that a host file is; undefined for none. It is read anew when it has changed. */
  at(path: string): Library | undefined {
    const place = placeOf(path)
    if (typeof place === 'string' || !place.stats.isFile()) return undefined
    const identity = identityOf(place.stats)
    const known = this.#known.get(path)
    if (known?.identity === identity) return known.library
    const library = readLibrary(path)
    this.#known.delete(path)
    this.#known.set(path, { identity, library })
    if (this.#known.size > CAPACITY) this.#known.delete(this.#known.keys().next().value as string)
    return library
  }

  /** Names of the host's libraries that are listed: those whose prototypes a layer has. The others resolve as well. */
  described(stack: Stack): string[] {
    const names = new Set<string>()
    for (const directory of libraryDirectories(stack))
      for (const file of namesIn(directory))
        if (file.endsWith(IDL_SUFFIX)) names.add(file.slice(0, -IDL_SUFFIX.length))
    return [...names].filter((name) => this.find(stack, name) !== undefined)
  }
}

/** What is known of a library's functions: from `NAME.idl` beside it and in the cosm's layers. */
export function idlOf(stack: Stack, path: string): Idl {
  const name = path.slice(path.lastIndexOf('/') + 1)
  return readIdl(name, [path.slice(0, path.lastIndexOf('/')), ...libraryDirectories(stack)])
}

/** Whether a directory is the `lib` of a cosm. */
export function isLibraryDirectory(core: TreeCore, slot: NodeId): boolean {
  const { frames } = core
  const context = frames.context(slot)
  return (
    frames.parent(slot) === context &&
    slot !== context &&
    core.stackOf(slot).type === ANCHOR_COSM &&
    frames.nameText(slot) === 'lib'
  )
}

function libraryDirectories(stack: Stack): string[] {
  return stack.layers.flatMap(({ path, at }) => (at === '' ? [`${path}/lib`] : []))
}

function readLibrary(path: string): Library | undefined {
  try {
    const { kind, exports, soname } = requirementsOf(path)
    if (kind === 'library' || soname !== undefined)
      return { path, functions: new Set(exportedFunctions(path)) }
    if (kind !== 'wasm' || !exports) return undefined
    const functions = exports.filter((each) => each.kind === 'function').map((each) => each.name)
    return { path, functions: new Set(functions) }
  } catch (error) {
    // Not a library that can be read: it shows as the file that it is.
    if (error instanceof CosmosError) return undefined
    throw error
  }
}
