import type { WireError } from '../form/wire.ts'

/**
 * The control protocol's messages; their frames are those of `form/msgpack.ts`. See docs/protocol.md.
 */

/** Version that both sides tell in their first frame; another version's peer is refused. */
export const PROTOCOL_VERSION = 1
/** First frame of both sides. */
interface HelloMessage {
  version: number
  /** The sender, for logs: `cosmos/0.1.0`. */
  software?: string
}
/** Asks for an operation. `id` is the client's choice, a whole number above 0 that is not in use. */
interface RequestMessage {
  id: number
  op: string
  args: unknown
}
/** The answer of an operation that answers once. */
interface ResponseMessage {
  id: number
  ok: unknown
}
/** The last frame of a request that failed. With id 0: the connection itself failed and is closed. */
interface ErrorMessage {
  id: number
  error: WireError
}
/** A part of the answer of an operation that streams. */
interface ChunkMessage {
  id: number
  chunk: unknown
}
/** The last frame of a stream that is complete. */
interface EndMessage {
  id: number
  end: true
}
/** The client no longer wants the answer; an error ECANCELED or the answer's last frame still comes. */
interface CancelMessage {
  id: number
  cancel: true
}
/** What a client sends, and what a server does. */
export type ClientMessage = HelloMessage | RequestMessage | CancelMessage
export type ServerMessage = HelloMessage | ResponseMessage | ErrorMessage | ChunkMessage | EndMessage
