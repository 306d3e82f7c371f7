import { CosmosError } from '../errors.ts'
import { readable, toBytesText } from '../frame/paths.ts'

/**
 * Path patterns of grants. A pattern covers what it names and all that lies below:
 *
 *     /srv        /srv and everything in it
 *     /home/u*    `*` stands for any part of one name
 *     .cosm/bin   a path of the host's cosm
 *
 * `**` as a whole name stands for any number of directories, none too. `%xx` is any byte, and never a wildcard. Names
 * have one character a byte once they are parsed.
 */
export interface Pattern {
  /** `/` for a path of the host, `.cosm` for one of its cosm. */
  readonly root: '/' | '.cosm'
  readonly segments: readonly Segment[]
  /** The one path that it names, where it has no wildcard. */
  readonly literal: string | undefined
}

/** A name with its wildcards, or `**`. */
type Segment = typeof MANY | readonly Part[]
/** One byte, or `*`. */
type Part = string | typeof STAR

const MANY = Symbol('**')
const STAR = Symbol('*')

/** The pattern of a text. Throws CosmosError EINVAL, saying what is wrong with it. */
export function parsePattern(text: string): Pattern {
  const [first, ...others] = text.split('/')
  if (first !== '' && first !== '.cosm')
    throw new CosmosError('EINVAL', text, 'a granted path begins with / or with .cosm', 'read:/srv')
  const segments: Segment[] = []
  for (const name of others) {
    if (name === '') continue
    const segment = name === '**' ? MANY : parseSegment(name, text)
    if (segment !== MANY || segments.at(-1) !== MANY) segments.push(segment)
  }
  // All that is below is covered anyway.
  while (segments.at(-1) === MANY) segments.pop()
  const root = first === '' ? '/' : '.cosm'
  return { root, segments, literal: literalOf(root, segments) }
}

function parseSegment(name: string, text: string): readonly Part[] {
  const bytes = toBytesText(name)
  const parts: Part[] = []
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!
    if (byte === '*') {
      if (parts.at(-1) !== STAR) parts.push(STAR)
    } else if (byte === ':')
      throw new CosmosError('EINVAL', text, 'a colon ends a path', 'write %3A for one in a name')
    else if (byte === '%') {
      const digits = bytes.slice(i + 1, i + 3)
      if (!/^[0-9a-fA-F]{2}$/.test(digits))
        throw new CosmosError('EINVAL', text, '% needs two hexadecimal digits', 'write %25 for a % in a name')
      parts.push(String.fromCharCode(Number.parseInt(digits, 16)))
      i += 2
    } else parts.push(byte)
  }
  if (parts.includes('/') || parts.includes('\0'))
    throw new CosmosError('EINVAL', text, 'no name has a / or a NUL byte')
  const plain = literalSegment(parts)
  if (plain === '.' || plain === '..')
    throw new CosmosError('EINVAL', text, '. and .. are no names: a grant is about resolved paths')
  return parts
}

/** The text of a pattern, in one spelling: `parsePattern` of it is the same pattern. */
export function formatPattern({ root, segments }: Pattern): string {
  const names = segments.map((segment) => (segment === MANY ? '**' : formatSegment(segment)))
  return root === '/' ? `/${names.join('/')}` : ['.cosm', ...names].join('/')
}

/** What would mean something else, or not be seen, where people read it. */
const UNSAFE = /[%:*\p{C}\p{Z}]/u

function formatSegment(segment: readonly Part[]): string {
  let text = ''
  let run = ''
  for (const part of segment) {
    if (part !== STAR) run += String(part)
    else {
      text += `${formatBytes(run)}*`
      run = ''
    }
  }
  return text + formatBytes(run)
}

function formatBytes(bytes: string): string {
  const text = readable(bytes)
  // What is no UTF-8 would not come back as it was.
  if (toBytesText(text) !== bytes)
    return [...bytes].map((byte) => (byte > '\x7f' || UNSAFE.test(byte) ? escapeByte(byte) : byte)).join('')
  return [...text]
    .map((character) =>
      UNSAFE.test(character) ? [...toBytesText(character)].map(escapeByte).join('') : character,
    )
    .join('')
}

function escapeByte(byte: string): string {
  return `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

function literalSegment(parts: readonly Part[]): string | undefined {
  return parts.includes(STAR) ? undefined : (parts as readonly string[]).join('')
}

function literalOf(root: '/' | '.cosm', segments: readonly Segment[]): string | undefined {
  const names = segments.map((segment) => (segment === MANY ? undefined : literalSegment(segment)))
  if (names.includes(undefined)) return undefined
  return root === '/' ? `/${names.join('/')}` : ['.cosm', ...names].join('/')
}

/** A path that is asked about: resolved, one character a byte. */
export interface ResolvedPath {
  readonly root: '/' | '.cosm'
  readonly names: readonly string[]
}

/**
 * Takes a resolved path apart. Throws CosmosError EINVAL for one that is not resolved: a path with `.` or `..` must
 * never be compared with a grant.
 */
export function splitPath(path: string): ResolvedPath {
  const [first, ...others] = path.split('/')
  const names = others.filter((name) => name !== '')
  if (path === '' || (first !== '' && first !== '.cosm') || names.includes('.') || names.includes('..'))
    throw new CosmosError('EINVAL', readable(path), 'is no resolved path')
  return { root: first === '' ? '/' : '.cosm', names }
}

/** Whether the pattern names this path, or a directory above it. */
export function covers(pattern: Pattern, path: ResolvedPath): boolean {
  if (pattern.root !== path.root) return false
  const { segments } = pattern
  const { names } = path
  // As with `*` in a name: after the latest `**` all lengths are tried, so the work is at most a product of both.
  let s = 0
  let n = 0
  let retry = -1
  let retryName = 0
  for (;;) {
    if (s === segments.length) return true
    const segment = segments[s]!
    if (segment === MANY) {
      retry = ++s
      retryName = n
    } else if (n < names.length && segmentMatches(segment, names[n]!)) {
      s++
      n++
    } else if (retry >= 0 && retryName < names.length) {
      s = retry
      n = ++retryName
    } else return false
  }
}

/** Whether something that the pattern names may lie below this directory. */
export function leads(pattern: Pattern, directory: ResolvedPath): boolean {
  if (pattern.root !== directory.root) return false
  for (const [i, name] of directory.names.entries()) {
    const segment = pattern.segments[i]
    if (segment === MANY) return true
    if (segment === undefined || !segmentMatches(segment, name)) return false
  }
  return pattern.segments.length > directory.names.length
}

function segmentMatches(parts: readonly Part[], name: string): boolean {
  let p = 0
  let n = 0
  let retry = -1
  let retryAt = 0
  while (n < name.length || p < parts.length) {
    const part = parts[p]
    if (part === STAR) {
      retry = ++p
      retryAt = n
    } else if (part !== undefined && part === name[n]) {
      p++
      n++
    } else if (retry >= 0 && retryAt < name.length) {
      p = retry
      n = ++retryAt
    } else return false
  }
  return true
}
