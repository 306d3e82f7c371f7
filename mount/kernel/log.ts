import { writeSync } from 'node:fs'

/** Takes one line about something that should not happen. */
export type Log = (line: string) => void

/** Lines on standard error; works on a thread whose event loop never turns. */
export function logToStandardError(line: string): void {
  try {
    writeSync(2, `cosmos: fuse: ${line}\n`)
  } catch {
    // Nobody reads: there is nobody to tell.
  }
}
