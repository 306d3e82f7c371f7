import { mkdirSync } from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { VmConnection } from '../api/vm-connection.ts'
import { CosmosError } from '../errors.ts'
import { toWire, wireBytes } from '../form/wire.ts'
import type { ProductionRequest } from '../frame/productions.ts'
import type { VmDefinition } from './definitions.ts'
import type { VmRegistry } from './registry.ts'
import { planOf } from './shipped.ts'

/** The store's bounds, and how often it is looked at: after so many productions. */
const MAX_RESULTS = 10_000
const MAX_BYTES = 2 * 1024 ** 3
const PRUNE_EVERY = 64

/** What the tree thread has made: by the VM that produces, each in a session of its own. */
export class Producer {
  readonly #registry: VmRegistry
  readonly #compileCache: string | undefined
  readonly #store: string
  #sincePrune = 0

  /** `store` is where results are kept; it is made, 0700. */
  constructor(registry: VmRegistry, store: string, compileCache: string | undefined) {
    this.#registry = registry
    this.#compileCache = compileCache
    this.#store = store
    mkdirSync(store, { recursive: true, mode: 0o700 })
  }

  /** Makes something; answers why it failed, undefined where it did not. Never rejects. */
  async produce(
    { step, input, identity, output, modules, scanners }: ProductionRequest,
    vm: VmDefinition | undefined,
  ): Promise<string | undefined> {
    try {
      if (!vm) throw new CosmosError('ENOEXEC', step.name, 'there is no VM that produces', 'cosmos vm list')
      const pool = this.#registry.pool(planOf(vm, this.#compileCache))
      const lease = pool.lease()
      try {
        const connection = await connect(pool.socket, vm.name)
        try {
          await connection.ask('produce', {
            kind: step.kind,
            name: step.name,
            args: step.args.map((each) => wireBytes(toWire(each)).toString()),
            input: toWire(input),
            ...(identity === undefined ? {} : { identity }),
            output: toWire(output),
            ...(step.form === undefined ? {} : { form: step.form }),
            modules: modules.map(toWire),
            scanners: scanners.map(toWire),
          })
        } finally {
          connection.close()
        }
        if (++this.#sincePrune >= PRUNE_EVERY) {
          this.#sincePrune = 0
          // One that is made or removed meanwhile is left to the next time.
          this.#prune().catch(() => {})
        }
        return undefined
      } finally {
        lease.end()
      }
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    }
  }

  /** Removes what was not used for the longest time, beyond the bounds. What is open stays, without a name. */
  async #prune(): Promise<void> {
    const names = (await readdir(this.#store)).filter((name) => /^[0-9a-f]+$/.test(name))
    const results = await Promise.all(
      names.map(async (name) => {
        const path = join(this.#store, name)
        return { path, usedAt: (await lstat(path)).mtimeMs, size: await sizeOf(path) }
      }),
    )
    results.sort((a, b) => b.usedAt - a.usedAt)
    let bytes = 0
    for (const [index, { path, size }] of results.entries()) {
      bytes += size
      if (index < MAX_RESULTS && bytes <= MAX_BYTES) continue
      await rm(path, { recursive: true, force: true })
      await rm(`${path}.index`, { force: true })
    }
  }
}

/** Bytes of a file, or of all files of a directory. */
async function sizeOf(path: string): Promise<number> {
  const stats = await lstat(path)
  if (!stats.isDirectory()) return stats.size
  let size = 0
  for (const name of await readdir(path)) size += await sizeOf(join(path, name))
  return size
}

/** A session of a VM. What it had been asked fails when the process ends. */
async function connect(path: string, vm: string): Promise<VmConnection> {
  const socket = createConnection(path)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', (error) => reject(new CosmosError('EIO', `VM ${vm}`, error.message)))
  })
  return VmConnection.open(socket, (unanswered) => {
    for (const request of unanswered)
      request.reject(
        new CosmosError('EIO', `VM ${vm}`, 'ended before it had produced anything', 'cosmos log'),
      )
  })
}
