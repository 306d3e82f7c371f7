import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CosmosError } from '../errors.ts'
import { type PoolBounds, type PoolStatus, VmPool } from './pool.ts'
import { VmStateFiles } from './state-files.ts'
import type { VmCommand } from './vm-process.ts'

/** A VM as its profile says it is to be run. */
export interface VmPlan extends VmCommand {
  readonly bounds: PoolBounds
}

/** State files are written so long after a change, once for all until then, milliseconds. */
const SHOW_AFTER_MS = 20

interface Running {
  /** The plan that was last asked for, and as text: another plan is another VM. */
  plan: VmPlan
  readonly text: string
  readonly pool: VmPool
  readonly files: VmStateFiles
}

/** The VMs of a daemon, by name: each is started when it is first needed. */
export class VmRegistry {
  readonly #runtime: string
  readonly #running = new Map<string, Running>()
  readonly #changed = new Set<string>()

  /** `runtime` is the instance's runtime directory; what a former daemon left there is removed. */
  constructor(runtime: string) {
    this.#runtime = runtime
    for (const left of [join(runtime, 'vm'), join(runtime, 'cosm', 'vm')]) {
      mkdirSync(left, { recursive: true, mode: 0o700 })
      for (const name of readdirSync(left)) rmSync(join(left, name), { recursive: true, force: true })
    }
  }

  /** The processes of a VM; those of an older plan of it are ended. */
  pool(plan: VmPlan): VmPool {
    const known = this.#running.get(plan.name)
    if (known?.plan === plan) return known.pool
    const text = JSON.stringify(plan)
    if (known?.text === text) {
      known.plan = plan
      return known.pool
    }
    if (known) void this.#close(plan.name, known)
    const files = new VmStateFiles(this.#runtime, plan.name, (word) => this.#order(plan.name, word))
    const pool = new VmPool(
      plan,
      plan.bounds,
      join(this.#runtime, 'vm', plan.name),
      (bytes) => files.log(bytes),
      () => this.#show(plan.name),
    )
    this.#running.set(plan.name, { plan, text, pool, files })
    this.#show(plan.name)
    return pool
  }

  /** What a VM is at; undefined for one that was never needed. */
  status(name: string): PoolStatus | undefined {
    return this.#running.get(name)?.pool.status
  }

  /** The processes of a VM that was started. Throws CosmosError ENOENT for another. */
  known(name: string): VmPool {
    const running = this.#running.get(name)
    if (!running) throw new CosmosError('ENOENT', `VM ${name}`, 'does not run', 'cosmos vm list')
    return running.pool
  }

  /** The VM that a process is of; undefined for any other process. */
  nameOf(pid: number): string | undefined {
    for (const [name, { pool }] of this.#running) if (pool.has(pid)) return name
    return undefined
  }

  names(): string[] {
    return [...this.#running.keys()]
  }

  async #close(name: string, running: Running): Promise<void> {
    if (this.#running.get(name) === running) this.#running.delete(name)
    running.files.close()
    await running.pool.close()
  }

  #order(name: string, word: string): void {
    const running = this.#running.get(name)
    if (!running) return
    if (word === 'restart') void running.pool.restart()
    else if (word === 'stop') void this.#close(name, running)
    else running.files.log(Buffer.from(`ctl: ${word}: there is restart and stop\n`))
  }

  #show(name: string): void {
    if (this.#changed.size === 0)
      setTimeout(() => {
        for (const each of this.#changed) {
          const running = this.#running.get(each)
          running?.files.show(running.pool.status)
        }
        this.#changed.clear()
      }, SHOW_AFTER_MS)
    this.#changed.add(name)
  }
}
