import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dialLink } from '../../src/mesh/dial.ts'
import { type Identity, loadIdentity } from '../../src/mesh/identity.ts'
import { parseInvite } from '../../src/mesh/invite.ts'
import { join as joinPeer } from '../../src/mesh/join.ts'
import { RefusalLog } from '../../src/mesh/listen-audit.ts'
import type { SessionHandler } from '../../src/mesh/session/incoming-call.ts'
import { Session } from '../../src/mesh/session/session.ts'
import type { CosmosInstance } from './instance.ts'
import { waitFor } from './wait.ts'

/** What a peer asks by itself, and what it was answered. */
export interface Asked {
  readonly answer: Record<string, unknown>
  readonly stdout: string
  readonly stderr: string
}

/** Support: a peer of an instance that is this process, and that does as a test says. `stop` must be called. */
export class HostilePeer {
  readonly session: Session
  /** What the instance calls it. */
  readonly name: string
  readonly id: string
  readonly #state: string
  readonly #refusals: RefusalLog

  private constructor(session: Session, name: string, id: string, state: string, refusals: RefusalLog) {
    this.session = session
    this.name = name
    this.id = id
    this.#state = state
    this.#refusals = refusals
  }

  /** Joins an instance that listens, with what it grants. */
  static async join(
    cosmos: CosmosInstance,
    name: string,
    grants: readonly string[],
    handler: SessionHandler = { call: () => ({}) },
  ): Promise<HostilePeer> {
    const state = realpathSync(mkdtempSync(join(tmpdir(), 'cosmos-hostile-')))
    const refusals = new RefusalLog(() => {})
    const identity: Identity = loadIdentity(state)
    const listens = () => []
    const options = grants.flatMap((rule) => ['--grant', rule])
    const { invite } = JSON.parse(await cosmos.tell('invite', '--json', ...options)) as { invite: string }
    const joined = await joinPeer({
      identity,
      name,
      invite: parseInvite(invite),
      gives: [],
      refusals,
      listens,
    })
    const session = new Session({
      self: identity.id,
      peer: joined.peer,
      software: 'hostile',
      handler,
      report: () => {},
    })
    const { addresses, peer } = joined
    session.attach(await dialLink({ identity, peer, addresses, refusals, listens }))
    await waitFor('the session', () => session.state === 'open')
    return new HostilePeer(session, name, identity.id, state, refusals)
  }

  /** Asks for an operation on files; `path` is a host path. */
  files(op: string, path: string, more: object = {}): Promise<Record<string, unknown>> {
    const args = { path: path.split('/').filter(Boolean), ...more }
    return this.session.call(`files.${op}`, args, { deadline: 10_000 }) as Promise<Record<string, unknown>>
  }

  /** The errno name of its failure; undefined where it is done. */
  async code(op: string, path: string, more: object = {}): Promise<string | undefined> {
    try {
      await this.files(op, path, more)
      return undefined
    } catch (error) {
      return (error as { code: string }).code
    }
  }

  /** Has a program run, without input. */
  async exec(argv: readonly string[], more: object = {}): Promise<Asked> {
    const args = { program: argv[0], argv, env: [], ...more }
    const call = this.session.open('exec', args, { sends: 1, receives: 2 })
    const texts = ['', '']
    for (const [index, reader] of call.readers.entries())
      reader.read({
        data: (bytes) => {
          texts[index] += Buffer.from(bytes).toString('latin1')
          reader.consumed(bytes.length)
        },
        end: () => {},
      })
    call.writers[0]?.end()
    const answer = (await call.result) as Record<string, unknown>
    return { answer, stdout: texts[0] ?? '', stderr: texts[1] ?? '' }
  }

  stop(): void {
    this.session.close()
    this.#refusals.close()
    rmSync(this.#state, { recursive: true, force: true })
  }
}
