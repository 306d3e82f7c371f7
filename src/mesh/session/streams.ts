import { CosmosError } from '../../errors.ts'
import { Violation } from './errors.ts'

/** What a stream asks of the conversation that its call is part of. */
export interface StreamPort {
  /** Whether a fragment can be sent now. */
  readonly room: boolean
  /** Bytes of the largest fragment. */
  readonly fragment: number
  send(call: number, stream: number, bytes: Uint8Array): void
  sendEnd(call: number, stream: number): void
  sendAbort(call: number, stream: number, why: string): void
  sendStop(call: number, stream: number, why: string): void
  sendCredit(call: number, stream: number, bytes: number): void
  /** The writer has something to send, and there was no room. */
  wait(writer: StreamWriter): void
  unwait(writer: StreamWriter): void
  /** Counts bytes that writers hold; negative where they go. */
  held(bytes: number): void
  /** An error that a callback has thrown. */
  report(error: unknown): void
}

/** The streams of a call that has none. */
export const NONE: readonly never[] = []

/** The writing end of one of a call's byte streams. */
export class StreamWriter {
  readonly #port: StreamPort
  readonly #call: number
  readonly #number: number
  #credit: number
  /** Bytes that were written and not sent, from `#head` on. */
  #parts: Uint8Array[] = []
  #head = 0
  #pending = 0
  #ending = false
  #over = false
  /** Called when all that was written has been sent, after a `write` that answered false. */
  drained: (() => void) | undefined
  /** Called once when nobody reads any more: the reader has stopped, or the call has ended. */
  stopped: ((why: CosmosError) => void) | undefined
  /** Called once when the end has been sent, or there will be none. For the call. */
  finished: (() => void) | undefined

  constructor(port: StreamPort, call: number, number: number, credit: number) {
    this.#port = port
    this.#call = call
    this.#number = number
    this.#credit = credit
  }

  /** Bytes that were written and wait here for credit or for the link. */
  get pending(): number {
    return this.#pending
  }

  /** Whether `end` was called. */
  get ending(): boolean {
    return this.#ending
  }

  /** Whether nothing more can be sent. */
  get over(): boolean {
    return this.#over
  }

  /**
   * Sends bytes. False: they wait, and the writer should too, until `drained`; until then they must stay as they are.
   * After the stream was stopped they are dropped. Throws CosmosError EINVAL after `end`.
   */
  write(bytes: Uint8Array): boolean {
    if (this.#over) return true
    if (this.#ending) throw new CosmosError('EINVAL', 'stream', 'it was ended')
    let at = 0
    if (this.#pending === 0) at = this.#send(bytes)
    const rest = bytes.length - at
    if (rest === 0) return true
    this.#parts.push(at === 0 ? bytes : bytes.subarray(at))
    this.#hold(rest)
    if (this.#credit > 0) this.#port.wait(this)
    return false
  }

  /** No more bytes will come. What waits is sent before. */
  end(): void {
    if (this.#over || this.#ending) return
    this.#ending = true
    if (this.#pending === 0) this.#finish()
  }

  /** The stream ends as a failure; what waits is dropped. */
  abort(why: string): void {
    if (this.#over) return
    this.#port.sendAbort(this.#call, this.#number, why)
    this.#close()
  }

  /** Sends of what waits one fragment, where there are credit and room. */
  pump(): void {
    const part = this.#parts[this.#head]
    if (part === undefined || this.#credit === 0) return
    const size = Math.min(part.length, this.#credit, this.#port.fragment)
    this.#put(size === part.length ? part : part.subarray(0, size))
    if (size < part.length) this.#parts[this.#head] = part.subarray(size)
    else this.#drop()
    this.#hold(-size)
    if (this.#pending > 0) {
      if (this.#credit > 0) this.#port.wait(this)
      return
    }
    if (this.#ending) {
      this.#finish()
      return
    }
    try {
      this.drained?.()
    } catch (error) {
      this.#port.report(error)
    }
  }

  /** The reader takes so many bytes more. */
  credited(bytes: number): void {
    if (this.#over) return
    this.#credit += bytes
    if (this.#credit > 0xffffffff) throw new Violation('credit above 2^32')
    if (this.#pending > 0) this.#port.wait(this)
  }

  /** Nobody reads any more. */
  halt(why: CosmosError): void {
    if (this.#over) return
    this.#close()
    try {
      this.stopped?.(why)
    } catch (error) {
      this.#port.report(error)
    }
  }

  /** Sends from the start of the bytes what can be sent at once; how many. */
  #send(bytes: Uint8Array): number {
    let at = 0
    while (at < bytes.length && this.#credit > 0 && this.#port.room) {
      const size = Math.min(bytes.length - at, this.#credit, this.#port.fragment)
      this.#put(size === bytes.length ? bytes : bytes.subarray(at, at + size))
      at += size
    }
    return at
  }

  #put(bytes: Uint8Array): void {
    this.#credit -= bytes.length
    this.#port.send(this.#call, this.#number, bytes)
  }

  #drop(): void {
    this.#parts[this.#head++] = EMPTY
    if (this.#head < this.#parts.length) return
    this.#parts = []
    this.#head = 0
  }

  #hold(bytes: number): void {
    this.#pending += bytes
    this.#port.held(bytes)
  }

  #finish(): void {
    this.#port.sendEnd(this.#call, this.#number)
    this.#close()
  }

  #close(): void {
    this.#over = true
    this.#parts = []
    this.#head = 0
    this.#hold(-this.#pending)
    this.#port.unwait(this)
    this.finished?.()
  }
}

const EMPTY = new Uint8Array()

/** Who takes the bytes of a stream. */
export interface StreamSink {
  /** The bytes are there until the next turn of the event loop only: what is kept is copied. */
  data(bytes: Uint8Array): void
  /** Nothing comes any more; `why` where it is not the stream's own end. Called once. */
  end(why?: CosmosError): void
}

/** The reading end of one of a call's byte streams. */
export class StreamReader {
  readonly #port: StreamPort
  readonly #call: number
  readonly #number: number
  readonly #window: number
  /** Bytes that the writer may still send. */
  #allowed: number
  #unconsumed = 0
  /** Consumed bytes that the writer was not told of. */
  #owed = 0
  #sink: StreamSink | undefined
  /** Copies of what came before there was a sink. */
  #early: Uint8Array[] = []
  #over = false
  /** Whether the writer's own end has come. */
  #complete = false
  #why: CosmosError | undefined

  constructor(port: StreamPort, call: number, number: number, window: number) {
    this.#port = port
    this.#call = call
    this.#number = number
    this.#window = window
    this.#allowed = window
  }

  /** Whether the end has come, or will not. */
  get over(): boolean {
    return this.#over
  }

  /** Sets who takes the bytes; what came before is given to it at once. */
  read(sink: StreamSink): void {
    this.#sink = sink
    const early = this.#early
    this.#early = []
    for (const each of early) this.#give(each)
    if (this.#over) this.#tellEnd()
  }

  /**
   * So many of the bytes have gone where they belong: the writer may send as many more. Throws CosmosError EINVAL for
   * more than have come.
   */
  consumed(bytes: number): void {
    if (bytes < 0 || bytes > this.#unconsumed)
      throw new CosmosError('EINVAL', 'stream', `${bytes} bytes of ${this.#unconsumed} were consumed`)
    this.#unconsumed -= bytes
    this.#owed += bytes
    if (this.#over || this.#owed * 4 < this.#window) return
    this.#port.sendCredit(this.#call, this.#number, this.#owed)
    this.#allowed += this.#owed
    this.#owed = 0
  }

  /** No more bytes are wanted; the sink's end is called. */
  stop(why = 'the reader has stopped'): void {
    if (this.#over) return
    this.#port.sendStop(this.#call, this.#number, why)
    this.#early = []
    this.close(new CosmosError('EPIPE', 'stream', why))
  }

  /** Bytes have come. Throws Violation for more than there was credit for, and for what comes after the end. */
  push(bytes: Uint8Array): void {
    if (this.#complete) throw new Violation('bytes of a stream that has ended')
    if (bytes.length > this.#allowed) throw new Violation('more bytes than the stream has credit for')
    this.#allowed -= bytes.length
    if (this.#over) return
    this.#unconsumed += bytes.length
    if (this.#sink === undefined) this.#early.push(Uint8Array.from(bytes))
    else this.#give(bytes)
  }

  /** The writer has ended the stream, `why` where it has failed. Throws Violation for a second end. */
  complete(why?: CosmosError): void {
    if (this.#complete) throw new Violation('a second end of a stream')
    this.#complete = true
    this.close(why)
  }

  /** Nothing comes any more, for a reason of this side's. */
  close(why?: CosmosError): void {
    if (this.#over) return
    this.#over = true
    this.#why = why
    if (this.#sink !== undefined) this.#tellEnd()
  }

  #give(bytes: Uint8Array): void {
    try {
      this.#sink!.data(bytes)
    } catch (error) {
      this.#port.report(error)
      this.stop('the reader has failed')
    }
  }

  #tellEnd(): void {
    try {
      this.#sink!.end(this.#why)
    } catch (error) {
      this.#port.report(error)
    }
  }
}
