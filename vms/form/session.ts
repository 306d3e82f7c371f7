import { CosmosError } from '../../src/errors.ts'
import { type Change, editFile } from '../../src/form/edit/index.ts'
import type { Mapper } from '../../src/form/mapper.ts'
import { mapperNamed } from '../../src/form/mappers/index.ts'
import { protocolError } from '../../src/form/msgpack.ts'
import {
  findMapper,
  type Produced,
  type Production,
  produceFill,
  produceMap,
  produceTransform,
} from '../../src/form/produce.ts'
import { utf8Of } from '../../src/form/text.ts'
import type { Transformer } from '../../src/form/transformer.ts'
import { transformerNamed } from '../../src/form/transformers/index.ts'
import { toWireError } from '../../src/form/wire.ts'
import { type Connection, waitReadable } from '../socket.ts'
import { countOf, limitOf, listOf, mapOf, textOf, textsOf } from '../wasi/arguments.ts'
import type { Watch } from '../wasi/watch.ts'
import { findUserForm } from './modules.ts'
import { programMapper, runProgram } from './program.ts'

type Message = Record<string, unknown>

const VERSION = 1
const NAME = process.env.COSMOS_VM ?? 'form'
/** A production that nobody gave a deadline, seconds. */
const DEADLINE = 60

/** What `produce` is asked. */
interface Order extends Production {
  readonly kind: 'map' | 'transform' | 'run'
  readonly name: string
  /** The program that is run. */
  readonly program: string
  readonly args: readonly string[]
  /** Whether it is a part of a tree that is there. */
  readonly fill: boolean
  /** Directories with users' own: of `kind`, and mappers for the input. */
  readonly modules: readonly string[]
  readonly scanners: readonly string[]
}

/** One client. */
export class Session {
  readonly #connection: Connection
  readonly #watch: Watch
  #greeted = false
  /** Productions that were asked for. */
  productions = 0
  /** Whether a user's module is loaded in this process. */
  used = false

  constructor(connection: Connection, watch: Watch) {
    this.#connection = connection
    this.#watch = watch
  }

  /** Serves it until it goes, or until it says what is no message. */
  async serve(): Promise<void> {
    this.#watch.attend(this.#connection.fd)
    this.#connection.send({ version: VERSION, vm: NAME, pid: process.pid })
    try {
      for (;;) {
        waitReadable([this.#connection.fd], -1)
        const messages = this.#connection.receive()
        if (messages === undefined) break
        for (const message of messages) await this.#handle(message)
      }
    } catch (error) {
      this.#connection.send({ id: 0, error: wireError(error) })
    }
    this.#watch.attend(-1)
    this.#connection.close()
  }

  async #handle({ version, id, op, args, signal }: Message): Promise<void> {
    if (!this.#greeted) {
      if (version !== VERSION) throw protocolError(`version ${VERSION} is spoken here`)
      this.#greeted = true
      return
    }
    // A signal for what has ended: nothing here can be signalled.
    if (signal !== undefined) return
    if (typeof id !== 'number' || typeof op !== 'string')
      throw protocolError('neither a request nor a signal')
    try {
      this.#connection.send({ id, ok: await this.#answer(op, mapOf(args, 'args')) })
    } catch (error) {
      this.#connection.send({ id, error: wireError(error) })
    }
  }

  async #answer(op: string, args: Message): Promise<object> {
    switch (op) {
      case 'produce':
        return this.#produce(args)
      case 'edit':
        return this.#edit(args)
      case 'accepts':
        return { accepts: false, reason: 'this VM runs no executables' }
      case 'stats': {
        const { rss, heapUsed } = process.memoryUsage()
        return { productions: this.productions, memory: rss, heap: heapUsed }
      }
      default:
        throw new CosmosError('ENOSYS', op, 'this VM has no such operation')
    }
  }

  async #produce(args: Message): Promise<Produced> {
    const order = orderOf(args)
    this.productions++
    this.#watch.beginCall(limitOf(args.deadline, 'deadline') ?? DEADLINE)
    try {
      return await this.#make(order)
    } finally {
      this.#watch.endCall()
    }
  }

  /** Changes a document. */
  async #edit(args: Message): Promise<object> {
    const { action } = args
    const text = args.text instanceof Uint8Array ? Buffer.from(args.text) : Buffer.alloc(0)
    if (action !== 'set' && action !== 'remove' && action !== 'mkdir')
      throw protocolError('action is neither set, remove nor mkdir')
    const form = textOf(args.form, 'form')
    const at = textsOf(args.at, 'at')
    const identity = args.identity === undefined ? undefined : textOf(args.identity, 'identity')
    // As an entry's file has it: a text and a newline.
    const value = utf8Of('value', text).replace(/\n$/, '')
    const change: Change = action === 'set' ? { action, text: value } : { action }
    this.#watch.beginCall(limitOf(args.deadline, 'deadline') ?? DEADLINE)
    try {
      return await editFile(textOf(args.input, 'input'), identity, form, at, change)
    } finally {
      this.#watch.endCall()
    }
  }

  /** A user's own stand before those that ship. */
  async #make(order: Order): Promise<Produced> {
    const { kind, name, args, modules } = order
    if (kind === 'run') return runProgram(order.program, args, 'transform', order)
    const own = await this.#own(name, kind, modules)
    if (own && 'program' in own) return runProgram(own.program, args, kind, order)
    if (kind === 'map') {
      const mapper =
        (own?.module as Mapper | undefined) ??
        (name === 'd' ? findMapper(order.form, order.input) : mapperNamed(name))
      if (!mapper) throw new CosmosError('ENOENT', name, 'no mapper is called so')
      if (order.fill) return produceFill(mapper, order)
      return produceMap(mapper, order)
    }
    const transformer = (own?.module as Transformer | undefined) ?? transformerNamed(name)
    if (!transformer) throw new CosmosError('ENOENT', name, 'no transformer is called so')
    const mapper = await this.#inputMapper(order)
    return produceTransform(transformer, args, mapper ? { ...order, mapper } : order)
  }

  async #own(name: string, kind: 'map' | 'transform', directories: readonly string[]) {
    const own = await findUserForm(name, kind, directories)
    if (own && 'module' in own) this.used = true
    return own
  }

  /** A user's own mapper for what a transformer takes. */
  async #inputMapper({ form, input, scanners }: Order): Promise<Mapper | undefined> {
    const own = form === undefined ? undefined : await this.#own(form, 'map', scanners)
    if (!own || form === undefined) return undefined
    return 'module' in own ? (own.module as Mapper) : programMapper(form, own.program, input)
  }
}

/** Throws CosmosError EPROTO for arguments that are none. */
function orderOf(args: Message): Order {
  const { kind } = args
  if (kind !== 'map' && kind !== 'transform' && kind !== 'run')
    throw protocolError('kind is neither map, transform nor run')
  const { form, depth, more } = args
  return {
    kind,
    name: textOf(args.name, 'name'),
    program: kind === 'run' ? textOf(args.program, 'program') : '',
    args: textsOf(args.args, 'args'),
    modules: textsOf(args.modules, 'modules'),
    scanners: textsOf(args.scanners, 'scanners'),
    input: textOf(args.input, 'input'),
    ...(args.identity === undefined ? {} : { identity: textOf(args.identity, 'identity') }),
    output: textOf(args.output, 'output'),
    at: listOf(args.at, 'at').map((entry) => textOf(entry, 'at')),
    ...(form === undefined || form === null ? {} : { form: textOf(form, 'form') }),
    fill: args.fill === true,
    ...(more === undefined || more === null ? {} : { more: countOf(more, 'more') }),
    ...(depth === undefined || depth === null ? {} : { depth: countOf(depth, 'depth') }),
  }
}

/** An error as it is sent; one that is this VM's own fault, or a module's, is logged whole. */
function wireError(error: unknown): object {
  if (error instanceof CosmosError) return toWireError(error)
  console.error(error)
  const why = error instanceof Error ? error.message : String(error)
  return toWireError(new CosmosError('EIO', NAME, `internal error: ${why}`))
}
