import { CosmosError } from '../../errors.ts'
import type { CliCommand } from '../command.ts'
import { waitUntil, withDaemon } from '../daemon.ts'
import { line } from '../output.ts'

const PATIENCE_MS = 10_000

/** `cosmos reload` */
export const command: CliCommand = {
  summary: 'replace the daemon by the installed version, under the living mount',
  rank: 12,
  examples: ['cosmos reload    # after an upgrade; programs that use the mount do not notice'],
  configure(command) {
    command.action(async () => {
      await withDaemon(async (client) => {
        const former = (await client.call('status', {})).pid
        try {
          await client.call('reload', {})
        } catch (error) {
          // The former daemon may end before its answer is read.
          if (!(error instanceof CosmosError) || error.code !== 'ECONNRESET') throw error
        }
        // The former daemon's connection must not keep answering.
        let now = await client.call('status', {})
        const replaced = await waitUntil(async () => {
          client.close()
          now = await client.call('status', {})
          return now.pid !== former
        }, PATIENCE_MS)
        if (!replaced)
          throw new CosmosError('ETIMEDOUT', 'daemon', `${former} was not replaced`, 'cosmos log')
        await line(`daemon ${former} was replaced by ${now.pid}, version ${now.version}`)
      })
    })
  },
}
