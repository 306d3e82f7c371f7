import { openSync, readSync, write } from 'node:fs'
import { Socket } from 'node:net'
import { promisify } from 'node:util'
import { call } from '../src/os/libc.ts'
import { allocateNative } from '../src/os/memory.ts'

/** Copies of what a program writes, for a run that is recorded. */

const pipe2 = call<(ends: number, flags: number) => number>('int pipe2(uintptr_t, int)')
const O_CLOEXEC = 0o2000000
const CHUNK = 256 * 1024
const writeSome = promisify(write)

/** One stream that is copied to a descriptor and, up to a limit, to a file. */
export class Copier {
  /** What the program writes to. */
  readonly to: number
  readonly #from: number
  readonly #pipe: Socket
  readonly #out: number
  readonly #file: number
  #left: number
  #work = Promise.resolve()
  #isEnding = false

  /** Throws what open(2) answers for the file. */
  constructor(file: string | Buffer, limit: number, out: number) {
    this.#file = openSync(file, 'a', 0o600)
    const ends = allocateNative(8)
    pipe2(ends.address, O_CLOEXEC)
    this.#from = ends.view.getInt32(0, true)
    this.to = ends.view.getInt32(4, true)
    this.#out = out
    this.#left = limit
    this.#pipe = new Socket({ fd: this.#from, readable: true, writable: false })
    this.#pipe.on('error', () => {})
    this.#pipe.on('data', (chunk: Buffer) => {
      this.#pipe.pause()
      this.#copy(chunk)
      void this.#work.then(() => {
        if (!this.#isEnding) this.#pipe.resume()
      })
    })
  }

  /** To be called when the program has ended: what it wrote is copied. */
  async finish(): Promise<void> {
    this.#isEnding = true
    this.#pipe.removeAllListeners('data')
    this.#pipe.pause()
    // A paused socket reads on until its buffer is full: that would be beside what is read here.
    const { _handle: handle } = this.#pipe as Socket & { _handle?: { readStop(): void } | null }
    handle?.readStop()
    await this.#work
    for (let kept = this.#pipe.read() as Buffer | null; kept; kept = this.#pipe.read() as Buffer | null)
      this.#copy(kept)
    // Taking from its buffer has made it read on.
    handle?.readStop()
    await this.#work
    const chunk = Buffer.alloc(CHUNK)
    for (;;) {
      let size: number
      try {
        size = this.#pipe.destroyed ? 0 : readSync(this.#from, chunk)
      } catch {
        // EAGAIN: it is empty, and something in the background has its other end.
        return
      }
      if (size === 0) return
      this.#copy(chunk.subarray(0, size))
      await this.#work
    }
  }

  #copy(chunk: Buffer): void {
    this.#work = this.#work.then(async () => {
      try {
        await writeAll(this.#out, chunk)
      } catch {
        // Nobody reads any more: the program is told by its pipe.
        this.#pipe.destroy()
        return
      }
      const kept = chunk.subarray(0, this.#left)
      this.#left -= kept.length
      // A disk that is full costs the record and not the program.
      if (kept.length > 0) await writeAll(this.#file, kept).catch(() => {})
    })
  }
}

async function writeAll(fd: number, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += (await writeSome(fd, bytes, at)).bytesWritten
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
}
