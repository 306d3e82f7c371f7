import { type ControlClient, isAlive } from '../daemon/client.ts'
import type { BusyProcess, StatusResult } from '../daemon/handlers.ts'
import { CosmosError } from '../errors.ts'
import { waitUntil } from './daemon.ts'
import { line, shown } from './output.ts'

/** How long a daemon may take to unmount and end. */
const PATIENCE_MS = 10_000

/** Ends the daemon and waits until it and its supervisor are gone. Throws CosmosError ETIMEDOUT when they stay. */
export async function shutDown(
  client: ControlClient,
  force: boolean,
): Promise<{ status: StatusResult; busy: BusyProcess[] }> {
  const status = await client.call('status', {})
  let busy: BusyProcess[] = []
  try {
    busy = (await client.call('down', { force })).busy
  } catch (error) {
    // It may be gone before its answer is: whether it is, is seen below.
    if (!(error instanceof CosmosError) || error.code !== 'ECONNRESET') throw error
  }
  const gone = await waitUntil(() => !isAlive(status.pid) && !isAlive(status.supervisor), PATIENCE_MS)
  if (!gone) {
    const hint = `kill ${status.supervisor}; cosmos log`
    throw new CosmosError(
      'ETIMEDOUT',
      'daemon',
      `still runs ${PATIENCE_MS / 1000} s after it was asked to end`,
      hint,
    )
  }
  return { status, busy }
}

/** Says what was unmounted, and who still uses it. */
export async function tellDown(status: StatusResult, busy: readonly BusyProcess[]): Promise<void> {
  for (const mount of status.mounts) await line(`unmounted ${shown(mount.path)}`)
  if (busy.length === 0) return
  await line('still in use, and gone when they let go:')
  for (const process of busy) await line(`  ${process.name} (${process.pid}): ${process.what}`)
}
