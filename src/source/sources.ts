import { open, rename, rm } from 'node:fs/promises'
import { CosmosError } from '../errors.ts'
import { Failures } from './failures.ts'
import type { SourceAnswer, SourceFailure, SourceQuestion, SourceTransfer, ToSources } from './requests.ts'
import type { SourceFile, SourcePath, SourceService } from './service.ts'

/** How a request of the kernel is answered, from this thread: its bytes, how many were written, or an errno name. */
export interface TransferReply {
  bytes(uniqueLow: number, uniqueHigh: number, bytes: Uint8Array): void
  written(uniqueLow: number, uniqueHigh: number, count: number): void
  done(uniqueLow: number, uniqueHigh: number): void
  failed(uniqueLow: number, uniqueHigh: number, code: string): void
}

/** How long anything may take whatever its service says, milliseconds. */
const PATIENCE_MS = 65_000
/** Bytes that are read in one go. */
const CHUNK = 1024 * 1024
/** Bytes of a file that something is made of. */
const MAX_FETCHED = 1024 ** 3
/** Buffers that are kept for the next reads. */
const MAX_BUFFERS = 8
const READ = { read: true, write: false, truncate: false } as const

interface Entry {
  readonly make: () => Promise<SourceService>
  service: Promise<SourceService> | undefined
}

/**
 * The sources of this daemon, by the name that each has in the root of the tree (`https:`, `me@gpubox`), and the files
 * that the tree has open of them. What the tree asks is answered by `answered`; what the kernel reads and writes is
 * answered to it at once.
 */
export class Sources {
  readonly #services = new Map<string, Entry>()
  readonly #reply: TransferReply
  readonly #answered: (key: string, answer: SourceAnswer) => void
  readonly #files = new Map<number, { path: SourcePath; opening: Promise<SourceFile> }>()
  readonly #failures = new Failures()
  /** Memory for reads, free at the moment. */
  readonly #buffers: Buffer[] = []
  /** Work under way, by its question's key or its request's number. */
  readonly #working = new Map<string, AbortController>()

  constructor(reply: TransferReply, answered: (key: string, answer: SourceAnswer) => void) {
    this.#reply = reply
    this.#answered = answered
  }

  /** Names in the root. */
  get roots(): string[] {
    return [...this.#services.keys()]
  }

  /** Adds a source, which is made when it is first used; once more where that failed. */
  add(root: string, make: () => Promise<SourceService>): void {
    this.#services.set(root, { make, service: undefined })
  }

  remove(root: string): void {
    this.#services.delete(root)
  }

  /** The service of a path. Rejects with CosmosError ENOENT, or with why it cannot be made. */
  serviceOf(path: SourcePath): Promise<SourceService> {
    const entry = this.#services.get(path.scheme) ?? this.#services.get(`${path.scheme}:`)
    if (!entry) return Promise.reject(new CosmosError('ENOENT', path.scheme, 'is no source here'))
    entry.service ??= entry.make().catch((error: unknown) => {
      entry.service = undefined
      throw error
    })
    return entry.service
  }

  /** Takes a message of the tree thread. */
  take(message: ToSources): void {
    switch (message.type) {
      case 'question':
        void this.#question(message.key, message.question)
        return
      case 'abandoned':
        this.#working.get(message.key)?.abort()
        return
      case 'transfer':
        void this.#transfer(message)
        return
      case 'interrupted':
        this.#working.get(numberOf(message))?.abort()
        return
      case 'close':
        void this.#close(message.file)
    }
  }

  /** All that a file has, in order; for whoever reads it without the kernel. */
  async *read(path: SourcePath, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const file = await (await this.serviceOf(path)).open(path, READ, signal)
    try {
      for (let position = 0; !signal.aborted; ) {
        const bytes = await file.read(position, CHUNK, signal)
        if (bytes.length === 0) return
        yield bytes
        position += bytes.length
      }
    } finally {
      await file.close()
    }
  }

  /**
   * Copies what a file has to a host path, which is there when all of it is; answers how many bytes that is. Rejects with
   * CosmosError EFBIG for more than a store should hold.
   */
  async fetch(path: SourcePath, output: Uint8Array, signal: AbortSignal): Promise<number> {
    const part = Buffer.concat([output, Buffer.from('.part')])
    const file = await open(part, 'wx', 0o600)
    try {
      let size = 0
      for await (const bytes of this.read(path, signal)) {
        size += bytes.length
        if (size > MAX_FETCHED)
          throw new CosmosError(
            'EFBIG',
            path.segments.at(-1) ?? path.scheme,
            'is too large to make something of',
          )
        await file.writeFile(bytes)
      }
      signal.throwIfAborted()
      await rename(part, Buffer.from(output))
      return size
    } catch (error) {
      await rm(part, { force: true })
      throw error
    } finally {
      await file.close()
    }
  }

  /** Ends all services. */
  async close(): Promise<void> {
    const made = [...this.#services.values()].map((entry) => entry.service)
    await Promise.allSettled(made.map(async (service) => (await service)?.close?.()))
  }

  async #question(key: string, question: SourceQuestion): Promise<void> {
    const work = this.#begin(key)
    try {
      const answer = await orAborted(this.#ask(question, work.signal), work.signal)
      this.#failures.succeeded(question.path, question.op)
      if (key !== '') this.#answered(key, answer)
      // Nobody will close it.
      if (work.signal.aborted && 'file' in question) void this.#close(question.file)
    } catch (error) {
      if ('file' in question) void this.#close(question.file)
      const failure = errorOf(error, work.signal)
      this.#failures.failed(question.path, question.op, failure)
      if (key !== '') this.#answered(key, { error: failure })
    } finally {
      work.end()
    }
  }

  async #ask(question: SourceQuestion, signal: AbortSignal): Promise<SourceAnswer> {
    const { path } = question
    const service = await this.serviceOf(path)
    signal.throwIfAborted()
    switch (question.op) {
      case 'stat':
        return { node: await service.stat(path, signal) }
      case 'list':
        return { entries: await service.list(path, signal) }
      case 'property': {
        if (question.name === 'error') return this.#failures.answer(path)
        const bytes = await service.property?.(path, question.name, signal)
        return bytes === undefined ? {} : { bytes }
      }
      case 'open':
        return this.#opened(question.file, path, service.open(path, question.access, signal))
      case 'create':
        if (!service.create) throw readOnly(path)
        return this.#opened(question.file, path, service.create(path, question.mode, question.access))
      case 'mkdir':
        if (!service.mkdir) throw readOnly(path)
        return { node: await service.mkdir(path, question.mode) }
      case 'symlink':
        if (!service.symlink) throw readOnly(path)
        return { node: await service.symlink(path, question.target) }
      case 'link':
        if (!service.link) throw readOnly(path)
        return { node: await service.link(path, question.to) }
      case 'unlink':
        if (!service.unlink) throw readOnly(path)
        await service.unlink(path)
        return {}
      case 'rmdir':
        if (!service.rmdir) throw readOnly(path)
        await service.rmdir(path)
        return {}
      case 'rename':
        if (!service.rename) throw readOnly(path)
        await service.rename(path, question.to, question.keep)
        return {}
      case 'change':
        if (!service.change) throw readOnly(path)
        return { node: await service.change(path, question.change) }
    }
  }

  /** Remembers a file from the moment that it is asked for: its reads may come before it is open. */
  async #opened(file: number, path: SourcePath, opening: Promise<SourceFile>): Promise<SourceAnswer> {
    this.#files.set(file, { path, opening })
    return { node: (await opening).node, file }
  }

  async #transfer(transfer: SourceTransfer): Promise<void> {
    const { uniqueLow, uniqueHigh, op, position, size } = transfer
    const work = this.#begin(numberOf(transfer))
    const { signal } = work
    const open = this.#files.get(transfer.file)
    try {
      const file = await orAborted(open?.opening, signal)
      if (!file) throw new CosmosError('ESTALE', String(transfer.file), 'is no open file')
      switch (op) {
        case 'read':
          if (file.readInto) await this.#readInto(file, transfer, signal)
          else {
            const bytes = await orAborted(read(file, position, size, signal), signal)
            this.#reply.bytes(uniqueLow, uniqueHigh, bytes)
          }
          break
        case 'write': {
          const { bytes = NONE } = transfer
          if (!file.write) throw new CosmosError('EROFS', String(transfer.file), 'is read-only')
          await orAborted(file.write(position, bytes), signal)
          this.#reply.written(uniqueLow, uniqueHigh, bytes.length)
          break
        }
        case 'flush':
          await orAborted(file.flush?.(), signal)
          this.#reply.done(uniqueLow, uniqueHigh)
          break
        case 'sync':
          await orAborted((file.sync ?? file.flush)?.call(file), signal)
          this.#reply.done(uniqueLow, uniqueHigh)
      }
      if (open) this.#failures.succeeded(open.path, op)
    } catch (error) {
      const failure = errorOf(error, signal)
      // Before the reply: whoever has it may ask why.
      if (open) this.#failures.failed(open.path, op, failure)
      this.#reply.failed(uniqueLow, uniqueHigh, failure.code)
    } finally {
      work.end()
    }
  }

  /** A read by way of memory that is used again, as soon as nobody writes to it any more. */
  async #readInto(file: SourceFile, transfer: SourceTransfer, signal: AbortSignal): Promise<void> {
    const { uniqueLow, uniqueHigh, position, size } = transfer
    const buffer = this.#buffers.pop() ?? Buffer.allocUnsafeSlow(CHUNK)
    const target = buffer.subarray(0, Math.min(size, CHUNK))
    const reading = file.readInto!(position, target, signal)
    try {
      const length = await orAborted(reading, signal)
      this.#reply.bytes(uniqueLow, uniqueHigh, target.subarray(0, length))
    } finally {
      const giveBack = (): void => {
        if (this.#buffers.length < MAX_BUFFERS) this.#buffers.push(buffer)
      }
      reading.then(giveBack, giveBack)
    }
  }

  async #close(number: number): Promise<void> {
    const open = this.#files.get(number)
    this.#files.delete(number)
    try {
      await (await open?.opening)?.close()
    } catch {
      // Whoever wrote was told when it was flushed.
    }
  }

  #begin(key: string): { signal: AbortSignal; end: () => void } {
    const controller = new AbortController()
    const timer = setTimeout(() => controller.abort(TOO_LONG), PATIENCE_MS)
    if (key !== '') this.#working.set(key, controller)
    return {
      signal: controller.signal,
      end: () => {
        clearTimeout(timer)
        this.#working.delete(key)
      },
    }
  }
}

const NONE = new Uint8Array(0)
const TOO_LONG = new CosmosError('ETIMEDOUT', 'source', 'does not answer')

/** Reads until there is enough or the file ends: the kernel takes a short answer for the end. */
async function read(
  file: SourceFile,
  position: number,
  size: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const first = await file.read(position, size, signal)
  if (first.length === size || first.length === 0) return first
  const known = file.node.size
  const parts = [first]
  let length = first.length
  while (length < size && (known === undefined || position + length < known)) {
    const part = await file.read(position + length, size - length, signal)
    if (part.length === 0) break
    parts.push(part)
    length += part.length
    // One that is read as it comes is not waited for.
    if (known === undefined) break
  }
  return parts.length === 1 ? first : Buffer.concat(parts, length)
}

/** A promise that is not waited for any longer than somebody wants its end. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T>
function orAborted<T>(work: Promise<T> | undefined, signal: AbortSignal): Promise<T | undefined>
function orAborted<T>(work: Promise<T> | undefined, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    if (!work) resolve(undefined)
    else work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

function errorOf(error: unknown, signal: AbortSignal): SourceFailure {
  if (signal.aborted && signal.reason !== TOO_LONG) return { code: 'EINTR', why: 'was interrupted' }
  const known = signal.aborted ? TOO_LONG : error
  if (known instanceof CosmosError) {
    const { code, subject, hint } = known
    const why = known.message.slice(subject.length + 2)
    return { code, subject, why: hint === undefined ? why : `${why} (${hint})` }
  }
  console.error(known)
  return { code: 'EIO', why: known instanceof Error ? known.message : String(known) }
}

function readOnly({ scheme, segments }: SourcePath): CosmosError {
  return new CosmosError('EROFS', `${scheme}:/${segments.slice(1).join('/')}`, 'is read-only')
}

function numberOf({ uniqueLow, uniqueHigh }: { uniqueLow: number; uniqueHigh: number }): string {
  return `${uniqueHigh}:${uniqueLow}`
}
