import { resolve } from 'node:path'
import { CosmosError } from '../../errors.ts'
import { wireReadable } from '../../form/wire.ts'
import type { CliCommand } from '../command.ts'
import { withDaemon, workingDirectory } from '../daemon.ts'
import { launch } from '../launch.ts'

/** `cosmos exec` */
export const command: CliCommand = {
  summary: 'run an executable by way of its VM; streams, signals and exit code are its own',
  rank: 8,
  examples: [
    'cosmos exec hello.wasm',
    'cosmos exec --vm hostexec /usr/bin/env',
    'cosmos exec --on me@gpubox nvidia-smi',
    'echo hello | cosmos exec ~/cosmos/.cosm/bin/uppercase.wasm',
  ],
  configure(command) {
    command
      .argument('<program>', 'a path, or the name of a program in .cosm/bin')
      .argument('[arg...]', 'its arguments')
      .option(
        '--on <peer>',
        'run it on this peer, or not at all; the program is a name or a path of that host',
      )
      .option('--vm <name>', 'run it in this VM, or not at all')
      .option(
        '--lend <dir...>',
        'a directory that a WebAssembly program or a peer may use, beside the working directory',
      )
      .option('--no-record', 'keep no copy of its output in .cosm/run')
      .passThroughOptions()
      .action(async (program: string, args: string[], options: ExecOptions) => {
        const query = new URLSearchParams()
        if (options.vm !== undefined) query.set('vm', options.vm)
        for (const directory of options.lend ?? []) query.append('lend', resolve(directory))
        if (options.record) query.set('record', '1')
        if (options.on === undefined) return launch({ path: await pathOf(program), args, options: query })
        query.set('on', options.on)
        query.set('program', program)
        await launch({ path: `/${options.on}/${program}`, args, options: query })
      })
  },
}

interface ExecOptions {
  on?: string
  vm?: string
  lend?: string[]
  record: boolean
}

/** A bare name is a program of the working cosm. */
async function pathOf(program: string): Promise<string> {
  if (program.includes('/')) return program
  const [first] = await withDaemon((client) =>
    client.call('which', { name: program, cwd: workingDirectory() }),
  )
  if (!first)
    throw new CosmosError('ENOENT', program, 'no layer has it', `a file in this directory is ./${program}`)
  return wireReadable(first.path)
}
