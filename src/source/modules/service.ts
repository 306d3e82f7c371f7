import { stat } from 'node:fs/promises'
import { CosmosError } from '../../errors.ts'
import { isMap } from '../../form/msgpack.ts'
import { readable } from '../../frame/paths.ts'
import type {
  SourceAccess,
  SourceChange,
  SourceContext,
  SourceEntry,
  SourceFile,
  SourceNode,
  SourcePath,
  SourceService,
} from '../service.ts'
import { checkContent, checkEntries, checkNode, wrong } from './answers.ts'
import { ModuleProcess } from './process.ts'

/** Settings of `[source.NAME]` that are read here, in seconds, and what they are where nobody set them. */
const TIMEOUT = 30
const IDLE = 60
/** A process that ended by itself so soon after its start is started again after a pause only, milliseconds. */
const SOON = 10_000
const FIRST_PAUSE = 1000
const LAST_PAUSE = 30_000
/** How long it is believed that the module's file is as it was. */
const FRESH = 1000
/** Bytes of one message of a file's content. */
const MAX_CONTENT = 1024 * 1024

/**
 * The source that a user's module is (design §2; docs/sources.md): `lib/cosmos/services/SCHEME.mjs`. The module runs in a
 * process of its own, which is started when something is asked, ended when nothing is for a while, and started anew when
 * the module's file has changed. Whatever the module does, every call is answered: EIO when its process ends or answers
 * what is none, ETIMEDOUT after `timeout` seconds.
 */
export function moduleService(scheme: string, modulePath: string, context: SourceContext): SourceService {
  return new ModuleService(scheme, modulePath, context)
}

class ModuleService implements SourceService {
  readonly #scheme: string
  readonly #path: string
  readonly #context: SourceContext
  readonly #patience: number
  readonly #idle: number
  #process: ModuleProcess | undefined
  /** Ones that are ending. */
  readonly #ending = new Set<Promise<void>>()
  #files = 0
  #version = ''
  #looked = Number.NEGATIVE_INFINITY
  #looking: Promise<void> | undefined
  #pause = 0
  #notBefore = 0
  #idleTimer: NodeJS.Timeout | undefined
  #closed = false

  constructor(scheme: string, path: string, context: SourceContext) {
    const seconds = (name: string, usual: number) => {
      const value = context.settings[name]
      return (typeof value === 'number' && value > 0 ? value : usual) * 1000
    }
    this.#scheme = scheme
    this.#path = path
    this.#context = context
    this.#patience = seconds('timeout', TIMEOUT)
    this.#idle = seconds('idle', IDLE)
  }

  async stat(path: SourcePath, signal: AbortSignal): Promise<SourceNode> {
    return checkNode(await this.#call('stat', [path], signal))
  }

  async list(path: SourcePath, signal: AbortSignal): Promise<readonly SourceEntry[]> {
    return checkEntries(await this.#call('list', [path], signal))
  }

  async open(path: SourcePath, access: SourceAccess, signal: AbortSignal): Promise<SourceFile> {
    return this.#openFile('open', [path, access], signal)
  }

  async property(path: SourcePath, name: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const content = await this.#call('property', [path, name], signal)
    return content === undefined ? undefined : checkContent(content, Number.POSITIVE_INFINITY)
  }

  create(path: SourcePath, mode: number, access: SourceAccess): Promise<SourceFile> {
    return this.#openFile('create', [path, mode, access])
  }

  async mkdir(path: SourcePath, mode: number): Promise<SourceNode> {
    return checkNode(await this.#call('mkdir', [path, mode]))
  }

  async symlink(path: SourcePath, target: string): Promise<SourceNode> {
    return checkNode(await this.#call('symlink', [path, target]))
  }

  async link(path: SourcePath, to: SourcePath): Promise<SourceNode> {
    return checkNode(await this.#call('link', [path, to]))
  }

  async unlink(path: SourcePath): Promise<void> {
    await this.#call('unlink', [path])
  }

  async rmdir(path: SourcePath): Promise<void> {
    await this.#call('rmdir', [path])
  }

  async rename(from: SourcePath, to: SourcePath, keep: boolean): Promise<void> {
    await this.#call('rename', [from, to, keep])
  }

  async change(path: SourcePath, change: SourceChange): Promise<SourceNode> {
    const known = Object.entries(change).filter(([, value]) => value !== undefined)
    return checkNode(await this.#call('change', [path, Object.fromEntries(known)]))
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#idleTimer)
    this.#endProcess()
    await Promise.all(this.#ending)
  }

  async #call(op: string, args: readonly unknown[], signal?: AbortSignal): Promise<unknown> {
    const subject = this.#subject(args[0] as SourcePath)
    const running = await this.#running()
    try {
      return await running.call(op, args, subject, signal)
    } finally {
      this.#rest()
    }
  }

  async #openFile(op: string, args: readonly unknown[], signal?: AbortSignal): Promise<SourceFile> {
    const subject = this.#subject(args[0] as SourcePath)
    const running = await this.#running()
    // Counted before it is open, so that nobody ends the process meanwhile.
    this.#files++
    try {
      const opened = await running.call(op, args, subject, signal)
      if (!isMap(opened) || typeof opened.handle !== 'number') throw wrong('open answers no file')
      return new ModuleFile(running, opened.handle, checkNode(opened.node), subject, () => this.#closedFile())
    } catch (error) {
      this.#closedFile()
      throw error
    }
  }

  #subject({ segments }: SourcePath): string {
    return `${this.#scheme}:/${readable(segments.join('/'))}`
  }

  #closedFile(): void {
    this.#files--
    this.#rest()
  }

  /** The process, started when there is none. Throws EIO while one that ended of itself is not to be started again. */
  async #running(): Promise<ModuleProcess> {
    if (performance.now() - this.#looked > FRESH) this.#looking ??= this.#look()
    await this.#looking
    if (this.#closed) throw new CosmosError('EIO', `${this.#scheme}:`, 'is closed')
    clearTimeout(this.#idleTimer)
    const now = performance.now()
    const last = this.#process
    if (last && !last.ended) return last
    if (last?.ended) {
      // It ended by itself. The first time the next call starts it again, then only calls that come after a pause.
      if (now < this.#notBefore) throw last.ended
      const soon = now - last.started < SOON
      this.#pause = soon ? Math.min(LAST_PAUSE, Math.max(FIRST_PAUSE, this.#pause * 2)) : FIRST_PAUSE
    }
    this.#notBefore = now + this.#pause
    this.#process = new ModuleProcess(this.#scheme, this.#path, this.#context, this.#patience)
    return this.#process
  }

  /** A module whose file has changed is loaded anew, once nobody uses the old one. */
  async #look(): Promise<void> {
    const found = await stat(this.#path).catch(() => undefined)
    this.#looked = performance.now()
    this.#looking = undefined
    const version = found ? `${found.ino}-${found.size}-${found.mtimeMs}` : 'none'
    if (version === this.#version) return
    if (this.#process && !this.#process.ended && (this.#process.busy || this.#files > 0)) return
    this.#version = version
    this.#pause = 0
    this.#notBefore = 0
    this.#endProcess()
  }

  #rest(): void {
    clearTimeout(this.#idleTimer)
    if (this.#files > 0 || this.#process?.busy !== false) return
    this.#idleTimer = setTimeout(() => this.#endProcess(), this.#idle)
    this.#idleTimer.unref()
  }

  #endProcess(): void {
    const last = this.#process
    this.#process = undefined
    if (!last) return
    const ending = last.end().finally(() => this.#ending.delete(ending))
    this.#ending.add(ending)
  }
}

/** A file that a module has open; gone with its process. */
class ModuleFile implements SourceFile {
  readonly node: SourceNode
  readonly #process: ModuleProcess
  readonly #handle: number
  readonly #subject: string
  readonly #onClosed: () => void
  #open = true

  constructor(
    running: ModuleProcess,
    handle: number,
    node: SourceNode,
    subject: string,
    onClosed: () => void,
  ) {
    this.node = node
    this.#process = running
    this.#handle = handle
    this.#subject = subject
    this.#onClosed = onClosed
  }

  async read(position: number, length: number, signal: AbortSignal): Promise<Uint8Array> {
    const parts: Uint8Array[] = []
    for (let at = 0; at < length; at += MAX_CONTENT) {
      const part = Math.min(MAX_CONTENT, length - at)
      const bytes = checkContent(await this.#ask('read', [position + at, part], signal), part)
      parts.push(bytes)
      if (bytes.length < part) break
    }
    return parts.length === 1 ? (parts[0] as Uint8Array) : new Uint8Array(Buffer.concat(parts))
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += MAX_CONTENT)
      await this.#ask('write', [position + at, bytes.subarray(at, at + MAX_CONTENT)])
  }

  async sync(): Promise<void> {
    await this.#ask('sync', [])
  }

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    try {
      await this.#ask('close', [])
    } finally {
      this.#onClosed()
    }
  }

  #ask(op: string, args: readonly unknown[], signal?: AbortSignal): Promise<unknown> {
    return this.#process.call(op, [this.#handle, ...args], this.#subject, signal)
  }
}
