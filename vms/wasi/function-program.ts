import { formatResult, parseArguments } from '../../src/cef/arguments.ts'
import type { Value } from '../../src/cef/ctypes.ts'
import { parsePrototype } from '../../src/cef/prototype.ts'
import { CosmosError, describeError } from '../../src/errors.ts'
import type { Functions } from './functions.ts'
import { complain, TRAPPED } from './program.ts'
import { writeAll } from './streams.ts'
import type { ProgramEnd } from './wasi.ts'

/** A function as a program: its arguments are argv, its result is printed. */

/** Exit codes: as shells have them, and 2 for a caller who gave wrong arguments. */
const WRONG_ARGUMENTS = 2
const NOT_RUNNABLE = 126

/** What is called, and whose streams it has. */
export interface FunctionProgram {
  readonly library: string
  readonly modules: readonly string[]
  /** A C prototype. */
  readonly prototype: string
  readonly argv: readonly string[]
  readonly stdout: number
  readonly stderr: number
}

/** Calls it; answers how the program ends. */
export function runFunction(program: FunctionProgram, functions: Functions): ProgramEnd {
  const { library, modules, prototype: text, argv, stdout, stderr } = program
  const fail = (error: unknown, code: number): ProgramEnd => {
    if (!(error instanceof CosmosError)) throw error
    complain(stderr, `cosmos: ${describeError(error)}`)
    return { code }
  }
  try {
    const prototype = parsePrototype(text)
    let values: Value[]
    try {
      values = parseArguments(prototype, argv.slice(1))
    } catch (error) {
      return fail(error, WRONG_ARGUMENTS)
    }
    const { function: number } = functions.symbol(functions.open(library, modules), text)
    const value = functions.call(number, values) as Value
    writeAll(stdout, formatResult(prototype, { value }))
    return { code: 0 }
  } catch (error) {
    return fail(error, error instanceof CosmosError && error.code === 'EFAULT' ? TRAPPED : NOT_RUNNABLE)
  }
}
