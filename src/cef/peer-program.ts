/** First line of a file in a cosm that stands for a peer's program; the peer's name follows: `me@gpubox`. */
export const PEER_PROGRAM = 'cosmos program of '

/** The peer that a file's first bytes name; undefined where they name none. */
export function peerOf(head: string): string | undefined {
  if (!head.startsWith(PEER_PROGRAM)) return undefined
  return head.slice(PEER_PROGRAM.length).split('\n', 1)[0]
}
