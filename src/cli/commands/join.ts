import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line } from '../output.ts'
import { collect } from './invite.ts'

/** `cosmos join` */
export const command: CliCommand = {
  summary: 'join the machine that an invite is of',
  rank: 22,
  examples: ['cosmos join cosmos://192.0.2.7:4711/join/…', 'cosmos join --grant read:/srv cosmos://…'],
  configure(command) {
    command
      .argument('<invite>', 'what cosmos invite has printed there')
      .option('--grant <rule>', 'what that machine may do here, as in read:/srv; may be repeated', collect)
      .option('--json', 'print JSON')
      .action(async (invite: string, options: { grant?: string[]; json?: boolean }) => {
        const joined = await withDaemon((client) =>
          client.call('join', { name: invite, texts: options.grant ?? [] }),
        )
        if (options.json) return json(joined)
        await line(
          `joined ${joined.name}: its files are ~/cosmos/${joined.name}, its programs in ~/cosmos/.cosm/bin`,
        )
      })
  },
}
