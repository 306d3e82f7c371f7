import type { CosmosError } from '../../src/errors.ts'
import type { CallContext, SessionHandler } from '../../src/mesh/session/incoming-call.ts'
import type { Call } from '../../src/mesh/session/outgoing-call.ts'
import type { StreamReader } from '../../src/mesh/session/streams.ts'

/** All bytes of a stream, and how it ended. */
export class Collected {
  readonly parts: Buffer[] = []
  ended = false
  why: CosmosError | undefined
  readonly end: Promise<void>

  constructor(reader: StreamReader) {
    this.end = new Promise((resolve) => {
      reader.read({
        data: (bytes) => {
          this.parts.push(Buffer.from(bytes))
          reader.consumed(bytes.length)
        },
        end: (why) => {
          this.ended = true
          this.why = why
          resolve()
        },
      })
    })
  }

  get text(): string {
    return Buffer.concat(this.parts).toString('latin1')
  }
}

/** Something like a program: answers its input in capitals, a line on its errors for each signal, and an exit code. */
export class Programs implements SessionHandler {
  /** How often each was begun, by its name. */
  readonly begun = new Map<string, number>()
  readonly events: unknown[] = []

  async call(op: string, args: unknown, context: CallContext): Promise<unknown> {
    const { name } = args as { name: string }
    this.begun.set(name, (this.begun.get(name) ?? 0) + 1)
    if (op === 'echo') return args
    if (op === 'never') return new Promise(() => {})
    if (op !== 'exec') throw new Error(`no operation ${op}`)
    const [input] = context.readers
    const [output, errors] = context.writers
    context.event = (event, value) => errors!.write(Buffer.from(`${event} ${value}\n`))
    let bytes = 0
    const why = await new Promise<CosmosError | undefined>((resolve) => {
      input!.read({
        data: (part) => {
          bytes += part.length
          output!.write(Buffer.from(Buffer.from(part).toString('latin1').toUpperCase(), 'latin1'))
          input!.consumed(part.length)
        },
        end: resolve,
      })
    })
    if (why !== undefined) throw why
    output!.end()
    errors!.end()
    return { code: bytes % 256 }
  }

  event(op: string, args: unknown): void {
    this.events.push([op, args])
  }
}

/** Feeds a call `exec` and collects what it says. */
export function drive(call: Call, input: readonly string[]): { out: Collected; err: Collected } {
  const out = new Collected(call.readers[0]!)
  const err = new Collected(call.readers[1]!)
  for (const [i, each] of input.entries()) {
    call.writers[0]!.write(Buffer.from(each, 'latin1'))
    if (i === 0) call.notify('signal', 'SIGUSR1')
  }
  call.writers[0]!.end()
  return { out, err }
}
