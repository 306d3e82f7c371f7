import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line } from '../output.ts'

/** `cosmos revoke` */
export const command: CliCommand = {
  summary: 'take back what a peer may do here, at once',
  rank: 25,
  examples: ['cosmos revoke me@laptop read:/srv', 'cosmos revoke me@laptop    # all of it'],
  configure(command) {
    command
      .argument('<peer>', 'its name, as in cosmos peers, or its id')
      .argument('[rule...]', 'rules as cosmos peers shows them; none: all')
      .option('--json', 'print JSON: what it may still do')
      .action(async (peer: string, rules: string[], options: { json?: boolean }) => {
        const all = await withDaemon((client) => client.call('revoke', { name: peer, texts: rules }))
        return options.json ? json(all) : line(`${peer} may here: ${all.join(' ') || 'nothing'}`)
      })
  },
}
