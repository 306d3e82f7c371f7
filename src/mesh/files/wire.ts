import { CosmosError } from '../../errors.ts'
import type { SourceNode, SourceType } from '../../source/service.ts'

/** Nodes of files as peers send them: an array each, since a directory has many (docs/mesh-protocol.md, files). */

const TYPES: readonly SourceType[] = ['file', 'directory', 'link', 'fifo', 'socket', 'block', 'character']

/** Type, size, mode, mtime, uid, gid, links, target, generation, identity, fresh; null for what nobody knows. */
export type WireNode = readonly [
  type: number,
  size: number | null,
  mode: number | null,
  mtime: number | null,
  uid: number | null,
  gid: number | null,
  links: number | null,
  target: string | null,
  generation: string | null,
  identity: string | null,
  fresh: number,
]

export function toWireNode(node: SourceNode): WireNode {
  const { type, size, mode, mtime, uid, gid, links, target, generation, identity, fresh } = node
  return [
    TYPES.indexOf(type),
    size ?? null,
    mode ?? null,
    mtime ?? null,
    uid ?? null,
    gid ?? null,
    links ?? null,
    target ?? null,
    generation ?? null,
    identity ?? null,
    fresh,
  ]
}

/** Throws CosmosError EPROTO for what is no node. */
export function fromWireNode(sent: unknown): SourceNode {
  if (!Array.isArray(sent)) throw wrong('a node')
  const [type, size, mode, mtime, uid, gid, links, target, generation, identity, fresh] = sent as unknown[]
  const name = typeof type === 'number' ? TYPES[type] : undefined
  if (name === undefined || !isCount(fresh)) throw wrong('a node')
  return {
    type: name,
    size: optional(size, isCount),
    fresh: Math.min(fresh, MAX_FRESH),
    ...given('mode', optional(mode, isMode)),
    ...given('mtime', optional(mtime, isTime)),
    ...given('uid', optional(uid, isId)),
    ...given('gid', optional(gid, isId)),
    ...given('links', optional(links, isId)),
    ...given('target', optional(target, isPath)),
    ...given('generation', optional(generation, isMark)),
    ...given('identity', optional(identity, isMark)),
  }
}

/** Segments of a path as they came: names with one character a byte. Throws CosmosError EPROTO for what is no name. */
export function fromWirePath(sent: unknown): string[] {
  if (!Array.isArray(sent) || sent.length > MAX_SEGMENTS) throw wrong('a path')
  for (const name of sent) if (!isName(name)) throw wrong('a path')
  return sent as string[]
}

/** Whether this names something in a directory. */
export function isName(name: unknown): name is string {
  return isPath(name) && name !== '' && name !== '.' && name !== '..' && !name.includes('/')
}

/** Where a link leads, as it came. Throws CosmosError EPROTO. */
export function targetOf(sent: unknown): string {
  if (!isPath(sent) || sent === '') throw wrong('a target')
  return sent
}

/** Throws CosmosError EPROTO for what is no count. */
export function countOf(sent: unknown, what: string): number {
  if (!isCount(sent)) throw wrong(what)
  return sent
}

/** Throws CosmosError EPROTO for what is no text of one character a byte. */
export function textOf(sent: unknown, what: string): string {
  if (!isText(sent)) throw wrong(what)
  return sent
}

/** The fields of arguments or of an answer. Throws CosmosError EPROTO. */
export function fieldsOf(sent: unknown): Readonly<Record<string, unknown>> {
  if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) throw wrong('arguments')
  return sent as Record<string, unknown>
}

/** Throws CosmosError EPROTO for what are no bytes. */
export function bytesOf(sent: unknown): Uint8Array {
  if (!(sent instanceof Uint8Array)) throw wrong('bytes')
  return sent
}

const MAX_SEGMENTS = 1000
/** Of names and targets: PATH_MAX. */
const MAX_NAME = 4096
/** Of generations and identities. */
const MAX_MARK = 256
/** How long a peer's word may be believed, milliseconds; and how late a time may be: what a date holds. */
const MAX_FRESH = 60_000
const MAX_TIME = 8.64e15

export function wrong(what: string): CosmosError {
  return new CosmosError('EPROTO', 'peer', `sent what is not ${what}`)
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** Milliseconds since 1970. */
export function isTime(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= MAX_TIME
}

/** Of one character a byte: any other would become another byte on its way to the kernel, a `/`, a `.` or a NUL. */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && !NO_BYTE.test(value)
}

const NO_BYTE = /[^\0-\xff]/

/** The same without a NUL, which would end it early. */
function isPath(value: unknown): value is string {
  return isText(value) && value.length <= MAX_NAME && !value.includes('\0')
}

/** Names its content, or its file: a table here has many of them. */
function isMark(value: unknown): value is string {
  return isText(value) && value.length <= MAX_MARK
}

function isMode(value: unknown): value is number {
  return isCount(value) && value <= 0o7777
}

function isId(value: unknown): value is number {
  return isCount(value) && value < 2 ** 32
}

function optional<T>(value: unknown, is: (value: unknown) => value is T): T | undefined {
  if (value === null || value === undefined) return undefined
  if (!is(value)) throw wrong('a node')
  return value
}

function given<K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: T }
}
