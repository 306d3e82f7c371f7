import { isExecutable, placeOf } from './host-file.ts'

/** A script's first line, as the kernel takes it apart. */
export interface Shebang {
  /** One character a byte. */
  readonly interpreter: string
  /** The rest of the line: one argument, blanks and all. */
  readonly argument?: string
}

/** Bytes of a file that the kernel looks at (BINPRM_BUF_SIZE). */
export const SHEBANG_SIZE = 256

/**
 * The `#!` line of a file's first bytes by the kernel's rules (fs/binfmt_script.c); undefined where the kernel
 * would not take it: no interpreter, or one whose name is longer than it reads.
 */
export function parseShebang(head: Buffer): Shebang | undefined {
  const text = head.toString('latin1', 0, SHEBANG_SIZE)
  if (!text.startsWith('#!')) return undefined
  const newline = text.indexOf('\n')
  // The kernel keeps the last byte of its buffer for the end.
  const isCut = newline < 0 && text.length === SHEBANG_SIZE
  const line = text.slice(2, newline < 0 ? SHEBANG_SIZE - 1 : newline)
  const parts = /^[ \t]*([^ \t\0]+)([ \t\0]?)[ \t]*([^\0]*)/.exec(line)
  if (!parts) return undefined
  const [, interpreter, end, rest] = parts as unknown as [string, string, string, string]
  if (isCut && end === '') return undefined
  const argument = end === '\0' ? '' : rest.replace(/[ \t]+$/, '')
  return argument === '' ? { interpreter } : { interpreter, argument }
}

/**
 * The program that `/usr/bin/env` would run for a script's argument: the first word that is no option and no
 * assignment; of `-S` the words of what follows.
 */
export function programOfEnv(argument: string): string | undefined {
  const isSplit = /^-[a-zA-Z]*S|^--split-string/.test(argument)
  // Without -S the argument is one word, blanks included.
  if (!isSplit) return argument.startsWith('-') || argument.includes('=') ? undefined : argument
  const words = argument.replace(/^(-[a-zA-Z]*S|--split-string=?)/, '').trim()
  return words.split(/[ \t]+/).find((word) => word !== '' && !word.startsWith('-') && !word.includes('='))
}

/** Whether an interpreter is env(1), which looks for its argument on the PATH. */
export function isEnv(interpreter: string): boolean {
  return interpreter.endsWith('/env')
}

/** Where a program's name leads on a PATH of absolute directories: the first executable file. */
export function findOnPath(name: string, path: readonly string[]): string | undefined {
  if (name.includes('/')) return name
  return path
    .filter((directory) => directory.startsWith('/'))
    .map((directory) => `${directory}/${name}`)
    .find((candidate) => {
      const place = placeOf(candidate)
      return typeof place !== 'string' && isExecutable(place)
    })
}

/** How much of a text is searched for declarations. */
export const HEADER_SIZE = 4096
const DECLARATION = /^\s*(?:#|\/\/|--|;+)\s*cosmos:(.*)$/

/**
 * What the comments near the top of a text declare: lines such as `# cosmos: vm = "python"`, in comments of `#`,
 * `//`, `--` or `;`. Answers them as TOML, each in its line; undefined where there are none.
 */
export function declarationsIn(head: Buffer): string | undefined {
  const lines = head.toString('utf8', 0, HEADER_SIZE).split('\n')
  // A line that is cut off is not a declaration.
  if (head.length >= HEADER_SIZE) lines.pop()
  const declared = lines.map((line) => DECLARATION.exec(line)?.[1]?.trim() ?? '')
  return declared.some(Boolean) ? declared.join('\n') : undefined
}
