import { readFileSync } from 'node:fs'
import { toWire, type WireText } from '../src/form/wire.ts'
import { fcntl, getrlimit } from '../src/os/libc.ts'
import { allocateNative } from '../src/os/memory.ts'

/**
 * What the caller gave this process. Node shows it as text and changes some of it at its start, so it is read from
 * /proc, and from what bin/cosmos-launcher tells: `node launcher.ts FILES LIMIT IGNORED CONTROL-SOCKET PATH [ARG…]`.
 */

/** Strings that end with NUL, as proc(5) has argv and environ. */
function stringsOf(file: string): WireText[] {
  return readFileSync(file, 'latin1').split('\0').slice(0, -1).map(toWire)
}

const [, , files = '', limit = '', ignored = '0'] = process.argv
/** The control socket, the path, and arguments. */
export const args = stringsOf('/proc/self/cmdline').slice(process.execArgv.length + 5)
export const env = stringsOf('/proc/self/environ')
/** Numbers of the open files. */
export const descriptors = files.split(',').filter(Boolean).map(Number)

// Node's own modules look at process.stderr, which makes it non-blocking, also for the program: one that writes faster
// than its reader reads would lose what it writes. Looked at here, it is not made so later.
const STDERR = process.stderr.fd
const F_GETFL = 3
const F_SETFL = 4
const O_NONBLOCK = 0o4000
const stderrFlags = fcntl(STDERR, F_GETFL, 0)
if (stderrFlags > 0) fcntl(STDERR, F_SETFL, stderrFlags & ~O_NONBLOCK)

const ignoredSignals = BigInt(`0x${ignored}`)

/** Whether the caller ignores a signal: it stays so. */
export function isIgnored(signal: number): boolean {
  return ((ignoredSignals >> BigInt(signal - 1)) & 1n) === 1n
}

const RLIMIT_NOFILE = 7
const LIMITS = 16

/** Every resource's number, soft and hard limit. */
export function limits(): [resource: number, soft: bigint, hard: bigint][] {
  const pair = allocateNative(16)
  return Array.from({ length: LIMITS }, (_, resource) => {
    getrlimit(resource, pair.address)
    const soft = pair.view.getBigUint64(0, true)
    // Node has raised this one.
    const was = resource === RLIMIT_NOFILE && /^\d+$/.test(limit) ? BigInt(limit) : soft
    return [resource, was, pair.view.getBigUint64(8, true)]
  })
}

/** The working directory; by the process where it has no path, removed or out of sight. */
export function workingDirectory(): WireText {
  try {
    return process.cwd()
  } catch {
    return `/proc/${process.pid}/cwd`
  }
}
