import type { CliCommand } from '../command.ts'
import { argument, withDaemon, workingDirectory } from '../daemon.ts'
import { eachReported } from '../errors.ts'
import { write } from '../output.ts'

/** `cosmos cat` */
export const command: CliCommand = {
  summary: 'print files of the tree, without the kernel',
  rank: 7,
  examples: ['cosmos cat ~/cosmos/.cosm/bin:layers', 'cosmos cat file:///etc/hostname'],
  configure(command) {
    command.argument('<path...>', 'paths or URLs').action(async (paths: string[]) => {
      await withDaemon((client) =>
        eachReported(paths, async (path) => {
          for await (const part of client.stream('read', { path: argument(path), cwd: workingDirectory() }))
            await write(part)
        }),
      )
    })
  },
}
