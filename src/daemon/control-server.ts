import { chmodSync, lstatSync, renameSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { CosmosError } from '../errors.ts'
import { decodePayload, encodeFrame, FrameReader, isMap, protocolError } from '../form/msgpack.ts'
import { toWireError } from '../form/wire.ts'
import { type PeerCredentials, peerOf } from '../os/peer-credentials.ts'
import { type ControlHandlers, dispatch, isOperation, OPERATIONS } from './handlers.ts'
import { PROTOCOL_VERSION, type ServerMessage } from './protocol.ts'

/** Requests that one connection may have at hand. */
const MAX_REQUESTS = 64
/** A longer part of a stream of bytes goes as several frames. */
const MAX_CHUNK = 1024 * 1024
/** How long a connection may take to read what was sent before the server closes. */
const CLOSE_PATIENCE_MS = 1000

/** What a control server needs to know beside its handlers. */
export interface ControlServerOptions {
  /** Told to clients: `cosmos/0.1.0`. */
  readonly software: string
  /** Takes one line for each refused peer and broken connection. */
  readonly log?: (line: string) => void
}

/** A daemon's end of the control socket; see docs/protocol.md. */
export class ControlServer {
  readonly #server: Server
  readonly #path: string
  readonly #inode: bigint
  readonly #connections: Set<Connection>

  private constructor(server: Server, path: string, connections: Set<Connection>) {
    this.#server = server
    this.#path = path
    this.#inode = lstatSync(path, { bigint: true }).ino
    this.#connections = connections
  }

  /**
   * Listens on `path` (0600; its directory is private already). The socket is made beside it and renamed over, so
   * that it takes a former daemon's place at once. Throws what bind(2) answers.
   */
  static async listen(
    path: string,
    handlers: ControlHandlers,
    options: ControlServerOptions,
  ): Promise<ControlServer> {
    const connections = new Set<Connection>()
    const server = createServer((socket) => {
      const connection = new Connection(socket, handlers, options)
      connections.add(connection)
      socket.on('close', () => connections.delete(connection))
    })
    // Not longer than the path itself: that one fits a Unix address.
    const fresh = join(dirname(path), `c${process.pid.toString(36)}`)
    rmSync(fresh, { force: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(fresh, () => {
        server.off('error', reject)
        resolve()
      })
    })
    server.on('error', (error) => options.log?.(`control socket: ${error.message}`))
    chmodSync(fresh, 0o600)
    renameSync(fresh, path)
    return new ControlServer(server, path, connections)
  }

  /** Takes no more connections, cancels what is at hand and ends every connection once what was sent is read. */
  async close(): Promise<void> {
    if (lstatSync(this.#path, { bigint: true, throwIfNoEntry: false })?.ino === this.#inode)
      rmSync(this.#path)
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const connection of this.#connections) connection.end()
    await closed
  }
}

class Connection {
  readonly #socket: Socket
  readonly #handlers: ControlHandlers
  readonly #options: ControlServerOptions
  readonly #peer: PeerCredentials | undefined
  readonly #frames = new FrameReader()
  readonly #requests = new Map<number, AbortController>()
  #greeted = false
  #failed = false

  constructor(socket: Socket, handlers: ControlHandlers, options: ControlServerOptions) {
    this.#socket = socket
    this.#handlers = handlers
    this.#options = options
    socket.on('error', () => {})
    socket.on('end', () => this.#cancelAll())
    socket.on('close', () => this.#cancelAll())
    // Each answer that waits for a slow client listens for its drain.
    socket.setMaxListeners(2 * MAX_REQUESTS)
    this.#peer = peerOf(socket)
    const uid = process.getuid?.()
    if (this.#peer !== undefined && this.#peer.uid !== uid) {
      this.#fail(new CosmosError('EPERM', 'control socket', `belongs to uid ${uid}, not ${this.#peer.uid}`))
      return
    }
    void this.#send({ version: PROTOCOL_VERSION, software: options.software })
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
  }

  /** Ends it after what is sent already. What is at hand gets no answer: a client may ask the next daemon. */
  end(): void {
    this.#socket.end()
    this.#cancelAll()
    setTimeout(() => this.#socket.destroy(), CLOSE_PATIENCE_MS).unref()
  }

  #receive(bytes: Buffer): void {
    try {
      for (const payload of this.#frames.push(bytes)) {
        if (this.#failed) return
        this.#take(decodePayload(payload))
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  #take(message: Record<string, unknown>): void {
    if (!this.#greeted) {
      if (message.version !== PROTOCOL_VERSION)
        throw protocolError(`version ${PROTOCOL_VERSION} is spoken here, not ${describe(message.version)}`)
      this.#greeted = true
      return
    }
    const { id } = message
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id <= 0)
      throw protocolError('a message without an id')
    if (message.cancel === true) {
      this.#requests.get(id)?.abort()
      return
    }
    if (this.#requests.has(id)) throw protocolError(`id ${id} is in use`)
    void this.#answer(id, message.op, message.args)
  }

  /** Runs an operation and sends its answer; never rejects. */
  async #answer(id: number, op: unknown, args: unknown): Promise<void> {
    const canceller = new AbortController()
    try {
      if (this.#requests.size >= MAX_REQUESTS)
        throw new CosmosError('EAGAIN', 'control socket', `${MAX_REQUESTS} requests are at hand`)
      if (!isOperation(op))
        throw new CosmosError('ENOSYS', describe(op), 'is no operation of this daemon', 'cosmos reload')
      this.#requests.set(id, canceller)
      const { signal } = canceller
      const answer = dispatch(this.#handlers, op, args, {
        signal,
        peer: this.#peer,
        onClose: (callback) => this.#onClose(callback),
      })
      if (!OPERATIONS[op].stream) {
        const ok = await unlessAborted(answer as Promise<unknown>, signal)
        await this.#send({ id, ok }, () => this.#requests.delete(id))
      } else {
        await this.#stream(id, answer as AsyncIterable<unknown>, signal)
        await this.#send({ id, end: true }, () => this.#requests.delete(id))
      }
    } catch (error) {
      if (!(error instanceof CosmosError))
        this.#log(`${describe(op)}: ${error instanceof Error ? error.stack : error}`)
      await this.#send({ id, error: toWireError(error) }, () => {
        if (this.#requests.get(id) === canceller) this.#requests.delete(id)
      })
    }
  }

  async #stream(id: number, chunks: AsyncIterable<unknown>, signal: AbortSignal): Promise<void> {
    const iterator = chunks[Symbol.asyncIterator]()
    try {
      for (;;) {
        const { done, value } = await unlessAborted(iterator.next(), signal)
        if (done) return
        if (!(value instanceof Uint8Array)) await this.#send({ id, chunk: value })
        else
          for (let at = 0; at < value.length; at += MAX_CHUNK)
            await this.#send({ id, chunk: value.subarray(at, at + MAX_CHUNK) })
      }
    } catch (error) {
      // Not waited for: an iterator that hangs would keep the answer back.
      iterator.return?.().catch(() => {})
      throw error
    }
  }

  /**
   * Sends a frame and waits while the client is slow; meanwhile nothing more is read from it.
   * `before` runs when the frame is made, before the client can see it.
   */
  async #send(message: ServerMessage, before?: () => void): Promise<void> {
    const frame = encodeFrame(message)
    before?.()
    const socket = this.#socket
    if (socket.destroyed || socket.writableEnded || socket.write(frame)) return
    socket.pause()
    await new Promise<void>((resolve) => {
      const go = () => {
        socket.off('drain', go)
        socket.off('close', go)
        socket.resume()
        resolve()
      }
      socket.on('drain', go)
      socket.on('close', go)
    })
  }

  /** Tells the client why, and closes. */
  #fail(error: unknown): void {
    if (this.#failed) return
    this.#failed = true
    const pid = this.#peer ? ` of process ${this.#peer.pid}` : ''
    this.#log(`connection${pid} refused: ${error instanceof Error ? error.message : error}`)
    void this.#send({ id: 0, error: toWireError(error) })
    this.#socket.removeAllListeners('data')
    this.#socket.resume()
    this.end()
  }

  #onClose(callback: () => void): void {
    if (this.#socket.destroyed) callback()
    else this.#socket.once('close', callback)
  }

  #cancelAll(): void {
    for (const canceller of this.#requests.values()) canceller.abort()
  }

  #log(line: string): void {
    this.#options.log?.(line)
  }
}

/** The promise's result, or CosmosError ECANCELED as soon as the signal says so. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const cancelled = () => new CosmosError('ECANCELED', 'request', 'was cancelled')
  work.catch(() => {})
  if (signal.aborted) throw cancelled()
  let stop: (() => void) | undefined
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        stop = () => reject(cancelled())
        signal.addEventListener('abort', stop)
      }),
    ])
  } finally {
    if (stop) signal.removeEventListener('abort', stop)
  }
}

function describe(value: unknown): string {
  if (typeof value === 'string') return value.slice(0, 40)
  return isMap(value) || Array.isArray(value) ? 'that' : String(value)
}
