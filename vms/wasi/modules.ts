import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { CosmosError } from '../../src/errors.ts'
import { readSignatures, type Signatures } from './signatures.ts'

/** Compiled modules, kept by the file that they are of. */

/** A compiled file. */
export interface LoadedModule {
  readonly path: string
  /** Says which content of which file it is: device, inode, size, times. */
  readonly identity: string
  readonly module: WebAssembly.Module
  readonly signatures: Signatures
  /** Bytes of the file. */
  readonly size: number
}

/** The cache holds at most so many modules, of at most so many bytes together. */
const MOST_MODULES = 64
const MOST_BYTES = 256 * 1024 * 1024
/** The largest file that is read as a module. */
const LARGEST = 512 * 1024 * 1024

export class ModuleCache {
  /** The one used longest ago is first. */
  readonly #modules = new Map<string, LoadedModule>()
  #bytes = 0

  /** How many are in it. */
  get count(): number {
    return this.#modules.size
  }

  /** Bytes of their files. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * The module of a file. Throws CosmosError ENOEXEC for one that is none, and what open(2) says for one that cannot
   * be read.
   */
  load(path: string): LoadedModule {
    const fd = openFile(path)
    try {
      const status = fstatSync(fd, { bigint: true })
      const identity = identityOf(status)
      const known = this.#modules.get(identity)
      if (known !== undefined) {
        this.#modules.delete(identity)
        this.#modules.set(identity, known)
        return known.path === path ? known : { ...known, path }
      }
      const loaded = compile(path, identity, readFile(path, fd, status))
      this.#put(loaded)
      return loaded
    } finally {
      closeSync(fd)
    }
  }

  #put(loaded: LoadedModule): void {
    this.#modules.set(loaded.identity, loaded)
    this.#bytes += loaded.size
    for (const [identity, { size }] of this.#modules) {
      if (this.#modules.size <= MOST_MODULES && this.#bytes <= MOST_BYTES) return
      this.#modules.delete(identity)
      this.#bytes -= size
    }
  }
}

function openFile(path: string): number {
  try {
    // Opening a pipe that nobody writes to must not wait.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
    throw new CosmosError(code, path, code === 'ENOENT' ? 'no such file' : code)
  }
}

function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`
}

function readFile(path: string, fd: number, status: BigIntStats): Buffer {
  if (!status.isFile()) throw new CosmosError('ENOEXEC', path, 'is not a file')
  if (status.size > LARGEST) throw new CosmosError('ENOEXEC', path, `is larger than ${LARGEST} bytes`)
  const bytes = Buffer.allocUnsafe(Number(status.size))
  let at = 0
  while (at < bytes.length) {
    const size = readSync(fd, bytes, at, bytes.length - at, at)
    if (size === 0) break
    at += size
  }
  return bytes.subarray(0, at)
}

function compile(path: string, identity: string, bytes: Buffer): LoadedModule {
  try {
    const module = new WebAssembly.Module(bytes)
    return { path, identity, module, signatures: readSignatures(bytes), size: bytes.length }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new CosmosError('ENOEXEC', path, `no valid WebAssembly module: ${shorten(why)}`)
  }
}

/** An engine's message without the name of the function that it came from. */
export function shorten(message: string): string {
  return message.replace(/^WebAssembly\.\w+\(\): /, '')
}
