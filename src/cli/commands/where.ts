import { CosmosError } from '../../errors.ts'
import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line, shown } from '../output.ts'

/** `cosmos where` */
export const command: CliCommand = {
  summary: 'show the hosts that can run a program, this one first',
  rank: 27,
  examples: ['cosmos where ffmpeg', 'cosmos where --json nvidia-smi'],
  configure(command) {
    command
      .argument('<program>', 'its name')
      .option('--json', 'print JSON: a list')
      .action(async (name: string, options: { json?: boolean }) => {
        const hosts = await withDaemon((client) => client.call('where', { name }))
        if (options.json) return json(hosts)
        if (hosts.length === 0)
          throw new CosmosError('ENOENT', name, 'no host has it that this one may use', 'cosmos peers')
        for (const { host, path } of hosts) await line(path === undefined ? host : `${host}  ${shown(path)}`)
      })
  },
}
