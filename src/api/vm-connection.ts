import { Socket } from 'node:net'
import { CosmosError } from '../errors.ts'
import { encodeMessage } from '../form/codec.ts'
import {
  decodePayload,
  encodeFrame,
  FrameReader,
  isMap,
  MAX_FRAME_SIZE,
  protocolError,
} from '../form/msgpack.ts'
import { fromWireError } from '../form/wire.ts'
import { fcntl } from '../os/libc.ts'

/** A client's end of a connection to a VM that answers requests in their order (docs/vm-protocol.md). */

const VERSION = 1
const F_DUPFD_CLOEXEC = 1030
/** Bytes that are sent at the latest, whatever else this turn of the event loop brings. */
const ENOUGH = 64 * 1024

/** What is asked. */
export interface Request {
  readonly op: string
  /** Made when it is sent: numbers of libraries and functions are those of one process. */
  readonly args: () => object
  resolve(answer: Record<string, unknown>): void
  reject(error: Error): void
}

/** Told when a connection has ended: the requests that were not answered, and why where it was not the other's end. */
export type Ended = (unanswered: readonly Request[], error: CosmosError | undefined) => void

/** A connection whose process has said hello. It keeps its own from ending only as long as an answer is waited for. */
export class VmConnection {
  readonly pid: number
  readonly #reader: Socket
  readonly #writer: Socket
  readonly #unanswered: Request[]
  /** Frames that are still to be sent, in memory that is used again; the kernel gives the pages that are touched. */
  readonly #frames = Buffer.from(new ArrayBuffer(ENOUGH + 4 + MAX_FRAME_SIZE))
  readonly #view = new DataView(this.#frames.buffer)
  #size = 0
  #next = 1

  private constructor(pid: number, reader: Socket, writer: Socket, unanswered: Request[]) {
    this.pid = pid
    this.#reader = reader
    this.#writer = writer
    this.#unanswered = unanswered
  }

  /**
   * Greets the process at the other end of a socket that nothing was read from. `ended` is called once, after it.
   * Throws CosmosError EPROTO, or ECONNRESET where the process ended before it said hello.
   */
  static open(socket: Socket, ended: Ended): Promise<VmConnection> {
    const writer = writerOf(socket)
    const unanswered: Request[] = []
    const frames = new FrameReader()
    let connection: VmConnection | undefined
    let failure: CosmosError | undefined
    return new Promise((resolve, reject) => {
      const take = (message: Record<string, unknown>) => {
        if (connection) {
          answer(unanswered, message)
          if (unanswered.length === 0) socket.unref()
          return
        }
        if (message.version !== VERSION || typeof message.pid !== 'number')
          throw message.error === undefined ? protocolError('no hello') : fromWireError(message.error)
        connection = new VmConnection(message.pid, socket, writer, unanswered)
        socket.unref()
        resolve(connection)
      }
      socket.on('data', (bytes: Buffer) => {
        try {
          for (const payload of frames.push(bytes)) take(decodePayload(payload))
        } catch (error) {
          failure = error instanceof CosmosError ? error : protocolError(String(error))
          socket.destroy()
        }
      })
      socket.on('error', () => {})
      socket.on('close', () => {
        writer.destroy()
        if (connection) ended(unanswered.splice(0), failure)
        else reject(failure ?? new CosmosError('ECONNRESET', 'VM', 'ended before it said hello'))
      })
      writer.write(encodeFrame({ version: VERSION }))
    })
  }

  /** Sends a request, with all others of this turn of the event loop. Throws CosmosError EMSGSIZE. */
  send(request: Request): void {
    const start = this.#size
    const message = { id: this.#next, op: request.op, args: request.args() }
    const end = encodeMessage(message, this.#frames, this.#view, start + 4)
    this.#view.setUint32(start, end - start - 4)
    this.#size = end
    this.#next++
    if (this.#unanswered.push(request) === 1) this.#reader.ref()
    if (start === 0) process.nextTick(() => this.#flush())
    if (end >= ENOUGH) this.#flush()
  }

  /** Asks, and waits for the answer; rejects with ECONNRESET when the connection ends first. */
  ask(op: string, args: object): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => this.send({ op, args: () => args, resolve, reject }))
  }

  #flush(): void {
    if (this.#size > 0) this.#writer.write(Buffer.from(this.#frames.subarray(0, this.#size)))
    this.#size = 0
  }

  /** Ends the connection from this side. */
  close(): void {
    this.#reader.destroy()
  }
}

/**
 * A second socket to write to. A write to a process that has ended fails, and a Node socket is then closed with what
 * was not yet read: answers of calls that were made would be lost, and nobody could say which are to be repeated.
 */
function writerOf(socket: Socket): Socket {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)
  if (copy < 0) throw CosmosError.fromErrno(copy, 'socket')
  const writer = new Socket({ fd: copy, readable: false, writable: true })
  writer.unref()
  // The reading side tells that the process has ended, when all that it has answered is read.
  writer.on('error', () => {})
  return writer
}

function answer(unanswered: Request[], message: Record<string, unknown>): void {
  if (message.id === 0) throw fromWireError(message.error)
  const request = unanswered.shift()
  if (!request) throw protocolError('an answer to no request')
  if (isMap(message.ok)) request.resolve(message.ok)
  else if (message.error !== undefined) request.reject(fromWireError(message.error))
  else throw protocolError('an answer with nothing in it')
}
