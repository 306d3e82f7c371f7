import { join } from 'node:path'
import { openDatabase } from '../cosmosdb/database.ts'
import { PeersStore } from '../cosmosdb/peers-store.ts'
import { CosmosError } from '../errors.ts'
import { AuditLog } from './audit.ts'
import { Contacts, type ContactsParts } from './contacts.ts'
import { dialLink } from './dial.ts'
import { Dialer, type PeerState } from './dialer.ts'
import { formatGrant, parseGrant } from './grants.ts'
import { type Identity, loadIdentity } from './identity.ts'
import { formatInvite, Invites, parseInvite } from './invite.ts'
import { JoinAnswers, type Joined, join as joinPeer } from './join.ts'
import { type MeshEvent, RefusalLog } from './listen-audit.ts'
import { Listening } from './listening.ts'
import { type PeerChange, Peers } from './peers.ts'
import type { Call, CallOptions } from './session/outgoing-call.ts'
import type { SessionState } from './session/session.ts'

/** What the mesh needs of the daemon. */
export interface MeshParts extends ContactsParts {
  /** State that stays: the key, the audit log, where this host listens. */
  readonly state: string
  readonly database: string
  /** What this host is called: `me@laptop`. */
  readonly name: string
}

/** A peer as `cosmos peers` shows it. */
export interface PeerReport {
  readonly id: string
  readonly name: string
  readonly addresses: readonly string[]
  readonly state: SessionState | PeerState['state']
  /** Milliseconds since 1970. */
  readonly since: number
  readonly address?: string
  readonly error?: string
  readonly roundTrip?: number
  readonly software?: string
  /** What it may do here, and what this host may do there as it has told. */
  readonly grants: readonly string[]
  readonly granted: readonly string[]
  readonly programs: number
}

/** This host in the mesh (design §7): its peers, what they may do here, and what it does there. */
export class Mesh {
  readonly #parts: MeshParts
  readonly #identity: Identity
  readonly #peers: Peers
  readonly #audit: AuditLog
  readonly #refusals: RefusalLog
  readonly #invites: Invites
  readonly #joins: JoinAnswers
  readonly #listening: Listening
  readonly #dialer: Dialer
  readonly #contacts: Contacts

  /** Throws CosmosError: the key of this host, or the database, cannot be used. */
  constructor(parts: MeshParts) {
    this.#parts = parts
    this.#identity = loadIdentity(parts.state)
    const self = { id: this.#identity.id, name: parts.name }
    this.#peers = new Peers(new PeersStore(openDatabase(parts.database)), self)
    this.#audit = new AuditLog(join(parts.state, 'audit.log'), (error) => parts.log(`audit: ${error}`))
    this.#refusals = new RefusalLog((event) => this.#tell(event))
    this.#invites = new Invites(undefined, () => this.#later('listen', () => this.#listening.closeIfIdle()))
    const listens = (): string[] => this.#listening.advertised
    this.#joins = new JoinAnswers({
      identity: this.#identity,
      name: parts.name,
      invites: this.#invites,
      refusals: this.#refusals,
      audit: (event) => this.#tell(event),
      listens,
      joined: (peer, grants) => this.#joined(peer, grants),
    })
    this.#listening = new Listening({
      ...{ file: join(parts.state, 'listen'), identity: this.#identity, refusals: this.#refusals },
      join: this.#joins,
      may: () => ({ peers: this.#peers.size, invites: this.#invites.size }),
      isPeer: (id) => this.#peers.has(id),
      link: (link) => this.#dialer.accept(link),
    })
    this.#dialer = new Dialer({
      self: self.id,
      peers: this.#peers,
      dial: ({ id, addresses }, signal) =>
        dialLink({
          ...{ identity: this.#identity, peer: id, addresses, signal, listens },
          refusals: this.#refusals,
        }),
      link: (link) => this.#contacts.get(link.peer)?.session.attach(link),
    })
    this.#contacts = new Contacts(parts, {
      self: self.id,
      peers: this.#peers,
      audit: this.#audit,
      dial: (id) => this.#dialer.retry(id),
    })
    for (const { id } of this.#peers.all()) this.#contacts.meet(id)
    this.#peers.watch((id, change) => this.#changed(id, change))
  }

  /** This host's peer id. */
  get id(): string {
    return this.#identity.id
  }

  /** Where this host listens. */
  get listening(): { addresses: string[]; waiting: string[] } {
    return { addresses: this.#listening.addresses, waiting: this.#listening.waiting }
  }

  /** Dials the peers, and listens where it did before. Problems are logged. */
  async start(): Promise<void> {
    await this.#parts.rootsChanged()
    await this.#listening.resume().catch((error: Error) => this.#parts.log(`listen: ${error.message}`))
    this.#dialer.start()
    this.#contacts.keepLearning()
  }

  /** Ends all links and what runs for peers. */
  async close(): Promise<void> {
    this.#dialer.close()
    await this.#listening.close()
    await this.#contacts.close()
    this.#refusals.close()
  }

  /** Listens at these addresses, and no others; nowhere for none. Those that others reach may have to wait. */
  async listen(addresses: readonly string[]): Promise<{ addresses: string[]; waiting: string[] }> {
    await this.#listening.set(addresses)
    return this.listening
  }

  /** A one-time invite for whoever holds it. Rejects with CosmosError EINVAL for a grant that is none, ENOTCONN. */
  async invite(grants: readonly string[]): Promise<{ invite: string; expires: number }> {
    for (const each of grants) parseGrant(each)
    const made = this.#invites.create(this.#identity.id, [], grants)
    // From now on somebody may come.
    await this.#listening.open()
    const addresses = this.#listening.advertised.filter((each) => !each.startsWith('*'))
    if (addresses.length > 0) return { invite: formatInvite({ ...made, addresses }), expires: made.expires }
    this.#invites.take(made.token)
    throw new CosmosError('ENOTCONN', 'invite', 'this host does not listen', 'cosmos listen ADDRESS')
  }

  /** Joins by an invite, and gives the inviter these grants. */
  async join(invite: string, grants: readonly string[]): Promise<{ id: string; name: string }> {
    for (const each of grants) parseGrant(each)
    const joined = await joinPeer({
      identity: this.#identity,
      name: this.#parts.name,
      invite: parseInvite(invite),
      gives: grants,
      refusals: this.#refusals,
      listens: () => this.#listening.advertised,
    })
    const { id, name } = this.#joined(joined, grants)
    return { id, name }
  }

  peers(): PeerReport[] {
    return this.#peers.all().map(({ id, name, addresses, grants }) => {
      const { session, granted, programs } = this.#contacts.get(id)!
      const { state, since, address, roundTrip, software } = session.figures
      const dialled = this.#dialer.state(id)
      return {
        ...{ id, name, addresses, granted, programs: programs.length },
        grants: grants.map(String),
        state: state === 'open' || !dialled || dialled.state === 'connected' ? state : dialled.state,
        since: state === 'open' || !dialled ? Date.now() - since : dialled.since,
        ...(address !== undefined && { address }),
        ...(dialled?.error !== undefined && state !== 'open' && { error: dialled.error }),
        ...(roundTrip !== undefined && state === 'open' && { roundTrip }),
        ...(software !== undefined && { software }),
      }
    })
  }

  /** Adds rules to what a peer may do here. Throws CosmosError ENOENT, EINVAL. */
  grant(peer: string, rules: readonly string[]): readonly string[] {
    const { id, grants } = this.#named(peer)
    const added = rules.map((each) => formatGrant(parseGrant(each)))
    // A rule that is typed again is the last one.
    this.#peers.setGrants(id, [...grants.map(String).filter((each) => !added.includes(each)), ...added])
    return this.#named(peer).grants.map(String)
  }

  /** Takes rules away, all where none is named; what runs or is open by them ends. Throws CosmosError ENOENT. */
  revoke(peer: string, rules: readonly string[]): readonly string[] {
    const { id, grants } = this.#named(peer)
    const gone = rules.map((each) => formatGrant(parseGrant(each)))
    const unknown = gone.find((each) => !grants.includes(each))
    if (unknown !== undefined)
      throw new CosmosError('ENOENT', unknown, `is not granted to ${peer}`, 'cosmos peers --json')
    this.#peers.setGrants(id, rules.length === 0 ? [] : grants.filter((each) => !gone.includes(String(each))))
    return this.#named(peer).grants.map(String)
  }

  /** Parts with a peer: both forget each other, where it can be told. Throws CosmosError ENOENT. */
  async leave(peer: string): Promise<void> {
    const { id } = this.#named(peer)
    const { session } = this.#contacts.get(id)!
    await session.call('leave', {}, { deadline: 2000, lifetime: 2000 }).catch(() => {})
    this.#peers.remove(id)
  }

  /** Names of the peers that offer a program. */
  offering(program: string): string[] {
    return this.#contacts.offering(program)
  }

  /** Names of programs that are peers' alone. */
  get peerPrograms(): ReadonlySet<string> {
    return this.#contacts.peerPrograms
  }

  /** A peer by its name or id. Throws CosmosError ENOENT. */
  peer(named: string): { id: string; name: string } {
    const { id, name } = this.#named(named)
    return { id, name }
  }

  /** Calls an operation of a peer. Throws CosmosError ENOENT for a host that is none. */
  open(peer: string, op: string, args: unknown, options: CallOptions): Call {
    return this.#contactNamed(peer).session.open(op, args, options)
  }

  /** Lends a directory of this host for the length of a call: what the peer is to be told, and the end of it. */
  lend(peer: string, path: string, writable: boolean): { token: string; end: () => void } {
    return this.#contacts.lend(this.#named(peer).id, path, writable)
  }

  #named(peer: string) {
    const found = this.#peers.all().find(({ id, name }) => name === peer || id === peer)
    if (!found) throw new CosmosError('ENOENT', peer, 'is no peer', 'cosmos peers')
    return found
  }

  #contactNamed(peer: string) {
    return this.#contacts.get(this.#named(peer).id)!
  }

  #joined({ peer, name, addresses }: Joined, grants: readonly unknown[]) {
    const added = this.#peers.add({
      id: peer,
      name,
      addresses,
      grants: grants.map((each) => formatGrant(parseGrant(String(each)))),
    })
    this.#parts.log(`joined with ${added.name} (${peer})`)
    return added
  }

  #changed(id: string, change: PeerChange): void {
    if (change === 'added') this.#contacts.meet(id)
    else if (change === 'removed') this.#contacts.part(id)
    else this.#contacts.regrant(id)
    if (change === 'removed') this.#later('listen', () => this.#listening.closeIfIdle())
    this.#later('sources', () => this.#parts.rootsChanged())
  }

  /** Does what nobody waits for; what goes wrong is logged. */
  #later(what: string, work: () => unknown): void {
    Promise.resolve()
      .then(work)
      .catch((error: unknown) =>
        this.#parts.log(`${what}: ${error instanceof Error ? error.message : error}`),
      )
  }

  #tell(event: MeshEvent): void {
    const who = event.peer ?? event.address
    const times = event.kind === 'refused' && event.times > 1 ? ` (${event.times} times)` : ''
    const what = event.kind === 'refused' ? `refused, ${event.reason}` : 'joined'
    this.#parts.log(`mesh: ${event.address} ${what}: ${event.detail}${times}`)
    if (event.kind === 'refused')
      this.#audit.refused({
        visitor: who,
        operation: 'link',
        path: event.address,
        why: `${event.reason}: ${event.detail}${times}`,
      })
  }
}
