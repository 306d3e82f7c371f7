/**
 * Which environment a program gets that runs here for a peer (design §7): this host's own base, and of the caller's
 * only what says how text, time and a terminal are shown. Whatever makes a program load code, read files or start
 * others (`LD_*`, `NODE_OPTIONS`, `PYTHONPATH`, `PATH`, `BASH_ENV`, `EDITOR` …) is not on the list, so it need not be
 * known to be refused.
 */

/** Longest value that is taken over, characters. */
const MAX_VALUE = 256

/** A locale's name, without what makes the C library open a path: sudo(8) refuses the same. */
const LOCALE = /^[A-Za-z0-9_.@:-]*$/
const WORD = /^[A-Za-z0-9_.+-]*$/
const NUMBER = /^[0-9]{1,5}$/
/** `Europe/Berlin`, `CET-1CEST,M3.5.0`; no absolute path, no `:file`, no `..` (tzset(3)). */
const ZONE = /^(?!.*\.\.)[A-Za-z0-9<>+-][A-Za-z0-9<>+,./:_-]*$/

const ALLOWED: readonly (readonly [name: RegExp, value: RegExp])[] = [
  [/^LANG$|^LANGUAGE$|^LC_[A-Z]+$/, LOCALE],
  [/^TZ$/, ZONE],
  [/^TERM$|^COLORTERM$/, WORD],
  [/^COLUMNS$|^LINES$/, NUMBER],
  [/^NO_COLOR$|^CLICOLOR$|^CLICOLOR_FORCE$|^FORCE_COLOR$/, WORD],
  [/^SOURCE_DATE_EPOCH$/, /^[0-9]{1,12}$/],
  [/^OMP_NUM_THREADS$/, NUMBER],
]

/** An environment, and what of the caller's is not in it. */
export interface CheckedEnvironment {
  /** `NAME=value`, each name once. */
  readonly environment: readonly string[]
  /** Names that were left out, without repetition. */
  readonly refused: readonly string[]
}

/** The environment of a program: `base`, and over it what of the caller's (`NAME=value`) is allowed. */
export function environmentFor(
  caller: readonly string[],
  base: Readonly<Record<string, string>>,
): CheckedEnvironment {
  const variables = new Map(Object.entries(base))
  const refused = new Set<string>()
  for (const each of caller) {
    const at = each.indexOf('=')
    const [name, value] = at < 0 ? [each, ''] : [each.slice(0, at), each.slice(at + 1)]
    if (at > 0 && isAllowed(name, value)) variables.set(name, value)
    else refused.add(name)
  }
  return {
    environment: [...variables].map(([name, value]) => `${name}=${value}`),
    refused: [...refused],
  }
}

function isAllowed(name: string, value: string): boolean {
  return (
    value.length <= MAX_VALUE &&
    ALLOWED.some(([names, values]) => names.test(name) && values.test(value) && !/[\n\0]/.test(value))
  )
}

/** The base in a sandbox: nothing there is this host's own but its programs. */
export const SANDBOX_BASE: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/tmp',
  TMPDIR: '/tmp',
  USER: 'peer',
  LOGNAME: 'peer',
  SHELL: '/bin/sh',
  LANG: 'C.UTF-8',
}

/** What a program without a sandbox has of the daemon's own environment. */
const BARE = ['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'TMPDIR']

/** The base of a program that runs without a sandbox, as the daemon's own user. */
export function bareBase(own: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const base: Record<string, string> = { PATH: '/usr/local/bin:/usr/bin:/bin' }
  for (const name of BARE) {
    const value = own[name]
    if (value !== undefined) base[name] = value
  }
  return base
}
