import koffi, { type LibraryHandle } from 'koffi'
import { formatPrototype, parsePrototype } from '../../src/cef/prototype.ts'
import { CosmosError } from '../../src/errors.ts'
import { NativeFunction } from './function.ts'

interface Library {
  readonly id: number
  readonly path: string
  readonly handle: LibraryHandle
  /** How often it is open. */
  count: number
}

/** The libraries that are open in this process, and the functions that are known of them. */
export class Libraries {
  readonly #libraries = new Map<number, Library>()
  readonly #functions = new Map<number, { readonly library: number; readonly call: NativeFunction }>()
  #next = 1

  get open(): number {
    return this.#libraries.size
  }

  get functions(): number {
    return this.#functions.size
  }

  /**
   * Loads a library, once however often it is opened. Throws CosmosError ENOENT where it or a library that it needs
   * is not there, ENOEXEC where it cannot be loaded.
   */
  load(path: string): number {
    for (const library of this.#libraries.values()) {
      if (library.path !== path) continue
      library.count++
      return library.id
    }
    const id = this.#next++
    this.#libraries.set(id, { id, path, handle: loadLibrary(path), count: 1 })
    return id
  }

  /** A function of an open library. Throws CosmosError ENOENT where the library has none of this name, EINVAL, EBADF. */
  find(library: number, text: string): { function: number; name: string; prototype: string } {
    const { handle, path } = this.#library(library)
    if (/^\s*\w+\s*$/.test(text))
      throw new CosmosError(
        'EINVAL',
        text.trim(),
        'is only a name; its prototype is needed',
        'as in int abs(int)',
      )
    const prototype = parsePrototype(text)
    const id = this.#next++
    this.#functions.set(id, {
      library,
      call: new NativeFunction(prototype, (name, result, parameters) => {
        try {
          return handle.func(name, result, parameters)
        } catch (error) {
          if (error instanceof Error && error.message.startsWith('Cannot find function'))
            throw new CosmosError('ENOENT', name, `${path} has no such function`)
          throw error
        }
      }),
    })
    return { function: id, name: prototype.name, prototype: formatPrototype(prototype) }
  }

  /** Throws CosmosError EBADF. */
  function(id: number): NativeFunction {
    const known = this.#functions.get(id)
    if (!known) throw new CosmosError('EBADF', `function ${id}`, 'is not known, or its library is closed')
    return known.call
  }

  /** Closes a library; the last close unloads it. Throws CosmosError EBADF. */
  close(id: number): void {
    const library = this.#library(id)
    if (--library.count > 0) return
    this.#libraries.delete(id)
    for (const [number, known] of this.#functions) if (known.library === id) this.#functions.delete(number)
    library.handle.unload()
  }

  #library(id: number): Library {
    const library = this.#libraries.get(id)
    if (!library) throw new CosmosError('EBADF', `library ${id}`, 'is not open')
    return library
  }
}

function loadLibrary(path: string): LibraryHandle {
  try {
    return koffi.load(path)
  } catch (error) {
    // What dlerror(3) says begins with the file that it is about.
    const why = (error instanceof Error ? error.message : String(error)).replace(
      /^Failed to load shared library: /,
      '',
    )
    const isMissing = why.includes('No such file or directory')
    throw new CosmosError(isMissing ? 'ENOENT' : 'ENOEXEC', path, why.replace(`${path}: `, ''))
  }
}
