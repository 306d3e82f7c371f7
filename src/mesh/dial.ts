import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { type ClientOptions, WebSocket } from 'ws'
import { CosmosError } from '../errors.ts'
import { LINK_PROTOCOL, provenPeer, TLS_RULES } from './certificate.ts'
import type { Identity } from './identity.ts'
import { PATIENCE_MS } from './listen.ts'
import { parseAddress } from './listen-address.ts'
import type { RefusalLog } from './listen-audit.ts'
import { LINK_PATH, LISTENS_HEADER, noMask, SOCKET_OPTIONS, WebSocketLink } from './websocket-link.ts'

export interface DialOptions {
  readonly identity: Identity
  /** Peer id of who must answer. */
  readonly peer: string
  /** Where, the most likely first. */
  readonly addresses: readonly string[]
  readonly refusals: RefusalLog
  readonly signal?: AbortSignal
  /** How long the whole may take, milliseconds. */
  readonly patience?: number
  /** What this host tells the peer of where it can be dialled. */
  listens(): readonly string[]
}

/** How long one address is waited for before the next is tried beside it (RFC 8305 §5). */
const STAGGER_MS = 250

/**
 * Opens a link to a peer at the first of its addresses that answers with the peer's key; the others are let go before
 * they become links. Throws CosmosError: EHOSTUNREACH where nothing answers, EACCES where another host answers or the
 * peer does not want this one, ETIMEDOUT, ECANCELED.
 */
export async function dialLink(options: DialOptions): Promise<WebSocketLink> {
  const { identity, peer, addresses, refusals } = options
  const timeout = AbortSignal.timeout(options.patience ?? PATIENCE_MS)
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout
  const { socket, address } = await firstOf(addresses, signal, async (address, signal) => {
    const settings = { ...TLS_RULES, ...identity.pem, ALPNProtocols: [LINK_PROTOCOL] }
    const socket = await connectSecurely(address, settings, signal)
    const found = provenPeer(socket)
    if (found === peer && socket.alpnProtocol === LINK_PROTOCOL) return socket
    socket.destroy()
    refusals.report({ reason: 'wrong-peer', address, peer: found, detail: `dialled as ${peer}` })
    throw new CosmosError(
      'EACCES',
      address,
      'another host answers there',
      'cosmos peers shows where it should be',
    )
  })
  return upgrade(socket, address, options, signal)
}

/**
 * Tries addresses one after the other, each beside those that have not answered yet, and answers the first that works.
 * Throws the error that says most when none does.
 */
export async function firstOf(
  addresses: readonly string[],
  signal: AbortSignal,
  attempt: (address: string, signal: AbortSignal) => Promise<TLSSocket>,
): Promise<{ socket: TLSSocket; address: string }> {
  const others = new AbortController()
  const ended = AbortSignal.any([signal, others.signal])
  const errors: unknown[] = []
  let won = false
  try {
    return await new Promise((resolve, reject) => {
      let next = 0
      let running = 0
      let timer: NodeJS.Timeout | undefined
      const start = (): void => {
        clearTimeout(timer)
        const address = addresses[next++]
        if (address === undefined) {
          if (running === 0) reject(mostTelling(errors, addresses, signal))
          return
        }
        running++
        timer = setTimeout(start, STAGGER_MS)
        attempt(address, ended).then(
          (socket) => {
            clearTimeout(timer)
            // Two may have answered in one turn of the event loop.
            if (won) socket.destroy()
            won = true
            resolve({ socket, address })
          },
          (error: unknown) => {
            running--
            errors.push(error)
            if (!won && !signal.aborted) start()
            else if (running === 0) reject(mostTelling(errors, addresses, signal))
          },
        )
      }
      signal.addEventListener('abort', () => clearTimeout(timer), { once: true })
      start()
    })
  } finally {
    others.abort()
  }
}

/** A TLS connection whose other end is not checked yet. Throws CosmosError. */
export function connectSecurely(
  text: string,
  settings: ConnectionOptions,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const { host, port } = parseAddress(text)
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      ...settings,
      host,
      port,
      // Who is dialled is nobody's business on the way.
      servername: '',
      // Self-signed: the caller compares the key's hash.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    })
    const abort = (): void => {
      socket.destroy(cancelled(text, signal))
    }
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    socket.once('secureConnect', () => {
      signal.removeEventListener('abort', abort)
      resolve(socket)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      signal.removeEventListener('abort', abort)
      // After the handshake whoever has the socket sees `close`, and this rejection changes nothing.
      reject(error instanceof CosmosError ? error : unreachable(text, error))
    })
  })
}

/** Asks for the link over a checked connection. */
function upgrade(
  socket: TLSSocket,
  address: string,
  { peer, refusals, listens }: DialOptions,
  signal: AbortSignal,
): Promise<WebSocketLink> {
  return new Promise((resolve, reject) => {
    const options: ClientOptions = {
      ...SOCKET_OPTIONS,
      createConnection: () => socket,
      generateMask: noMask,
      headers: { [LISTENS_HEADER]: listens().join(', ') },
    }
    // `ws:`, because the TLS around it is there already.
    const webSocket = new WebSocket(`ws://cosmos${LINK_PATH}`, options)
    let told: string | undefined
    let fails: unknown
    const abort = (): void => {
      fails = cancelled(address, signal)
      webSocket.terminate()
    }
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    webSocket.on('upgrade', ({ headers }) => {
      const header = headers[LISTENS_HEADER]
      told = typeof header === 'string' ? header : undefined
    })
    const failed = (error: Error): void => {
      signal.removeEventListener('abort', abort)
      socket.destroy()
      const why = 'ended the connection: it may not know this host as a peer (any more)'
      reject(
        fails ??
          new CosmosError('EACCES', address, why, 'cosmos join, with an invite of it', { cause: error }),
      )
    }
    webSocket.once('error', failed)
    webSocket.once('open', () => {
      signal.removeEventListener('abort', abort)
      webSocket.off('error', failed)
      resolve(
        new WebSocketLink(webSocket, socket, {
          peer,
          dialled: true,
          address,
          listens: told,
          fault: (detail) => refusals.report({ reason: 'message', address, peer, detail }),
        }),
      )
    })
  })
}

function cancelled(address: string, signal: AbortSignal): CosmosError {
  const late = signal.reason instanceof DOMException && signal.reason.name === 'TimeoutError'
  return late
    ? new CosmosError('ETIMEDOUT', address, 'does not answer')
    : new CosmosError('ECANCELED', address, 'is not dialled any more')
}

function unreachable(address: string, error: NodeJS.ErrnoException): CosmosError {
  const why =
    WORDS[error.code ?? ''] ?? (error.code?.startsWith('ERR_SSL') ? 'speaks another TLS' : error.message)
  return new CosmosError('EHOSTUNREACH', address, why, undefined, { cause: error })
}

const WORDS: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'ended the connection',
  EHOSTUNREACH: 'no route to it',
  ENETUNREACH: 'no route to it',
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'the name cannot be looked up now',
  ETIMEDOUT: 'does not answer',
}

/** A refusal says more than silence, and silence more than having been called off. */
function mostTelling(errors: readonly unknown[], addresses: readonly string[], signal: AbortSignal): unknown {
  for (const code of ['EACCES', 'EHOSTUNREACH', 'ETIMEDOUT'])
    for (const error of errors) if (error instanceof CosmosError && error.code === code) return error
  return (
    errors[0] ??
    (addresses[0] === undefined
      ? new CosmosError('EHOSTUNREACH', 'peer', 'no address of it is known')
      : cancelled(addresses[0], signal))
  )
}
