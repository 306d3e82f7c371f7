import { type Clock, systemClock } from './dial-clock.ts'

/** Why a connection was refused or ended. */
export type RefusalReason =
  /** Too many connections that are no link yet. */
  | 'too-many'
  /** No TLS 1.3 handshake of cosmos: garbage, an old version, no common protocol, or it went away. */
  | 'handshake'
  /** It took too long to become a link. */
  | 'too-slow'
  | 'no-certificate'
  /** Its key is not on the list of peers. */
  | 'not-a-peer'
  /** Another key than that of the peer which was dialled. */
  | 'wrong-peer'
  /** A peer that did not ask for the link as it should. */
  | 'upgrade'
  /** A peer that sent what is no message: too large, text, a broken frame. */
  | 'message'
  /** An invite that is not open here: never made, expired or used. */
  | 'invite'
  /** An invite's secret was known, and what came over it was not right. */
  | 'join'

/** What the mesh tells the audit log. */
export type MeshEvent =
  | {
      readonly kind: 'refused'
      readonly reason: RefusalReason
      /** IP address and port of the other end; the IP address alone where it stands for several connections. */
      readonly address: string
      /** Peer id, where the other end has proven one. */
      readonly peer?: string
      readonly detail: string
      /** How often since it was last told. */
      readonly times: number
    }
  | { readonly kind: 'joined'; readonly address: string; readonly peer: string; readonly detail: string }

export type Audit = (event: MeshEvent) => void

export interface Refusal {
  readonly reason: RefusalReason
  readonly address: string
  readonly peer?: string | undefined
  readonly detail: string
}

interface Window {
  readonly last: Refusal
  more: number
  readonly cancel: () => void
}

/** How long repeated refusals are counted before they are told again. */
const WINDOW_MS = 10_000
/** How many kinds of refusal are told apart; a flood from more addresses than this is told as one. */
const MOST_WINDOWS = 1_000

/**
 * Tells each refusal once: the first at once, those that repeat it (same reason, same IP address, same peer) as one
 * event with their number when ten seconds are over. A flood cannot fill the log, nor this.
 */
export class RefusalLog {
  readonly #audit: Audit
  readonly #clock: Clock
  readonly #windows = new Map<string, Window>()

  constructor(audit: Audit, clock: Clock = systemClock) {
    this.#audit = audit
    this.#clock = clock
  }

  report(refusal: Refusal): void {
    const { reason, peer, detail } = refusal
    const ip = ipOf(refusal.address)
    let key = `${reason} ${ip} ${peer ?? ''}`
    if (this.#windows.size >= MOST_WINDOWS && !this.#windows.has(key)) key = reason
    const window = this.#windows.get(key)
    if (window) {
      window.more++
      return
    }
    const last = { reason, address: key === reason ? 'many addresses' : ip, peer, detail }
    this.#open(key, last)
    this.#tell(refusal, 1)
  }

  /** Tells what was counted and stops counting. */
  close(): void {
    for (const { cancel, last, more } of this.#windows.values()) {
      cancel()
      if (more > 0) this.#tell(last, more)
    }
    this.#windows.clear()
  }

  #open(key: string, last: Refusal): void {
    const cancel = this.#clock.after(WINDOW_MS, () => {
      const { more } = this.#windows.get(key) ?? { more: 0 }
      this.#windows.delete(key)
      if (more === 0) return
      this.#tell(last, more)
      this.#open(key, last)
    })
    this.#windows.set(key, { last, more: 0, cancel })
  }

  #tell({ reason, address, peer, detail }: Refusal, times: number): void {
    this.#audit({ kind: 'refused', reason, address, ...(peer !== undefined && { peer }), detail, times })
  }
}

function ipOf(address: string): string {
  return address.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
}
