import { CosmosError, describeError } from '../errors.ts'

/** cosmos itself failed: no daemon, a lost peer. */
const EXIT_FAILED = 125
/** Found, but nothing accepts it. */
const EXIT_NOT_ACCEPTED = 126
/** Not found. */
const EXIT_NOT_FOUND = 127
/** The command line is wrong. */
export const EXIT_USAGE = 2
/** Nobody reads the output any more: what a shell shows for a program that SIGPIPE ended. */
export const EXIT_PIPE = 141

/** A failure that was already told, or that has nothing to tell: only its exit code is left. */
export class ExitCode extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`exit ${exitCode}`)
    this.exitCode = exitCode
  }
}

/** The exit code of a failure (design §10). */
export function exitCodeOf(error: unknown): number {
  if (error instanceof ExitCode) return error.exitCode
  if (!(error instanceof CosmosError)) return EXIT_FAILED
  if (error.code === 'ENOENT') return EXIT_NOT_FOUND
  if (error.code === 'ENOEXEC') return EXIT_NOT_ACCEPTED
  return EXIT_FAILED
}

/** Tells a failure in one line on standard error: what, why, what to do. */
export function report(error: unknown): void {
  if (error instanceof ExitCode) return
  process.stderr.write(`cosmos: ${oneLine(describeError(error))}\n`)
}

/** Does something for each item, tells failures as they come, and fails at the end if one did. */
export async function eachReported<T>(items: Iterable<T>, act: (item: T) => Promise<void>): Promise<void> {
  let worst = 0
  for (const item of items) {
    try {
      await act(item)
    } catch (error) {
      if (!(error instanceof CosmosError) || LOST.has(error.code)) throw error
      report(error)
      worst ||= exitCodeOf(error)
    }
  }
  if (worst !== 0) throw new ExitCode(worst)
}

/** Errors of the connection: the next item would only fail the same way. */
const LOST = new Set(['ENOTCONN', 'ECONNRESET', 'EPROTO'])

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ')
}
