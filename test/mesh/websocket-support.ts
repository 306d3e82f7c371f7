import { generateKeyPairSync } from 'node:crypto'
import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { onTestFinished } from 'vitest'
import { LINK_PROTOCOL, TLS_RULES } from '../../src/mesh/certificate.ts'
import { dialLink } from '../../src/mesh/dial.ts'
import type { Clock } from '../../src/mesh/dial-clock.ts'
import { type Identity, identityOf } from '../../src/mesh/identity.ts'
import type { LinkReceiver } from '../../src/mesh/link.ts'
import { type Listener, type ListenOptions, listen } from '../../src/mesh/listen.ts'
import { formatAddress } from '../../src/mesh/listen-address.ts'
import { type MeshEvent, RefusalLog } from '../../src/mesh/listen-audit.ts'
import type { WebSocketLink } from '../../src/mesh/websocket-link.ts'

export function newIdentity(): Identity {
  return identityOf(generateKeyPairSync('ed25519').privateKey)
}

/** What one end of a link has been told. */
export class Received implements LinkReceiver {
  readonly messages: Buffer[] = []
  readonly ends: string[] = []
  drains = 0
  readonly #echo: WebSocketLink | undefined

  /** Takes a link over; with `echo` it sends back what comes. */
  constructor(link: WebSocketLink, echo = false) {
    this.#echo = echo ? link : undefined
    link.receiver = this
  }

  message(message: Uint8Array): void {
    const copy = Buffer.from(message)
    this.messages.push(copy)
    this.#echo?.send(copy)
  }

  drained(): void {
    this.drains++
  }

  ended(why: string): void {
    this.ends.push(why)
  }
}

/** One host of the mesh with the parts of the wire: an identity, a listener, what it was told. */
export class WireHost {
  readonly identity: Identity
  readonly events: MeshEvent[] = []
  readonly refusals = new RefusalLog((event) => this.events.push(event))
  readonly peers = new Set<string>()
  readonly accepted: WebSocketLink[] = []
  readonly received: Received[] = []
  listeners: Listener[] = []

  constructor(identity = newIdentity()) {
    this.identity = identity
    onTestFinished(async () => {
      for (const link of this.accepted) link.close()
      await Promise.all(this.listeners.map((listener) => listener.close()))
      this.refusals.close()
    })
  }

  /** Listens at a free port of each address; where. */
  async listen(options: Partial<ListenOptions> & { hosts?: string[] } = {}): Promise<string[]> {
    const { hosts = ['127.0.0.1'], ...rest } = options
    const listener = await listen({
      identity: this.identity,
      addresses: hosts.map((host) => ({ host, port: 0 })),
      refusals: this.refusals,
      isPeer: (id) => this.peers.has(id),
      listens: () => this.addresses,
      link: (link) => {
        this.accepted.push(link)
        this.received.push(new Received(link, true))
      },
      ...rest,
    })
    this.listeners.push(listener)
    return listener.addresses.map(formatAddress)
  }

  get addresses(): string[] {
    return this.listeners.flatMap((listener) => listener.addresses).map(formatAddress)
  }

  get port(): number {
    return Number(this.addresses[0]?.split(':').at(-1))
  }

  /** A link to a host that lets this one in. */
  async dial(
    host: WireHost,
    addresses = host.addresses,
  ): Promise<{ link: WebSocketLink; received: Received }> {
    const link = await dialLink({
      identity: this.identity,
      peer: host.identity.id,
      addresses,
      refusals: this.refusals,
      listens: () => this.addresses,
    })
    onTestFinished(() => link.close())
    return { link, received: new Received(link) }
  }

  /** Reasons of what was refused, in order. */
  get reasons(): string[] {
    return this.events.map((event) => (event.kind === 'refused' ? event.reason : event.kind))
  }
}

/** A bare TCP connection, which is ended with the test. */
export function tcp(port: number, host = '127.0.0.1', localAddress?: string): Socket {
  const socket = connectTcp({ port, host, ...(localAddress !== undefined && { localAddress }) })
  socket.on('error', () => {})
  socket.resume()
  onTestFinished(() => {
    socket.destroy()
  })
  return socket
}

/** A TLS connection as a peer would open it, or as the options say; it is ended with the test. */
export function tls(port: number, options: ConnectionOptions = {}): TLSSocket {
  const socket = connectTls({
    ...TLS_RULES,
    host: '127.0.0.1',
    port,
    ALPNProtocols: [LINK_PROTOCOL],
    rejectUnauthorized: false,
    ...options,
  })
  socket.on('error', () => {})
  onTestFinished(() => {
    socket.destroy()
  })
  return socket
}

/** What a connection brought until its other end closed it. */
export function untilClosed(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    socket.on('data', (part: Buffer) => parts.push(part))
    socket.once('close', () => resolve(Buffer.concat(parts)))
    if (socket.destroyed) resolve(Buffer.concat(parts))
  })
}

/** A TCP proxy on loopback that passes so many pieces on, both ways together, and cuts the connection then. */
export async function cuttingProxy(port: number, pieces: number): Promise<string> {
  const server = createServer((near) => {
    const far = connectTcp({ port, host: '127.0.0.1' })
    const cut = (): void => {
      near.destroy()
      far.destroy()
    }
    let left = pieces
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => {})
      from.on('close', cut)
      from.on('data', (piece) => {
        if (left === 0) cut()
        else {
          left--
          to.write(piece)
        }
      })
    }
  })
  onTestFinished(() => {
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `127.0.0.1:${(server.address() as { port: number }).port}`
}

/** Time that passes when a test says so. */
export class TestClock implements Clock {
  #now = 1_700_000_000_000
  #timers: { at: number; call: () => void }[] = []

  now(): number {
    return this.#now
  }

  after(milliseconds: number, call: () => void): () => void {
    const timer = { at: this.#now + milliseconds, call }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  /** How many timers run. */
  get timers(): number {
    return this.#timers.length
  }

  /** Lets time pass; what is due is called at its time. */
  pass(milliseconds: number): void {
    const until = this.#now + milliseconds
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
      if (!due) break
      this.#timers = this.#timers.filter((other) => other !== due)
      this.#now = due.at
      due.call()
    }
    this.#now = until
  }

  /** Lets the wall clock jump without the timers: the machine slept. */
  sleep(milliseconds: number): void {
    this.#now += milliseconds
    for (const timer of this.#timers) timer.at += milliseconds
  }
}
