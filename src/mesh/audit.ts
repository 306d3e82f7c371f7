import { createHash } from 'node:crypto'
import { type BigIntStats, createReadStream } from 'node:fs'
import { appendFile, chmod, mkdir, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { pathBytes, readable } from '../frame/paths.ts'

/** What ran on this host for a peer. Texts have one character a byte. */
export interface Execution {
  /** Peer id. */
  readonly visitor: string
  /** The resolved path of what ran. */
  readonly path: string
  /** SHA-256 of it, hexadecimal; why there is none where it could not be told. */
  readonly digest: string
  readonly vm: string
  readonly sandboxed: boolean
  /** `0`, `signal 9`, or why it did not come to an exit. */
  readonly exit: string
  /** Seconds. */
  readonly duration: number
}

/** What a peer was refused. */
export interface Refusal {
  readonly visitor: string
  readonly operation: string
  readonly path: string
  readonly why: string
}

/** A full log becomes `audit.log.1`, that one `audit.log.2`, … */
const MAX_BYTES = 8 * 1024 * 1024
const OLD_LOGS = 4
/** Longest text of a line, characters: a peer chooses some. */
const MAX_TEXT = 1024
/** Refusals of one visitor that are written at once, and those that may follow in a second. */
const BURST = 20
const PER_SECOND = 1
/** Visitors whose refusals are counted apart; the others are one. */
const MAX_VISITORS = 1000

interface Allowance {
  left: number
  at: number
  suppressed: number
}

/**
 * Who ran what on this host, and who was refused: `audit.log`, a JSON object a line. A peer that is refused often
 * cannot fill the disk: a line with `last` says that the next ones are only counted, and the number is in the
 * visitor's next line.
 */
export class AuditLog {
  readonly #path: string
  readonly #failed: (error: unknown) => void
  readonly #maxBytes: number
  readonly #allowances = new Map<string, Allowance>()
  #unwritten: string[] = []
  #writing: Promise<void> | undefined

  /** `failed` is told of lines that could not be written. */
  constructor(path: string, failed: (error: unknown) => void, maxBytes = MAX_BYTES) {
    this.#path = path
    this.#failed = failed
    this.#maxBytes = maxBytes
  }

  executed({ visitor, path, digest, vm, sandboxed, exit, duration }: Execution): void {
    const seconds = Math.round(duration * 1e6) / 1e6
    this.#add({ what: 'executed', visitor, path: shown(path), digest, vm, sandboxed, exit, seconds })
  }

  refused({ visitor, operation, path, why }: Refusal): void {
    const allowance = this.#allowanceOf(visitor)
    if (allowance.left < 1) {
      allowance.suppressed++
      return
    }
    allowance.left--
    const { suppressed } = allowance
    allowance.suppressed = 0
    const counted = {
      ...(suppressed > 0 ? { suppressed } : {}),
      ...(allowance.left < 1 ? { last: true } : {}),
    }
    this.#add({ what: 'refused', visitor, operation, path: shown(path), why: cut(why), ...counted })
  }

  /** Settles when all lines so far are written, or could not be. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing
  }

  #allowanceOf(visitor: string): Allowance {
    const now = performance.now() / 1000
    const key = this.#allowances.has(visitor) || this.#allowances.size < MAX_VISITORS ? visitor : ''
    let allowance = this.#allowances.get(key)
    if (!allowance) {
      allowance = { left: BURST, at: now, suppressed: 0 }
      this.#allowances.set(key, allowance)
    }
    allowance.left = Math.min(BURST, allowance.left + (now - allowance.at) * PER_SECOND)
    allowance.at = now
    return allowance
  }

  #add(line: object): void {
    this.#unwritten.push(`${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`)
    this.#writing ??= this.#write()
  }

  async #write(): Promise<void> {
    try {
      while (this.#unwritten.length > 0) {
        const text = this.#unwritten.join('')
        this.#unwritten = []
        await this.#rotate(Buffer.byteLength(text))
        await appendFile(this.#path, text, { mode: 0o600, flush: false })
      }
    } catch (error) {
      this.#failed(error)
    } finally {
      this.#writing = undefined
    }
  }

  async #rotate(more: number): Promise<void> {
    const found = await statOf(this.#path)
    if (!found) {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
      return
    }
    if ((found.mode & 0o077) !== 0) await chmod(this.#path, 0o600)
    if (found.size + more <= this.#maxBytes) return
    for (let i = OLD_LOGS - 1; i >= 0; i--) {
      const from = i === 0 ? this.#path : `${this.#path}.${i}`
      if (await statOf(from)) await rename(from, `${this.#path}.${i + 1}`)
    }
  }
}

async function statOf(path: string) {
  return stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}

function shown(path: string): string {
  return cut(readable(path))
}

function cut(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text
}

/** Digests that are kept. */
const MAX_DIGESTS = 1000

/** What a file is, as long as nobody changes it. */
export function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}

/** SHA-256 of files, told once as long as a file is the same by device, inode, size and times. */
export class Digests {
  readonly #known = new Map<string, string>()

  /** The digest of the file that had this identity; why not where it has another by now or cannot be read. */
  async digest(path: string, identity: string): Promise<string> {
    const known = this.#known.get(identity)
    if (known !== undefined) return known
    try {
      const hash = createHash('sha256')
      for await (const chunk of createReadStream(pathBytes(path))) hash.update(chunk as Buffer)
      if (identityOf(await stat(pathBytes(path), { bigint: true })) !== identity) return 'changed meanwhile'
      const digest = hash.digest('hex')
      if (this.#known.size >= MAX_DIGESTS) this.#known.clear()
      this.#known.set(identity, digest)
      return digest
    } catch (error) {
      return `none: ${(error as NodeJS.ErrnoException).code}`
    }
  }
}
