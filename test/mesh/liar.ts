import type { Link, LinkReceiver } from '../../src/mesh/link.ts'
import { HEADER_SIZE, HELLO, putHeader } from '../../src/mesh/session/frames.ts'
import { MsgpackReader } from '../../src/mesh/session/msgpack-reader.ts'
import { MsgpackWriter } from '../../src/mesh/session/msgpack-writer.ts'

/** An honest hello's map. */
export const HONEST = {
  version: [1, 0],
  software: 'liar',
  epoch: Buffer.alloc(16, 1),
  nonce: Buffer.alloc(16, 2),
  resume: null,
  received: 0,
  calls: 100,
  streams: 100,
  window: 65536,
  frame: 65536,
}

/** A message with these frames. */
export function message(sequence: number, frames: readonly unknown[], acknowledged = 0, time = 0): Buffer {
  const writer = new MsgpackWriter()
  writer.reserve(HEADER_SIZE)
  for (const each of frames) writer.value(each)
  const bytes = writer.take()
  putHeader(bytes, sequence, acknowledged, time)
  return bytes
}

/** The frames of a message. */
export function framesOf(bytes: Uint8Array): unknown[][] {
  const reader = new MsgpackReader(bytes)
  reader.value()
  const frames: unknown[][] = []
  while (!reader.done) frames.push(reader.value() as unknown[])
  return frames
}

/** A peer at the end of a link that sends what it is told to. */
export class Liar implements LinkReceiver {
  readonly link: Link
  /** Frames that came, pings and their answers aside. */
  readonly frames: unknown[][] = []
  why: string | undefined
  sequence = 0

  constructor(link: Link) {
    this.link = link
    link.receiver = this
  }

  message(bytes: Uint8Array): void {
    this.frames.push(...framesOf(bytes).filter(([type]) => type !== 12 && type !== 13))
  }

  drained(): void {}

  ended(why: string): void {
    this.why = why
  }

  hello(changes: Record<string, unknown> = {}): void {
    this.link.send(message(0, [[HELLO, { ...HONEST, ...changes }]]))
  }

  /** Sends frames in the next numbered message. */
  say(...frames: unknown[]): void {
    this.link.send(message(++this.sequence, frames))
  }
}
