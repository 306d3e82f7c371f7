import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line } from '../output.ts'
import { shutDown, tellDown } from '../shutdown.ts'

/** `cosmos down` */
export const command: CliCommand = {
  summary: 'unmount, stop the VMs and the daemon',
  rank: 2,
  examples: ['cosmos down', 'cosmos down --force    # a daemon that does not answer, too'],
  configure(command) {
    command
      .option('--force', 'look for nobody who is busy, and end a daemon that does not answer')
      .option('--json', 'print JSON: `mounts`, and the `busy` processes that still use them')
      .action(async (options: { force?: boolean; json?: boolean }) => {
        await withDaemon(async (client, instance) => {
          const down = await shutDown(client, instance, options.force ?? false)
          if (options.json) await json(down ?? { mounts: [], busy: [] })
          else if (down) await tellDown(down)
          else await line(`no daemon runs for ${instance.home}`)
        })
      })
  },
}
