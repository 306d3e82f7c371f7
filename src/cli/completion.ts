import type { Argument, Command, Option } from 'commander'

/** Shells that a completion can be printed for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** The completion of a command tree, as a script for a shell. It starts no program of its own. */
export function completionScript(program: Command, shell: Shell): string {
  const tree = describe(program)
  if (shell === 'bash') return bash(tree)
  return shell === 'zsh' ? zsh(tree) : fish(tree)
}

/** What completes a value: nothing, paths, directories, programs, or these words. */
type Values = 'none' | 'paths' | 'directories' | 'programs' | readonly string[]

interface OptionNode {
  readonly flags: readonly string[]
  readonly about: string
  /** What completes its value; undefined for one without a value. */
  readonly value: Values | undefined
}

interface CommandNode {
  readonly name: string
  readonly about: string
  readonly options: readonly OptionNode[]
  readonly values: Values
}

interface Tree {
  readonly program: string
  readonly options: readonly OptionNode[]
  readonly commands: readonly CommandNode[]
}

function describe(program: Command): Tree {
  const help = program.createHelp()
  const commands = help.visibleCommands(program).map((command) => ({
    name: command.name(),
    about: command.summary() || command.description(),
    options: help.visibleOptions(command).map(describeOption),
    values: valuesOf(command.registeredArguments),
  }))
  const names = commands.map((command) => command.name)
  const withHelp = commands.map((command) =>
    command.name === 'help' ? { ...command, values: names } : command,
  )
  return {
    program: program.name(),
    options: help.visibleOptions(program).map(describeOption),
    commands: withHelp,
  }
}

function describeOption(option: Option): OptionNode {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined)
  const hasValue = option.required || option.optional
  const name = /[<[](.+?)(\.\.\.)?[\]>]/.exec(option.flags)?.[1] ?? ''
  return {
    flags,
    about: option.description,
    value: hasValue ? (option.argChoices ?? valuesNamed(name)) : undefined,
  }
}

function valuesOf(args: readonly Argument[]): Values {
  for (const argument of args) {
    const values = argument.argChoices ?? valuesNamed(argument.name())
    if (values !== 'none') return values
  }
  return 'none'
}

/** See the naming rule at `CliCommand`. */
function valuesNamed(name: string): Values {
  if (/^dir/.test(name)) return 'directories'
  if (/path|url|file/.test(name)) return 'paths'
  return name === 'program' ? 'programs' : 'none'
}

function flagsOf(options: readonly OptionNode[]): string {
  return options.flatMap((option) => option.flags).join(' ')
}

function bash({ program, options, commands }: Tree): string {
  const fill = (values: Values): string => {
    if (values === 'paths') return ':'
    if (values === 'none') return 'compopt +o default 2>/dev/null'
    if (values === 'directories') return 'compopt -o dirnames 2>/dev/null'
    if (values === 'programs') return 'COMPREPLY=($(compgen -c -- "$word"))'
    return `COMPREPLY=($(compgen -W '${values.join(' ')}' -- "$word"))`
  }
  const ofOptions = commands.flatMap((command) =>
    command.options.flatMap(({ flags, value }) =>
      value === undefined
        ? []
        : [`    ${flags.map((flag) => `${command.name}:${flag}`).join(' | ')}) ${fill(value)}; return ;;`],
    ),
  )
  return `# bash completion of ${program}, made by: ${program} completion bash
_${program}() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ \${COMP_WORDS[i]} != -* ]]; then
      command=\${COMP_WORDS[i]}
      break
    fi
  done
  case $command:$before in
${ofOptions.join('\n')}
  esac
  if [[ $word == -* ]]; then
    case $command in
      '') COMPREPLY=($(compgen -W '${flagsOf(options)}' -- "$word")) ;;
${commands.map((command) => `      ${command.name}) COMPREPLY=($(compgen -W '${flagsOf(command.options)}' -- "$word")) ;;`).join('\n')}
    esac
    return
  fi
  case $command in
    '') ${fill(commands.map((command) => command.name))} ;;
${commands.map((command) => `    ${command.name}) ${fill(command.values)} ;;`).join('\n')}
  esac
}
complete -o default -F _${program} ${program}
`
}

function zsh({ program, options, commands }: Tree): string {
  const text = (about: string): string => about.replace(/[[\]\\:]/g, '\\$&').replaceAll("'", "'\\''")
  const fill = (values: Values): string => {
    if (values === 'none') return ''
    if (values === 'paths') return '_files'
    if (values === 'directories') return '_directories'
    return values === 'programs' ? '_path_commands' : `(${values.join(' ')})`
  }
  const spec = ({ flags, about, value }: OptionNode): string => {
    const names = flags.length > 1 ? `'(${flags.join(' ')})'{${flags.join(',')}}` : (flags[0] ?? '')
    const rest = value === undefined ? '' : `:value:${fill(value) || ' '}`
    return `${names}'[${text(about)}]${rest}'`
  }
  const ofCommand = (command: CommandNode): string => {
    const values = fill(command.values)
    const specs = [...command.options.map(spec), ...(values ? [`'*:argument:${values}'`] : [])]
    return `        ${command.name}) _arguments ${specs.join(' ')} ;;`
  }
  return `#compdef ${program}
# zsh completion of ${program}, made by: ${program} completion zsh
_${program}() {
  local context state state_descr line
  typeset -A opt_args
  local -a subcommands=(
${commands.map((command) => `    '${command.name}:${text(command.about)}'`).join('\n')}
  )
  _arguments -C ${options.map(spec).join(' ')} '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command subcommands ;;
    argument)
      case $words[1] in
${commands.map(ofCommand).join('\n')}
      esac
      ;;
  esac
}
if [[ $funcstack[1] == _${program} ]]; then _${program} "$@"; else compdef _${program} ${program}; fi
`
}

function fish({ program, options, commands }: Tree): string {
  const quote = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`
  const fill = (values: Values): string => {
    if (values === 'paths') return ' -F'
    if (values === 'none') return ''
    if (values === 'directories') return " -a '(__fish_complete_directories)'"
    return values === 'programs' ? " -a '(__fish_complete_command)'" : ` -a ${quote(values.join(' '))}`
  }
  const option = (condition: string, { flags, about, value }: OptionNode): string => {
    const names = flags.map((flag) =>
      flag.startsWith('--') ? ` -l ${flag.slice(2)}` : ` -s ${flag.slice(1)}`,
    )
    const takes = value === undefined ? '' : ` ${value === 'paths' ? '-r' : '-x'}${fill(value)}`
    return `complete -c ${program} -n ${quote(condition)}${names.join('')}${takes} -d ${quote(about)}`
  }
  const none = '__fish_use_subcommand'
  const lines = [
    `# fish completion of ${program}, made by: ${program} completion fish`,
    `complete -c ${program} -f`,
    ...options.map((each) => option(none, each)),
  ]
  for (const command of commands) {
    const inside = `__fish_seen_subcommand_from ${command.name}`
    lines.push(`complete -c ${program} -n ${quote(none)} -a ${command.name} -d ${quote(command.about)}`)
    lines.push(...command.options.map((each) => option(inside, each)))
    const values = fill(command.values)
    if (values) lines.push(`complete -c ${program} -n ${quote(inside)}${values}`)
  }
  return `${lines.join('\n')}\n`
}
