import { CosmosError } from '../../src/errors.ts'
import { isMap } from '../../src/form/msgpack.ts'
import type { WireText } from '../../src/form/wire.ts'
import type { Limit } from './limits.ts'

/** What an `exec` asks for (docs/vm-protocol.md). */
export interface ExecRequest {
  readonly file: WireText
  readonly argv: readonly WireText[]
  readonly env: readonly WireText[]
  readonly cwd: WireText
  readonly umask: number
  readonly limits: readonly Limit[]
  /** Numbers in the program. */
  readonly descriptors: readonly number[]
  /** Longest time, and largest address space in bytes. */
  readonly seconds: number | undefined
  readonly memory: number | undefined
}

/** Highest number of a descriptor (NR_OPEN). */
const MAX_DESCRIPTOR = 1_048_576

/** Reads the arguments of an `exec`. Throws CosmosError EINVAL. */
export function readExec(args: unknown): ExecRequest {
  const { route, argv, env, cwd, umask, limits, descriptors } = isMap(args) ? args : {}
  if (!isMap(route)) throw wrong('route')
  const payload = text('route.payload', route.payload)
  const given = list('argv', argv, text)
  const { interpreter } = route
  const interpreted = interpreter !== undefined && interpreter !== null
  const file = interpreted ? text('route.interpreter', interpreter) : payload
  const first = interpreted
    ? [file, ...list('route.interpreterArguments', route.interpreterArguments ?? [], text), payload]
    : given.slice(0, 1)
  const bounds = isMap(route.limits) ? route.limits : {}
  return {
    file,
    argv: [...first, ...given.slice(1)],
    env: list('env', env, text),
    cwd: text('cwd', cwd),
    umask: whole('umask', umask, 0o7777),
    limits: list('limits', limits, limit),
    descriptors: list('descriptors', descriptors, (name, each) => whole(name, each, MAX_DESCRIPTOR)),
    seconds: bound(bounds.seconds),
    memory: bound(bounds.memory),
  }
}

/** A limit of the route; undefined for none. */
function bound(sent: unknown): number | undefined {
  return typeof sent === 'number' && sent > 0 && Number.isFinite(sent) ? sent : undefined
}

function limit(name: string, value: unknown): Limit {
  if (!Array.isArray(value) || value.length !== 3) throw wrong(name)
  const [resource, soft, hard] = value as unknown[]
  return [whole(name, resource, 15), size(name, soft), size(name, hard)]
}

function size(name: string, value: unknown): bigint {
  if (typeof value === 'bigint' && value >= 0n) return value
  return BigInt(whole(name, value, Number.MAX_SAFE_INTEGER))
}

function list<T>(name: string, value: unknown, item: (name: string, value: unknown) => T): T[] {
  if (!Array.isArray(value)) throw wrong(name)
  return value.map((each: unknown) => item(name, each))
}

function text(name: string, value: unknown): WireText {
  if (typeof value === 'string' ? !value.includes('\0') : value instanceof Uint8Array && !value.includes(0))
    return value as WireText
  throw wrong(name)
}

function whole(name: string, value: unknown, most: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > most)
    throw wrong(name)
  return value
}

function wrong(name: string): CosmosError {
  return new CosmosError('EINVAL', `exec ${name}`, 'is missing or of the wrong kind')
}
