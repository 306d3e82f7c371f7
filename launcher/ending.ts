import { encodeFrame } from '../src/form/msgpack.ts'
import { exit } from './failure.ts'
import { dieBy } from './signals.ts'
import { REQUEST, type Wire } from './wire.ts'

/** How a program has ended: its exit code, or the signal that ended it. */
export type Ending = { readonly code: number } | { readonly signal: number; readonly core: boolean }

/** Reads `{code}` or `{signal, core}`; undefined for any other value. */
export function endingOf({ code, signal, core }: Record<string, unknown>): Ending | undefined {
  if (inRange(code, 0, 255)) return { code }
  return inRange(signal, 1, 64) ? { signal, core: core === true } : undefined
}

function inRange(value: unknown, low: number, high: number): value is number {
  return Number.isInteger(value) && (value as number) >= low && (value as number) <= high
}

/** Tells the daemon how the program ended, and ends likewise. */
export async function endAs(daemon: Wire, run: unknown, ending: Ending): Promise<never> {
  // A daemon that is gone need not know.
  await new Promise((resolve) =>
    daemon.socket.write(encodeFrame({ id: REQUEST + 1, op: 'ran', args: { run, exit: ending } }), resolve),
  )
  if ('code' in ending) exit(ending.code)
  dieBy(ending.signal)
}
