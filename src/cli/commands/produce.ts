import type { ProduceResult } from '../../daemon/results.ts'
import { CosmosError } from '../../errors.ts'
import type { CliCommand } from '../command.ts'
import { argument, withDaemon, workingDirectory } from '../daemon.ts'
import { ExitCode, report } from '../errors.ts'
import { json, line, shown, style, table } from '../output.ts'

/** `cosmos produce` */
export const command: CliCommand = {
  summary: 'make what a path stands for anew, whatever was kept of it',
  rank: 9,
  examples: [
    'cosmos produce data.json.to-yaml',
    'cosmos produce --json report.ox.d    # what was made, and in what time',
  ],
  configure(command) {
    command
      .argument('<path...>', 'paths')
      .option('--json', 'print JSON: a list')
      .action(async (paths: string[], options: { json?: boolean }) => {
        const made: ProduceResult[] = []
        let failed = false
        await withDaemon(async (client) => {
          for (const path of paths) {
            try {
              const one = await client.call('produce', { path: argument(path), cwd: workingDirectory() })
              if (options.json) made.push(one)
              else await print(one)
            } catch (error) {
              // That it could not be made is what was asked; anything else is cosmos' own failure.
              if (!(error instanceof CosmosError) || error.code !== 'EIO') throw error
              report(error)
              failed = true
            }
          }
        })
        if (options.json) await json(made)
        if (failed) throw new ExitCode(1)
      })
  },
}

async function print({ path, instruction, steps }: ProduceResult): Promise<void> {
  await line(style('bold', shown(path)))
  const rows = steps.map(({ instruction: step, size, milliseconds }) => [
    step,
    `${size} ${step.startsWith('map ') ? 'entries' : 'bytes'}`,
    `${milliseconds} ms`,
  ])
  await line(table([['instruction', instruction], ...rows]).trimEnd())
}
