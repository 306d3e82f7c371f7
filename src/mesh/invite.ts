import { randomBytes } from 'node:crypto'
import { CosmosError } from '../errors.ts'
import { type Clock, systemClock } from './dial-clock.ts'
import { formatAddress, parseAddress } from './listen-address.ts'

/** What an invite says: `cosmos://ADDRESS,ADDRESS/join/…`. Whoever holds it may join once, until it expires. */
export interface Invite {
  /** Where the inviter listens. */
  readonly addresses: readonly string[]
  /** Peer id of the inviter. */
  readonly peer: string
  /** Names the invite, 32 hexadecimal digits; not secret. */
  readonly token: string
  /** 256 random bits; never sent. */
  readonly secret: Buffer
}

/** How long an invite is open, milliseconds (design §7). */
const LIFETIME_MS = 10 * 60_000
/** So many may be open at once; each is a secret that must not get lost. */
const MOST_OPEN = 64

const VERSION = 1
const PEER_BYTES = 32
const TOKEN_BYTES = 16
const SECRET_BYTES = 32
const LENGTH = 1 + PEER_BYTES + TOKEN_BYTES + SECRET_BYTES

/** The invite as one word that a person can copy. */
export function formatInvite({ addresses, peer, token, secret }: Invite): string {
  const bytes = Buffer.concat([
    Buffer.of(VERSION),
    Buffer.from(peer, 'hex'),
    Buffer.from(token, 'hex'),
    secret,
  ])
  return `cosmos://${addresses.join(',')}/join/${bytes.toString('base64url')}`
}

/** Reads an invite. Throws CosmosError EINVAL where it is none, or was not copied whole. */
export function parseInvite(text: string): Invite {
  // The text itself is a secret, and stays out of the message.
  const wrong = (why: string): CosmosError =>
    new CosmosError('EINVAL', 'the invite', why, 'copy the whole line that cosmos invite printed')
  const found = /^cosmos:\/\/([^/\s]+)\/join\/([\w-]+)$/.exec(text.trim())
  if (!found) throw wrong('is not cosmos://ADDRESS/join/…')
  const bytes = Buffer.from(found[2] ?? '', 'base64url')
  if (bytes[0] !== VERSION) throw wrong('is of another version of cosmos')
  if (bytes.length !== LENGTH) throw wrong('is not whole')
  const token = 1 + PEER_BYTES
  const secret = token + TOKEN_BYTES
  return {
    addresses: (found[1] ?? '').split(',').map((address) => formatAddress(parseAddress(address))),
    peer: bytes.toString('hex', 1, token),
    token: bytes.toString('hex', token, secret),
    secret: Buffer.from(bytes.subarray(secret)),
  }
}

interface OpenInvite {
  readonly secret: Buffer
  readonly grants: readonly unknown[]
  readonly expires: number
  readonly cancel: () => void
}

/**
 * The invites that this host has given out and nobody has used. In memory only: an invite does not outlive the daemon
 * that made it, and a copy of the state directory holds none.
 */
export class Invites {
  readonly #open = new Map<string, OpenInvite>()
  readonly #clock: Clock
  readonly #expired: () => void

  /** `expired` is called when an invite has gone unused: nothing may be left to listen for. */
  constructor(clock: Clock = systemClock, expired: () => void = () => {}) {
    this.#clock = clock
    this.#expired = expired
  }

  /** How many are open. */
  get size(): number {
    return this.#open.size
  }

  /** Makes an invite; `grants` are what the joining peer is given. Throws CosmosError EAGAIN when too many are open. */
  create(
    peer: string,
    addresses: readonly string[],
    grants: readonly unknown[],
  ): Invite & { expires: number } {
    if (this.#open.size >= MOST_OPEN)
      throw new CosmosError('EAGAIN', 'cosmos invite', `${MOST_OPEN} invites are open`, 'wait ten minutes')
    const token = randomBytes(TOKEN_BYTES).toString('hex')
    const secret = randomBytes(SECRET_BYTES)
    const expires = this.#clock.now() + LIFETIME_MS
    const cancel = this.#clock.after(LIFETIME_MS, () => {
      this.#close(token)
      this.#expired()
    })
    this.#open.set(token, { secret, grants, expires, cancel })
    return { addresses, peer, token, secret: Buffer.from(secret), expires }
  }

  /** The secret of an open invite. */
  secret(token: string): Buffer | undefined {
    const open = this.#open.get(token)
    // The timer is late where the machine was asleep.
    return open && open.expires > this.#clock.now() ? open.secret : undefined
  }

  /** Uses an invite up: of two that try, one gets its grants and the other undefined. */
  take(token: string): readonly unknown[] | undefined {
    const open = this.#open.get(token)
    if (!open) return undefined
    const valid = open.expires > this.#clock.now()
    this.#close(token)
    return valid ? open.grants : undefined
  }

  /** Closes all. */
  clear(): void {
    for (const token of [...this.#open.keys()]) this.#close(token)
  }

  #close(token: string): void {
    const open = this.#open.get(token)
    open?.cancel()
    open?.secret.fill(0)
    this.#open.delete(token)
  }
}
