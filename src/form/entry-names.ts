import { createHash } from 'node:crypto'

/** Names of nodes as names of files. */

/** NAME_MAX of limits.h, bytes. */
const MAX_NAME = 255
/** Stands for the end of a name that is too long, before the hash of the whole. */
const CUT = '%~'
const HASH_SIZE = 12

/**
 * Names of the entries for these nodes, in their order. What no file can be called is percent-escaped: `/` and NUL,
 * `.` and `..`, and a `%` that would read as an escape; the empty name is `%`. {@link originalName} undoes it. A name
 * of more than 255 bytes is cut, with a hash: the tree's index has the whole one. The second `key` is `key~2`.
 */
export function entryNames(nodes: readonly { readonly name: string }[]): string[] {
  const taken = new Set<string>()
  const counts = new Map<string, number>()
  return nodes.map(({ name }) => {
    const escaped = escapeName(name)
    let entry = fitted(escaped, '')
    let count = counts.get(escaped) ?? 1
    while (taken.has(entry)) entry = fitted(escaped, `~${++count}`)
    counts.set(escaped, count)
    taken.add(entry)
    return entry
  })
}

/** The name that was escaped; one that was cut stays as it is. */
export function originalName(entry: string): string {
  if (entry === '%') return ''
  return entry.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

/** Whether the entry could be that of a node with this name, whatever its siblings are. */
export function mayBeEntry(entry: string, name: string): boolean {
  const escaped = escapeName(name)
  return entry === escaped || entry.startsWith(`${escaped}~`) || entry.includes(CUT)
}

function escapeName(name: string): string {
  if (name === '') return '%'
  if (name === '.' || name === '..') return name.replaceAll('.', '%2E')
  const isPlain = !name.includes('%') && !name.includes('/') && !name.includes('\0')
  if (isPlain) return name.toWellFormed()
  return name
    .replace(/%(?=[0-9A-Fa-f]{2})|^%$/g, '%25')
    .replaceAll('/', '%2F')
    .replaceAll('\0', '%00')
    .toWellFormed()
}

function fitted(name: string, suffix: string): string {
  if (name.length * 3 + suffix.length <= MAX_NAME) return name + suffix
  if (Buffer.byteLength(name + suffix) <= MAX_NAME) return name + suffix
  const end = CUT + createHash('sha256').update(name).digest('hex').slice(0, HASH_SIZE) + suffix
  let size = MAX_NAME - end.length
  const bytes = Buffer.from(name)
  // Not between the bytes of a character.
  while ((bytes[size]! & 0xc0) === 0x80) size--
  return bytes.toString('utf8', 0, size) + end
}
