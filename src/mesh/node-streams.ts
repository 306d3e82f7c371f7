import { Readable, Writable } from 'node:stream'
import type { StreamReader, StreamWriter } from './session/streams.ts'

/** The byte streams of a call as Node's, with their back pressure. */

/** What comes from the peer: it may send as much more as was taken. */
export function readableOf(reader: StreamReader): Readable {
  let taken = 0
  const stream = new Readable({
    read() {
      if (taken === 0) return
      const bytes = taken
      taken = 0
      reader.consumed(bytes)
    },
    destroy(error, done) {
      reader.stop()
      done(error)
    },
  })
  reader.read({
    data(bytes) {
      if (stream.push(Buffer.from(bytes))) reader.consumed(bytes.length)
      else taken += bytes.length
    },
    end(why) {
      if (why) stream.destroy(why)
      else stream.push(null)
    },
  })
  // Whoever reads is told; nobody has to.
  stream.on('error', () => {})
  return stream
}

/** What goes to the peer: a write is done when there is room for the next. */
export function writableOf(writer: StreamWriter): Writable {
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (writer.write(chunk)) done()
      else writer.drained = () => done()
    },
    final(done) {
      writer.end()
      done()
    },
    destroy(error, done) {
      if (error && !writer.ending) writer.abort(error.message)
      done(error)
    },
  })
  writer.stopped = (why) => stream.destroy(why)
  stream.on('error', () => {})
  return stream
}
