import type { CallResult } from '../../src/cef/ctypes.ts'
import { CosmosError } from '../../src/errors.ts'
import { isMap, protocolError } from '../../src/form/msgpack.ts'
import { toWireError, wireBytes } from '../../src/form/wire.ts'
import { exitNow } from '../../src/os/libc.ts'
import { type Connection, LIFE_FD, waitReadable } from '../socket.ts'
import { execute } from './exec.ts'
import type { NativeFunction } from './function.ts'
import { Libraries } from './libraries.ts'
import { Deadline } from './system.ts'
import { progress, startWatching } from './watch.ts'

const VERSION = 1

type Arguments = Record<string, unknown>

/** One client, from its hello to its end (docs/vm-protocol.md). */
export class Session {
  readonly #connection: Connection
  readonly #libraries = new Libraries()
  #deadline: Deadline | undefined
  #greeted = false
  #calls = 0
  #isOver = false
  /** Whether foreign code has run in this process. */
  used = false

  constructor(connection: Connection) {
    this.#connection = connection
    connection.beforeWaiting = () => this.#deadline?.clear()
  }

  /** Serves the client until it is gone. */
  serve(): void {
    const { fd } = this.#connection
    this.#isOver = !this.#connection.send({
      version: VERSION,
      vm: process.env.COSMOS_VM ?? 'hostfn',
      pid: process.pid,
    })
    while (!this.#isOver) {
      try {
        const messages = this.#connection.receive()
        if (messages === undefined) return
        for (const message of messages) if (!this.#isOver) this.#take(message)
        if (messages.length > 0) continue
        this.#deadline?.clear()
        if (waitReadable([LIFE_FD, fd], -1).includes(LIFE_FD)) exitNow(0)
      } catch (error) {
        this.#connection.send({ id: 0, error: toWireError(error) })
        return
      }
    }
  }

  #take(message: Record<string, unknown>): void {
    if (!this.#greeted) {
      if (message.version !== VERSION) throw protocolError(`version ${VERSION} is spoken here`)
      this.#greeted = true
      return
    }
    const { id, op, args } = message
    if (typeof id !== 'number') throw protocolError('a request without an id')
    // A signal for what is not executed (any more).
    if (op === undefined && message.signal !== undefined) return
    progress[0]!++
    const answer = this.#answer(id, op, isMap(args) ? args : {})
    progress[0]!++
    // Whoever is to crash must have been told of all that came before: an answer is sent before the next begins.
    try {
      if (!this.#connection.send(answer)) this.#isOver = true
    } catch (error) {
      if (!this.#connection.send({ id, error: toWireError(error) })) this.#isOver = true
    }
  }

  #answer(id: number, op: unknown, args: Arguments): object {
    try {
      // A call's deadline stays set until there is something else to do: clearing costs as much as setting.
      if (op !== 'call') this.#deadline?.clear()
      if (op === 'exec') return { id, exit: { code: this.#execute(id, args) } }
      return { id, ok: this.#operate(op, args) }
    } catch (error) {
      return { id, error: toWireError(error) }
    }
  }

  #operate(op: unknown, args: Arguments): object {
    switch (op) {
      case 'call':
        return this.#call(args)
      case 'open': {
        const path = textArgument(args, 'library')
        this.#use()
        return { library: this.#libraries.load(path) }
      }
      case 'sym':
        return this.#libraries.find(numberArgument(args, 'library'), textArgument(args, 'prototype'))
      case 'close':
        this.#libraries.close(numberArgument(args, 'library'))
        return {}
      case 'stats':
        return { calls: this.#calls, libraries: this.#libraries.open, functions: this.#libraries.functions }
      default:
        throw new CosmosError('ENOSYS', String(op), 'is no operation of this VM')
    }
  }

  /** Before the first foreign code. */
  #use(): void {
    if (!this.used) startWatching(LIFE_FD, this.#connection.fd, false)
    this.used = true
  }

  #call(args: Arguments): object {
    const called = this.#libraries.function(numberArgument(args, 'function'))
    const { deadline, list } = args
    if (typeof deadline === 'number' && deadline > 0) {
      this.#deadline ??= new Deadline()
      this.#deadline.set(deadline)
    } else this.#deadline?.clear()
    if (list === undefined || list === null) {
      this.#calls++
      return called.call(listArgument(args.args, 'args'))
    }
    return { results: listArgument(list, 'list').map((one, i) => this.#callOne(called, one, i)) }
  }

  #callOne(called: NativeFunction, args: unknown, index: number): CallResult {
    this.#calls++
    try {
      return called.call(listArgument(args, 'list'))
    } catch (error) {
      if (!(error instanceof CosmosError)) throw error
      throw new CosmosError(error.code, `call ${index}`, error.message, error.hint)
    }
  }

  #execute(id: number, args: Arguments): number {
    if (this.used) throw new CosmosError('EBUSY', 'exec', 'this connection is used for functions')
    this.used = true
    this.#isOver = true
    return execute(this.#connection, id, args)
  }
}

/** A number that an operation needs. Throws CosmosError EINVAL. */
function numberArgument(args: Arguments, name: string): number {
  const value = args[name]
  if (typeof value !== 'number') throw new CosmosError('EINVAL', name, 'is no number')
  return value
}

function textArgument(args: Arguments, name: string): string {
  const value = args[name]
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return wireBytes(value).toString()
  throw new CosmosError('EINVAL', name, 'is no text')
}

function listArgument(value: unknown, name: string): unknown[] {
  if (Array.isArray(value)) return value
  throw new CosmosError('EINVAL', name, 'is no list')
}
