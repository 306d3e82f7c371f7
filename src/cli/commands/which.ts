import type { WhichEntry } from '../../daemon/results.ts'
import { CosmosError } from '../../errors.ts'
import type { CliCommand } from '../command.ts'
import { argument, withDaemon, workingDirectory } from '../daemon.ts'
import { eachReported } from '../errors.ts'
import { json, line, nameBytes, shown, table, write } from '../output.ts'

/** `cosmos which` */
export const command: CliCommand = {
  summary: 'show where the cascade has a name, nearest first',
  rank: 5,
  examples: [
    'cosmos which python3',
    'cosmos which -l python3    # with the layer of each',
    'cosmos which --json git',
  ],
  configure(command) {
    command
      .argument('<program...>', 'names, as in .cosm/bin')
      .option('-l, --long', 'show the layer that has it, and its kind')
      .option('--json', 'print JSON: a list')
      .action(async (names: string[], options: { long?: boolean; json?: boolean }) => {
        const all: WhichEntry[] = []
        await withDaemon(async (client) => {
          try {
            await eachReported(names, async (name) => {
              const found = await client.call('which', { name: argument(name), cwd: workingDirectory() })
              if (found.length === 0)
                throw new CosmosError('ENOENT', name, 'no layer has it', 'cosmos inspect .cosm/bin')
              if (options.json) all.push(...found)
              else if (options.long)
                await line(
                  table(found.map((each) => [shown(each.path), shown(each.layer), each.kind])).trimEnd(),
                )
              else
                for (const each of found)
                  await write(Buffer.concat([nameBytes(each.path), Buffer.from('\n')]))
            })
          } finally {
            if (options.json) await json(all)
          }
        })
      })
  },
}
