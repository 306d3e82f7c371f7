import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { line } from '../output.ts'

/** `cosmos leave` */
export const command: CliCommand = {
  summary: 'part with a peer: both machines forget each other',
  rank: 26,
  examples: ['cosmos leave me@laptop'],
  configure(command) {
    command.argument('<peer>', 'its name, as in cosmos peers, or its id').action(async (peer: string) => {
      await withDaemon((client) => client.call('leave', { name: peer }))
      await line(`${peer} is no peer any more`)
    })
  },
}
