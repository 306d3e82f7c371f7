import { randomBytes } from 'node:crypto'
import { chmodSync, lstatSync, renameSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { CosmosError } from '../../errors.ts'
import { encodeFrame } from '../../form/msgpack.ts'
import { toWire, toWireError, type WireText } from '../../form/wire.ts'
import { peerOf } from '../../os/peer-credentials.ts'
import { firstFrame, type Greeting, greetingOf } from './messages.ts'
import { type NetrunLaunch, type NetrunOpen, Run } from './run.ts'

/** How long a connection may take to say what it is for, and how long one may wait for a reason to be read. */
const GREETING_PATIENCE_MS = 10_000
const CLOSE_PATIENCE_MS = 1000

export interface NetrunOptions {
  /** Where launchers connect to: a socket in the runtime directory, which is private. */
  readonly path: string
  readonly open: NetrunOpen
  /** Takes one line for each connection that is refused or breaks the protocol. */
  readonly log?: (line: string) => void
}

/** What `launch` answers for a program that a peer runs (docs/protocol.md). */
export interface NetrunAnswer {
  readonly vm: 'netrun'
  readonly socket: WireText
  readonly run: string
  readonly remote: { readonly token: string; readonly peer: string }
}

/** A launch that waits for its launcher. */
export interface NetrunOffer {
  readonly answer: NetrunAnswer
  /** To be called when the connection that asked for it is closed: nobody will come any more. */
  withdraw(): void
}

/**
 * The caller's side of programs that peers run (docs/netrun.md): launchers connect here, and what their streams carry
 * goes over a session.
 */
export class Netrun {
  readonly #options: NetrunOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** By their tokens. */
  readonly #runs = new Map<string, Run>()
  #inode: bigint | undefined

  private constructor(options: NetrunOptions) {
    this.#options = options
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
      this.#accept(socket),
    )
  }

  /** Listens: 0600, in the place of what a former daemon has left. Throws what bind(2) answers. */
  static async listen(options: NetrunOptions): Promise<Netrun> {
    const netrun = new Netrun(options)
    const { path } = options
    // Not longer than the path itself: that one fits a Unix address.
    const fresh = join(dirname(path), `n${process.pid.toString(36)}`)
    rmSync(fresh, { force: true })
    await new Promise<void>((resolve, reject) => {
      netrun.#server.once('error', reject)
      netrun.#server.listen(fresh, resolve)
    })
    netrun.#server.removeAllListeners('error')
    netrun.#server.on('error', (error) => netrun.#report(error))
    chmodSync(fresh, 0o600)
    renameSync(fresh, path)
    netrun.#inode = lstatSync(path, { bigint: true }).ino
    return netrun
  }

  /** Programs that run, or are about to. */
  get running(): number {
    return this.#runs.size
  }

  /** Connections of launchers. */
  get connections(): number {
    return this.#sockets.size
  }

  /** A launch of a program that a peer is to run; the answer's token is good for one launcher. */
  offer(launch: NetrunLaunch): NetrunOffer {
    const token = randomBytes(16).toString('hex')
    const report = (error: unknown) => this.#report(error)
    const run = new Run(launch, this.#options.open, report, () => this.#runs.delete(token))
    this.#runs.set(token, run)
    return {
      answer: {
        vm: 'netrun',
        socket: toWire(Buffer.from(this.#options.path).toString('latin1')),
        run: launch.run,
        remote: { token, peer: launch.peer.name },
      },
      withdraw: () => {
        if (!run.begun) run.close()
      },
    }
  }

  /** Ends all: launchers are told that the daemon is gone, and peers that nobody waits. */
  async close(): Promise<void> {
    const { path } = this.#options
    if (lstatSync(path, { bigint: true, throwIfNoEntry: false })?.ino === this.#inode) rmSync(path)
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const run of [...this.#runs.values()]) run.close()
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => {})
    const peer = peerOf(socket)
    const uid = process.getuid?.()
    if (peer !== undefined && peer.uid !== uid) {
      this.#refuse(socket, new CosmosError('EPERM', 'netrun', `belongs to uid ${uid}, not ${peer.uid}`))
      return
    }
    const timer = setTimeout(() => socket.destroy(), GREETING_PATIENCE_MS)
    socket.on('close', () => clearTimeout(timer))
    const gone = () => socket.destroy()
    socket.on('end', gone)
    let bytes: Buffer = Buffer.alloc(0)
    const take = (more: Buffer) => {
      bytes = bytes.length === 0 ? more : Buffer.concat([bytes, more])
      try {
        const first = firstFrame(bytes)
        if (first === undefined) return
        clearTimeout(timer)
        socket.off('data', take)
        socket.off('end', gone)
        socket.pause()
        if (first.rest.length > 0) socket.unshift(first.rest)
        this.#greeted(greetingOf(first.payload), socket)
      } catch (error) {
        socket.off('data', take)
        this.#refuse(socket, error)
      }
    }
    socket.on('data', take)
    socket.resume()
  }

  #greeted(greeting: Greeting, socket: Socket): void {
    try {
      const run = this.#runs.get(greeting.token)
      const hint = 'try again: the daemon may have been replaced'
      if (run === undefined) throw new CosmosError('EPERM', 'netrun', 'no launch has this token', hint)
      run.attach(greeting, socket)
    } catch (error) {
      // On the others it would pass for what the program writes.
      if (greeting.stream === 'control') this.#refuse(socket, error)
      else socket.destroy()
    }
  }

  /** Tells why, and closes. */
  #refuse(socket: Socket, error: unknown): void {
    this.#report(error)
    socket.resume()
    socket.end(encodeFrame({ error: toWireError(error) }))
    setTimeout(() => socket.destroy(), CLOSE_PATIENCE_MS).unref()
  }

  #report(error: unknown): void {
    this.#options.log?.(`netrun: ${error instanceof Error ? error.message : error}`)
  }
}
