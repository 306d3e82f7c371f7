import { readdirSync } from 'node:fs'
import { extname } from 'node:path'
import { Command, CommanderError } from 'commander'
import type { CliCommand } from './command.ts'
import { EXIT_PIPE, EXIT_USAGE, exitCodeOf, report } from './errors.ts'
import { packageVersion } from './version.ts'

const COMMANDS = new URL('./commands/', import.meta.url)
const EXTENSION = extname(import.meta.url)

/** Names of all commands: those of the files in commands/. */
function commandNames(): string[] {
  return readdirSync(COMMANDS)
    .filter((file) => file.endsWith(EXTENSION))
    .map((file) => file.slice(0, -EXTENSION.length))
}

async function loadCommand(name: string): Promise<CliCommand> {
  const module = (await import(new URL(`${name}${EXTENSION}`, COMMANDS).href)) as { command: CliCommand }
  return module.command
}

/** The program with these commands only: loading all of them is for help and completion. */
async function buildProgram(names: readonly string[]): Promise<Command> {
  const program = new Command('cosmos')
  program
    .description('One file tree of all your machines: files, programs and libraries of every host.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help of a command')
    .configureHelp({ subcommandTerm: (command) => command.name(), sortOptions: true })
    .configureOutput({ outputError: (text, write) => write(usageError(text)) })
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText('after', '\nFirst: cosmos up. What this machine lacks: cosmos doctor.')
  const loaded = await Promise.all(names.map(async (name) => ({ name, from: await loadCommand(name) })))
  loaded.sort((a, b) => a.from.rank - b.from.rank || (a.name < b.name ? -1 : 1))
  for (const { name, from } of loaded) {
    const command = program.command(name).summary(from.summary).description(`${from.summary}.`)
    from.configure(command)
    command.addHelpText(
      'after',
      `\nExamples:\n${from.examples.map((example) => `  $ ${example}\n`).join('')}`.trimEnd(),
    )
  }
  return program
}

/** A usage error in one line, with where to read on. */
function usageError(text: string): string {
  const line = text
    .replace(/^error: /, '')
    .trim()
    .replace(/\s*\n\s*/g, ' ')
  const name = process.argv[2]
  const help = name && commandNames().includes(name) ? `cosmos ${name} --help` : 'cosmos --help'
  return `cosmos: ${line}${line.endsWith(')') ? '' : ` (${help})`}\n`
}

/** Runs a command line and answers its exit code. */
async function run(words: readonly string[]): Promise<number> {
  const all = commandNames()
  const first = words[0]
  const program = await buildProgram(
    first === '--version' || first === '-V'
      ? []
      : first && all.includes(first) && first !== 'completion'
        ? [first]
        : all,
  )
  try {
    await program.parseAsync(words, { from: 'user' })
    return Number(process.exitCode ?? 0)
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
    report(error)
    return exitCodeOf(error)
  }
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT_PIPE)
  throw error
})
// What a command left open (a watch, a child) does not keep it from ending.
process.exit(await run(process.argv.slice(2)))
