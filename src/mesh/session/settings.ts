/** Limits and times of a session. What the peer has to keep to is told to it in the hello. */
export interface SessionSettings {
  /** Milliseconds between pings. A peer that is silent for two of them is lost. */
  readonly heartbeat: number
  /** Milliseconds for which everything is kept for a lost peer. */
  readonly resumeWindow: number
  /** Calls of the peer that are open at once. */
  readonly calls: number
  /** Streams of all of these together. */
  readonly streams: number
  /** Bytes of a stream that may come and not be consumed. */
  readonly window: number
  /** Bytes of one frame, its pieces together. */
  readonly frame: number
  /** Bytes that wait for the peer, or for its acknowledgement. */
  readonly queue: number
}

export const DEFAULT_SETTINGS: SessionSettings = {
  heartbeat: 1000,
  resumeWindow: 10_000,
  calls: 1024,
  streams: 1024,
  window: 1024 * 1024,
  frame: 4 * 1024 * 1024,
  queue: 16 * 1024 * 1024,
}

/** Bytes of a stream in one frame, and of one piece of a larger frame, at most. */
export const FRAGMENT = 64 * 1024
/** A link message takes no further frame beyond this: four fragments. */
export const BATCH = 4 * FRAGMENT + 1024
/** The same for a link of which it is not known how fast it is, and for one that is slow. */
export const FIRST_BATCH = 32 * 1024
export const LEAST_BATCH = 8 * 1024
/** Largest message of a link; what is larger, a link need not even take in. */
export const MAX_MESSAGE = 512 * 1024
/** Arrays and maps inside each other, in arguments and answers. */
export const MAX_DEPTH = 16
/** Values of one frame: what an array of a few bytes each becomes in memory is a multiple of it. */
export const MAX_VALUES = 256 * 1024
/** Streams of one call in one direction. */
export const MAX_CALL_STREAMS = 256
/** Bytes that are handed to a link while it has not sent those before. */
export const LINK_HIGH_WATER = 1024 * 1024
