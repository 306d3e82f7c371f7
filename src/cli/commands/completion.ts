import { Argument, type Command } from 'commander'
import type { CliCommand } from '../command.ts'
import { completionScript, SHELLS, type Shell } from '../completion.ts'
import { write } from '../output.ts'

/** `cosmos completion` */
export const command: CliCommand = {
  summary: 'print the completion of a shell',
  rank: 90,
  examples: [
    'eval "$(cosmos completion bash)"    # in ~/.bashrc',
    'eval "$(cosmos completion zsh)"     # in ~/.zshrc, after compinit',
    'cosmos completion fish > ~/.config/fish/completions/cosmos.fish',
  ],
  configure(command: Command) {
    command
      .addArgument(new Argument('<shell>', 'which shell').choices([...SHELLS]))
      .action(async (shell: Shell) => {
        if (command.parent) await write(completionScript(command.parent, shell))
      })
  },
}
