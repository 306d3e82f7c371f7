import { configureBinding } from '../binding.ts'
import type { CliCommand } from '../command.ts'

/** `cosmos bind` */
export const command: CliCommand = {
  summary: 'merge directories at a path, lastingly; without arguments, list the binds',
  rank: 9,
  examples: [
    'cosmos bind file:///srv/data ~/cosmos/work    # reads come from both, writes stay in work',
    'cosmos bind --json',
  ],
  configure: (command) => configureBinding(command, 'bind'),
}
