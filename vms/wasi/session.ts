import { CosmosError } from '../../src/errors.ts'
import { protocolError } from '../../src/form/msgpack.ts'
import { toWireError } from '../../src/form/wire.ts'
import { type Connection, waitReadable } from '../socket.ts'
import { countOf, limitOf, listOf, mapOf, textOf, textsOf } from './arguments.ts'
import { type FunctionProgram, runFunction } from './function-program.ts'
import { Functions } from './functions.ts'
import type { ModuleCache } from './modules.ts'
import { closeAll, prepareProgram, runProgram } from './program.ts'
import { effectOf } from './signals.ts'
import type { ProgramEnd } from './wasi.ts'
import type { Watch } from './watch.ts'

type Message = Record<string, unknown>

const VERSION = 1
const NAME = process.env.COSMOS_VM ?? 'wasi'

/** What all sessions of this process share. */
export interface Shared {
  readonly cache: ModuleCache
  readonly watch: Watch
  readonly counts: { sessions: number; runs: number; calls: number }
}

/** One client. */
export class Session {
  readonly #connection: Connection
  readonly #shared: Shared
  readonly #functions: Functions
  /** Messages that have come and wait for their turn. */
  readonly #waiting: Message[] = []
  #greeted = false

  constructor(connection: Connection, shared: Shared) {
    this.#connection = connection
    this.#shared = shared
    this.#functions = new Functions(shared.cache)
  }

  /** Serves it until it goes, or until it says what is no message. */
  serve(): void {
    const { watch } = this.#shared
    watch.attend(this.#connection.fd)
    this.#connection.send({ version: VERSION, vm: NAME, pid: process.pid })
    try {
      while (this.#receive()) {
        for (let message = this.#waiting.shift(); message; message = this.#waiting.shift())
          this.#handle(message)
      }
    } catch (error) {
      this.#connection.send({ id: 0, error: wireError(error) })
    }
    this.#functions.closeAll()
    watch.attend(-1)
    this.#connection.close()
  }

  /** Waits for what comes. False at the end. */
  #receive(): boolean {
    waitReadable([this.#connection.fd], -1)
    const messages = this.#connection.receive()
    if (messages !== undefined) this.#waiting.push(...messages)
    return messages !== undefined
  }

  #handle(message: Message): void {
    const { id, op, signal } = message
    if (!this.#greeted) {
      if (message.version !== VERSION) throw protocolError(`version ${VERSION} is spoken here`)
      this.#greeted = true
      return
    }
    // A signal for a program that has ended meanwhile.
    if (signal !== undefined) return
    if (typeof id !== 'number' || typeof op !== 'string')
      throw protocolError('neither a request nor a signal')
    try {
      const args = mapOf(message.args, 'args')
      if (op === 'exec') this.#exec(id, args)
      else this.#connection.send({ id, ok: this.#answer(op, args) })
    } catch (error) {
      this.#connection.send({ id, error: wireError(error) })
    }
  }

  #answer(op: string, args: Message): object {
    switch (op) {
      case 'accepts':
        // Everything that this VM demands of a program stands in its profile.
        return { accepts: true }
      case 'open':
        return { library: this.#open(textOf(args.library, 'library'), textsOf(args.modules, 'modules')) }
      case 'sym':
        return this.#functions.symbol(countOf(args.library, 'library'), textOf(args.prototype, 'prototype'))
      case 'call':
        return this.#call(args)
      case 'close':
        this.#functions.close(countOf(args.library, 'library'))
        return {}
      case 'stats':
        return this.#stats()
      default:
        throw new CosmosError('ENOSYS', op, 'this VM has no such operation')
    }
  }

  /** A library's initialisation is watched as a call is. */
  #open(path: string, modules: readonly string[]): number {
    return this.#watched(undefined, () => this.#functions.open(path, modules))
  }

  #call(args: Message): object {
    const number = countOf(args.function, 'function')
    const { counts } = this.#shared
    return this.#watched(limitOf(args.deadline, 'deadline'), () => {
      if (args.list === undefined) {
        counts.calls++
        return { value: this.#functions.call(number, listOf(args.args, 'args')) }
      }
      const list = listOf(args.list, 'list')
      counts.calls += list.length
      return { results: list.map((one, i) => ({ value: this.#callOf(number, one, i, list.length) })) }
    })
  }

  #watched<T>(seconds: number | undefined, act: () => T): T {
    this.#shared.watch.beginCall(seconds)
    try {
      return act()
    } finally {
      this.#shared.watch.endCall()
    }
  }

  #callOf(number: number, args: unknown, index: number, count: number): unknown {
    try {
      return this.#functions.call(number, listOf(args, 'list'))
    } catch (error) {
      if (!(error instanceof CosmosError)) throw error
      const why = error.message.slice(error.subject.length + 2)
      throw new CosmosError(error.code, `${error.subject}, call ${index + 1} of ${count}`, why, error.hint)
    }
  }

  #exec(id: number, args: Message): void {
    const { watch, counts } = this.#shared
    const descriptors = this.#connection.takeDescriptors(listOf(args.descriptors, 'descriptors').length)
    let exit: ProgramEnd
    try {
      const { seconds, run } = this.#prepare(args, descriptors)
      // From here on the watch reads, which can begin only where a message begins.
      while (this.#connection.partial) if (!this.#receive()) return
      const ending = this.#endingSignal(id)
      if (ending !== undefined) {
        this.#connection.send({ id, exit: { signal: ending, core: false } })
        return
      }
      counts.runs++
      this.#connection.send({ id, started: { pid: process.pid } })
      watch.beginRun(id, seconds)
      try {
        exit = run()
      } finally {
        watch.endRun()
      }
    } finally {
      closeAll(descriptors)
    }
    this.#connection.send({ id, exit })
  }

  /** What `exec` is to run: a program, or a function of a library. */
  #prepare(
    args: Message,
    descriptors: readonly number[],
  ): { seconds: number | undefined; run: () => ProgramEnd } {
    const route = mapOf(args.route, 'route')
    if (typeof route.prototype !== 'string') {
      const program = prepareProgram(args, descriptors, this.#shared.cache)
      return { seconds: program.seconds, run: () => runProgram(program) }
    }
    const numbers = listOf(args.descriptors, 'descriptors')
    const handed = (number: number): number => descriptors[numbers.indexOf(number)] ?? -1
    const called: FunctionProgram = {
      library: textOf(route.library, 'library'),
      modules: textsOf(route.modules, 'modules'),
      prototype: route.prototype,
      argv: textsOf(args.argv, 'argv'),
      stdout: handed(1),
      stderr: handed(2),
    }
    const { seconds } = mapOf(route.limits, 'limits')
    return { seconds: limitOf(seconds, 'seconds'), run: () => runFunction(called, this.#functions) }
  }

  /** A signal that came together with the request and ends the program before it begins. */
  #endingSignal(id: number): number | undefined {
    for (const message of this.#waiting)
      if (message.id === id && typeof message.signal === 'number' && effectOf(message.signal) === 'end')
        return message.signal
    return undefined
  }

  #stats(): object {
    const { cache, counts } = this.#shared
    const { rss, heapUsed } = process.memoryUsage()
    return { ...counts, modules: cache.count, moduleBytes: cache.bytes, memory: rss, heap: heapUsed }
  }
}

/** An error as it is sent; one that is this VM's own fault is logged whole. */
function wireError(error: unknown): object {
  if (error instanceof CosmosError) return toWireError(error)
  console.error(error)
  return toWireError(
    new CosmosError('EIO', NAME, `internal error: ${error instanceof Error ? error.message : error}`),
  )
}
