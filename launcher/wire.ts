import { createConnection, Socket } from 'node:net'
import { decodePayload, encodeFrame, FrameReader } from '../src/form/msgpack.ts'
import { FAILED, fail, failAsTold, failUnreadable } from './failure.ts'

const VERSION = 1
/** Id of the only request of the VM's connection; the daemon's has `ran` as its second. */
export const REQUEST = 1

/** A frame with this side's hello. */
export const HELLO = encodeFrame({ version: VERSION })

/** A connection to the daemon or to a VM, for messages. */
export class Wire {
  readonly socket: Socket
  /** The other side's hello, once it has come. */
  hello: Record<string, unknown> | undefined
  readonly #who: string
  readonly #frames = new FrameReader()
  readonly #messages: Record<string, unknown>[] = []

  /** `who` is at the other end, for messages to people. */
  constructor(socket: Socket, who: string) {
    this.socket = socket
    this.#who = who
    // The end says enough.
    socket.on('error', () => {})
  }

  /** Connects. Throws what connect(2) answers. */
  static connect(path: string | Buffer, who: string): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path.toString())
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new Wire(socket, who))
      })
    })
  }

  /** A connection that is there already. */
  static of(fd: number, who: string): Wire {
    return new Wire(new Socket({ fd, readable: true, writable: true }), who)
  }

  /**
   * The next message after the hello; undefined at the end. Throws CosmosError EPROTO for bytes that are none. Ends
   * the launcher for a hello that is not this version's.
   */
  async next(): Promise<Record<string, unknown> | undefined> {
    for (;;) {
      const message = this.hello && this.#messages.shift()
      if (message) return message
      if (!(await this.#read())) return undefined
    }
  }

  /** Waits for the hello; false where the other side ended before. Throws as `next`. */
  async greeted(): Promise<boolean> {
    while (!this.hello) if (!(await this.#read())) return false
    return true
  }

  /** Takes the hello, or reads what comes next; false at the end. */
  async #read(): Promise<boolean> {
    const first = this.hello ? undefined : this.#messages.shift()
    if (first) {
      this.#greet(first)
      return true
    }
    const bytes = await nextBytes(this.socket)
    if (!bytes) return false
    for (const payload of this.#frames.push(bytes)) this.#messages.push(decodePayload(payload))
    return true
  }

  #greet(message: Record<string, unknown>): void {
    if (message.error) failAsTold(message.error, true)
    if (typeof message.version !== 'number') failUnreadable(this.#who)
    if (message.version !== VERSION)
      fail(FAILED, `${this.#who}: speaks another version of the protocol; cosmos reload`)
    this.hello = message
  }
}

/** What comes next; undefined at the end, however it came. */
function nextBytes(socket: Socket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const events = ['readable', 'end', 'close']
    const take = () => {
      const bytes = socket.read() as Buffer | null
      if (bytes === null && !socket.readableEnded && !socket.destroyed) return
      for (const event of events) socket.off(event, take)
      resolve(bytes ?? undefined)
    }
    for (const event of events) socket.on(event, take)
    take()
  })
}
