import { type ControlClient, isAlive } from '../daemon/client.ts'
import type { Instance } from '../daemon/instance.ts'
import { readRecord } from '../daemon/record.ts'
import type { BusyProcess } from '../daemon/results.ts'
import { CosmosError } from '../errors.ts'
import { waitUntil } from './daemon.ts'
import { line, shown } from './output.ts'

/** How long a daemon may take to answer, and to unmount and end. */
const PATIENCE_MS = 10_000

/** What was unmounted, and who used it. */
export interface ShutDown {
  readonly mounts: readonly string[]
  readonly busy: readonly BusyProcess[]
}

/**
 * Ends the daemon and waits until it and its supervisor are gone; undefined when none runs. A daemon that does not
 * answer is ended through its supervisor: at once where there is no daemon to ask, else with `force` only. Throws
 * CosmosError ETIMEDOUT when they stay.
 */
export async function shutDown(
  client: ControlClient,
  instance: Instance,
  force: boolean,
): Promise<ShutDown | undefined> {
  try {
    return await askDown(client, force)
  } catch (error) {
    if (!(error instanceof CosmosError)) throw error
    if (error.code === 'ENOTCONN' || (error.code === 'ETIMEDOUT' && force)) return endSupervisor(instance)
    throw error
  }
}

/** Says what was unmounted, and who still uses it. */
export async function tellDown({ mounts, busy }: ShutDown): Promise<void> {
  for (const mount of mounts) await line(`unmounted ${mount}`)
  if (busy.length === 0) return
  await line('still in use, and gone when they let go:')
  for (const process of busy) await line(`  ${process.name} (${process.pid}): ${process.what}`)
}

async function askDown(client: ControlClient, force: boolean): Promise<ShutDown> {
  const status = await answered(client.call('status', {}))
  let busy: readonly BusyProcess[] = []
  try {
    busy = (await answered(client.call('down', { force }))).busy
  } catch (error) {
    // It may be gone before its answer is: whether it is, is seen below.
    if (!(error instanceof CosmosError) || error.code !== 'ECONNRESET') throw error
  }
  await ended(status.supervisor, status.pid)
  return { mounts: status.mounts.map((mount) => shown(mount.path)), busy }
}

/** The supervisor unmounts at SIGTERM, whatever its daemon does. */
async function endSupervisor(instance: Instance): Promise<ShutDown | undefined> {
  const record = readRecord(instance)
  if (!record || !isAlive(record.supervisor)) return undefined
  process.kill(record.supervisor, 'SIGTERM')
  await ended(record.supervisor, record.daemon)
  return { mounts: [record.mount], busy: [] }
}

async function answered<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new CosmosError('ETIMEDOUT', 'daemon', 'does not answer', 'cosmos down --force')),
      PATIENCE_MS,
    )
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}

async function ended(supervisor: number, daemon: number): Promise<void> {
  if (await waitUntil(() => !isAlive(daemon) && !isAlive(supervisor), PATIENCE_MS)) return
  const why = `still runs ${PATIENCE_MS / 1000} s after it was asked to end`
  throw new CosmosError('ETIMEDOUT', 'daemon', why, `kill ${supervisor}; cosmos log`)
}
