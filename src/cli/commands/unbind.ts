import type { CliCommand } from '../command.ts'
import { argument, withDaemon, workingDirectory } from '../daemon.ts'
import { json, line, shown } from '../output.ts'

/** `cosmos unbind` */
export const command: CliCommand = {
  summary: 'take a bind or a cascade away; what was written stays in its local layer',
  rank: 11,
  examples: ['cosmos unbind ~/cosmos/work'],
  configure(command) {
    command
      .argument('<path>', 'where it is bound')
      .option('--json', 'print JSON')
      .action(async (path: string, options: { json?: boolean }) => {
        const left = await withDaemon((client) =>
          client.call('unbind', { path: argument(path), cwd: workingDirectory() }),
        )
        if (options.json) return json(left)
        await line(`${shown(argument(path))} shows ${left.layers.map(shown).join(', then ') || 'nothing'}`)
      })
  },
}
