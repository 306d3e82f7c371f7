import { CosmosError } from '../errors.ts'
import { pathBytes } from '../frame/paths.ts'
import { hostService } from '../source/host-service.ts'
import type { Sources } from '../source/sources.ts'
import type { AuditLog } from './audit.ts'
import { ExecDesk } from './exec-desk.ts'
import { peerFiles } from './files/client.ts'
import { FileDesk } from './files/server.ts'
import { fieldsOf, textOf, wrong } from './files/wire.ts'
import { type GrantRule, Grants, parseGrant, type Visitor } from './grants.ts'
import { Lends } from './lends.ts'
import { PeerCosm } from './peer-cosm.ts'
import type { Peers } from './peers.ts'
import { ReachableMount } from './reachable-mount.ts'
import { PeerPrograms } from './run-for-peer.ts'
import type { CallContext } from './session/incoming-call.ts'
import type { CallOptions } from './session/outgoing-call.ts'
import { Session } from './session/session.ts'

/** How often a peer that is down is dialled because somebody asks for it, milliseconds. */
const ASK_AGAIN_MS = 1000
/** How often a peer is asked what it offers, milliseconds. */
const LEARN_MS = 30_000

/** What is served to peers, and what of them shows here. */
export interface ContactsParts {
  /** State of this boot: the cosm layer of peers' programs, what sandboxes are made of. */
  readonly layer: string
  readonly sandboxes: string
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

/** What of this host's mesh goes on elsewhere. */
interface ContactsHost {
  /** This host's peer id. */
  readonly self: string
  readonly peers: Peers
  readonly audit: AuditLog
  /** Dials a peer at once. */
  dial(id: string): void
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

/** The contacts with all peers: what they ask of this host, within their grants, and what they offer it. */
export class Contacts {
  readonly #parts: ContactsParts
  readonly #host: ContactsHost
  readonly #contacts = new Map<string, Contact>()
  readonly #lends = new Lends()
  /** When peers that are down were last dialled because somebody asked. */
  readonly #askedAt = new Map<string, number>()
  readonly #cosm: PeerCosm
  readonly #programs: PeerPrograms
  readonly #exec: ExecDesk
  readonly #mount: ReachableMount
  #learning: NodeJS.Timeout | undefined

  constructor(parts: ContactsParts, host: ContactsHost) {
    this.#parts = parts
    this.#host = host
    this.#cosm = new PeerCosm(parts.layer)
    this.#programs = new PeerPrograms({
      directory: parts.sandboxes,
      secrets: [...parts.secrets, parts.mount],
      audit: host.audit,
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
  }

  /** The contact with a peer. */
  get(id: string): Contact | undefined {
    return this.#contacts.get(id)
  }

  /** Asks peers now and then what they offer: their programs come and go without a word. */
  keepLearning(): void {
    this.#learning = setInterval(() => {
      for (const [id, { session }] of this.#contacts) if (session.state === 'open') void this.#learn(id)
    }, LEARN_MS).unref()
  }

  /** Ends all sessions and what runs for peers. */
  async close(): Promise<void> {
    clearInterval(this.#learning)
    for (const { session } of this.#contacts.values()) session.close()
    await this.#programs.close()
    await this.#mount.close()
  }

  /** Names of the peers that offer a program. */
  offering(program: string): string[] {
    return this.#cosm.offering(program)
  }

  /** Names of programs that are peers' alone. */
  get peerPrograms(): ReadonlySet<string> {
    return this.#cosm.names
  }

  /** Lends a directory of this host to a peer: what it is to be told, and the end of it. */
  lend(id: string, path: string, writable: boolean): { token: string; end: () => void } {
    const lend = this.#lends.lend(id, path, writable)
    return {
      token: lend.token,
      end: () => {
        this.#lends.end(lend)
        this.#contacts.get(id)?.desk.endLend(lend.token)
      },
    }
  }

  /** A peer is there. */
  meet(id: string): void {
    const peer = this.#host.peers.get(id)
    if (!peer || this.#contacts.has(id)) return
    const session = new Session({
      self: this.#host.self,
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
        this.#host.audit.refused({ visitor: id, operation, path, why: 'is not granted' }),
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
    this.#host.dial(id)
  }

  /** A peer is none any more. */
  part(id: string): void {
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
  regrant(id: string): void {
    const peer = this.#host.peers.get(id)
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
    const peer = this.#host.peers.get(id)
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
    const peer = this.#host.peers.get(id)
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
        setImmediate(() => this.#leave(id))
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

  #leave(id: string): void {
    try {
      this.#host.peers.remove(id)
    } catch (error) {
      this.#parts.log(`leave: ${(error as Error).message}`)
    }
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
