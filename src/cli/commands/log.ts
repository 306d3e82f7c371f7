import { InvalidArgumentError } from 'commander'
import { findInstance } from '../../daemon/instance.ts'
import type { CliCommand } from '../command.ts'
import { followLog, lastLines } from '../log-file.ts'
import { write } from '../output.ts'

/** `cosmos log` */
export const command: CliCommand = {
  summary: 'show what happened',
  rank: 13,
  examples: [
    'cosmos log',
    'cosmos log -n 500 | grep refused',
    'cosmos log -f    # and what happens from now on',
  ],
  configure(command) {
    command
      .option('-f, --follow', 'stay, and print what is added')
      .option('-n, --lines <number>', 'how many of the last lines', wholeNumber, 50)
      .action(async (options: { follow?: boolean; lines: number }) => {
        const { log } = findInstance()
        const last = await lastLines(log, options.lines)
        await write(last.bytes)
        if (options.follow) for await (const bytes of followLog(log, last.position)) await write(bytes)
      })
  },
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('A whole number is needed.')
  return Number(text)
}
