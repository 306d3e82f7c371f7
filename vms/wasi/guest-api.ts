import { describeError } from '../../src/errors.ts'
import { fetchNow } from './fetch.ts'
import type { Signature } from './signatures.ts'
import { readSome, writeAll } from './streams.ts'

/**
 * The guest API, import module `my-own-cluster`: buffers that a program and its host exchange. What each function
 * answers is written in docs/guest-api.md. All modules of one program share its buffers, each with its own memory.
 */

/** The import module's name. */
export const GUEST_API = 'my-own-cluster'
/** What a function answers that has failed: the largest u32, which wasm sees as -1. */
const FAILED = -1
/** Bytes that all buffers of a program hold together at most. */
const MOST_BYTES = 512 * 1024 * 1024
const MOST_BUFFERS = 65_536
const CHUNK = 64 * 1024

/** How many parameters each of the functions has; all are i32, and so is the result. */
const PARAMETERS = {
  test: 0,
  print_debug: 2,
  register_buffer: 2,
  get_buffer_size: 1,
  get_buffer: 3,
  write_buffer: 3,
  write_buffer_header: 5,
  free_buffer: 1,
  get_input_buffer_id: 0,
  get_output_buffer_id: 0,
  get_url: 2,
}

/** The type of one of the functions; undefined for a name that is none. */
export function guestSignature(name: string): Signature | undefined {
  if (!Object.hasOwn(PARAMETERS, name)) return undefined
  const count = PARAMETERS[name as keyof typeof PARAMETERS]
  return { params: new Array(count).fill('i32'), results: ['i32'] }
}

/** Bytes that grow at their end, and headers. */
interface GuestBuffer {
  bytes: Buffer
  size: number
  readonly headers: Map<string, string>
}

/** Where a program's input comes from and its output goes. */
export interface Streams {
  readonly stdin: number
  readonly stdout: number
  readonly stderr: number
}

/** The buffers of one program. */
export class GuestBuffers {
  readonly #streams: Streams
  readonly #buffers = new Map<number, GuestBuffer>()
  #last = 0
  #bytes = 0
  #input = 0
  #output = 0

  constructor(streams: Streams) {
    this.#streams = streams
  }

  /** A buffer with a copy of these bytes: its id; -1 where there is no room. */
  register(bytes: Uint8Array): number {
    if (this.#buffers.size >= MOST_BUFFERS) return FAILED
    const id = ++this.#last
    this.#buffers.set(id, { bytes: Buffer.alloc(0), size: 0, headers: new Map() })
    if (this.append(id, bytes)) return id
    this.#buffers.delete(id)
    return FAILED
  }

  /** What a buffer holds; undefined for an id that is none. */
  contents(id: number): Buffer | undefined {
    const buffer = this.#buffers.get(id)
    return buffer?.bytes.subarray(0, buffer.size)
  }

  /** Puts bytes to a buffer's end. False where there is no such buffer or no room. */
  append(id: number, bytes: Uint8Array): boolean {
    const buffer = this.#buffers.get(id)
    if (buffer === undefined || this.#bytes + bytes.length > MOST_BYTES) return false
    const size = buffer.size + bytes.length
    if (size > buffer.bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(size, 2 * buffer.bytes.length))
      buffer.bytes.copy(grown, 0, 0, buffer.size)
      buffer.bytes = grown
    }
    buffer.bytes.set(bytes, buffer.size)
    buffer.size = size
    this.#bytes += bytes.length
    return true
  }

  /** Sets a header of a buffer; the last of a name counts. */
  setHeader(id: number, name: string, value: string): boolean {
    const buffer = this.#buffers.get(id)
    if (buffer === undefined) return false
    buffer.headers.set(name.toLowerCase(), value)
    return true
  }

  /** Gives a buffer up. The program's input and output stay. */
  free(id: number): boolean {
    const buffer = this.#buffers.get(id)
    if (buffer === undefined || id === this.#input || id === this.#output) return false
    this.#bytes -= buffer.size
    return this.#buffers.delete(id)
  }

  /** The buffer that holds standard input, which is read to its end the first time; -1 where that fails. */
  input(): number {
    if (this.#input !== 0) return this.#input
    const id = this.register(Buffer.alloc(0))
    const chunk = Buffer.allocUnsafe(CHUNK)
    try {
      for (;;) {
        const size = readSome(this.#streams.stdin, chunk)
        if (size === 0) break
        if (!this.append(id, chunk.subarray(0, size))) return this.#give(id)
      }
    } catch (error) {
      console.error(`the program's input: ${describeError(error)}`)
      return this.#give(id)
    }
    this.#input = id
    return id
  }

  #give(id: number): number {
    this.free(id)
    return FAILED
  }

  /** The buffer that is written to standard output when the program ends. */
  output(): number {
    if (this.#output === 0) {
      const id = this.register(Buffer.alloc(0))
      if (id === FAILED) return FAILED
      this.#output = id
    }
    return this.#output
  }

  /** Writes the output. Throws what write(2) says. */
  flush(): void {
    const bytes = this.contents(this.#output)
    if (bytes !== undefined) writeAll(this.#streams.stdout, bytes)
  }

  /** A line for the program's debugging. */
  print(bytes: Uint8Array): void {
    writeAll(this.#streams.stderr, Buffer.concat([bytes, Buffer.from('\n')]))
  }
}

/** The functions for one instance, whose memory `memory` answers. */
export function guestFunctions(
  buffers: GuestBuffers,
  memory: () => WebAssembly.Memory | undefined,
): Record<keyof typeof PARAMETERS, (...args: number[]) => number> {
  /** Bytes of the instance; undefined where they are not all inside its memory. */
  const slice = (pointer = 0, length = 0): Uint8Array | undefined => {
    const start = pointer >>> 0
    const end = start + (length >>> 0)
    const all = memory()?.buffer
    return all === undefined || end > all.byteLength ? undefined : new Uint8Array(all, start, end - start)
  }
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8')
  return {
    test: () => 1,
    print_debug: (pointer, length) => {
      const bytes = slice(pointer, length)
      if (bytes === undefined) return FAILED
      buffers.print(bytes)
      return 0
    },
    register_buffer: (pointer, length) => {
      const bytes = slice(pointer, length)
      return bytes === undefined ? FAILED : buffers.register(bytes)
    },
    get_buffer_size: (id = 0) => buffers.contents(id)?.length ?? FAILED,
    get_buffer: (id = 0, pointer, length) => {
      const from = buffers.contents(id)
      const to = slice(pointer, length)
      if (from === undefined || to === undefined) return FAILED
      const part = from.subarray(0, to.length)
      to.set(part)
      return part.length
    },
    write_buffer: (id = 0, pointer, length) => {
      const bytes = slice(pointer, length)
      return bytes !== undefined && buffers.append(id, bytes) ? bytes.length : FAILED
    },
    write_buffer_header: (id = 0, namePointer, nameLength, valuePointer, valueLength) => {
      const name = slice(namePointer, nameLength)
      const value = slice(valuePointer, valueLength)
      if (name === undefined || value === undefined || name.length === 0) return FAILED
      return buffers.setHeader(id, text(name), text(value)) ? 0 : FAILED
    },
    free_buffer: (id = 0) => (buffers.free(id) ? 0 : FAILED),
    get_input_buffer_id: () => buffers.input(),
    get_output_buffer_id: () => buffers.output(),
    get_url: (pointer, length) => {
      const bytes = slice(pointer, length)
      if (bytes === undefined) return FAILED
      try {
        return buffers.register(fetchNow(text(bytes)))
      } catch (error) {
        console.error(`get_url: ${describeError(error)}`)
        return FAILED
      }
    },
  }
}
