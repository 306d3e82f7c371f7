import type { Socket } from 'node:net'
import { FRAGMENT } from '../session/settings.ts'
import type { StreamReader, StreamWriter } from '../session/streams.ts'

/**
 * A run's byte streams: a launcher's connection at one end, a session's stream at the other. Either may be there first.
 * The one that is slow holds the other up, and nobody else.
 */

/** From the launcher to the peer. */
export class Input {
  #socket: Socket | undefined
  /** null: nobody reads. */
  #writer: StreamWriter | null | undefined
  /** An end counts when the launcher has told it: a connection ends as well where a launcher was killed. */
  #told = false
  #ended = false

  attach(socket: Socket): void {
    this.#socket = socket
    this.#join()
  }

  /** null: nobody reads. */
  join(writer: StreamWriter | null): void {
    this.#writer = writer
    this.#join()
  }

  /** The launcher has told that it is at the end. */
  tell(): void {
    this.#told = true
    this.#end()
  }

  close(): void {
    this.#socket?.destroy()
  }

  #join(): void {
    const [socket, writer] = [this.#socket, this.#writer]
    if (socket === undefined || writer === undefined) return
    if (writer === null || writer.over) {
      socket.destroy()
      return
    }
    writer.drained = () => socket.resume()
    writer.stopped = () => socket.destroy()
    socket.on('data', (bytes: Buffer) => {
      if (!writer.write(bytes)) socket.pause()
    })
    socket.on('end', () => {
      this.#ended = true
      this.#end()
    })
    socket.resume()
  }

  #end(): void {
    if (!this.#told || !this.#ended) return
    this.#writer?.end()
    this.#socket?.destroy()
  }
}

/** What is written is gone with the turn in which it came, so it is copied; into buffers that are used again. */
const spare: Buffer[] = []
const MOST_SPARE = 64

function copyOf(bytes: Uint8Array): Buffer {
  if (bytes.length > FRAGMENT) return Buffer.from(bytes)
  const copy = spare.pop() ?? Buffer.allocUnsafeSlow(FRAGMENT)
  copy.set(bytes)
  return copy.subarray(0, bytes.length)
}

function giveBack({ buffer }: Buffer): void {
  if (buffer.byteLength === FRAGMENT && spare.length < MOST_SPARE) spare.push(Buffer.from(buffer))
}

const NOBODY = 'nobody reads any more'

/** From the peer to the launcher. */
export class Output {
  /** Resolves when the launcher has all of it, or wants no more. */
  readonly taken: Promise<void>
  #taken!: () => void
  #socket: Socket | undefined
  /** null: nothing comes. */
  #reader: StreamReader | null | undefined

  constructor() {
    this.taken = new Promise((resolve) => {
      this.#taken = resolve
    })
  }

  attach(socket: Socket): void {
    this.#socket = socket
    socket.on('finish', this.#taken)
    socket.on('close', this.#taken)
    // The launcher sends nothing: it closes the connection when nobody reads any more.
    socket.on('end', () => socket.destroy())
    socket.on('close', () => this.#reader?.stop(NOBODY))
    socket.resume()
    this.#join()
  }

  /** null: nothing comes. */
  join(reader: StreamReader | null): void {
    this.#reader = reader
    this.#join()
  }

  close(): void {
    this.#socket?.destroy()
    this.#taken()
  }

  #join(): void {
    const [socket, reader] = [this.#socket, this.#reader]
    if (socket === undefined || reader === undefined) return
    if (reader === null) {
      socket.end()
      return
    }
    if (socket.destroyed) {
      reader.stop(NOBODY)
      return
    }
    reader.read({
      data: (bytes) => {
        const copy = copyOf(bytes)
        socket.write(copy, (error) => {
          if (!error) reader.consumed(copy.length)
          giveBack(copy)
        })
      },
      end: () => socket.end(),
    })
  }
}
