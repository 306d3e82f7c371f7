import { randomBytes } from 'node:crypto'

/** A directory of this host that a peer may use for the length of a call (design §7). */
export interface Lend {
  readonly token: string
  /** Peer id of who may. */
  readonly peer: string
  /** Host path, without links; one character a byte. */
  readonly path: string
  readonly writable: boolean
}

/** What is lent now. A token says which: it is nobody's to guess, and means nothing once the call is over. */
export class Lends {
  readonly #lends = new Map<string, Lend>()

  lend(peer: string, path: string, writable: boolean): Lend {
    const lend: Lend = { token: randomBytes(16).toString('hex'), peer, path, writable }
    this.#lends.set(lend.token, lend)
    return lend
  }

  end(lend: Lend): void {
    this.#lends.delete(lend.token)
  }

  /** Whether a peer may use a path by this token. */
  allows(token: string, peer: string, path: string, writes: boolean): boolean {
    const lend = this.#lends.get(token)
    if (!lend || lend.peer !== peer || (writes && !lend.writable)) return false
    return path === lend.path || path.startsWith(lend.path === '/' ? '/' : `${lend.path}/`)
  }
}
