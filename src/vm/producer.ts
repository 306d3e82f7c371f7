import { mkdirSync } from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { constants } from 'node:os'
import { join } from 'node:path'
import { VmConnection } from '../api/vm-connection.ts'
import { CosmosError, describeError } from '../errors.ts'
import { LEFT_SUFFIX } from '../form/tree.ts'
import { toWire, wireBytes } from '../form/wire.ts'
import { pathBytes, readable } from '../frame/paths.ts'
import type { EditRequest } from '../frame/production/edits.ts'
import type { ProductionEnd, ProductionRequest } from '../frame/production/request.ts'
import type { SourcePath } from '../source/service.ts'
import type { VmDefinition } from './definitions.ts'
import { callLibrary } from './library-call.ts'
import type { VmPool } from './pool.ts'
import type { VmRegistry } from './registry.ts'
import { planOf } from './shipped.ts'

/** The store's bounds, and how often it is looked at: after so many productions. */
const MAX_RESULTS = 10_000
const MAX_BYTES = 2 * 1024 ** 3
const PRUNE_EVERY = 64
/** What was begun or dropped so long ago was left by a daemon that died, milliseconds. */
const LEFT_MS = 3_600_000

/** What a producer works with. */
export interface ProducerParts {
  readonly registry: VmRegistry
  /** Where results are kept; it is made, 0700. */
  readonly store: string
  /** Where Node keeps compiled code. */
  readonly compileCache: string | undefined
  /** Seconds that one production may take. */
  readonly deadline: number
  /** Copies what a source has to a path; answers how many bytes that is. */
  fetch(source: SourcePath, output: Uint8Array, signal: AbortSignal): Promise<number>
  /** A process has begun to make what has this key. */
  begun(key: string, pid: number): void
}

/** What the tree thread has made: by the VM that produces, each in a session of its own. */
export class Producer {
  readonly #parts: ProducerParts
  readonly #running = new Map<string, AbortController>()
  #sincePrune = 0

  constructor(parts: ProducerParts) {
    this.#parts = parts
    mkdirSync(parts.store, { recursive: true, mode: 0o700 })
  }

  /** Makes something, and answers how that has ended. Never rejects. */
  async produce(request: ProductionRequest, vm: VmDefinition | undefined): Promise<ProductionEnd> {
    const { key, step, output, source } = request
    const controller = new AbortController()
    const { signal } = controller
    this.#running.set(key, controller)
    const started = performance.now()
    try {
      if (source) {
        const size = await this.#parts.fetch(source, pathBytes(output), signal)
        this.#pruneSometimes()
        return { state: 'made', size, milliseconds: Math.round(performance.now() - started) }
      }
      if (!vm) throw new CosmosError('ENOEXEC', step.name, 'there is no VM that produces', 'cosmos vm list')
      const pool = this.#parts.registry.pool(planOf(vm, this.#parts.compileCache))
      const lease = pool.lease()
      try {
        const work = step.kind === 'call' ? this.#call : this.#make
        const size = await work.call(this, request, pool, vm.name, signal)
        this.#pruneSometimes()
        return { state: 'made', size, milliseconds: Math.round(performance.now() - started) }
      } finally {
        lease.end()
      }
    } catch (error) {
      // What the process had made so far.
      if (!request.fill) await rm(`${output}.part`, { recursive: true, force: true }).catch(() => {})
      if (signal.aborted) return { state: 'cancelled' }
      return { state: 'failed', why: error instanceof Error ? error.message : String(error) }
    } finally {
      this.#running.delete(key)
    }
  }

  /** Changes a document; 0 or `-errno`. Never rejects. */
  async edit(request: EditRequest, vm: VmDefinition | undefined): Promise<number> {
    const { path, identity, form, at, action, text } = request
    const { registry, compileCache, deadline } = this.#parts
    try {
      if (!vm) throw new CosmosError('ENOEXEC', form, 'there is no VM that produces', 'cosmos vm list')
      const pool = registry.pool(planOf(vm, compileCache))
      const lease = pool.lease()
      try {
        const connection = await connect(pool, vm.name, form, deadline, new AbortController().signal)
        try {
          await connection.ask('edit', {
            form,
            input: toWire(path),
            identity,
            at: at.map(toWire),
            action,
            ...(text === undefined ? {} : { text: new Uint8Array(text) }),
            deadline,
          })
          return 0
        } finally {
          connection.close()
        }
      } finally {
        lease.end()
      }
    } catch (error) {
      console.error(describeError(error))
      const numbers: Record<string, number | undefined> = constants.errno
      return -((error instanceof CosmosError ? numbers[error.code] : undefined) ?? constants.errno.EIO)
    }
  }

  /** Ends a production: nobody waits for it. */
  cancel(key: string): void {
    this.#running.get(key)?.abort()
  }

  /** By a mapper, a transformer or a program: bytes or entries that were made. */
  async #make(
    { key, step, input, identity, output, modules, scanners, executable, levels, fill }: ProductionRequest,
    pool: VmPool,
    vm: string,
    signal: AbortSignal,
  ): Promise<number> {
    const { deadline } = this.#parts
    const connection = await connect(pool, vm, step.name, deadline, signal)
    try {
      this.#parts.begun(key, connection.pid)
      const made = await connection.ask('produce', {
        kind: step.kind,
        name: step.name,
        args: step.args.map((each) => wireBytes(toWire(each)).toString()),
        ...(executable === undefined ? {} : { program: toWire(executable) }),
        input: toWire(input),
        ...(identity === undefined ? {} : { identity }),
        output: toWire(output),
        ...(step.form === undefined ? {} : { form: step.form }),
        modules: modules.map(toWire),
        scanners: scanners.map(toWire),
        ...levels,
        ...(fill && { fill: true, at: fill.at.map(toWire), more: fill.more }),
        deadline,
      })
      return Number(made.size ?? made.entries)
    } finally {
      connection.close()
    }
  }

  /** By a function of a library: bytes that were made. */
  async #call(
    { step, input, identity, output, executable }: ProductionRequest,
    pool: VmPool,
    _vm: string,
    signal: AbortSignal,
  ): Promise<number> {
    const [symbol = ''] = step.args
    if (executable === undefined) throw new CosmosError('ENOENT', step.name, 'is no library of this host')
    const { deadline } = this.#parts
    const place = (path: string): string => pathBytes(path).toString('utf8')
    return callLibrary(
      { library: place(executable), symbol, input: place(input), identity, output: place(output), deadline },
      pool,
      signal,
    )
  }

  #pruneSometimes(): void {
    if (++this.#sincePrune < PRUNE_EVERY) return
    this.#sincePrune = 0
    // One that is made or removed meanwhile is left to the next time.
    this.#prune().catch(() => {})
  }

  /** Removes what was not used for the longest time, beyond the bounds. What is open stays, without a name. */
  async #prune(): Promise<void> {
    const all = await readdir(this.#parts.store)
    const names = all.filter((name) => /^[0-9a-f]+$/.test(name))
    for (const name of all.filter((each) => /\.(?:part|dropped)/.test(each))) {
      const path = join(this.#parts.store, name)
      if (Date.now() - (await lstat(path)).mtimeMs > LEFT_MS) await rm(path, { recursive: true, force: true })
    }
    const results = await Promise.all(
      names.map(async (name) => {
        const path = join(this.#parts.store, name)
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
      await rm(path + LEFT_SUFFIX, { recursive: true, force: true })
    }
  }
}

/** Bytes of a file, or of all files of a directory. */
async function sizeOf(path: string): Promise<number> {
  const stats = await lstat(path)
  // A small file takes a block of the disk.
  if (!stats.isDirectory()) return Math.max(stats.size, stats.blocks * 512)
  let size = 0
  for (const name of await readdir(path)) size += await sizeOf(join(path, name))
  return size
}

/** A session of a VM, which is over when the signal is given. What it had been asked fails when the process ends. */
async function connect(
  pool: VmPool,
  vm: string,
  what: string,
  deadline: number,
  signal: AbortSignal,
): Promise<VmConnection> {
  signal.throwIfAborted()
  const socket = createConnection(pool.socket)
  const stop = (): void => {
    socket.destroy()
  }
  signal.addEventListener('abort', stop)
  socket.once('close', () => signal.removeEventListener('abort', stop))
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', (error) => reject(new CosmosError('EIO', `VM ${vm}`, error.message)))
    socket.once('close', () => reject(new CosmosError('ECANCELED', `VM ${vm}`, 'is not wanted any more')))
  })
  const connection: VmConnection = await VmConnection.open(socket, (unanswered) => {
    if (unanswered.length === 0) return
    void explain(pool, connection.pid, vm, what, deadline, signal).then((error) => {
      for (const request of unanswered) request.reject(error)
    })
  })
  return connection
}

/** Why a process has ended before it had answered. */
async function explain(
  pool: VmPool,
  pid: number,
  vm: string,
  what: string,
  deadline: number,
  signal: AbortSignal,
): Promise<CosmosError> {
  const exit = signal.aborted ? undefined : await pool.obituary(pid)
  if (exit && 'signal' in exit && exit.signal === 'SIGALRM')
    return new CosmosError(
      'ETIMEDOUT',
      readable(what),
      `took longer than ${deadline} s`,
      '[lookup] deadline in etc/cosmos/cosmos.conf',
    )
  const how = exit && 'signal' in exit ? `was ended by ${exit.signal}` : 'ended'
  return new CosmosError('EIO', `VM ${vm}`, `${how} before it had produced anything`, 'cosmos log')
}
