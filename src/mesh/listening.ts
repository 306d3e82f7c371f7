import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { CosmosError } from '../errors.ts'
import type { Identity } from './identity.ts'
import { type JoinDesk, type Listener, listen } from './listen.ts'
import { type Address, advertised, checkListen, formatAddress, parseAddress } from './listen-address.ts'
import type { RefusalLog } from './listen-audit.ts'
import type { WebSocketLink } from './websocket-link.ts'

export interface ListeningParts {
  /** A file that has the addresses, a line each, for the next daemon. */
  readonly file: string
  readonly identity: Identity
  readonly refusals: RefusalLog
  readonly join: JoinDesk
  /** How many may come: what is not only for this machine is listened at for somebody. */
  may(): { readonly peers: number; readonly invites: number }
  isPeer(id: string): boolean
  link(link: WebSocketLink): void
}

/**
 * Where this host listens for peers. Addresses that others reach wait until somebody may come, a peer or who has an
 * invite, and are closed when nobody may any more (design §7).
 */
export class Listening {
  readonly #parts: ListeningParts
  #wanted: readonly Address[] = []
  #listener: Listener | undefined

  constructor(parts: ListeningParts) {
    this.#parts = parts
  }

  /** Where it is listened, with the ports that the kernel chose. */
  get addresses(): string[] {
    return (this.#listener?.addresses ?? []).map(formatAddress)
  }

  /** Addresses that wait for somebody who may come. */
  get waiting(): string[] {
    return this.#listener ? [] : this.#wanted.map(formatAddress)
  }

  /** What others are told to dial. */
  get advertised(): string[] {
    return advertised(this.#listener?.addresses ?? [])
  }

  /** Listens at these addresses, and no others; nowhere for none. Rejects with CosmosError EINVAL, EADDRINUSE. */
  async set(addresses: readonly string[]): Promise<void> {
    const wanted = addresses.map(parseAddress)
    await this.close()
    this.#wanted = wanted
    rmSync(this.#parts.file, { force: true })
    if (this.#isAllowed()) await this.open()
    if (wanted.length === 0) return
    const lines = this.#listener ? this.addresses : this.waiting
    writeFileSync(this.#parts.file, lines.map((each) => `${each}\n`).join(''), { mode: 0o600 })
  }

  /** Listens where a former daemon did. */
  async resume(): Promise<void> {
    try {
      this.#wanted = readFileSync(this.#parts.file, 'utf8').split('\n').filter(Boolean).map(parseAddress)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      throw error
    }
    if (this.#isAllowed()) await this.open()
  }

  /** Begins to listen, where it does not yet. Rejects with CosmosError EPERM while nobody may come. */
  async open(): Promise<void> {
    if (this.#listener || this.#wanted.length === 0) return
    const { identity, refusals, join, may, isPeer, link } = this.#parts
    checkListen(this.#wanted, may())
    this.#listener = await listen({
      ...{ identity, addresses: this.#wanted, refusals, join },
      isPeer: (id) => isPeer(id),
      listens: () => this.advertised,
      link: (each) => link(each),
    })
  }

  /** Listens no longer where nobody may come any more. */
  async closeIfIdle(): Promise<void> {
    if (!this.#isAllowed()) await this.close()
  }

  async close(): Promise<void> {
    const listener = this.#listener
    this.#listener = undefined
    await listener?.close()
  }

  #isAllowed(): boolean {
    try {
      checkListen(this.#wanted, this.#parts.may())
      return true
    } catch (error) {
      if ((error as CosmosError).code === 'EPERM') return false
      throw error
    }
  }
}
