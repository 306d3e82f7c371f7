import type { CliCommand } from '../command.ts'
import { argument, withDaemon, workingDirectory } from '../daemon.ts'
import { json, line, nameBytes, table, write } from '../output.ts'

/** `cosmos lookup` */
export const command: CliCommand = {
  summary: 'show what a path or URL resolves to',
  rank: 8,
  examples: [
    'cosmos lookup ~/cosmos/.cosm/bin/sh',
    'cosmos lookup --trace file:///etc    # with the stages and their times',
  ],
  configure(command) {
    command
      .argument('<path>', 'a path or URL')
      .option('--trace', 'show the stages of the lookup')
      .option('--json', 'print JSON')
      .action(async (path: string, options: { trace?: boolean; json?: boolean }) => {
        const trace = options.trace ?? false
        const found = await withDaemon((client) =>
          client.call('lookup', { path: argument(path), cwd: workingDirectory(), trace }),
        )
        if (options.json) return json(found)
        await write(Buffer.concat([nameBytes(found.path), Buffer.from(`  ${found.kind}\n`)]))
        if (!trace) return
        const rows = found.stages.map((stage) => [stage.stage, stage.microseconds, stage.by, stage.answer])
        await line(`\n${table(rows, ['stage', 'µs', 'by', 'answer']).trimEnd()}`)
      })
  },
}
