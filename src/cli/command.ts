import type { Command } from 'commander'

/**
 * A command of the command line: the export `command` of `commands/<name>.ts`. The file's name is the command's
 * name, and there is no other list of commands. Such a file is read for help and completion too: what is costly
 * to load (daemon, drivers) it imports in its action.
 *
 * Arguments and options say by their names what completes them: `path`, `dir`, `url` and `file` paths, `program`
 * the programs of the PATH; choices complete themselves.
 */
export interface CliCommand {
  /** One line for the list of commands. */
  readonly summary: string
  /** Where it stands in that list; the same number: by name. */
  readonly rank: number
  /** Lines of `$ cosmos …` with what they do after a `#`. */
  readonly examples: readonly string[]
  /** Declares arguments, options and the action. */
  configure(command: Command): void
}
