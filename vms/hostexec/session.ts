import { CosmosError } from '../../src/errors.ts'
import { protocolError } from '../../src/form/msgpack.ts'
import { toWireError } from '../../src/form/wire.ts'
import { close } from '../../src/os/libc.ts'
import type { Connection } from '../socket.ts'
import { limitsFor } from './limits.ts'
import type { Programs } from './programs.ts'
import { readExec } from './request.ts'

const VERSION = 1
/** Highest signal number (signal(7)). */
const MAX_SIGNAL = 64

/** One client, and the programs that it waits for. */
export class Session {
  readonly #connection: Connection
  readonly #programs: Programs
  /** pids by the ids of requests. */
  readonly #open = new Map<number, number>()
  #greeted = false
  #hasGreeted = false
  /** The client reads nothing: its answers have no room. */
  #stuck = false

  constructor(connection: Connection, programs: Programs) {
    this.#connection = connection
    this.#programs = programs
  }

  /**
   * Takes what has come; to be called for a new client at once, and whenever there is something to read. False when the
   * client is gone. Throws CosmosError EPROTO.
   */
  receive(): boolean {
    const messages = this.#connection.receive()
    for (const message of messages ?? []) this.#take(message)
    if (!this.#hasGreeted) this.#send()
    return messages !== undefined && !this.#stuck
  }

  /** Ends the programs that it waits for. */
  close(): void {
    for (const pid of this.#open.values()) this.#programs.hangUp(pid)
    this.#open.clear()
    this.#connection.close()
  }

  /** Ends the connection for a reason that the client is told. */
  fail(error: unknown): void {
    this.#send({ id: 0, error: toWireError(error) })
    this.close()
  }

  /** Never waits: a client that does not read must not hold up the others. */
  #send(...messages: object[]): void {
    // Together with the first answer where there is one already: the client wakes once.
    if (!this.#hasGreeted)
      messages.unshift({ version: VERSION, vm: process.env.COSMOS_VM ?? 'hostexec', pid: process.pid })
    this.#hasGreeted = true
    if (!this.#connection.trySend(...messages)) this.#stuck = true
  }

  #take(message: Record<string, unknown>): void {
    if (!this.#greeted) {
      if (message.version !== VERSION) throw protocolError(`version ${VERSION} is spoken here`)
      this.#greeted = true
      return
    }
    const { id, signal } = message
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id <= 0)
      throw protocolError('a message without an id')
    if (typeof signal === 'number') this.#signal(id, signal, message.group === true)
    else this.#answer(id, message)
  }

  #signal(id: number, signal: number, group: boolean): void {
    const pid = this.#open.get(id)
    // It may have ended while the signal was under way.
    if (pid !== undefined && Number.isInteger(signal) && signal > 0 && signal <= MAX_SIGNAL)
      this.#programs.signal(pid, signal, group)
  }

  #answer(id: number, { op, args }: Record<string, unknown>): void {
    try {
      if (this.#open.has(id)) throw protocolError(`id ${id} is in use`)
      if (op === 'exec') this.#exec(id, args)
      else if (op === 'stats') this.#send({ id, ok: this.#stats() })
      else throw new CosmosError('ENOSYS', typeof op === 'string' ? op : 'op', 'is no operation of this VM')
    } catch (error) {
      this.#send({ id, error: toWireError(error) })
    }
  }

  #exec(id: number, args: unknown): void {
    const { descriptors: numbers, limits, memory, seconds, ...program } = readExec(args)
    const files = this.#connection.takeDescriptors(numbers.length)
    try {
      const descriptors = numbers.map((to, i): [number, number] => [files[i] ?? -1, to])
      const pid = this.#programs.start(
        { ...program, limits: limitsFor(limits, memory), descriptors },
        seconds,
        {
          // Nobody is told of one whose client is gone.
          stopped: (stopped) => {
            if (this.#open.has(id)) this.#send({ id, stopped })
          },
          exited: (exit) => {
            if (this.#open.delete(id)) this.#send({ id, exit })
          },
        },
      )
      this.#open.set(id, pid)
      this.#send({ id, started: { pid } })
    } finally {
      for (const fd of files) close(fd)
    }
  }

  #stats(): Record<string, number> {
    const { running, started, failed } = this.#programs
    return { running, started, failed }
  }
}
