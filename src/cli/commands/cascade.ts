import { configureBinding } from '../binding.ts'
import type { CliCommand } from '../command.ts'

/** `cosmos cascade` */
export const command: CliCommand = {
  summary: 'make a path inherit from others: the nearest layer wins; without arguments, list the cascades',
  rank: 10,
  examples: ['cosmos cascade file:///etc/team file:///usr/share/team ~/cosmos/team', 'cosmos cascade --json'],
  configure: (command) => configureBinding(command, 'cascade'),
}
