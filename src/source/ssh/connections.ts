import { CosmosError } from '../../errors.ts'
import type { SourceContext } from '../service.ts'
import { parseAddress, type SshAddress } from './address.ts'
import { hostSettings } from './configuration.ts'
import { openSession, type Patience } from './connection.ts'
import type { SftpSession } from './session.ts'

/** A host that could not be reached is not tried again for so long, milliseconds; twice as long each time. */
const FIRST_PAUSE = 1000
const LAST_PAUSE = 8000
/** Hosts of which that is remembered. */
const MAX_FAILURES = 1000

interface Failure {
  readonly error: unknown
  readonly until: number
  readonly pause: number
}

/**
 * The sessions of hosts: one for a user, host and port, however many ways lead there. A session is started when it is
 * asked for, and ends when nobody has used it for a while.
 */
export class Connections {
  readonly #context: SourceContext
  readonly #patience: Patience
  readonly #idle: number
  /** By what the user wrote, and by where that leads. */
  readonly #named = new Map<string, Promise<SftpSession>>()
  readonly #reached = new Map<string, Promise<SftpSession>>()
  readonly #failures = new Map<string, Failure>()
  readonly #watch: NodeJS.Timeout
  #closed = false

  /** `idle`: how long a session that nobody uses stays, milliseconds. */
  constructor(context: SourceContext, patience: Patience, idle: number) {
    this.#context = context
    this.#patience = patience
    this.#idle = idle
    this.#watch = setInterval(() => this.#endIdle(), idle / 4)
    this.#watch.unref()
  }

  /** Authorities that are connected. */
  names(): string[] {
    return [...this.#named.keys()]
  }

  /** The session of an authority. Rejects as openSession does; at once while a failure is young. */
  session(authority: string): Promise<SftpSession> {
    if (this.#closed) return Promise.reject(new CosmosError('EHOSTDOWN', 'ssh', 'is closed'))
    const known = this.#named.get(authority)
    if (known) return known
    const failure = this.#failures.get(authority)
    if (failure && performance.now() < failure.until) return Promise.reject(failure.error)
    let address: SshAddress
    try {
      address = parseAddress(Buffer.from(authority, 'latin1').toString())
    } catch (error) {
      return Promise.reject(error)
    }
    const starting = this.#start(address)
    this.#named.set(authority, starting)
    starting.then(
      (session) => {
        this.#failures.delete(authority)
        this.#forgetWhenLost(this.#named, authority, session, starting)
      },
      (error) => {
        this.#named.delete(authority)
        if (this.#failures.size >= MAX_FAILURES) this.#failures.clear()
        const pause = Math.min(LAST_PAUSE, failure ? failure.pause * 2 : FIRST_PAUSE)
        this.#failures.set(authority, { error, until: performance.now() + pause, pause })
      },
    )
    return starting
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#watch)
    const sessions = await Promise.allSettled(this.#reached.values())
    for (const each of sessions)
      if (each.status === 'fulfilled')
        each.value.end(new CosmosError('EHOSTDOWN', each.value.subject, 'is closed'))
  }

  async #start(address: SshAddress): Promise<SftpSession> {
    const settings = await hostSettings(address, this.#context)
    const { alias: _, ...reached } = settings
    const place = JSON.stringify(reached)
    const known = this.#reached.get(place)
    if (known) return known
    const opening = openSession(settings, this.#context, this.#patience)
    this.#reached.set(place, opening)
    try {
      const session = await opening
      this.#forgetWhenLost(this.#reached, place, session, opening)
      return session
    } catch (error) {
      this.#reached.delete(place)
      throw error
    }
  }

  #forgetWhenLost(
    map: Map<string, Promise<SftpSession>>,
    key: string,
    session: SftpSession,
    promise: Promise<SftpSession>,
  ): void {
    const forget = () => {
      if (map.get(key) === promise) map.delete(key)
    }
    if (session.lost) forget()
    const before = session.onLost
    session.onLost = () => {
      forget()
      before?.()
    }
  }

  #endIdle(): void {
    const now = performance.now()
    for (const promise of this.#reached.values())
      promise.then(
        (session) => {
          if (!session.busy && session.handles === 0 && now - session.used > this.#idle)
            session.end(new CosmosError('EHOSTDOWN', session.subject, 'was idle'))
        },
        () => {},
      )
  }
}
