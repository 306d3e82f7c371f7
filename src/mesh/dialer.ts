import { backoff } from './dial-backoff.ts'
import { type Clock, systemClock } from './dial-clock.ts'
import type { Link } from './link.ts'
import { PATIENCE_MS } from './listen.ts'
import type { Peers } from './peers.ts'

/** A link as the dialer needs it: whose, who opened it, when it is gone. */
export interface DialledLink extends Link {
  readonly dialled: boolean
  readonly listens: readonly string[]
  readonly gone: Promise<string>
}

/** How it stands with a peer. */
export interface PeerState {
  /** `awaited`: no address of it is known, it has to come. `waiting`: dialled again at `next`. */
  readonly state: 'connected' | 'connecting' | 'waiting' | 'awaited'
  /** Since when it is connected, or is not; milliseconds since 1970. */
  readonly since: number
  /** Where it is connected. */
  readonly address?: string
  /** Why the last link ended, or why there was none. */
  readonly error?: string
  /** When it is dialled again, milliseconds since 1970. */
  readonly next?: number
}

export interface DialerOptions {
  /** This host's peer id. */
  readonly self: string
  readonly peers: Peers
  readonly clock?: Clock
  /** In [0, 1). */
  random?(): number
  dial(peer: { id: string; addresses: readonly string[] }, signal: AbortSignal): Promise<DialledLink>
  /** A peer has a new link, instead of the one it had. */
  link(link: DialledLink): void
  /** How it stands with a peer has changed. */
  changed?(id: string): void
}

/** What is known of one peer. */
interface Contact {
  readonly id: string
  link: DialledLink | undefined
  /** When `link` was opened. */
  opened: number
  since: number
  failures: number
  error: string | undefined
  next: number | undefined
  dialling: AbortController | undefined
  cancelTimer: () => void
}

/** A link that lasted this long was a good one: the next failure is the first. */
const GOOD_MS = 10_000

/**
 * Keeps one link to each peer. Peers with addresses are dialled until one answers, and again when the link is lost;
 * a peer that comes by itself counts as well, and is all there is to do for hosts that cannot be dialled.
 */
export class Dialer {
  readonly #options: DialerOptions
  readonly #clock: Clock
  readonly #random: () => number
  readonly #contacts = new Map<string, Contact>()
  readonly #unwatch: () => void
  #closed = false

  constructor(options: DialerOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#unwatch = options.peers.watch((id, change) => {
      if (change === 'removed') this.#forget(id)
      else this.#meet(id)
    })
  }

  /** Dials whoever can be. */
  start(): void {
    for (const { id } of this.#options.peers.all()) this.#meet(id)
  }

  /** How it stands with a peer; undefined for a host that is none. */
  state(id: string): PeerState | undefined {
    const contact = this.#contacts.get(id)
    if (!contact) return undefined
    const { link, since, error, next, dialling } = contact
    const why = error === undefined ? {} : { error }
    if (link) return { state: 'connected', since, address: link.address, ...why }
    if (dialling) return { state: 'connecting', since, ...why }
    return next === undefined
      ? { state: 'awaited', since, ...why }
      : { state: 'waiting', since, next, ...why }
  }

  /** The link that a peer has now. */
  linkOf(id: string): DialledLink | undefined {
    return this.#contacts.get(id)?.link
  }

  /** A peer has opened a link to this host. */
  accept(link: DialledLink): void {
    const contact = this.#contacts.get(link.peer)
    if (!contact || this.#closed) link.close('not a peer')
    else this.#offer(contact, link)
  }

  /** Dials at once whoever is waited for: somebody asks, or the network has come back. */
  retry(id?: string): void {
    for (const contact of this.#contacts.values())
      if ((id === undefined || contact.id === id) && contact.next !== undefined) {
        contact.failures = 0
        this.#dial(contact)
      }
  }

  /** Ends all links and stops dialling. */
  close(why = 'cosmos ends there'): void {
    this.#closed = true
    this.#unwatch()
    for (const contact of this.#contacts.values()) this.#part(contact, why)
    this.#contacts.clear()
  }

  /** A peer was added, or something of it changed: an address where there was none is dialled. */
  #meet(id: string): void {
    let contact = this.#contacts.get(id)
    if (!contact) {
      contact = {
        id,
        link: undefined,
        opened: 0,
        since: this.#clock.now(),
        failures: 0,
        error: undefined,
        next: undefined,
        dialling: undefined,
        cancelTimer: () => {},
      }
      this.#contacts.set(id, contact)
    }
    if (!contact.link && !contact.dialling && contact.next === undefined) this.#dial(contact)
  }

  #forget(id: string): void {
    const contact = this.#contacts.get(id)
    if (!contact) return
    this.#contacts.delete(id)
    this.#part(contact, 'not a peer any more')
    this.#options.changed?.(id)
  }

  #part(contact: Contact, why: string): void {
    contact.cancelTimer()
    contact.next = undefined
    contact.dialling?.abort()
    contact.dialling = undefined
    const { link } = contact
    contact.link = undefined
    link?.close(why)
  }

  #dial(contact: Contact): void {
    contact.cancelTimer()
    contact.next = undefined
    const addresses = this.#options.peers.get(contact.id)?.addresses ?? []
    if (addresses.length > 0) {
      const dialling = new AbortController()
      contact.dialling = dialling
      void this.#options.dial({ id: contact.id, addresses }, dialling.signal).then(
        (link) => {
          if (contact.dialling !== dialling) {
            link.close('not needed any more')
            return
          }
          contact.dialling = undefined
          this.#offer(contact, link)
        },
        (error: unknown) => {
          if (contact.dialling !== dialling) return
          contact.dialling = undefined
          if (!contact.link) this.#failed(contact, error)
        },
      )
    }
    this.#options.changed?.(contact.id)
  }

  #failed(contact: Contact, error: unknown): void {
    contact.error = error instanceof Error ? error.message : String(error)
    contact.failures++
    this.#wait(contact)
  }

  #wait(contact: Contact): void {
    const addresses = this.#options.peers.get(contact.id)?.addresses ?? []
    if (addresses.length > 0) {
      const pause = backoff(contact.failures, this.#random())
      contact.next = this.#clock.now() + pause
      contact.cancelTimer = this.#clock.after(pause, () => this.#dial(contact))
    }
    this.#options.changed?.(contact.id)
  }

  /** Takes a new link, or keeps the one that is there. */
  #offer(contact: Contact, link: DialledLink): void {
    const { link: current } = contact
    if (current && this.#prefers(contact, current, link)) {
      link.close('another link is in use')
      return
    }
    // A dialling of ours that is under way goes on only where the other end would prefer it too.
    if (!link.dialled && contact.id < this.#options.self) {
      contact.dialling?.abort()
      contact.dialling = undefined
    }
    contact.cancelTimer()
    contact.next = undefined
    contact.link = link
    contact.opened = this.#clock.now()
    if (!current) contact.since = contact.opened
    contact.error = undefined
    current?.close('another link is in use')
    void link.gone.then((why) => this.#lost(contact, link, why))
    this.#options.link(link)
    this.#options.peers.remember(contact.id, link.dialled ? link.address : undefined, link.listens)
    this.#options.changed?.(contact.id)
  }

  /**
   * True where the link that is there stays. When both hosts dial at once the link that the smaller peer id dialled
   * stays, so that both keep the same one. A peer dials only when it has no link: where the one that is there is older
   * than a dialling can take, the two did not cross, and the peer knows already that the older one is lost.
   */
  #prefers(contact: Contact, current: DialledLink, link: DialledLink): boolean {
    if (current.dialled === link.dialled) return false
    if (this.#clock.now() - contact.opened > PATIENCE_MS) return false
    const smaller = this.#options.self < contact.id
    return current.dialled === smaller
  }

  #lost(contact: Contact, link: DialledLink, why: string): void {
    if (contact.link !== link) return
    const now = this.#clock.now()
    contact.link = undefined
    contact.error = why
    contact.failures = now - contact.opened >= GOOD_MS ? 0 : contact.failures + 1
    contact.since = now
    if (contact.dialling) this.#options.changed?.(contact.id)
    else this.#wait(contact)
  }
}
