import { join } from 'node:path'
import { openDatabase } from '../cosmosdb/database.ts'
import { PeersStore } from '../cosmosdb/peers-store.ts'
import { CosmosError } from '../errors.ts'
import { pathBytes } from '../frame/paths.ts'
import { hostService } from '../source/host-service.ts'
import type { Sources } from '../source/sources.ts'
import { AuditLog } from './audit.ts'
import { dialLink } from './dial.ts'
import { Dialer, type PeerState } from './dialer.ts'
import { ExecDesk } from './exec-desk.ts'
import { peerFiles } from './files/client.ts'
import { FileDesk } from './files/server.ts'
import { fieldsOf, textOf, wrong } from './files/wire.ts'
import { formatGrant, type GrantRule, Grants, parseGrant, type Visitor } from './grants.ts'
import { type Identity, loadIdentity } from './identity.ts'
import { formatInvite, Invites, parseInvite } from './invite.ts'
import { JoinAnswers, type Joined, join as joinPeer } from './join.ts'
import { Lends } from './lends.ts'
import { type MeshEvent, RefusalLog } from './listen-audit.ts'
import { Listening } from './listening.ts'
import { PeerCosm } from './peer-cosm.ts'
import { type PeerChange, Peers } from './peers.ts'
import { ReachableMount } from './reachable-mount.ts'
import { PeerPrograms } from './run-for-peer.ts'
import type { CallContext } from './session/incoming-call.ts'
import type { Call, CallOptions } from './session/outgoing-call.ts'
import { Session, type SessionState } from './session/session.ts'

/** How often a peer that is down is dialled because somebody asks for it, milliseconds. */
const ASK_AGAIN_MS = 1000
/** How often a peer is asked what it offers: programs come and go without a word. Milliseconds. */
const LEARN_MS = 30_000

/** What the mesh needs of the daemon. */
export interface MeshParts {
  /** State that stays: the key, the audit log, where this host listens. */
  readonly state: string
  readonly database: string
  /** State of this boot: the cosm layer of peers' programs, what sandboxes are made of. */
  readonly layer: string
  readonly sandboxes: string
  /** What this host is called: `me@laptop`. */
  readonly name: string
  readonly software: string
  /** Where the tree is mounted; one character a byte. */
  readonly mount: string
  /** Never there for peers, whatever they are granted: resolved paths, one character a byte. */
  readonly secrets: readonly string[]
  readonly sources: Sources
  /** The sources of the tree are others. */
  rootsChanged(): Promise<void>
  /** Whether a directory shows as an empty one: a cosmos mount. */
  isTree(path: string): boolean
  /** Host paths of the programs of this host, by name; not of those that are peers'. `anew`: as they are now. */
  programs(anew?: boolean): Promise<ReadonlyMap<string, string>>
  log(line: string): void
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

/** All that is known of a peer while the daemon runs. */
interface Contact {
  /** Of its directory, for good. */
  readonly name: string
  readonly session: Session
  readonly desk: FileDesk
  /** What it may do here, as typed and to be asked. */
  rules: readonly string[]
  grants: Grants
  granted: readonly string[]
  programs: readonly string[]
  /** It is being asked what it offers, and was told of a change since. */
  learning: 'not' | 'once' | 'again'
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
  readonly #contacts = new Map<string, Contact>()
  readonly #lends = new Lends()
  /** When peers that are down were last dialled because somebody asked. */
  readonly #askedAt = new Map<string, number>()
  readonly #cosm: PeerCosm
  readonly #programs: PeerPrograms
  readonly #exec: ExecDesk
  readonly #mount: ReachableMount
  #learning: NodeJS.Timeout | undefined

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
    this.#cosm = new PeerCosm(parts.layer)
    this.#programs = new PeerPrograms({
      directory: parts.sandboxes,
      secrets: [...parts.secrets, parts.mount],
      audit: this.#audit,
      environment: process.env,
    })
    this.#mount = new ReachableMount(pathBytes(parts.mount).toString('utf8'), parts.sandboxes)
    this.#exec = new ExecDesk({
      programs: this.#programs,
      mount: this.#mount,
      find: async (name) => (await parts.programs()).get(name),
      show: (root, service) => {
        parts.sources.add(root, async () => service)
        return parts.rootsChanged()
      },
      hide: (root) => {
        parts.sources.remove(root)
        return parts.rootsChanged()
      },
    })
    for (const { id } of this.#peers.all()) this.#meet(id)
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
    this.#learning = setInterval(() => {
      for (const [id, { session }] of this.#contacts) if (session.state === 'open') void this.#learn(id)
    }, LEARN_MS).unref()
  }

  /** Ends all links and what runs for peers. */
  async close(): Promise<void> {
    clearInterval(this.#learning)
    this.#dialer.close()
    await this.#listening.close()
    for (const { session } of this.#contacts.values()) session.close()
    await this.#programs.close()
    await this.#mount.close()
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
    return this.#cosm.offering(program)
  }

  /** Names of programs that are peers' alone. */
  get peerPrograms(): ReadonlySet<string> {
    return this.#cosm.names
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
    const { id } = this.#named(peer)
    const lend = this.#lends.lend(id, path, writable)
    return {
      token: lend.token,
      end: () => {
        this.#lends.end(lend)
        this.#contacts.get(id)?.desk.endLend(lend.token)
      },
    }
  }

  #named(peer: string) {
    const found = this.#peers.all().find(({ id, name }) => name === peer || id === peer)
    if (!found) throw new CosmosError('ENOENT', peer, 'is no peer', 'cosmos peers')
    return found
  }

  #contactNamed(peer: string): Contact {
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
    if (change === 'added') this.#meet(id)
    else if (change === 'removed') this.#part(id)
    else this.#regrant(id)
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

  #meet(id: string): void {
    const peer = this.#peers.get(id)
    if (!peer || this.#contacts.has(id)) return
    const session = new Session({
      self: this.#identity.id,
      peer: id,
      software: this.#parts.software,
      handler: {
        call: (op, args, context) => this.#answer(id, op, args, context),
        event: (op) => {
          if (op === 'changed') void this.#learn(id)
        },
      },
      changed: (state) => {
        if (state === 'open') void this.#learn(id)
        // What it had open and what runs for it is of no use any more.
        if (state === 'down') this.#forgetWork(id)
      },
      began: () => this.#forgetWork(id),
      report: (error) => this.#parts.log(`${peer.name}: ${error}`),
    })
    const { isTree, secrets } = this.#parts
    const desk = new FileDesk(hostService({ isTree, secrets }), {
      allows: (operation, path, lend) =>
        lend === undefined
          ? (this.#contacts.get(id)?.grants.allows(operation, path) ?? false)
          : this.#lends.allows(lend, id, path, operation === 'write'),
      moves: (from, to, lend) =>
        lend !== undefined || (this.#contacts.get(id)?.grants.moves(from, to) ?? false),
      refused: (operation, path) =>
        this.#audit.refused({ visitor: id, operation, path, why: 'is not granted' }),
    })
    this.#contacts.set(id, {
      ...{ name: peer.name, session, desk },
      ...{ rules: peer.grants.map(String), grants: grantsOf(peer.grants, peer) },
      ...{ granted: [], programs: [], learning: 'not' },
    })
    this.#parts.sources.add(peer.name, async () =>
      peerFiles({
        call: (op, args, options) => {
          this.#wanted(id, session)
          return session.call(op, args, options)
        },
      }),
    )
  }

  /** Somebody asks for a peer that is down: it is dialled at once, not when its time comes. */
  #wanted(id: string, session: Session): void {
    if (session.state !== 'down') return
    const now = performance.now()
    if (now - (this.#askedAt.get(id) ?? Number.NEGATIVE_INFINITY) < ASK_AGAIN_MS) return
    this.#askedAt.set(id, now)
    this.#dialer.retry(id)
  }

  #part(id: string): void {
    const contact = this.#contacts.get(id)
    if (!contact) return
    this.#contacts.delete(id)
    this.#programs.endFor(id)
    contact.session.close()
    void contact.desk.close()
    this.#parts.sources.remove(contact.name)
    this.#askedAt.delete(id)
    void this.#withOwn((own) => this.#cosm.withdraw(id, own))
  }

  /** What a peer may do is another by now. */
  #regrant(id: string): void {
    const peer = this.#peers.get(id)
    const contact = this.#contacts.get(id)
    if (!peer || !contact) return
    const former = contact.rules
    contact.rules = peer.grants.map(String)
    contact.grants = grantsOf(peer.grants, peer)
    // What is open is asked about again with each use; what runs is not.
    const isLess =
      former.some((rule) => !contact.rules.includes(rule)) ||
      contact.rules.some((rule) => rule.startsWith('deny:') && !former.includes(rule))
    if (isLess) this.#programs.endFor(id)
    try {
      if (contact.session.state === 'open') contact.session.notify('changed', {})
    } catch (error) {
      // A peer that takes nothing must not keep what it has.
      this.#parts.log(`${peer.name}: ${(error as Error).message}`)
    }
  }

  #forgetWork(id: string): void {
    this.#programs.endFor(id)
    void this.#contacts.get(id)?.desk.close()
  }

  /** Asks a peer what it offers. */
  async #learn(id: string): Promise<void> {
    const contact = this.#contacts.get(id)
    const peer = this.#peers.get(id)
    if (!contact || !peer) return
    // One that tells of changes all the time is asked one time after the other.
    const { learning } = contact
    contact.learning = learning === 'not' ? 'once' : 'again'
    if (learning !== 'not') return
    try {
      const answer = fieldsOf(await contact.session.call('offer', {}, { deadline: 15_000, idempotent: true }))
      const { programs = [], grants = [] } = answer
      contact.programs = offered(programs)
      contact.granted = offered(grants)
      // It may have left meanwhile.
      if (this.#contacts.get(id) !== contact) return
      await this.#withOwn((own) => this.#cosm.offer(id, peer.name, contact.programs, own))
    } catch (error) {
      this.#parts.log(`${peer.name}: ${(error as Error).message}`)
    }
    const isAgain = contact.learning === 'again'
    contact.learning = 'not'
    if (isAgain && contact.session.state === 'open') void this.#learn(id)
  }

  async #withOwn(work: (own: ReadonlySet<string>) => Promise<void>): Promise<void> {
    try {
      await work(new Set((await this.#parts.programs()).keys()))
    } catch (error) {
      this.#parts.log(`programs of peers: ${(error as Error).message}`)
    }
  }

  #answer(id: string, op: string, args: unknown, context: CallContext): unknown {
    const contact = this.#contacts.get(id)
    const peer = this.#peers.get(id)
    if (!contact || !peer) throw new CosmosError('EACCES', id, 'is no peer of this host')
    if (op.startsWith('files.')) return contact.desk.call(op.slice('files.'.length), args, context)
    switch (op) {
      case 'offer':
        return this.#offer(contact, peer.grants)
      case 'exec': {
        const call = (name: string, sent: unknown, options?: CallOptions) =>
          contact.session.call(name, sent, options)
        return this.#exec.call(args, context, { id, name: peer.name }, contact.grants, call)
      }
      case 'leave':
        setImmediate(() => this.#later('leave', () => this.#peers.remove(id)))
        return {}
      default:
        throw new CosmosError('ENOSYS', op, 'is no operation of this host')
    }
  }

  /** The programs that a peer may run here, and its grants. */
  async #offer({ grants }: Contact, rules: readonly unknown[]): Promise<object> {
    const own = await this.#parts.programs(true)
    const programs: string[] = []
    for (const [name, path] of own)
      if (grants.execution([path, `.cosm/bin/${name}`]) !== undefined) programs.push(name)
    return { programs, grants: rules.map(String) }
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

/** What a peer offers at most, of programs or of grants. */
const MAX_OFFERED = 20_000

function offered(sent: unknown): readonly string[] {
  if (!Array.isArray(sent) || sent.length > MAX_OFFERED) throw wrong('an offer')
  return sent.map((each) => textOf(each, 'an offer'))
}

function grantsOf(rules: readonly unknown[], visitor: Visitor): Grants {
  const parsed: GrantRule[] = rules.map((each) => parseGrant(String(each)))
  return new Grants(parsed, { id: visitor.id, ...(visitor.name !== undefined && { name: visitor.name }) })
}
