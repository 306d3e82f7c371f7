import { constants } from 'node:os'
import { CosmosError } from '../../errors.ts'
import { isMap } from '../../form/msgpack.ts'
import type { SourceEntry, SourceNode, SourceType } from '../service.ts'

/**
 * What a user's module answers is checked on both sides of the wire: in its own process, where it can be told what is
 * wrong before anything is sent, and in the daemon. Every check throws CosmosError EIO with the reason.
 */

const TYPES: ReadonlySet<unknown> = new Set<SourceType>([
  'file',
  'directory',
  'link',
  'fifo',
  'socket',
  'block',
  'character',
])
const MAX_NAME = 255
const MAX_TARGET = 4095
const MAX_WORD = 4096
const MAX_ID = 0xffffffff
/** What a node is believed for where the module does not say, milliseconds. */
const FRESH = 1000

/** A node that a module answered: what is `null` or undefined is not known. */
export function checkNode(value: unknown): SourceNode {
  if (!isMap(value)) throw wrong('a node is an object')
  const { type } = value
  if (!TYPES.has(type)) throw wrong(`a node's type is one of ${[...TYPES].join(', ')}`)
  const number = (name: string, most = Number.MAX_SAFE_INTEGER) => {
    const given = value[name] ?? undefined
    if (given === undefined) return undefined
    if (typeof given !== 'number' || !Number.isInteger(given) || given < 0 || given > most)
      throw wrong(`a node's ${name} is a whole number from 0 to ${most}`)
    return given
  }
  const word = (name: string) => {
    const given = value[name] ?? undefined
    if (given === undefined) return undefined
    if (typeof given !== 'string' || given.length > MAX_WORD)
      throw wrong(`a node's ${name} is a text of ${MAX_WORD} characters at most`)
    return given
  }
  const time = value.mtime ?? undefined
  if (time !== undefined && (typeof time !== 'number' || !Number.isFinite(time)))
    throw wrong(`a node's mtime is a number of milliseconds`)
  const fresh = value.fresh ?? FRESH
  if (typeof fresh !== 'number' || !(fresh >= 0)) throw wrong(`a node's fresh is a number of milliseconds`)
  const target = type === 'link' ? checkBytes(value.target, `a link's target`, MAX_TARGET) : undefined
  return {
    type: type as SourceType,
    size: number('size'),
    fresh,
    ...known('mode', number('mode', 0o7777)),
    ...known('mtime', time),
    ...known('uid', number('uid', MAX_ID)),
    ...known('gid', number('gid', MAX_ID)),
    ...known('links', number('links', MAX_ID)),
    ...known('target', target),
    ...known('generation', word('generation')),
    ...known('identity', word('identity')),
  }
}

/** A directory that a module answered. */
export function checkEntries(value: unknown): SourceEntry[] {
  if (!Array.isArray(value)) throw wrong('a list is an array')
  const seen = new Set<string>()
  return value.map((entry: unknown) => {
    if (!isMap(entry)) throw wrong('an entry of a list is an object')
    const name = checkBytes(entry.name, 'a name', MAX_NAME)
    if (name === '.' || name === '..' || name.includes('/')) throw wrong(`${JSON.stringify(name)} is no name`)
    if (seen.has(name)) throw wrong(`the name ${JSON.stringify(name)} is there twice`)
    seen.add(name)
    const node = entry.node ?? undefined
    return node === undefined ? { name } : { name, node: checkNode(node) }
  })
}

/** Bytes that a module answered, `most` at most; the caller's own. */
export function checkContent(value: unknown, most: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrong('content is a Uint8Array')
  if (value.length > most) throw wrong(`${value.length} bytes where ${most} were asked for`)
  return new Uint8Array(value)
}

/** What a module failed with, as it is sent. */
export interface SentError {
  readonly code: string
  readonly why: string
  readonly hint?: string
}

/** An error's fields: its `code` where that is an errno's name, else EIO. */
export function checkError(value: unknown): SentError {
  const fields: { code?: unknown; message?: unknown; why?: unknown; hint?: unknown } =
    typeof value === 'object' && value !== null ? value : {}
  const { hint } = fields
  const message = fields.why ?? fields.message
  const text = typeof message === 'string' && message !== '' ? message : String(value)
  return {
    code: typeof fields.code === 'string' && fields.code in constants.errno ? fields.code : 'EIO',
    why: text.slice(0, MAX_WORD),
    ...(typeof hint === 'string' ? { hint: hint.slice(0, MAX_WORD) } : {}),
  }
}

/** The error that was sent. */
export function receivedError(sent: unknown, subject: string): CosmosError {
  const { code, why, hint } = checkError(sent)
  return new CosmosError(code, subject, why, hint)
}

/** The error of a module that does not keep to the interface. */
export function wrong(why: string): CosmosError {
  return new CosmosError('EIO', 'the module', `breaks the interface of sources: ${why}`)
}

/** Text with one character a byte, as all of the tree has it. */
function checkBytes(value: unknown, what: string, most: number): string {
  if (typeof value !== 'string' || value === '' || value.length > most)
    throw wrong(`${what} is a text of 1 to ${most} characters`)
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if (code === 0 || code > 0xff) throw wrong(`${what} has one character a byte: ${JSON.stringify(value)}`)
  }
  return value
}

function known<Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): Partial<Record<Name, Value>> {
  return (value === undefined ? {} : { [name]: value }) as Partial<Record<Name, Value>>
}
