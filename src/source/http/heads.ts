import type { SourceNode } from '../service.ts'
import type { Reply } from './client.ts'
import type { Location } from './location.ts'

/** What is known of a location: its head, and for something small its bytes. */
export interface Known {
  readonly status: number
  readonly type: 'file' | 'directory'
  /** Bytes as they are read; undefined: not told, or sent in a content coding. */
  readonly size: number | undefined
  readonly mtime: number | undefined
  readonly etag: string | undefined
  readonly lastModified: string | undefined
  /** Media type with its parameters, lower case. */
  readonly media: string
  /** Where it came from, redirects followed. */
  readonly url: URL
  /** The server says that it has ranges, or that it has none. */
  readonly ranges: boolean | undefined
  /** How long it may be believed, milliseconds, and until when (`performance.now()`). */
  readonly fresh: number
  readonly until: number
  /** It was asked for all of it, and that did not end soon. */
  readonly endless: boolean
  readonly body: Uint8Array | undefined
}

/** How long an answer is believed that does not say, at least, at most; milliseconds. */
const FRESH = { usual: 5_000, least: 1_000, most: 600_000 }

/** The head of an answer; its body is not looked at. */
export function knownOf(location: Location, reply: Reply): Known {
  const { headers, status } = reply
  const media = (headers.get('content-type') ?? '').toLowerCase()
  const fresh = freshness(headers)
  const time = Date.parse(headers.get('last-modified') ?? '')
  return {
    status,
    media,
    type: typeOf(location, reply, media),
    size: sizeOf(reply, location),
    mtime: Number.isNaN(time) ? undefined : time,
    etag: headers.get('etag'),
    lastModified: headers.get('last-modified'),
    url: reply.url,
    ranges: status === 206 || rangesOf(headers.get('accept-ranges')),
    fresh,
    until: performance.now() + fresh,
    endless: false,
    body: undefined,
  }
}

/** What was known, as a 304 (RFC 9111, §4.3.4) says it is still. */
export function renewed(known: Known, reply: Reply): Known {
  const fresh = freshness(reply.headers)
  return { ...known, fresh, until: performance.now() + fresh }
}

/** The rules of directories (design §4). */
function typeOf(location: Location, { status, slash }: Reply, media: string): Known['type'] {
  if (location.root || slash === 'same') return 'directory'
  if (location.file) return 'file'
  return slash || status === 404 || status === 410 || isHtml(media) ? 'directory' : 'file'
}

export function isHtml(media: string): boolean {
  return /^\s*(text\/html|application\/xhtml\+xml)\s*(;|$)/.test(media)
}

/** How a body is coded, if it must be decoded to be what the name says. */
export function codingOf(headers: ReadonlyMap<string, string>, location: Location): string | undefined {
  const coding = (headers.get('content-encoding') ?? 'identity').trim().toLowerCase()
  if (coding === 'identity' || coding === '') return undefined
  // Servers tell of a file that it is compressed where its name says so already: it is what was asked for.
  if (/gzip$/.test(coding) && /\.(t?gz|svgz)$/i.test(location.target.replace(/\?.*/s, ''))) return undefined
  return coding
}

/** Bytes of the whole, by the length or the range that an answer tells. */
function sizeOf({ status, headers }: Reply, location: Location): number | undefined {
  if (codingOf(headers, location)) return undefined
  const text =
    status === 206 || status === 416
      ? /\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1]
      : headers.get('content-length')
  const size = text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined
  return size !== undefined && Number.isSafeInteger(size) ? size : undefined
}

function rangesOf(accepts: string | undefined): boolean | undefined {
  return accepts === undefined ? undefined : accepts.trim().toLowerCase() === 'bytes'
}

/** Cache-Control (RFC 9111, §5.2.2) in bounds. */
function freshness(headers: ReadonlyMap<string, string>): number {
  const control = (headers.get('cache-control') ?? '').toLowerCase()
  if (/\bno-(cache|store)\b/.test(control)) return FRESH.least
  const seconds = /\bmax-age\s*=\s*"?(\d+)/.exec(control)?.[1]
  if (seconds === undefined) return FRESH.usual
  const age = Number(headers.get('age') ?? 0) || 0
  return Math.min(Math.max((Number(seconds) - age) * 1000, FRESH.least), FRESH.most)
}

/** What names a content: an ETag, or what changes with it. Undefined where nothing does. */
export function generationOf(known: Known): string | undefined {
  if (known.etag) return known.etag
  return known.lastModified === undefined ? undefined : `${known.lastModified} ${known.size ?? ''}`
}

/** The headers that ask for an answer only if it is another (RFC 9110, §13.1). */
export function conditions(known: Known | undefined): Record<string, string> {
  if (known?.etag) return { 'if-none-match': known.etag }
  return known?.lastModified ? { 'if-modified-since': known.lastModified } : {}
}

/** As a node of the tree. */
export function nodeOf(known: Known): SourceNode {
  const generation = generationOf(known)
  return {
    type: known.type,
    size: known.type === 'file' ? (known.body?.length ?? known.size) : 0,
    ...(known.mtime === undefined ? {} : { mtime: known.mtime }),
    ...(generation === undefined ? {} : { generation }),
    fresh: Math.max(FRESH.least, Math.round(known.until - performance.now())),
  }
}

/** Heads that were seen lately, and small bodies: the least used go first. */
export class Heads {
  readonly #heads = new Map<string, Known>()
  readonly #count: number
  readonly #bytes: number
  #held = 0

  /** At most `count` heads, and bodies of at most `bytes` together. */
  constructor(count = 4096, bytes = 32 * 1024 * 1024) {
    this.#count = count
    this.#bytes = bytes
  }

  get(location: Location): Known | undefined {
    const known = this.#heads.get(keyOf(location))
    if (known) this.#put(keyOf(location), known)
    return known
  }

  set(location: Location, known: Known): Known {
    this.#put(keyOf(location), known)
    for (const key of this.#heads.keys()) {
      if (this.#heads.size <= this.#count && this.#held <= this.#bytes) break
      this.#drop(key)
    }
    return known
  }

  delete(location: Location): void {
    this.#drop(keyOf(location))
  }

  #put(key: string, known: Known): void {
    this.#drop(key)
    this.#heads.set(key, known)
    this.#held += known.body?.length ?? 0
  }

  #drop(key: string): void {
    this.#held -= this.#heads.get(key)?.body?.length ?? 0
    this.#heads.delete(key)
  }
}

/** What one visitor sees another may not: credentials are a part of it. It never leaves the memory. */
export function keyOf({ origin, target, authorization = '' }: Location): string {
  return `${authorization} ${origin}${target}`
}
