import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line } from '../output.ts'

/** `cosmos grant` */
export const command: CliCommand = {
  summary: 'let a peer do more here',
  rank: 24,
  examples: [
    'cosmos grant me@laptop read:/srv',
    'cosmos grant me@laptop exec:.cosm/bin:memory=2G write:/srv/share deny:/srv/private',
  ],
  configure(command) {
    command
      .argument('<peer>', 'its name, as in cosmos peers, or its id')
      .argument('<rule...>', 'OPERATION[,OPERATION]:PATH[:LIMIT=VALUE], as in docs/mesh-security.md')
      .option('--json', 'print JSON: all that it may do now')
      .action(async (peer: string, rules: string[], options: { json?: boolean }) => {
        const all = await withDaemon((client) => client.call('grant', { name: peer, texts: rules }))
        return options.json ? json(all) : line(`${peer} may here: ${all.join(' ')}`)
      })
  },
}
