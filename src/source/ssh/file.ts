import { CosmosError } from '../../errors.ts'
import type { SourceAccess, SourceFile, SourceNode } from '../service.ts'
import { type Attempt, attempt } from './failures.ts'
import { toNode } from './nodes.ts'
import * as sftp from './packets.ts'
import { ReadAhead } from './reading.ts'
import type { SftpSession } from './session.ts'

/** Where a file is. */
export interface FilePlace {
  readonly path: string
  readonly subject: string
  /** The host's session, another one after the connection was lost. */
  session(): Promise<SftpSession>
  /** Told of what is written. */
  written(): void
}

/**
 * An open file. One that is only read outlives a lost connection: it is opened again, and read on if it is still the
 * same. What is written goes to the server before it is answered.
 */
export class SshFile implements SourceFile {
  readonly node: SourceNode
  readonly #place: FilePlace
  readonly #access: SourceAccess
  #session: SftpSession
  #handle: Buffer
  #reader: ReadAhead
  #reopening: Promise<void> | undefined

  constructor(
    place: FilePlace,
    access: SourceAccess,
    node: SourceNode,
    session: SftpSession,
    handle: Buffer,
  ) {
    this.node = node
    this.#place = place
    this.#access = access
    this.#session = session
    this.#handle = handle
    this.#reader = this.#newReader()
  }

  async read(position: number, length: number, signal: AbortSignal): Promise<Uint8Array> {
    if (!this.#access.read) throw new CosmosError('EBADF', this.#place.subject, 'is not open for reading')
    if (length === 0) return new Uint8Array(0)
    if (this.#session.lost) {
      this.#reopening ??= this.#reopen()
      await this.#reopening
    }
    return abortable(
      attempt(this.#attempt('open'), () => this.#reader.read(position, length)),
      signal,
    )
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    if (!this.#access.write) throw new CosmosError('EBADF', this.#place.subject, 'is not open for writing')
    const chunk = this.#session.writeChunk
    const parts: Promise<void>[] = []
    for (let at = 0; at < bytes.length; at += chunk)
      parts.push(this.#session.write(this.#handle, position + at, bytes.subarray(at, at + chunk)))
    try {
      await attempt(this.#attempt('write'), () => Promise.all(parts))
    } catch (error) {
      throw (await this.#isFull(error))
        ? new CosmosError('ENOSPC', this.#place.subject, 'no space left')
        : error
    } finally {
      this.#reader.forget()
      this.#place.written()
    }
  }

  async sync(): Promise<void> {
    if (!this.#session.extensions.has('fsync@openssh.com')) return
    await attempt(this.#attempt('write'), () => this.#session.extended('fsync@openssh.com', [this.#handle]))
  }

  async close(): Promise<void> {
    this.#reader.forget()
    const closing = attempt(this.#attempt('write'), () => this.#session.close(this.#handle))
    // Nothing is lost with a file that was only read, and nobody waits for it.
    if (this.#access.write) await closing
    else closing.catch(() => {})
  }

  #newReader(): ReadAhead {
    return new ReadAhead(
      (position, length) => this.#session.read(this.#handle, position, length),
      this.#session.readChunk,
      this.node.size ?? Number.POSITIVE_INFINITY,
    )
  }

  async #reopen(): Promise<void> {
    const { subject, path } = this.#place
    try {
      if (this.#access.write) throw this.#session.lost ?? new CosmosError('EIO', subject, 'is lost')
      const session = await this.#place.session()
      const now = toNode(path, await attempt({ ...this.#attempt('open'), session }, () => session.stat(path)))
      if (now.generation !== this.node.generation)
        throw new CosmosError('ESTALE', subject, 'has changed while the host was away')
      this.#handle = await attempt({ ...this.#attempt('open'), session }, () =>
        session.open(path, sftp.FOR_READ),
      )
      this.#session = session
      this.#reader = this.#newReader()
    } finally {
      this.#reopening = undefined
    }
  }

  /** Whether a write failed because the disk is full: SFTP has no word for it. */
  async #isFull(error: unknown): Promise<boolean> {
    if (!(error instanceof CosmosError) || error.code !== 'EIO' || this.#session.lost) return false
    const free = await this.#session.free(this.#handle).catch(() => undefined)
    return free !== undefined && free < this.#session.writeChunk
  }

  #attempt(what: Attempt['what']): Attempt {
    return { session: this.#session, subject: this.#place.subject, path: this.#place.path, what }
  }
}

/** A promise that rejects when nobody wants its answer any more. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {})
    return Promise.reject(signal.reason)
  }
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
