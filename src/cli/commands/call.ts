import { dlopen } from '../../api/library.ts'
import { parseArguments, resultToJson } from '../../cef/arguments.ts'
import { parsePrototype } from '../../cef/prototype.ts'
import type { CliCommand } from '../command.ts'
import { argument } from '../daemon.ts'
import { launch } from '../launch.ts'
import { line } from '../output.ts'

/** `cosmos call` */
export const command: CliCommand = {
  summary: 'call a function of a library, in a process of its own',
  rank: 8,
  examples: [
    "cosmos call libm.so.6 'double cos(double x)' 0",
    'cosmos call libc.so.6 strlen hello      # where the prototype is known',
    "cosmos call ./libadd.so 'int add(int x, int y)' 2 3",
    "cosmos call --json libm.so.6 'double frexp(double x, out int *exponent)' 8",
  ],
  configure(command) {
    command
      .argument('<library-path>', 'a path, or a name that .cosm/lib or the linker knows')
      .argument('<prototype>', 'a C prototype, or a name whose prototype is known')
      .argument('[arg...]', 'the arguments: numbers, text, JSON lists')
      .option('--deadline <seconds>', 'how long it may take', Number)
      .option('--json', 'print {value, out, errno} as JSON')
      .passThroughOptions()
      .action(async (path: string, prototype: string, args: string[], options: CallOptions) => {
        const { deadline } = options
        if (!options.json) return callAsProgram(path, prototype, args, deadline)
        const library = dlopen(path, deadline === undefined ? {} : { deadline })
        try {
          const called = await library.dlsym(prototype).resolved()
          const parsed = parsePrototype(called.prototype)
          const result = await called.result(...parseArguments(parsed, args.map(argument)))
          await line(JSON.stringify(resultToJson(parsed, result)))
        } finally {
          library.close()
        }
      })
  },
}

interface CallOptions {
  deadline?: number
  json?: boolean
}

/** By way of the launcher, so that what the function prints comes out here. */
async function callAsProgram(
  path: string,
  prototype: string,
  args: string[],
  deadline: number | undefined,
): Promise<void> {
  const options = new URLSearchParams({ library: path, function: prototype })
  if (deadline !== undefined) options.set('seconds', String(deadline))
  const name = /(\w+)\s*\(/.exec(prototype)?.[1] ?? prototype
  await launch({ path: `${path}/${name}`, args, options, call: { name, deadline } })
}
