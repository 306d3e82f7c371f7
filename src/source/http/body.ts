import type { Transform } from 'node:stream'
import { createBrotliDecompress, createInflate, createUnzip, createZstdDecompress } from 'node:zlib'
import { CosmosError } from '../../errors.ts'

/** Where a body's bytes go. They are written where the sink says, so that they are copied once at most. */
export interface Sink {
  /** Memory for the next bytes; undefined while there is no room. */
  slot(): Uint8Array | undefined
  /** So many bytes were written at the start of the last slot. */
  filled(count: number): void
  end(): void
  fail(error: CosmosError): void
}

/** The bytes of an answer: they come when they are asked for, and wait while the sink has no room. */
export interface Body {
  /** Lets them flow into the sink. Once. */
  start(sink: Sink): void
  /** The sink has room again. */
  flow(): void
  /** No more is wanted: the connection ends, and the sink hears nothing more. */
  stop(): void
}

/** Copies bytes into a sink's slots; what remains of them when there is no room. */
export function pour(bytes: Uint8Array, sink: Sink): Uint8Array | undefined {
  let rest = bytes
  while (rest.length > 0) {
    const slot = sink.slot()
    if (!slot) return rest
    const count = Math.min(slot.length, rest.length)
    slot.set(count === rest.length ? rest : rest.subarray(0, count))
    sink.filled(count)
    rest = rest.subarray(count)
  }
  return undefined
}

/** Calls back when a body has been silent for too long while it was wanted. */
export class Silence {
  readonly #limit: number
  readonly #onSilence: () => void
  #timer: NodeJS.Timeout | undefined

  /** `limit` in milliseconds. */
  constructor(limit: number, onSilence: () => void) {
    this.#limit = limit
    this.#onSilence = onSilence
  }

  /** Something came, or is wanted from now on. */
  heard(): void {
    if (this.#timer) this.#timer.refresh()
    else this.#timer = setTimeout(this.#onSilence, this.#limit)
  }

  /** Nothing is wanted. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}

/** Bytes that a decoder takes at once. */
const PIECE = 64 * 1024

const DECODERS: Record<string, () => Transform> = {
  gzip: createUnzip,
  'x-gzip': createUnzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
}

/**
 * A body that was sent with a content coding (RFC 9110, §8.4), decoded as it comes. Throws CosmosError EIO for a
 * coding that is not known.
 */
export function decodedBody(coding: string, body: Body, display: string): Body {
  const make = DECODERS[coding]
  if (!make) {
    body.stop()
    throw new CosmosError('EIO', display, `the server sent it in a coding that is not known: ${coding}`)
  }
  return new DecodedBody(make(), body, display)
}

class DecodedBody implements Body {
  readonly #decoder: Transform
  readonly #body: Body
  readonly #display: string
  #pending: Uint8Array | undefined
  #ended = false
  #sink: Sink | undefined

  constructor(decoder: Transform, body: Body, display: string) {
    this.#decoder = decoder
    this.#body = body
    this.#display = display
  }

  start(sink: Sink): void {
    this.#sink = sink
    const decoder = this.#decoder
    decoder.on('data', (bytes: Uint8Array) => {
      this.#pending = pour(bytes, sink)
      if (this.#pending) decoder.pause()
    })
    decoder.on('drain', () => this.#body.flow())
    decoder.on('end', () => {
      this.#ended = true
      if (!this.#pending) this.#sink?.end()
    })
    decoder.on('error', () => {
      this.#body.stop()
      this.#sink?.fail(new CosmosError('EIO', this.#display, 'the server sent a broken coding'))
    })
    const piece = Buffer.allocUnsafeSlow(PIECE)
    this.#body.start({
      slot: () => (decoder.writableNeedDrain ? undefined : piece),
      filled: (count) => decoder.write(Buffer.from(piece.subarray(0, count))),
      end: () => decoder.end(),
      fail: (error) => {
        this.stop()
        sink.fail(error)
      },
    })
  }

  flow(): void {
    if (!this.#sink || !this.#pending) return
    this.#pending = pour(this.#pending, this.#sink)
    if (this.#pending) return
    if (this.#ended) this.#sink.end()
    else this.#decoder.resume()
  }

  stop(): void {
    this.#sink = undefined
    this.#pending = undefined
    this.#body.stop()
    this.#decoder.removeAllListeners('data').pause()
    this.#decoder.destroy()
  }
}

/** Reads what remains of a body that nobody wants, so that its connection can be used again; a long one ends it. */
export function discard(body: Body): void {
  const scratch = Buffer.allocUnsafe(4096)
  let rest = 64 * 1024
  body.start({
    slot: () => (rest > 0 ? scratch : undefined),
    filled: (count) => {
      rest -= count
      if (rest <= 0) body.stop()
    },
    end: () => {},
    fail: () => {},
  })
}
