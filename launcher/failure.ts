import { writeSync } from 'node:fs'
import { isMap } from '../src/form/msgpack.ts'
import { fromWireError } from '../src/form/wire.ts'
import { call } from '../src/os/libc.ts'

/** How the launcher ends. See fail.h of the one in C. */

export const FAILED = 125
export const NOT_RUNNABLE = 126
const NOT_FOUND = 127

const exitAtOnce = call<(code: number) => number>('int _exit(int)')

const CODES: Readonly<Record<string, number>> = { ENOENT: NOT_FOUND }
const REFUSALS =
  'EACCES EPERM ENOEXEC ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC E2BIG EISDIR ENOTDIR ELOOP ETXTBSY ENAMETOOLONG'

/** Ends as _exit(2): Node's own end would set the terminal back to what it was. */
export function exit(code: number): never {
  exitAtOnce(code)
  throw new Error('_exit returned')
}

/** Prints one line of what, why and what to do, and ends. */
export function fail(code: number, message: string): never {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not reach a terminal
  const line = `cosmos: ${message.replace(/[\x00-\x1f\x7f]/g, '?')}\n`
  try {
    writeSync(2, line)
  } catch {
    // Where even this cannot be written, the exit code tells.
  }
  exit(code)
}

/** Ends as an error that was sent says. `whole`: the connection failed, not what was asked. */
export function failAsTold(sent: unknown, whole: boolean): never {
  const { code, message, hint } = fromWireError(isMap(sent) ? sent : {})
  const exitCode = CODES[code] ?? (REFUSALS.split(' ').includes(code) ? NOT_RUNNABLE : FAILED)
  fail(whole ? FAILED : exitCode, hint ? `${message}; ${hint}` : message)
}

/** Ends because what `who` sent is no frame, or not the one that is due. */
export function failUnreadable(who: string): never {
  fail(FAILED, `${who}: sent what cannot be read; cosmos log`)
}
