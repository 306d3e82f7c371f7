/**
 * A connection to one peer: whole messages, in order, until it ends (design §7, `Link`). The embedded WebSocket, the
 * in-memory one of the tests and a broker's are all used through it. A link that is lost is not mended here: a session
 * goes on over the next one.
 */
export interface Link {
  /** Peer id of who is at the other end, proven before the first message; 64 hexadecimal digits. */
  readonly peer: string
  /** Where the other end is, for people: `192.0.2.7:4711`. */
  readonly address: string
  /** Bytes handed to `send` that the network has not taken yet. */
  readonly buffered: number
  /** Sends one message. After the end it does nothing. */
  send(message: Uint8Array): void
  /** Ends the connection; `why` is told to the other end where that is still possible. */
  close(why?: string): void
  /** Set by whoever uses the link, before the next turn of the event loop. */
  receiver: LinkReceiver | undefined
}

/** What a link tells. */
export interface LinkReceiver {
  /** The message is the receiver's until the next turn of the event loop only: what is kept is copied. */
  message(message: Uint8Array): void
  /** `buffered` has fallen to where more may be sent. */
  drained(): void
  /** The link is gone; told once, nothing comes after it. */
  ended(why: string): void
}
