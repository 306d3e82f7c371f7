import { Violation } from './errors.ts'
import * as frames from './frames.ts'
import { MsgpackReader } from './msgpack-reader.ts'
import { FRAGMENT } from './settings.ts'

/** Who acts on frames. Bytes are those of the message: there until the next turn of the event loop. */
export interface FrameSink {
  called(call: IncomingFrame): void
  answered(id: number, value: unknown): void
  failed(id: number, failure: unknown): void
  cancelled(id: number): void
  event(id: number, lifetime: number, op: string, args: unknown): void
  data(id: number, stream: number, bytes: Uint8Array): void
  ended(id: number, stream: number): void
  aborted(id: number, stream: number, why: string): void
  stopped(id: number, stream: number, why: string): void
  credited(id: number, stream: number, bytes: number): void
}

/** A call frame. Times are milliseconds from when it was sent. */
export interface IncomingFrame {
  readonly id: number
  readonly lifetime: number
  readonly deadline: number
  readonly sends: number
  readonly receives: number
  readonly op: string
  readonly args: unknown
}

/** Fewest elements of each type of a numbered message's frames; undefined for what cannot be in one. */
const LENGTHS: (number | undefined)[] = []
LENGTHS[frames.CALL] = 8
LENGTHS[frames.ANSWER] = LENGTHS[frames.FAILURE] = LENGTHS[frames.END] = LENGTHS[frames.PIECE] = 3
LENGTHS[frames.CANCEL] = 2
LENGTHS[frames.EVENT] = 5
LENGTHS[frames.DATA] = LENGTHS[frames.ABORT] = LENGTHS[frames.STOP] = LENGTHS[frames.CREDIT] = 4

/** Reads the frames of numbered messages, and joins those that come in pieces. */
export class FrameReader {
  readonly #sink: FrameSink
  /** Largest frame, its pieces together. */
  readonly #limit: number
  #joined: Buffer | undefined
  /** Bytes of `#joined` that have not come. */
  #missing = 0

  constructor(sink: FrameSink, limit: number) {
    this.#sink = sink
    this.#limit = limit
  }

  /** Reads one frame and acts on it. Throws Violation. */
  read(reader: MsgpackReader): void {
    const count = reader.frame(2)
    const type = reader.uint()
    const least = LENGTHS[type]
    if (least === undefined) throw new Violation(`frame type ${type} cannot be here`)
    if (count < least) throw new Violation('a frame with too few elements')
    if (type === frames.PIECE) this.#piece(reader)
    else if (this.#joined !== undefined) throw new Violation('a frame among the pieces of another one')
    else this.#dispatch(type, reader)
    for (let i = least; i < count; i++) reader.value()
  }

  #dispatch(type: number, reader: MsgpackReader): void {
    const sink = this.#sink
    const id = reader.uint()
    switch (type) {
      case frames.CALL:
        sink.called({
          id,
          lifetime: reader.uint(),
          deadline: reader.uint(),
          sends: reader.uint(),
          receives: reader.uint(),
          op: reader.str(),
          args: reader.value(),
        })
        break
      case frames.ANSWER:
        sink.answered(id, reader.value())
        break
      case frames.FAILURE:
        sink.failed(id, reader.value())
        break
      case frames.CANCEL:
        sink.cancelled(id)
        break
      case frames.EVENT:
        sink.event(id, reader.uint(), reader.str(), reader.value())
        break
      case frames.DATA:
        sink.data(id, reader.uint(), fragment(reader))
        break
      case frames.END:
        sink.ended(id, reader.uint())
        break
      case frames.ABORT:
        sink.aborted(id, reader.uint(), reader.str())
        break
      case frames.STOP:
        sink.stopped(id, reader.uint(), reader.str())
        break
      case frames.CREDIT:
        sink.credited(id, reader.uint(), reader.uint())
    }
  }

  #piece(reader: MsgpackReader): void {
    const left = reader.uint()
    const bytes = reader.bin()
    if (bytes.length === 0) throw new Violation('an empty piece')
    if (this.#joined === undefined) {
      if (left + bytes.length > this.#limit)
        throw new Violation(`a frame of ${left + bytes.length} bytes, more than ${this.#limit}`)
      this.#joined = Buffer.allocUnsafeSlow(left + bytes.length)
    } else if (left + bytes.length !== this.#missing) throw new Violation('a piece that does not fit')
    bytes.copy(this.#joined, this.#joined.length - left - bytes.length)
    this.#missing = left
    if (left > 0) return
    const whole = new MsgpackReader(this.#joined, true)
    this.#joined = undefined
    this.read(whole)
    if (!whole.done) throw new Violation('pieces of more than one frame')
  }
}

function fragment(reader: MsgpackReader): Uint8Array {
  const bytes = reader.bin()
  if (bytes.length === 0 || bytes.length > FRAGMENT)
    throw new Violation(`a fragment of ${bytes.length} bytes`)
  return bytes
}
