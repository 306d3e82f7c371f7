import { CosmosError } from '../../errors.ts'
import { decoded } from '../../form/mappers/html.ts'
import type {
  SourceAccess,
  SourceContext,
  SourceEntry,
  SourceFile,
  SourceNode,
  SourcePath,
  SourceService,
} from '../service.ts'
import { decodedBody, discard } from './body.ts'
import { HttpClient, type Reply, type Wish } from './client.ts'
import { Cursor, type CursorFile, type Flow } from './cursor.ts'
import { failureOfStatus } from './failures.ts'
import { HeldFile, StreamedFile } from './file.ts'
import { codingOf, conditions, Heads, isHtml, type Known, keyOf, knownOf, nodeOf, renewed } from './heads.ts'
import { linksOf } from './links.ts'
import { type Location, locate } from './location.ts'
import { rangeFlow } from './ranges.ts'
import { type HttpSettings, readSettings } from './settings.ts'
import { Shared } from './shared.ts'

/** Largest file that is fetched whole when it is opened, bytes. */
const SMALL = 1024 * 1024
/** What is fetched of a file that does not tell its size, to know it: bytes, milliseconds. */
const PROBE = { bytes: 4 * 1024 * 1024, time: 5_000 }
/** Largest page that is searched for links, bytes. */
const PAGE = 8 * 1024 * 1024

/** The node of a host, which nobody has been asked for yet. */
const HOST: SourceNode = { type: 'directory', size: 0, fresh: 60_000 }

/**
 * The sources `http` and `https` (design §4): what servers have as files, their pages as directories. Read-only.
 * Throws CosmosError EINVAL for settings that can't be.
 */
export function httpService(context: SourceContext): SourceService {
  return new HttpService(context, readSettings(context.settings))
}

/** What a GET came to: something small is in `known.body`, the rest flows. */
interface Fetched {
  readonly known: Known
  readonly cursor?: Cursor
  readonly file?: CursorFile
}

class HttpService implements SourceService {
  readonly #client: HttpClient
  readonly #settings: HttpSettings
  readonly #heads = new Heads()
  readonly #looks = new Shared<Known>()
  readonly #fetches = new Shared<Known>()

  constructor(context: SourceContext, settings: HttpSettings) {
    this.#client = new HttpClient(context, settings)
    this.#settings = settings
  }

  async stat(path: SourcePath, signal: AbortSignal): Promise<SourceNode> {
    if (path.segments.length === 0) return HOST
    const location = locate(path)
    return location.root ? HOST : nodeOf(await this.#look(location, signal))
  }

  async list(path: SourcePath, signal: AbortSignal): Promise<readonly SourceEntry[]> {
    if (path.segments.length === 0) return []
    const known = await this.#page(locate(path), signal)
    if (known.status === 404 || known.status === 410 || !isHtml(known.media) || !known.body) return []
    const links = await linksOf(textOf(known.body, known.media), known.url)
    const { fresh } = nodeOf(known)
    return links.map(({ name, directory }) =>
      directory ? { name, node: { type: 'directory', size: 0, fresh } } : { name },
    )
  }

  async open(path: SourcePath, access: SourceAccess, signal: AbortSignal): Promise<SourceFile> {
    const location = path.segments.length === 0 ? undefined : locate(path)
    if (!location || location.root) throw isDirectory(location?.display ?? `${path.scheme}:`)
    if (access.write || access.truncate) throw new CosmosError('EROFS', location.display, 'is read-only')
    const head = this.#fresh(location)
    if (head?.type === 'directory') throw isDirectory(location.display)
    this.#bound(head?.size, location)
    if (head?.body) return new HeldFile(nodeOf(head), head.body)
    if (head?.size !== undefined && head.size <= SMALL) {
      const known = await this.#fetches.run(keyOf(location), signal, (shared) =>
        this.#fetchSmall(location, shared),
      )
      if (known.body) return new HeldFile(nodeOf(known), known.body)
    }
    const { known, cursor, file } = await this.#fetch(location, signal)
    if (!cursor || !file) return new HeldFile(nodeOf(known), known.body ?? new Uint8Array())
    return new StreamedFile(nodeOf(known), file, cursor, () => this.#heads.get(location)?.ranges !== false)
  }

  async property(path: SourcePath, name: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    if (name !== 'body' || path.segments.length === 0) return undefined
    const location = locate(path)
    if (!location.root && (await this.#look(location, signal)).type === 'file') return undefined
    return (await this.#page(location, signal)).body
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  #fresh(location: Location): Known | undefined {
    const known = this.#heads.get(location)
    return known && known.until > performance.now() ? known : undefined
  }

  /** What a location is, by its head where that says enough. */
  async #look(location: Location, signal: AbortSignal): Promise<Known> {
    return (
      this.#fresh(location) ??
      (await this.#looks.run(keyOf(location), signal, (shared) => this.#lookAgain(location, shared)))
    )
  }

  async #lookAgain(location: Location, signal: AbortSignal): Promise<Known> {
    const old = this.#heads.get(location)
    let reply = await this.#ask(location, { method: 'HEAD', headers: conditions(old) }, signal)
    discard(reply.body)
    if (reply.status === 304 && old) return this.#heads.set(location, renewed(old, reply))
    if (reply.status === 405 || reply.status === 501) {
      reply = await this.#ask(location, { method: 'GET', headers: { range: 'bytes=0-0' } }, signal)
      discard(reply.body)
    }
    const known = this.#accept(location, reply)
    const isSame = old?.etag !== undefined && old.etag === known.etag
    if (isSame && old.body) return this.#heads.set(location, { ...known, body: old.body })
    // A length of nothing is told by servers that do not know it, too.
    const isTold = known.size !== undefined && (known.size > 0 || reply.status !== 200)
    if (known.type === 'directory' || isTold || (isSame && old.endless))
      return this.#heads.set(location, { ...known, endless: !isTold && known.type === 'file' })
    try {
      const { cursor, known: fetched } = await this.#fetch(location, signal)
      cursor?.stop(new CosmosError('EIO', location.display, 'is not wanted'))
      return fetched
    } catch (error) {
      // What is too large to be read is there all the same.
      if (!(error instanceof CosmosError && error.code === 'EFBIG')) throw error
      return this.#heads.set(location, { ...known, size: undefined, endless: true })
    }
  }

  async #fetchSmall(location: Location, signal: AbortSignal): Promise<Known> {
    const held = this.#fresh(location)
    if (held?.body) return held
    const { known, cursor } = await this.#fetch(location, signal)
    // It has grown: that each opens for itself.
    cursor?.stop(new CosmosError('EIO', location.display, 'is not wanted'))
    return known
  }

  /** Asks for a file: what is small is fetched, what is not begins to flow. */
  async #fetch(location: Location, signal: AbortSignal): Promise<Fetched> {
    const old = this.#heads.get(location)
    const isLong = old?.type === 'file' && old.size !== undefined && old.size > SMALL
    const headers = old?.body ? conditions(old) : {}
    const reply = await this.#ask(location, { method: 'GET', headers, long: isLong }, signal)
    if (reply.status === 304 && old) {
      discard(reply.body)
      return { known: this.#heads.set(location, renewed(old, reply)) }
    }
    const known = await this.#acceptBody(location, reply)
    if (known.type === 'directory') {
      discard(reply.body)
      throw isDirectory(location.display)
    }
    const { size } = known
    const isEndless = size === undefined && old?.endless === true && old.until > performance.now()
    const file = this.#cursorFile(location, known)
    const flow = this.#flow(location, reply, size)
    const isShort = size === undefined || size <= SMALL
    const cursor = new Cursor(file, 0, flow, isShort ? (size ?? PROBE.bytes) : SMALL)
    if (!isShort || isEndless)
      return { known: this.#heads.set(location, { ...known, endless: isEndless }), cursor, file }
    const body = await this.#whole(
      cursor,
      location,
      size === undefined ? PROBE.time : Number.POSITIVE_INFINITY,
      signal,
    )
    const stored = this.#heads.set(location, { ...known, endless: body === undefined, body })
    return body ? { known: stored } : { known: stored, cursor, file }
  }

  /** The page of a directory, held. */
  async #page(location: Location, signal: AbortSignal): Promise<Known> {
    const old = this.#heads.get(location)
    if (old?.body && old.type === 'directory' && old.until > performance.now()) return old
    const headers = old?.body ? conditions(old) : {}
    const reply = await this.#ask(location, { method: 'GET', headers }, signal)
    if (reply.status === 304 && old) {
      discard(reply.body)
      return this.#heads.set(location, renewed(old, reply))
    }
    const known = await this.#acceptBody(location, reply, true)
    if (known.type === 'file') {
      reply.body.stop()
      throw new CosmosError('ENOTDIR', location.display, 'is a file')
    }
    const { display } = location
    const limit = new CosmosError('EFBIG', display, `the page is larger than ${PAGE} bytes`)
    if (known.size !== undefined && known.size > PAGE) {
      reply.body.stop()
      throw limit
    }
    const file: CursorFile = { display, size: known.size, maxSize: undefined }
    const cursor = new Cursor(file, 0, this.#flow(location, reply, known.size), known.size ?? PAGE)
    const body = await this.#whole(cursor, location, Number.POSITIVE_INFINITY, signal)
    cursor.stop(limit)
    if (!body) throw limit
    return this.#heads.set(location, { ...known, body })
  }

  /** All that a cursor comes to; a cursor that fails or is not waited for ends its connection. */
  async #whole(
    cursor: Cursor,
    location: Location,
    limit: number,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    try {
      return await cursor.whole(limit, signal)
    } catch (error) {
      cursor.stop(new CosmosError('EIO', location.display, 'was given up'))
      throw error
    }
  }

  async #ask(location: Location, wish: Wish, signal: AbortSignal): Promise<Reply> {
    return this.#client.ask(location, wish, signal)
  }

  /** The head of an answer that there is something; its error where there is nothing. A page must be readable itself. */
  #accept(location: Location, reply: Reply, asPage = false): Known {
    const { status } = reply
    const known = knownOf(location, reply)
    const isMissing = status === 404 || status === 410
    const isThere = (status >= 200 && status < 300) || (status === 416 && known.size === 0)
    // A directory that may not be listed leads on to what may be read.
    const isClosed = !asPage && reply.slash !== undefined && (status === 401 || status === 403)
    // A property that the server has not is the tree's.
    const leadsOn = (isMissing && !location.property) || isClosed
    if (isThere || (known.type === 'directory' && leadsOn)) return known
    this.#heads.delete(location)
    throw failureOfStatus(status, location.display)
  }

  /** The same for an answer whose body is wanted: it ends where it is not. */
  async #acceptBody(location: Location, reply: Reply, asPage = false): Promise<Known> {
    try {
      const known = this.#accept(location, reply, asPage)
      if (known.type === 'file') this.#bound(known.size, location)
      return known
    } catch (error) {
      discard(reply.body)
      throw error
    }
  }

  #bound(size: number | undefined, { display }: Location): void {
    const { maxSize } = this.#settings
    if (maxSize !== undefined && size !== undefined && size > maxSize)
      throw new CosmosError('EFBIG', display, `has ${size} bytes, more than ${maxSize}`, 'raise max_size')
  }

  #flow(location: Location, reply: Reply, until: number | undefined): Flow {
    const coding = codingOf(reply.headers, location)
    const body = coding ? decodedBody(coding, reply.body, location.display) : reply.body
    return { body, skip: 0, until }
  }

  #cursorFile(location: Location, known: Known): CursorFile {
    const { size } = known
    const { maxSize } = this.#settings
    const file = { display: location.display, size, maxSize }
    if (size === undefined) return file
    return {
      ...file,
      again: async (position, first, lost, signal) => {
        const { flow, ranges } = await rangeFlow(
          this.#client,
          location,
          known,
          { position, first, lost },
          signal,
        )
        const head = this.#heads.get(location)
        if (head) this.#heads.set(location, { ...head, ranges })
        return flow
      },
    }
  }
}

function isDirectory(display: string): CosmosError {
  return new CosmosError('EISDIR', display, 'is a directory', 'list it, or read its :body')
}

/** A page's text: by what its head says, else by itself. */
function textOf(page: Uint8Array, media: string): string {
  const charset = /charset\s*=\s*"?([\w-]+)/.exec(media)?.[1]
  try {
    if (charset) return new TextDecoder(charset).decode(page)
  } catch {
    // No such charset: the page itself may know better.
  }
  return decoded(Buffer.from(page.buffer, page.byteOffset, page.length))
}
