import type { Duplex } from 'node:stream'
import { CosmosError } from '../../errors.ts'
import { FrameReader, protocolError } from '../../form/msgpack.ts'
import * as sftp from './packets.ts'

/** An answer that is no success: what a STATUS said. */
export class SftpFailure extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message || `status ${status}`)
    this.status = status
  }
}

/** A name of a directory. */
export interface ListedName {
  readonly name: string
  readonly attributes: sftp.Attributes
}

/** How long a server may say nothing while it is asked something, milliseconds; it may be busy with a sync for longer. */
const SYNC_PATIENCE = 4
/** Requests for a directory's next names that are on their way at once. */
const MAX_LISTING = 16
/** What every server takes and gives at once, bytes (draft-ietf-secsh-filexfer-02, 3). */
const USUAL_CHUNK = 32 * 1024
/** More than this is not asked at once: a packet stays below what servers take. */
const MAX_CHUNK = 255 * 1024

interface Waiting {
  resolve(answer: Answer): void
  reject(error: Error): void
  readonly patience: number
}

interface Answer {
  readonly type: number
  readonly packet: sftp.PacketReader
}

/**
 * SFTP over one channel. Requests are sent as they come and answered as the server likes; each method is one of them.
 * They reject with {@link SftpFailure} for what the server refuses, and with the CosmosError that ended the session.
 */
export class SftpSession {
  readonly subject: string
  readonly extensions: ReadonlySet<string>
  /** Bytes of a READ, and of a WRITE. */
  readChunk = USUAL_CHUNK
  writeChunk = USUAL_CHUNK
  /** Handles that are open. */
  handles = 0
  /** When it was asked last, by performance.now(). */
  used = performance.now()
  /** Why it ended. */
  lost: CosmosError | undefined
  /** Called once, when it ends. */
  onLost: (() => void) | undefined

  readonly #channel: Duplex
  readonly #waiting = new Map<number, Waiting>()
  readonly #silence: number
  readonly #outgoing: Buffer[] = []
  #lastId = 0
  #heard = performance.now()
  readonly #watch: NodeJS.Timeout

  private constructor(channel: Duplex, subject: string, silence: number, extensions: ReadonlySet<string>) {
    this.subject = subject
    this.extensions = extensions
    this.#channel = channel
    this.#silence = silence
    this.#watch = setInterval(() => this.#checkSilence(), Math.max(50, silence / 8))
    this.#watch.unref()
  }

  /** Starts SFTP on a channel; `silence` is how long the server may say nothing to what it is asked, milliseconds. */
  static async start(channel: Duplex, subject: string, silence: number): Promise<SftpSession> {
    const reader = new FrameReader()
    let session: SftpSession | undefined
    const { promise, resolve, reject } = Promise.withResolvers<SftpSession>()
    const end = (error: CosmosError) => (session ? session.end(error) : reject(error))
    const gone = () => end(new CosmosError('EHOSTDOWN', subject, 'the connection is lost'))
    const late = setTimeout(() => end(new CosmosError('ETIMEDOUT', subject, 'does not start SFTP')), silence)
    channel.on('data', (bytes: Buffer) => {
      try {
        for (const packet of reader.push(bytes)) {
          if (session) session.#receive(packet)
          else {
            session = new SftpSession(channel, subject, silence, readVersion(packet))
            resolve(session)
          }
        }
      } catch (error) {
        end(new CosmosError('EIO', subject, `what it sends is not SFTP: ${(error as Error).message}`))
      }
    })
    channel.on('end', gone)
    channel.on('close', gone)
    channel.on('error', gone)
    channel.write(sftp.encodePacket(sftp.INIT, 3, []))
    try {
      const started = await promise
      await started.#readLimits()
      return started
    } finally {
      clearTimeout(late)
    }
  }

  /** Ends it: what waits for an answer rejects with this. */
  end(error: CosmosError): void {
    if (this.lost) return
    this.lost = error
    clearInterval(this.#watch)
    this.#channel.destroy()
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
    this.onLost?.()
  }

  /** Whether something is being asked. */
  get busy(): boolean {
    return this.#waiting.size > 0
  }

  async lstat(path: string): Promise<sftp.Attributes> {
    return (await this.#ask(sftp.LSTAT, [path], sftp.ATTRS)).attributes()
  }

  /** Follows links. */
  async stat(path: string): Promise<sftp.Attributes> {
    return (await this.#ask(sftp.STAT, [path], sftp.ATTRS)).attributes()
  }

  async setstat(path: string, attributes: sftp.Attributes): Promise<void> {
    await this.#ask(sftp.SETSTAT, [path, attributes])
  }

  async setstatOfHandle(handle: Buffer, attributes: sftp.Attributes): Promise<void> {
    await this.#ask(sftp.FSETSTAT, [handle, attributes])
  }

  async open(path: string, flags: number, attributes: sftp.Attributes = {}): Promise<Buffer> {
    return this.#handleOf(await this.#ask(sftp.OPEN, [path, flags, attributes], sftp.HANDLE))
  }

  async close(handle: Buffer): Promise<void> {
    this.handles--
    await this.#ask(sftp.CLOSE, [handle])
  }

  /** One READ: no bytes at the end; they are a part of what came. */
  async read(handle: Buffer, position: number, length: number): Promise<Uint8Array> {
    const answer = await this.#send(sftp.READ, [handle, BigInt(position), length])
    if (answer.type === sftp.DATA) return answer.packet.bytes()
    isEnd(answer)
    return new Uint8Array(0)
  }

  async write(handle: Buffer, position: number, bytes: Uint8Array): Promise<void> {
    await this.#ask(sftp.WRITE, [handle, BigInt(position), bytes])
  }

  /** Every name of a directory but `.` and `..`. */
  async list(path: string): Promise<ListedName[]> {
    const handle = this.#handleOf(await this.#ask(sftp.OPENDIR, [path], sftp.HANDLE))
    const names: ListedName[] = []
    try {
      // The next requests are on their way before the first is answered, ever more of them: the way there takes longest.
      for (let ahead = 1, ended = false; !ended; ahead = Math.min(MAX_LISTING, ahead * 2)) {
        const requests = Array.from({ length: ahead }, () => this.#send(sftp.READDIR, [handle]))
        for (const answer of await Promise.all(requests)) {
          if (answer.type === sftp.NAME) names.push(...readNames(answer.packet))
          else ended = isEnd(answer)
        }
      }
    } finally {
      this.close(handle).catch(() => {})
    }
    return names
  }

  async readlink(path: string): Promise<string> {
    const packet = await this.#ask(sftp.READLINK, [path], sftp.NAME)
    packet.uint32()
    return packet.text()
  }

  async mkdir(path: string, mode: number): Promise<void> {
    await this.#ask(sftp.MKDIR, [path, { mode }])
  }

  /** OpenSSH has the two names the other way round than the draft, and everybody follows it. */
  async symlink(path: string, target: string): Promise<void> {
    await this.#ask(sftp.SYMLINK, [target, path])
  }

  async remove(path: string): Promise<void> {
    await this.#ask(sftp.REMOVE, [path])
  }

  async rmdir(path: string): Promise<void> {
    await this.#ask(sftp.RMDIR, [path])
  }

  /** Fails where there is something at `to`. */
  async rename(from: string, to: string): Promise<void> {
    await this.#ask(sftp.RENAME, [from, to])
  }

  /** An extension that answers OK; UNSUPPORTED where the server does not have it. */
  async extended(name: string, fields: readonly sftp.Field[]): Promise<void> {
    if (!this.extensions.has(name)) throw new SftpFailure(sftp.UNSUPPORTED, `${name} is not supported`)
    const patience = name.startsWith('fsync') ? SYNC_PATIENCE : 1
    expectOk(await this.#send(sftp.EXTENDED, [name, ...fields], patience))
  }

  /** Bytes that are free for this user where a file is; undefined where the server does not tell. */
  async free(handle: Buffer): Promise<number | undefined> {
    if (!this.extensions.has('fstatvfs@openssh.com')) return undefined
    const packet = await this.#ask(sftp.EXTENDED, ['fstatvfs@openssh.com', handle], sftp.EXTENDED_REPLY)
    const [, fragment = 0, , , available = 0] = Array.from({ length: 5 }, () => packet.uint64())
    return fragment * available
  }

  async #readLimits(): Promise<void> {
    if (!this.extensions.has('limits@openssh.com')) return
    const packet = await this.#ask(sftp.EXTENDED, ['limits@openssh.com'], sftp.EXTENDED_REPLY)
    packet.uint64()
    const chunk = (limit: number) => Math.min(limit || USUAL_CHUNK, MAX_CHUNK)
    this.readChunk = chunk(packet.uint64())
    this.writeChunk = chunk(packet.uint64())
  }

  #handleOf(packet: sftp.PacketReader): Buffer {
    this.handles++
    return Buffer.from(packet.bytes())
  }

  /** Asks for an answer of one type; OK unless it is said. */
  async #ask(type: number, fields: readonly sftp.Field[], expected?: number): Promise<sftp.PacketReader> {
    const answer = await this.#send(type, fields)
    if (answer.type === expected) return answer.packet
    expectOk(answer, expected)
    return answer.packet
  }

  #send(type: number, fields: readonly sftp.Field[], patience = 1): Promise<Answer> {
    if (this.lost) return Promise.reject(this.lost)
    this.#lastId = (this.#lastId + 1) >>> 0
    const id = this.#lastId
    this.used = performance.now()
    if (this.#waiting.size === 0) this.#heard = this.used
    const answer = new Promise<Answer>((resolve, reject) =>
      this.#waiting.set(id, { resolve, reject, patience }),
    )
    this.#post(sftp.encodePacket(type, id, fields))
    return answer
  }

  /** Requests of one turn go out together: each write of the channel is encrypted and sent by itself. */
  #post(packet: Buffer): void {
    this.#outgoing.push(packet)
    if (this.#outgoing.length > 1) return
    queueMicrotask(() => {
      const packets = this.#outgoing.splice(0)
      if (!this.lost) this.#channel.write(packets.length === 1 ? packet : Buffer.concat(packets))
    })
  }

  #receive(bytes: Buffer): void {
    this.#heard = performance.now()
    const packet = new sftp.PacketReader(bytes)
    const type = packet.byte()
    const id = packet.uint32()
    const waiting = this.#waiting.get(id)
    if (!waiting) throw protocolError('an answer to nothing')
    this.#waiting.delete(id)
    this.used = this.#heard
    waiting.resolve({ type, packet })
  }

  #checkSilence(): void {
    if (this.#waiting.size === 0) return
    let patience = 1
    for (const waiting of this.#waiting.values()) patience = Math.max(patience, waiting.patience)
    if (performance.now() - this.#heard < this.#silence * patience) return
    this.end(new CosmosError('ETIMEDOUT', this.subject, 'the host does not answer'))
  }
}

function readVersion(bytes: Buffer): ReadonlySet<string> {
  const packet = new sftp.PacketReader(bytes)
  const type = packet.byte()
  const version = packet.uint32()
  if (type !== sftp.VERSION || version < 3) throw protocolError(`version ${version}`)
  const extensions = new Set<string>()
  while (packet.left > 0) {
    const name = packet.text()
    packet.text()
    extensions.add(name)
  }
  return extensions
}

/** Names that no directory can have are left out: a server is not trusted with paths. */
function readNames(packet: sftp.PacketReader): ListedName[] {
  const names: ListedName[] = []
  for (let count = packet.uint32(); count > 0; count--) {
    const name = packet.text()
    packet.bytes()
    const attributes = packet.attributes()
    if (name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name)) names.push({ name, attributes })
  }
  return names
}

/** True; throws what else it is. */
function isEnd(answer: Answer): true {
  const failure = failureOf(answer)
  if (failure.status !== sftp.END_OF_FILE) throw failure
  return true
}

function expectOk(answer: Answer, expected?: number): void {
  const failure = failureOf(answer)
  if (failure.status !== sftp.OK || expected !== undefined) throw failure
}

function failureOf({ type, packet }: Answer): SftpFailure {
  if (type !== sftp.STATUS) return new SftpFailure(sftp.BAD_MESSAGE, `an answer of type ${type}`)
  const status = packet.uint32()
  return new SftpFailure(status, packet.left >= 4 ? packet.bytes().toString() : '')
}
