import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import { createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { type WebSocket, WebSocketServer } from 'ws'
import { CosmosError } from '../errors.ts'
import { JOIN_PROTOCOL, LINK_PROTOCOL, provenPeer, TLS_RULES } from './certificate.ts'
import { type Clock, systemClock } from './dial-clock.ts'
import type { Identity } from './identity.ts'
import { type Address, formatAddress, plainIp } from './listen-address.ts'
import type { RefusalLog, RefusalReason } from './listen-audit.ts'
import { HalfOpen, type HalfOpenLimits } from './listen-limits.ts'
import { LINK_PATH, LISTENS_HEADER, SOCKET_OPTIONS, WebSocketLink } from './websocket-link.ts'

/** Joins by invite, as the listener needs them. */
export interface JoinDesk {
  /** The pre-shared key of an open invite. */
  secret(token: string): Buffer | undefined
  /** Takes over a connection that has proven to know the invite's secret, until it ends. */
  answer(socket: TLSSocket, token: string, address: string): Promise<void>
}

export interface ListenOptions {
  readonly identity: Identity
  readonly addresses: readonly Address[]
  readonly refusals: RefusalLog
  readonly join?: JoinDesk
  readonly limits?: HalfOpenLimits
  /** How long a connection may take to become a link, milliseconds. */
  readonly patience?: number
  readonly clock?: Clock
  isPeer(id: string): boolean
  /** What this host tells a peer of where it can be dialled. */
  listens(): readonly string[]
  link(link: WebSocketLink): void
}

export interface Listener {
  /** What is listened at, with the ports that the kernel chose. */
  readonly addresses: readonly Address[]
  /** Stops listening, and ends connections that are no link yet. Links go on. */
  close(): Promise<void>
}

const LIMITS: HalfOpenLimits = { total: 256, perNetwork: 32 }
/** Whole handshake: TCP, TLS and upgrade, over a slow network. */
export const PATIENCE_MS = 10_000

/**
 * Listens for peers. Whoever connects proves its key and is looked up in the list of peers before a byte of HTTP or
 * WebSocket is parsed; who is not on it is cut off without an answer.
 * Throws CosmosError with the errno of the address that cannot be listened at.
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const reception = new Reception(options)
  const servers: Server[] = []
  try {
    for (const address of options.addresses) servers.push(await bind(address, reception))
  } catch (error) {
    await Promise.all(servers.map(stop))
    throw error
  }
  return {
    addresses: servers.map((server, index) => {
      const bound = server.address() as { address: string; port: number }
      const every = options.addresses[index]?.host === '*'
      return { host: every ? '*' : bound.address, port: bound.port }
    }),
    async close() {
      const stopped = servers.map(stop)
      reception.close()
      await Promise.all(stopped)
    },
  }
}

const NOT_OPEN = 'the invite is not open here: never made, expired or used'

/** One connection that is no link yet. */
interface Attempt {
  readonly raw: Socket
  readonly address: string
  /** Gives its place back, and stops the deadline. */
  leave: () => void
  /** Refused, through, or in the hands of the join desk. */
  over: boolean
  /** The invite that it named, and whether that is open. */
  invite: { readonly token: string; readonly open: boolean } | undefined
  peer: string | undefined
}

/** What every connection passes, in this order: a place, TLS, the list of peers, the upgrade. */
class Reception {
  readonly #options: ListenOptions
  readonly #clock: Clock
  readonly #halfOpen: HalfOpen
  readonly #attempts = new Map<string, Attempt>()
  readonly #tls
  readonly #http
  readonly #upgrades

  constructor(options: ListenOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#halfOpen = new HalfOpen(options.limits ?? LIMITS)
    const patience = options.patience ?? PATIENCE_MS
    this.#tls = createTlsServer({
      ...TLS_RULES,
      ...options.identity.pem,
      ALPNProtocols: [LINK_PROTOCOL, JOIN_PROTOCOL],
      requestCert: true,
      // The chain says nothing: certificates are self-signed, and the key's hash is checked below.
      rejectUnauthorized: false,
      pskCallback: (socket, token) => this.#secretFor(socket as TLSSocket, token),
    })
    this.#tls.on('secureConnection', (socket) => this.#secured(socket))
    this.#tls.on('tlsClientError', (error, socket) => this.#unsecured(error, socket))
    this.#http = createHttpServer({ maxHeaderSize: 8192, headersTimeout: patience, requestTimeout: patience })
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as TLSSocket, head))
    this.#http.on('request', (request, response) => {
      this.#refuse(
        this.#find(request.socket as TLSSocket),
        'upgrade',
        `asked for ${request.method} without an upgrade`,
      )
      response.destroy()
    })
    this.#http.on('clientError', (error, socket) => {
      this.#refuse(this.#find(socket as TLSSocket), 'upgrade', error.message)
      socket.destroy()
    })
    this.#upgrades = new WebSocketServer({ ...SOCKET_OPTIONS, noServer: true, clientTracking: false })
    this.#upgrades.on('headers', (headers) => {
      headers.push(`${LISTENS_HEADER}: ${options.listens().join(', ')}`)
    })
    this.#upgrades.on('wsClientError', (error, socket) => {
      this.#refuse(this.#find(socket as TLSSocket), 'upgrade', error.message)
      socket.destroy()
    })
  }

  accept(raw: Socket): void {
    const { remoteAddress, remotePort = 0 } = raw
    if (remoteAddress === undefined) {
      // It has gone already.
      raw.destroy()
      return
    }
    const address = formatAddress({ host: plainIp(remoteAddress), port: remotePort })
    const leave = this.#halfOpen.enter(remoteAddress)
    if (!leave) {
      this.#options.refusals.report({
        reason: 'too-many',
        address,
        detail: 'too many connections that are no link yet',
      })
      raw.resetAndDestroy()
      return
    }
    const attempt: Attempt = { raw, address, leave, over: false, invite: undefined, peer: undefined }
    const key = fourTuple(raw)
    const cancel = this.#clock.after(this.#options.patience ?? PATIENCE_MS, () => {
      this.#refuse(attempt, 'too-slow', 'took too long to become a link')
      raw.destroy()
    })
    this.#attempts.set(key, attempt)
    const forget = (): void => {
      cancel()
      leave()
      if (this.#attempts.get(key) === attempt) this.#attempts.delete(key)
    }
    attempt.leave = forget
    raw.once('close', () => {
      // A peer that goes away again has found another of this host's addresses first.
      if (attempt.peer === undefined) this.#refuse(attempt, 'handshake', 'went away')
      forget()
    })
    raw.on('error', () => {
      // `close` follows, and says it.
    })
    raw.setNoDelay(true)
    raw.setKeepAlive(true, 30_000)
    this.#tls.emit('connection', raw)
  }

  /** Ends what is no link yet. */
  close(): void {
    for (const attempt of this.#attempts.values()) {
      attempt.over = true
      attempt.raw.destroy()
    }
  }

  #secretFor(socket: TLSSocket, token: string): Buffer | null {
    const secret = this.#options.join?.secret(token)
    const attempt = this.#find(socket)
    if (!attempt) return null
    attempt.invite = { token, open: secret !== undefined }
    return secret ?? null
  }

  #secured(socket: TLSSocket): void {
    const attempt = this.#find(socket)
    socket.on('error', () => {
      // `close` follows, and says it.
    })
    if (!attempt || attempt.over) {
      socket.destroy()
      return
    }
    if (socket.alpnProtocol === JOIN_PROTOCOL) this.#join(socket, attempt)
    else if (socket.alpnProtocol === LINK_PROTOCOL) this.#link(socket, attempt)
    else this.#refuse(attempt, 'handshake', 'names no protocol of cosmos')
  }

  #join(socket: TLSSocket, attempt: Attempt): void {
    const { join } = this.#options
    // OpenSSL counts a session with a pre-shared key as one that goes on; without one it would have been a new one.
    if (!join || !attempt.invite?.open || !socket.isSessionReused()) {
      this.#refuse(attempt, 'invite', NOT_OPEN)
      return
    }
    attempt.over = true
    void join.answer(socket, attempt.invite.token, attempt.address).finally(() => socket.destroy())
  }

  #link(socket: TLSSocket, attempt: Attempt): void {
    const peer = provenPeer(socket)
    attempt.peer = peer
    if (socket.isSessionReused()) this.#refuse(attempt, 'handshake', 'goes on with an older session')
    else if (peer === undefined) this.#refuse(attempt, 'no-certificate', 'showed no certificate')
    else if (!this.#options.isPeer(peer)) this.#refuse(attempt, 'not-a-peer', 'its key is not that of a peer')
    else this.#http.emit('connection', socket)
  }

  #upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): void {
    const attempt = this.#find(socket)
    if (!attempt || attempt.over) {
      socket.destroy()
      return
    }
    if (request.url !== LINK_PATH) {
      this.#refuse(attempt, 'upgrade', 'asked for another path than that of links')
      return
    }
    const { peer } = attempt
    // Asked again: it may have been revoked since.
    if (peer === undefined || !this.#options.isPeer(peer)) {
      this.#refuse(attempt, 'not-a-peer', 'its key is not that of a peer')
      return
    }
    this.#upgrades.handleUpgrade(request, socket, head, (webSocket) =>
      this.#opened(webSocket, socket, request, attempt, peer),
    )
  }

  #opened(
    webSocket: WebSocket,
    socket: TLSSocket,
    request: IncomingMessage,
    attempt: Attempt,
    peer: string,
  ): void {
    const { address } = attempt
    attempt.over = true
    attempt.leave()
    const told = request.headers[LISTENS_HEADER]
    this.#options.link(
      new WebSocketLink(webSocket, socket, {
        peer,
        dialled: false,
        listens: typeof told === 'string' ? told : undefined,
        fault: (detail) => this.#options.refusals.report({ reason: 'message', address, peer, detail }),
      }),
    )
  }

  #unsecured(error: Error & { reason?: string; code?: string }, socket: TLSSocket): void {
    const attempt = this.#find(socket)
    this.#refuse(attempt, 'handshake', error.reason ?? error.code ?? error.message)
    socket.destroy()
  }

  /** Cuts a connection off, and reports it, once. */
  #refuse(attempt: Attempt | undefined, reason: RefusalReason, detail: string): void {
    if (!attempt || attempt.over) return
    attempt.over = true
    const { address, peer, invite } = attempt
    // A handshake with an invite fails at its secret: either end sees that before it is over.
    const failure =
      invite && reason === 'handshake'
        ? {
            reason: 'invite' as const,
            detail: invite.open ? 'does not know the secret of the invite' : NOT_OPEN,
          }
        : { reason, detail }
    this.#options.refusals.report({ ...failure, address, peer })
    attempt.raw.destroy()
  }

  #find(socket: Socket): Attempt | undefined {
    return this.#attempts.get(fourTuple(socket))
  }
}

/** What tells a connection from all others; the TLS socket has the same as the one below it. */
function fourTuple({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

async function bind(address: Address, reception: Reception): Promise<Server> {
  if (address.host !== '*') return bindOne(address, reception)
  try {
    return await bindOne({ host: '::', port: address.port }, reception, false)
  } catch (error) {
    if (!(error instanceof CosmosError) || !['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(error.code))
      throw error
    // A kernel without IPv6.
    return bindOne({ host: '0.0.0.0', port: address.port }, reception)
  }
}

function bindOne({ host, port }: Address, reception: Reception, ipv6Only = true): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createTcpServer((socket) => reception.accept(socket))
    // For good: an accept that fails later must not end the daemon, and changes nothing here.
    server.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code ?? 'EIO'
      const why = WHY_NOT[code] ?? error.message
      reject(
        new CosmosError(code, formatAddress({ host, port }), why, 'choose another address or port', {
          cause: error,
        }),
      )
    })
    server.listen({ host, port, ipv6Only }, () => resolve(server))
  })
}

const WHY_NOT: Record<string, string> = {
  EADDRINUSE: 'another program listens there',
  EADDRNOTAVAIL: 'is no address of this host',
  ENOTFOUND: 'is no address of this host',
  EACCES: 'this user may not listen there',
}

/** Stops listening. Not waited for: the connections that it has accepted, which may have become links. */
async function stop(server: Server): Promise<void> {
  server.close()
  await turn()
}
