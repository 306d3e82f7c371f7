import { CosmosError } from '../../errors.ts'
import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line } from '../output.ts'
import { shutDown, tellDown } from '../shutdown.ts'

/** `cosmos down` */
export const command: CliCommand = {
  summary: 'unmount, stop the VMs and the daemon',
  rank: 2,
  examples: ['cosmos down', 'cosmos down --force    # does not wait for requests at hand'],
  configure(command) {
    command
      .option('--force', 'detach at once, without waiting for anybody')
      .option('--json', 'print JSON: `busy` are the processes that still use the mount')
      .action(async (options: { force?: boolean; json?: boolean }) => {
        await withDaemon(async (client, instance) => {
          try {
            const { status, busy } = await shutDown(client, options.force ?? false)
            if (options.json) await json({ mounts: status.mounts, busy })
            else await tellDown(status, busy)
          } catch (error) {
            if (!(error instanceof CosmosError) || error.code !== 'ENOTCONN') throw error
            if (options.json) await json({ mounts: [], busy: [] })
            else await line(`no daemon runs for ${instance.home}`)
          }
        })
      })
  },
}
