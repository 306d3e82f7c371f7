import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line, style } from '../output.ts'

/** Collects an option that may be given several times. */
export function collect(value: string, former: string[] = []): string[] {
  return [...former, value]
}

/** `cosmos invite` */
export const command: CliCommand = {
  summary: 'print an invite, with which one machine may join this one in the next ten minutes',
  rank: 21,
  examples: [
    'cosmos invite --grant exec:.cosm/bin --grant read:/srv',
    'cosmos invite --grant write:/home/me --grant exec:/usr/bin:memory=2G,time=600',
  ],
  configure(command) {
    command
      .option('--grant <rule>', 'what the peer may do here, as in read:/srv; may be repeated', collect)
      .option('--json', 'print JSON')
      .action(async (options: { grant?: string[]; json?: boolean }) => {
        const grants = options.grant ?? []
        const made = await withDaemon((client) => client.call('invite', { texts: grants }))
        if (options.json) return json(made)
        await line(`${style('bold', 'cosmos join')} ${made.invite}`)
        const until = new Date(made.expires).toTimeString().slice(0, 5)
        const what = grants.length > 0 ? `grants ${grants.join(', ')}` : 'grants nothing yet (cosmos grant)'
        console.error(`run that on the other machine; it works once, until ${until}, and ${what}`)
      })
  },
}
