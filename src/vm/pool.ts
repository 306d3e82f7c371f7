import { setTimeout as sleep } from 'node:timers/promises'
import { CosmosError } from '../errors.ts'
import { endLeftovers } from './leftovers.ts'
import { ListeningSocket } from './listening-socket.ts'
import { describeExit, type VmCommand, type VmExit, VmProcess } from './vm-process.ts'

/** How many processes a VM has (`[pool]` of its profile, docs/vm-protocol.md). */
export interface PoolBounds {
  readonly min: number
  readonly max: number
  /** Idle ones beyond those that are busy. */
  readonly spares: number
  readonly idleSeconds: number
  /** Connections that one process serves at a time; 0: any number. */
  readonly sessions: number
}

/** Figures of a pool, and what it is at. */
export interface PoolStatus {
  readonly state: 'stopped' | 'running' | 'failed'
  /** Why it is `failed`. */
  readonly reason?: string
  readonly pids: readonly number[]
  /** Sessions that are given away now, and all so far. */
  readonly leases: number
  readonly launches: number
  readonly restarts: number
}

/** A session of a VM that is given away; `end` gives it back, once. */
export interface Lease {
  end(): void
}

/** A process that ran so long has started well. */
const STEADY_MS = 1000
/** Failed starts in a row after which nobody waits for the next. */
const GIVE_UP_AFTER = 3
const FIRST_DELAY_MS = 100
/** A start that somebody waits for is not slowed down by spares. */
const SPARE_AFTER_MS = 300
const LAST_DELAY_MS = 10_000
/** Ends of processes that are remembered for those who ask how theirs ended. */
const OBITUARIES = 256
/** How long one who asks waits for a process that is about to end. */
const OBITUARY_PATIENCE_MS = 2000

/** The processes of one VM: started when they are needed, replaced when they die, ended when they are idle. */
export class VmPool {
  readonly #what: VmCommand
  readonly #bounds: PoolBounds
  readonly #socket: ListeningSocket
  readonly #log: (bytes: Buffer) => void
  readonly #changed: () => void
  readonly #processes = new Set<VmProcess>()
  readonly #obituaries = new Map<number, VmExit>()
  #leases = 0
  #launches = 0
  #restarts = 0
  #failures = 0
  #reason = ''
  #retry: NodeJS.Timeout | undefined
  #spare: NodeJS.Timeout | undefined
  #idle: NodeJS.Timeout | undefined
  #closed = false

  /** `log` takes what its processes say, `changed` is called when {@link status} would answer something new. */
  constructor(
    what: VmCommand,
    bounds: PoolBounds,
    socketPath: string,
    log: (bytes: Buffer) => void,
    changed: () => void,
  ) {
    this.#what = what
    this.#bounds = bounds
    this.#log = log
    this.#changed = changed
    this.#socket = new ListeningSocket(socketPath)
    this.#fill()
  }

  /** Where a session is had: whoever has a lease connects there. */
  get socket(): string {
    return this.#socket.path
  }

  get status(): PoolStatus {
    const state =
      this.#failures >= GIVE_UP_AFTER ? 'failed' : this.#processes.size > 0 ? 'running' : 'stopped'
    return {
      state,
      ...(state === 'failed' ? { reason: this.#reason } : {}),
      pids: [...this.#processes].map((each) => each.pid),
      leases: this.#leases,
      launches: this.#launches,
      restarts: this.#restarts,
    }
  }

  /** Whether a process is one of its own. */
  has(pid: number): boolean {
    for (const each of this.#processes) if (each.pid === pid) return true
    return false
  }

  /** Sees to it that a process is there for one more session. Throws CosmosError EIO for a VM that does not start. */
  lease(): Lease {
    if (this.#failures >= GIVE_UP_AFTER) throw this.#failure()
    this.#leases++
    this.#launches++
    clearTimeout(this.#idle)
    this.#fill()
    this.#changed()
    let ended = false
    return {
      end: () => {
        if (ended) return
        ended = true
        this.#leases--
        this.#changed()
        if (this.#leases === 0) this.#whenIdle()
      },
    }
  }

  /** How a process ended; waits a little for one that is still there. Undefined for one that nobody remembers. */
  async obituary(pid: number): Promise<VmExit | undefined> {
    const living = [...this.#processes].find((each) => each.pid === pid)
    if (!living) return this.#obituaries.get(pid)
    const patience = sleep(OBITUARY_PATIENCE_MS, undefined, { ref: false })
    return Promise.race([living.exited, patience])
  }

  /** Ends all processes and starts anew those that are wanted; forgets failures. What they run is ended. */
  async restart(): Promise<void> {
    this.#failures = 0
    clearTimeout(this.#retry)
    this.#retry = undefined
    await Promise.all([...this.#processes].map((each) => each.end()))
    this.#fill()
    this.#changed()
  }

  /** Ends it for good. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retry)
    clearTimeout(this.#idle)
    clearTimeout(this.#spare)
    await Promise.all([...this.#processes].map((each) => each.end()))
    this.#socket.refuse()
    this.#socket.close()
  }

  /** Starts what is missing: at once what somebody waits for, the spares a little later. */
  #fill(): void {
    if (this.#closed || this.#retry) return
    const { min, max, spares, sessions } = this.#bounds
    const busy = sessions === 0 ? Math.min(1, this.#leases) : Math.ceil(this.#leases / sessions)
    while (this.#processes.size < Math.min(max, Math.max(min, busy))) this.#start()
    if (this.#leases > 0 && this.#processes.size < Math.min(max, busy + spares))
      this.#startSpares(busy + spares)
  }

  #startSpares(wanted: number): void {
    this.#spare ??= setTimeout(() => {
      this.#spare = undefined
      while (!this.#closed && !this.#retry && this.#processes.size < Math.min(this.#bounds.max, wanted))
        this.#start()
    }, SPARE_AFTER_MS).unref()
  }

  #start(): void {
    const started = new VmProcess(this.#what, this.#socket.fd, this.#log)
    this.#processes.add(started)
    void started.exited.then((exit) => this.#ended(started, exit))
  }

  #ended(gone: VmProcess, exit: VmExit): void {
    this.#processes.delete(gone)
    if ('signal' in exit && gone.pid > 0) endLeftovers(gone.pid)
    this.#obituaries.set(gone.pid, exit)
    if (this.#obituaries.size > OBITUARIES)
      this.#obituaries.delete(this.#obituaries.keys().next().value as number)
    // One that ends by itself with 0 has done its session; one that was killed or was steady has started well.
    const failed = 'code' in exit && exit.code !== 0 && performance.now() - gone.startedAt < STEADY_MS
    if (gone.ending || this.#closed) this.#changed()
    else if (failed) this.#failed(gone, exit)
    else {
      this.#failures = 0
      if (!('code' in exit) || exit.code !== 0) {
        this.#restarts++
        this.#log(Buffer.from(`process ${gone.pid} ${describeExit(exit)}\n`))
      }
      this.#replace()
      this.#changed()
    }
  }

  /** One is gone: what was warm stays warm. */
  #replace(): void {
    this.#fill()
    if (
      !this.#closed &&
      !this.#retry &&
      this.#processes.size < Math.min(this.#bounds.max, this.#bounds.spares)
    )
      this.#start()
  }

  #failed(gone: VmProcess, exit: VmExit): void {
    this.#failures++
    this.#restarts++
    this.#reason = gone.complaint || describeExit(exit)
    this.#log(Buffer.from(`process ${gone.pid} did not start: ${this.#reason}\n`))
    if (this.#failures >= GIVE_UP_AFTER && this.#processes.size === 0) this.#socket.refuse()
    else this.#retryLater()
    this.#changed()
  }

  #retryLater(): void {
    if (this.#retry) return
    const delay = Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** (this.#failures - 1))
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#fill()
    }, delay)
  }

  #failure(): CosmosError {
    return new CosmosError(
      'EIO',
      `VM ${this.#what.name}`,
      `does not start: ${this.#reason}`,
      `cosmos vm restart ${this.#what.name}`,
    )
  }

  /** Nobody uses it: after a while only as many processes stay as always should. */
  #whenIdle(): void {
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => {
      const surplus = [...this.#processes].slice(this.#bounds.min)
      for (const each of surplus) void each.end()
    }, this.#bounds.idleSeconds * 1000)
    this.#idle.unref()
  }
}
