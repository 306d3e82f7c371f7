import { CosmosError } from '../../errors.ts'
import type { HttpClient, Reply } from './client.ts'
import type { Flow } from './cursor.ts'
import { failureOfStatus } from './failures.ts'
import { codingOf, type Known, knownOf } from './heads.ts'
import type { Location } from './location.ts'

/** Bytes of the first request at a place: a reader who jumps seldom stays. The connection can be used again. */
const JUMP = 1024 * 1024
/** What is left of a file when the rest is asked for at once. */
const REST = 4 * 1024 * 1024

/** A place of a file that is asked for. */
export interface Place {
  readonly position: number
  /** Nothing has come from here yet. */
  readonly first: boolean
  /** The connection broke here: it is the same file only if that can be known. */
  readonly lost: boolean
}

/**
 * The bytes of a file of known size from a place on (RFC 9110, §14). A server without ranges sends it from the start,
 * and what is before the place is skipped. Rejects with CosmosError EIO when it is not what it was.
 */
export async function rangeFlow(
  client: HttpClient,
  location: Location,
  known: Known,
  { position, first, lost }: Place,
  signal: AbortSignal,
): Promise<{ flow: Flow; ranges: boolean }> {
  const size = known.size ?? 0
  const isStrong = known.etag?.startsWith('"')
  const validator = isStrong ? known.etag : known.lastModified
  if (lost && !known.etag && !known.lastModified)
    throw new CosmosError(
      'EIO',
      location.display,
      `the connection was lost at ${position} of ${size} bytes, and the server tells nothing to take it up by`,
    )
  const until = first && size - position > REST ? position + JUMP : size
  const reply = await client.ask(
    location,
    {
      method: 'GET',
      headers: {
        range: `bytes=${position}-${until - 1}`,
        ...(validator ? { 'if-range': validator } : {}),
      },
      long: until - position > JUMP,
    },
    signal,
  )
  const fail = (why: string) => {
    reply.body.stop()
    return new CosmosError('EIO', location.display, why)
  }
  const { status } = reply
  if (status !== 200 && status !== 206 && status !== 416) {
    reply.body.stop()
    throw failureOfStatus(status, location.display)
  }
  if (status === 416 || codingOf(reply.headers, location) || !isSame(known, knownOf(location, reply)))
    throw fail('it was changed while it was read')
  if (status === 200) return { flow: { body: reply.body, skip: position, until: size }, ranges: false }
  const range = rangeOf(reply)
  if (range?.start !== position || range.until > until)
    throw fail('the server sent another part than was asked for')
  return { flow: { body: reply.body, skip: 0, until: range.until }, ranges: true }
}

function isSame(before: Known, now: Known): boolean {
  const same = <T>(one: T | undefined, other: T | undefined) =>
    one === undefined || other === undefined || one === other
  return (
    same(before.etag, now.etag) && same(before.lastModified, now.lastModified) && same(before.size, now.size)
  )
}

function rangeOf({ headers }: Reply): { start: number; until: number } | undefined {
  const [, start, last] = /^bytes\s+(\d+)-(\d+)\//.exec(headers.get('content-range') ?? '') ?? []
  return start === undefined ? undefined : { start: Number(start), until: Number(last) + 1 }
}
