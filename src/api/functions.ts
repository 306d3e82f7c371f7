import type { Socket } from 'node:net'
import { changedParameters, givenParameters } from '../cef/arguments.ts'
import type { CallResult, Prototype, Value } from '../cef/ctypes.ts'
import type { Idl } from '../cef/parser.ts'
import { formatPrototype, parseIdl, resolvePrototype } from '../cef/prototype.ts'
import { CosmosError } from '../errors.ts'
import { type Request, VmConnection } from './vm-connection.ts'

/** Library functions of a VM, called as if they were local ones (design §5). */

/** How a process of the VM ended. */
export interface Obituary {
  readonly code?: number
  readonly signal?: string
}

/** What a session is made of. */
export interface FunctionSessionOptions {
  /** A new connection to the VM. */
  connect(): Promise<Socket>
  /** How the process with this number ended. */
  obituary(pid: number): Promise<Obituary>
  /** Seconds that a call may take; left out: any time. */
  deadline?: number
}

/** An argument: a value, or a typed array as an array of the same elements. */
export type Argument = Value | ArrayBufferView | readonly Argument[] | undefined

/**
 * A function of a library. It answers its value; one that changes what it is given answers a {@link CallResult},
 * whose `out` has what has become of it. `R` is the one or the other.
 */
export interface RemoteFunction<R = Value> {
  (...args: Argument[]): Promise<R>
  /** Its prototype, in normal form. */
  readonly prototype: string
  /** Value, changed parameters and errno, whatever the function. */
  result(...args: Argument[]): Promise<CallResult>
  /** Calls it with each list of arguments, in their order, in one request. The first that fails ends it. */
  batch(list: readonly (readonly Argument[])[]): Promise<CallResult[]>
}

/** A library that is open, until `close`. */
export interface Library {
  /**
   * A function by its prototype, or by its name where that is known. Throws CosmosError ENOENT where the library has
   * none of this name, EINVAL for what is no prototype.
   */
  dlsym<R = Value>(prototype: string): Promise<RemoteFunction<R>>
  /** The last close of a library unloads it. Its functions are not called any more. */
  close(): Promise<void>
}

/** A library of a session, and its numbers at the present process. */
interface OpenLibrary {
  readonly path: string
  readonly known: Idl
  id: number
  readonly functions: Set<OpenFunction>
}

interface OpenFunction {
  readonly prototype: Prototype
  readonly text: string
  id: number
}

/**
 * A user of functions, who has a process of the VM for himself. When a function crashes, its call fails and no other:
 * those that had not begun are made by another process, where the libraries are opened again.
 */
export class FunctionSession {
  readonly #options: FunctionSessionOptions
  readonly #libraries = new Set<OpenLibrary>()
  /** What waits for a process. */
  #queue: Request[] = []
  #connection: VmConnection | undefined
  #isStarting = false
  #isClosed = false

  constructor(options: FunctionSessionOptions) {
    this.#options = options
  }

  /**
   * Opens a library. `prototypes` are those that are known of it. Throws CosmosError ENOENT, ENOEXEC for one that
   * cannot be loaded, EINVAL for prototypes that are none.
   */
  async open(path: string, prototypes: readonly string[] = []): Promise<Library> {
    const known = knownPrototypes(prototypes, path)
    const { library: id } = await this.#ask('open', () => ({ library: path }), path)
    const library: OpenLibrary = { path, known, id: id as number, functions: new Set() }
    this.#libraries.add(library)
    return {
      dlsym: <R>(prototype: string) => this.#find<R>(library, prototype),
      close: () => this.#close(library),
    }
  }

  /** Ends the session. Calls that are not answered fail. */
  close(): void {
    this.#isClosed = true
    const error = new CosmosError('ECANCELED', 'session', 'is closed')
    for (const request of this.#queue.splice(0)) request.reject(error)
    this.#connection?.close()
  }

  async #find<R>(library: OpenLibrary, text: string): Promise<RemoteFunction<R>> {
    this.#checkOpen(library)
    const prototype = resolvePrototype(text, library.known)
    const normal = formatPrototype(prototype)
    const { function: id } = await this.#ask('sym', () => ({ library: library.id, prototype: normal }))
    const found: OpenFunction = { prototype, text: normal, id: id as number }
    library.functions.add(found)
    return this.#remote<R>(library, found)
  }

  #remote<R>(library: OpenLibrary, found: OpenFunction): RemoteFunction<R> {
    const { prototype, text } = found
    const { deadline } = this.#options
    const limit = deadline === undefined ? {} : { deadline }
    const isPlain = changedParameters(prototype).length === 0
    const result = async (...args: Argument[]): Promise<CallResult> => {
      this.#checkOpen(library)
      const sent = args.map(toSent)
      const answer = await this.#call(prototype, () => ({ function: found.id, args: sent, ...limit }))
      return isPlain
        ? (answer as unknown as CallResult)
        : asGiven(prototype, args, answer as unknown as CallResult)
    }
    const batch = async (list: readonly (readonly Argument[])[]): Promise<CallResult[]> => {
      this.#checkOpen(library)
      const sent = list.map((args) => args.map(toSent))
      const answer = await this.#call(prototype, () => ({ function: found.id, list: sent, ...limit }))
      const results = answer.results as CallResult[]
      return isPlain ? results : results.map((one, i) => asGiven(prototype, list[i]!, one))
    }
    const call = isPlain ? async (...args: Argument[]) => (await result(...args)).value : result
    return Object.assign(call as (...args: Argument[]) => Promise<R>, { prototype: text, result, batch })
  }

  async #close(library: OpenLibrary): Promise<void> {
    if (!this.#libraries.delete(library)) return
    await this.#ask('close', () => ({ library: library.id }))
  }

  #checkOpen(library: OpenLibrary): void {
    if (!this.#libraries.has(library)) throw new CosmosError('EBADF', library.path, 'is closed')
  }

  #call(prototype: Prototype, args: () => object): Promise<Record<string, unknown>> {
    return this.#ask('call', args, prototype.name)
  }

  #ask(op: string, args: () => object, subject = op): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const request: SessionRequest = { op, args, subject, resolve, reject }
      if (this.#isClosed) reject(new CosmosError('ECANCELED', subject, 'the session is closed'))
      else if (this.#connection) this.#send(this.#connection, request)
      else {
        this.#queue.push(request)
        void this.#start()
      }
    })
  }

  #send(connection: VmConnection, request: Request): void {
    try {
      connection.send(request)
    } catch (error) {
      request.reject(error as Error)
    }
  }

  /** Finds a process, brings it to where the last one was, and sends what waits. */
  async #start(): Promise<void> {
    if (this.#isStarting) return
    this.#isStarting = true
    try {
      const connection = await this.#greet()
      try {
        await this.#restore(connection)
        if (this.#isClosed) throw new CosmosError('ECANCELED', 'session', 'is closed')
      } catch (error) {
        connection.close()
        throw error
      }
      this.#connection = connection
      for (const request of this.#queue.splice(0)) this.#send(connection, request)
    } catch (error) {
      for (const request of this.#queue.splice(0)) request.reject(error as Error)
    } finally {
      this.#isStarting = false
    }
  }

  async #greet(): Promise<VmConnection> {
    const socket = await this.#options.connect()
    const connection: VmConnection = await VmConnection.open(socket, (unanswered, error) => {
      if (this.#connection === connection) this.#connection = undefined
      void this.#mourn(connection.pid, unanswered as readonly SessionRequest[], error)
    })
    return connection
  }

  async #restore(connection: VmConnection): Promise<void> {
    for (const library of this.#libraries) {
      const opened = await connection.ask('open', { library: library.path })
      library.id = opened.library as number
      for (const found of library.functions) {
        const { function: id } = await connection.ask('sym', { library: library.id, prototype: found.text })
        found.id = id as number
      }
    }
  }

  /** After a connection: the first request without an answer may have had effects, the others have not begun. */
  async #mourn(
    pid: number,
    unanswered: readonly SessionRequest[],
    error: CosmosError | undefined,
  ): Promise<void> {
    const [first, ...others] = unanswered
    if (this.#isClosed || error) {
      const reason = error ?? new CosmosError('ECANCELED', 'session', 'is closed')
      for (const request of unanswered) request.reject(reason)
      return
    }
    if (!first) return
    // What the process had open went with it.
    for (const request of others) if (request.op === 'close') request.resolve({})
    this.#queue.unshift(...others.filter((request) => request.op !== 'close'))
    if (this.#queue.length > 0) void this.#start()
    first.reject(await this.#explain(pid, first))
  }

  async #explain(pid: number, request: SessionRequest): Promise<CosmosError> {
    const { subject = request.op } = request
    const { deadline } = this.#options
    try {
      const { code, signal } = await this.#options.obituary(pid)
      if (deadline !== undefined && signal === 'SIGALRM')
        return new CosmosError('ETIMEDOUT', subject, `took longer than ${deadline} s`)
      const how = signal === undefined ? `exited with code ${code}` : `was ended by ${signal}`
      return new CosmosError('ECONNABORTED', subject, `its process ${how}`)
    } catch (cause) {
      const why = 'its process ended, and how is not known'
      return new CosmosError('ECONNABORTED', subject, why, undefined, { cause })
    }
  }
}

interface SessionRequest extends Request {
  /** What an error is about. */
  readonly subject?: string
}

/** The IDL of what a daemon tells of a library: each prototype has the definitions that it needs before it. */
function knownPrototypes(prototypes: readonly string[], path: string): Idl {
  const idls = prototypes.map((text) => parseIdl(text, path))
  return {
    prototypes: new Map(idls.flatMap((idl) => [...idl.prototypes])),
    types: new Map(idls.flatMap((idl) => [...idl.types])),
  }
}

/** Typed arrays go as their bytes; msgpack would have them as extensions. */
function toSent(argument: Argument): unknown {
  if (!ArrayBuffer.isView(argument)) return Array.isArray(argument) ? argument.map(toSent) : argument
  return Buffer.from(argument.buffer, argument.byteOffset, argument.byteLength)
}

/** A result whose arrays are of the kind that was given: a Float64Array comes back as one. */
function asGiven(prototype: Prototype, args: readonly Argument[], result: CallResult): CallResult {
  const given = givenParameters(prototype)
  const out = changedParameters(prototype).map((parameter, i): Value => {
    const value = result.out?.[i] ?? null
    const argument = args[given.indexOf(parameter)]
    return value instanceof Uint8Array && isTypedArray(argument) ? likeGiven(argument, value) : value
  })
  return { ...result, out }
}

type TypedArray = Float64Array | Int32Array | BigInt64Array

/** A typed array of more than bytes. */
function isTypedArray(value: unknown): value is TypedArray {
  return ArrayBuffer.isView(value) && !(value instanceof Uint8Array) && !(value instanceof DataView)
}

function likeGiven(argument: TypedArray, bytes: Uint8Array): Value {
  const Same = argument.constructor as new (buffer: ArrayBuffer) => TypedArray
  // A copy begins where elements may.
  return new Same(new Uint8Array(bytes).buffer) as unknown as Value
}
