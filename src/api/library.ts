import { createConnection, type Socket } from 'node:net'
import { resolve } from 'node:path'
import { ControlClient } from '../daemon/client.ts'
import { findInstance, type Instance } from '../daemon/instance.ts'
import { CosmosError } from '../errors.ts'
import { type WireText, wireBytes } from '../form/wire.ts'
import { type Argument, FunctionSession, type Library, type RemoteFunction } from './functions.ts'

/** How functions are called. */
export interface LibraryOptions {
  /** Seconds that a call may take: then it fails with ETIMEDOUT. */
  readonly deadline?: number
  /** The instance whose VMs call; by default this environment's. */
  readonly instance?: Instance
}

/** A library whose functions run in a process of their own. It is opened when the first of them is called. */
export interface OpenedLibrary {
  /**
   * A function, by its C prototype, or by its bare name where that is known (design §5). Nothing is asked before it is
   * called; a wrong prototype or a missing function is an error of the first call.
   */
  dlsym<R = unknown>(prototype: string): RemoteCall<R>
  /** Unloads it and ends its process; it is opened again when a function is called after that. */
  close(): void
}

/** A function that may be called as a local one that answers later. */
export interface RemoteCall<R> {
  (...args: Argument[]): Promise<R>
  /** Calls it with each list of arguments, in order, at the cost of one request. */
  batch(list: readonly (readonly Argument[])[]): ReturnType<RemoteFunction['batch']>
  /** The function with all that is known of it. */
  resolved(): Promise<RemoteFunction<R>>
}

/**
 * Opens a library: a path, or the name of one that `.cosm/lib` has or the host's linker knows. A program that has it
 * open goes on until `close`. Throws nothing: what is wrong is an error of the first call.
 */
export function dlopen(path: string, options: LibraryOptions = {}): OpenedLibrary {
  const opener = new Opener(path, options)
  return {
    dlsym<R>(prototype: string): RemoteCall<R> {
      let found: Promise<RemoteFunction<R>> | undefined
      let from: Promise<Library> | undefined
      const resolved = async (): Promise<RemoteFunction<R>> => {
        const library = opener.library()
        if (from !== library) {
          from = library
          found = library.then((opened) => opened.dlsym<R>(prototype))
        }
        return found as Promise<RemoteFunction<R>>
      }
      const call = async (...args: Argument[]): Promise<R> => (await resolved())(...args)
      const batch = async (list: readonly (readonly Argument[])[]) => (await resolved()).batch(list)
      return Object.assign(call, { batch, resolved })
    },
    close: () => opener.close(),
  }
}

/** Where the functions of a library are called. */
interface Place {
  readonly vm: string
  readonly socket: WireText
  readonly library: WireText
  readonly prototypes: readonly string[]
}

/** Asks the daemon for a process whenever one is needed; its connection holds the VM's session. */
class Opener {
  readonly #path: string
  readonly #options: LibraryOptions
  #client: ControlClient | undefined
  #session: FunctionSession | undefined
  #library: Promise<Library> | undefined
  #place: Place | undefined
  #vm = ''

  constructor(path: string, options: LibraryOptions) {
    this.#path = path
    this.#options = options
  }

  library(): Promise<Library> {
    this.#library ??= this.#open()
    return this.#library
  }

  close(): void {
    this.#session?.close()
    this.#client?.close()
    this.#session = this.#client = this.#library = this.#place = undefined
  }

  async #open(): Promise<Library> {
    const { deadline } = this.#options
    try {
      const place = await this.#ask()
      this.#session = new FunctionSession({
        connect: () => this.#connect(),
        obituary: (pid) => this.#obituary(pid),
        ...(deadline === undefined ? {} : { deadline }),
      })
      return await this.#session.open(wireBytes(place.library).toString(), place.prototypes)
    } catch (error) {
      this.close()
      throw error
    }
  }

  async #ask(): Promise<Place> {
    this.#client?.close()
    this.#client = new ControlClient(this.#options.instance ?? findInstance())
    this.#place = await this.#client.call('dlopen', { path: this.#path, cwd: resolve('.') })
    this.#vm = this.#place.vm
    return this.#place
  }

  /** The first connection is to where the library was found; a later one is asked for anew. */
  async #connect(): Promise<Socket> {
    const place = this.#place ?? (await this.#ask())
    this.#place = undefined
    const path = wireBytes(place.socket).toString()
    return new Promise((settle, reject) => {
      const socket = createConnection(path)
      socket.once('error', (error: NodeJS.ErrnoException) =>
        reject(new CosmosError(error.code ?? 'EIO', path, error.message, 'cosmos status')),
      )
      socket.once('connect', () => settle(socket))
    })
  }

  async #obituary(pid: number): Promise<{ code?: number; signal?: string }> {
    if (!this.#client) throw new CosmosError('ENOTCONN', this.#path, 'is closed')
    const how = await this.#client.call('obituary', { vm: this.#vm, pid })
    return 'code' in how ? how : { signal: how.name }
  }
}
