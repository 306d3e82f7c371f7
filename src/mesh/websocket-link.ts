import type { TLSSocket } from 'node:tls'
import type { WebSocket } from 'ws'
import { systemClock } from './dial-clock.ts'
import type { Link, LinkReceiver } from './link.ts'
import { formatAddress, plainIp, understood } from './listen-address.ts'

/** The largest message of a link, bytes: a read of 1 MiB with its envelope, or a batch of many small ones. */
export const MAX_MESSAGE_BYTES = 2 * 1024 * 1024
/** `drained` is told when no more than this waits in this process: what keeps the network busy while more is made. */
const LOW_WATER_BYTES = 256 * 1024
/** How long the other end may take to agree to an end. */
const CLOSE_MS = 1_000

/** The only path that is upgraded to a link. */
export const LINK_PATH = '/link'
/** Header, both ways: the addresses that the sender listens at, separated by commas. */
export const LISTENS_HEADER = 'cosmos-listens'

/** Options of `ws` at both ends: no compression, no automatic answers, bounded messages. */
export const SOCKET_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MAX_MESSAGE_BYTES,
  skipUTF8Validation: true,
  // A peer that pings and never reads would make answers pile up; the session has heartbeats of its own.
  autoPong: false,
}

/** The WebSocket opcodes that ask for a stop: 1003, `unsupported data`; 1000, a normal end (RFC 6455 §7.4.1). */
const UNSUPPORTED = 1003
const NORMAL = 1000

export interface WebSocketLinkOptions {
  readonly peer: string
  /** True where this host opened the connection. */
  readonly dialled: boolean
  /** The address that was dialled, where this host did; else where the connection came from is found out. */
  readonly address?: string
  /** What the other end said of where it listens, the header's text. */
  readonly listens: string | undefined
  /** Called when the peer sends what is no message of a link; the link ends with it. */
  fault(detail: string): void
}

/**
 * The embedded link: one binary WebSocket message per message, over TLS 1.3 whose ends have both been checked.
 * A message handed to `send` may not be changed until `buffered` is 0 again.
 */
export class WebSocketLink implements Link {
  readonly peer: string
  readonly address: string
  readonly dialled: boolean
  /** Addresses at which the peer says it can be dialled, as they are understood here. */
  readonly listens: readonly string[]
  /** Why it ended, once it has. */
  readonly gone: Promise<string>
  readonly #socket: WebSocket
  readonly #fault: (detail: string) => void
  #receiver: LinkReceiver | undefined
  #full = false
  #closing = false
  #ended: string | undefined
  #failure: string | undefined
  #cancelTerminate: (() => void) | undefined

  constructor(socket: WebSocket, transport: TLSSocket, options: WebSocketLinkOptions) {
    const { remoteAddress = '', remotePort = 0 } = transport
    this.peer = options.peer
    this.dialled = options.dialled
    this.address = options.address ?? formatAddress({ host: plainIp(remoteAddress), port: remotePort })
    this.listens = understood(splitListens(options.listens), remoteAddress)
    this.#socket = socket
    this.#fault = options.fault
    // Nothing is read before somebody listens: messages may have come together with the upgrade.
    socket.pause()
    socket.on('message', (data, binary) => this.#message(data as Buffer, binary))
    socket.on('error', (error) => this.#failed(error))
    let tellGone: (why: string) => void = () => {}
    this.gone = new Promise((resolve) => {
      tellGone = resolve
    })
    socket.on('close', (code, reason) => {
      this.#end(
        reason.toString() || this.#failure || (code === NORMAL ? 'closed' : 'the connection was lost'),
      )
      tellGone(this.#ended ?? '')
    })
  }

  get buffered(): number {
    return this.#socket.bufferedAmount
  }

  get receiver(): LinkReceiver | undefined {
    return this.#receiver
  }

  set receiver(receiver: LinkReceiver | undefined) {
    this.#receiver = receiver
    if (!receiver) this.#socket.pause()
    else if (this.#ended !== undefined) receiver.ended(this.#ended)
    else this.#socket.resume()
  }

  send(message: Uint8Array): void {
    if (this.#closing || this.#socket.readyState !== this.#socket.OPEN) return
    // The frame's header and the message are corked by ws, and leave in one write.
    this.#socket.send(message, BINARY, this.#sent)
    if (this.#socket.bufferedAmount > LOW_WATER_BYTES) this.#full = true
  }

  close(why = ''): void {
    if (this.#closing) return
    this.#closing = true
    this.#socket.resume()
    this.#socket.close(NORMAL, clip(why))
    this.#cancelTerminate = systemClock.after(CLOSE_MS, () => this.#socket.terminate())
    if (why) this.#failure ??= why
  }

  readonly #sent = (): void => {
    // Also called, with an error, for what a lost connection had not taken: `ended` says that.
    if (!this.#full || this.#ended !== undefined || this.#socket.bufferedAmount > LOW_WATER_BYTES) return
    this.#full = false
    this.#receiver?.drained()
  }

  #message(data: Buffer, binary: boolean): void {
    if (this.#closing) return
    if (binary) this.#receiver?.message(data)
    else this.#broken('a text message', () => this.#socket.close(UNSUPPORTED, 'only binary messages'))
  }

  #failed(error: Error & { code?: string }): void {
    this.#failure ??= error.message
    // ws has answered with the right close code already where the frame was at fault.
    if (error.code?.startsWith('WS_ERR_')) this.#broken(error.message, () => {})
  }

  #broken(detail: string, end: () => void): void {
    if (this.#closing) return
    this.#closing = true
    this.#failure = detail
    end()
    this.#cancelTerminate = systemClock.after(CLOSE_MS, () => this.#socket.terminate())
    this.#fault(detail)
  }

  #end(why: string): void {
    if (this.#ended !== undefined) return
    this.#ended = why
    this.#closing = true
    this.#cancelTerminate?.()
    this.#receiver?.ended(why)
  }
}

const BINARY = { binary: true, compress: false } as const

/**
 * The mask of a client's frames. RFC 6455 wants a random one so that a page in a browser cannot choose the bytes that
 * a proxy sees; inside of TLS between two daemons there is neither, and a mask of zeros costs nothing.
 */
export function noMask(mask: Buffer): void {
  mask.fill(0)
}

function splitListens(header: string | undefined): string[] {
  return header === undefined ? [] : header.split(',').map((part) => part.trim())
}

/** What fits in a close frame: 123 bytes (RFC 6455 §5.5.1). */
function clip(why: string): Buffer {
  const bytes = Buffer.from(why)
  let length = Math.min(bytes.length, 123)
  // Not in the middle of a character.
  while (length > 0 && length < bytes.length && ((bytes[length] ?? 0) & 0xc0) === 0x80) length--
  return bytes.subarray(0, length)
}
