import type { PeerRecord, PeersStore } from '../cosmosdb/peers-store.ts'
import { CosmosError } from '../errors.ts'
import { MOST_ADDRESSES } from './listen-address.ts'

/** A change of the list: a peer was added, removed, or has other addresses or grants. */
export type PeerChange = 'added' | 'removed' | 'changed'

/** The list of peers: who may be linked with, under what name, where, and what it may do here. */
export class Peers {
  readonly #store: PeersStore
  readonly #self: { readonly id: string; readonly name: string }
  readonly #peers = new Map<string, PeerRecord>()
  readonly #watchers = new Set<(id: string, change: PeerChange) => void>()
  readonly #now: () => number

  /** `self` is this host: it cannot be its own peer, and its name is taken. */
  constructor(store: PeersStore, self: { id: string; name: string }, now: () => number = Date.now) {
    this.#store = store
    this.#self = self
    this.#now = now
    for (const peer of store.all()) this.#peers.set(peer.id, peer)
  }

  get size(): number {
    return this.#peers.size
  }

  /** All, in the order in which they joined. */
  all(): PeerRecord[] {
    return [...this.#peers.values()]
  }

  has(id: string): boolean {
    return this.#peers.has(id)
  }

  get(id: string): PeerRecord | undefined {
    return this.#peers.get(id)
  }

  /**
   * Adds a peer that has joined. One that is known keeps its name and its place; what it may do and where it is are
   * replaced. Throws CosmosError EINVAL when it is this host.
   */
  add({ id, name, addresses, grants }: Omit<PeerRecord, 'since'>): PeerRecord {
    if (id === this.#self.id) throw new CosmosError('EINVAL', name, 'is this host itself')
    const known = this.#peers.get(id)
    const peer: PeerRecord = {
      id,
      name: known?.name ?? freeName(name, id, (taken) => this.#isTaken(taken)),
      addresses: merged(addresses, known?.addresses ?? []),
      since: known?.since ?? this.#now(),
      grants,
    }
    this.#put(peer, known ? 'changed' : 'added')
    return peer
  }

  /** Takes note of where a peer is; the address that has just worked, if any, comes first. */
  remember(id: string, worked: string | undefined, told: readonly string[]): void {
    const peer = this.#peers.get(id)
    if (!peer) return
    const first = worked === undefined ? peer.addresses.slice(0, 1) : [worked]
    const addresses = merged([...first, ...told], peer.addresses)
    if (addresses.join() !== peer.addresses.join()) this.#put({ ...peer, addresses }, 'changed')
  }

  /** Replaces what a peer may do here. Throws CosmosError ENOENT. */
  setGrants(id: string, grants: readonly unknown[]): void {
    const peer = this.#peers.get(id)
    if (!peer) throw new CosmosError('ENOENT', id, 'is no peer', 'cosmos peers')
    this.#put({ ...peer, grants }, 'changed')
  }

  /** Takes a peer off the list; false where it was not on it. */
  remove(id: string): boolean {
    if (!this.#peers.has(id)) return false
    this.#store.remove(id)
    this.#peers.delete(id)
    for (const tell of this.#watchers) tell(id, 'removed')
    return true
  }

  /** Tells of every change, after it; the answer stops that. */
  watch(tell: (id: string, change: PeerChange) => void): () => void {
    this.#watchers.add(tell)
    return () => this.#watchers.delete(tell)
  }

  #put(peer: PeerRecord, change: PeerChange): void {
    // The database first: what it does not take has not happened.
    this.#store.put(peer)
    this.#peers.set(peer.id, peer)
    for (const tell of this.#watchers) tell(peer.id, change)
  }

  #isTaken(name: string): boolean {
    return name === this.#self.name || this.all().some((peer) => peer.name === name)
  }
}

/**
 * The name of a peer's directory: what it calls itself, `user@host`, of letters, digits, `.`, `_` and `-`. A name that
 * is taken gets the first four digits of the peer id, more where those are taken too: `me@host-3fa9`. It says the same
 * on each host where it collides, whatever the order of joining, and is kept for good.
 */
export function freeName(claimed: string, id: string, isTaken: (name: string) => boolean): string {
  const [user = '', ...host] = claimed.split('@')
  const name = `${plain(user) || 'me'}@${plain(host.join('-')) || 'host'}`
  if (!isTaken(name)) return name
  for (let digits = 4; digits < id.length; digits++) {
    const longer = `${name}-${id.slice(0, digits)}`
    if (!isTaken(longer)) return longer
  }
  return `${name}-${id}`
}

/** A part of a name without what paths, lookups and terminals would read otherwise. */
function plain(part: string): string {
  return part.replace(/[^A-Za-z0-9._-]/g, '_').slice(0, 64)
}

function merged(first: readonly string[], then: readonly string[]): string[] {
  return [...new Set([...first, ...then])].slice(0, MOST_ADDRESSES)
}
