import { CosmosError } from '../../src/errors.ts'
import { isMap, protocolError } from '../../src/form/msgpack.ts'
import { type WireText, wireReadable } from '../../src/form/wire.ts'

/** What a request's arguments are; each throws CosmosError EPROTO for what is none. */

/** A text, or what its bytes are as one. */
export function textOf(value: unknown, name: string): string {
  if (typeof value === 'string' || value instanceof Uint8Array) return wireReadable(value as WireText)
  throw protocolError(`${name} is no text`)
}

/** Texts; none where it is left out. */
export function textsOf(value: unknown, name: string): string[] {
  return listOf(value, name).map((item) => textOf(item, name))
}

/** A list; empty where it is left out. */
export function listOf(value: unknown, name: string): unknown[] {
  if (value === undefined || value === null) return []
  if (Array.isArray(value)) return value
  throw protocolError(`${name} is no list`)
}

/** A map; empty where it is left out. */
export function mapOf(value: unknown, name: string): Record<string, unknown> {
  if (value === undefined || value === null) return {}
  if (isMap(value)) return value
  throw protocolError(`${name} is no map`)
}

/** A whole number from 0 on. */
export function countOf(value: unknown, name: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw protocolError(`${name} is no whole number`)
}

/** A limit: a number above 0; undefined for none. */
export function limitOf(value: unknown, name: string): number | undefined {
  if (value === undefined || value === null || value === 0) return undefined
  if (typeof value === 'number' && value > 0) return value
  throw new CosmosError('EINVAL', name, 'is no limit')
}
