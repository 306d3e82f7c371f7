import type { Database } from './database.ts'

/** A peer as the cosmosdb keeps it. */
export interface PeerRecord {
  /** Peer id, 64 hexadecimal digits. */
  readonly id: string
  /** Its directory in the tree: `me@gpubox`. */
  readonly name: string
  /** Where it can be dialled, the last that worked first. */
  readonly addresses: readonly string[]
  /** When it joined, milliseconds since 1970. */
  readonly since: number
  /** What it may do here; what the entries mean is not the store's business. */
  readonly grants: readonly unknown[]
}

/** Peers in the cosmosdb. Every change is written at once. */
export class PeersStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** All, in the order in which they joined. */
  all(): PeerRecord[] {
    const rows = this.#database
      .prepare('SELECT id, name, addresses, since, grants FROM peer ORDER BY since, id')
      .all() as { id: string; name: string; addresses: string; since: number; grants: string }[]
    return rows.map(({ id, name, addresses, since, grants }) => ({
      id,
      name,
      addresses: JSON.parse(addresses) as string[],
      since: Number(since),
      grants: JSON.parse(grants) as unknown[],
    }))
  }

  /** Adds a peer, or replaces the one with the same id. */
  put({ id, name, addresses, since, grants }: PeerRecord): void {
    this.#database
      .prepare(
        'INSERT INTO peer (id, name, addresses, since, grants) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, addresses = excluded.addresses, since = excluded.since, grants = excluded.grants',
      )
      .run(id, name, JSON.stringify(addresses), since, JSON.stringify(grants))
  }

  remove(id: string): void {
    this.#database.prepare('DELETE FROM peer WHERE id = ?').run(id)
  }
}
