import { CosmosError } from '../errors.ts'
import { isMap } from './msgpack.ts'

/** Paths, names and errors as messages carry them. */

/**
 * A path or name as it is sent: text, or its bytes where they are not UTF-8.
 * Whoever prints it writes it with {@link wireBytes}.
 */
export type WireText = string | Uint8Array

/** What went wrong, as in {@link CosmosError}. */
export interface WireError {
  code: string
  subject: string
  message: string
  hint?: string
}

/** An error as it is sent. */
export function toWireError(error: unknown): WireError {
  if (error instanceof CosmosError) {
    const { code, subject, message, hint } = error
    return hint === undefined ? { code, subject, message } : { code, subject, message, hint }
  }
  const why = error instanceof Error ? error.message : String(error)
  return { code: 'EIO', subject: 'daemon', message: `daemon: internal error: ${why}`, hint: 'cosmos log' }
}

/** The error that was sent. What is missing in it is filled in. */
export function fromWireError(sent: unknown): CosmosError {
  const fields = isMap(sent) ? sent : {}
  const subject = typeof fields.subject === 'string' ? fields.subject : 'daemon'
  const message = typeof fields.message === 'string' ? fields.message : 'failed'
  const why = message.startsWith(`${subject}: `) ? message.slice(subject.length + 2) : message
  const code = typeof fields.code === 'string' ? fields.code : 'EIO'
  return new CosmosError(code, subject, why, typeof fields.hint === 'string' ? fields.hint : undefined)
}

/** A path or name for the wire, from text with one character a byte. */
export function toWire(bytesText: string): WireText {
  const bytes = Buffer.from(bytesText, 'latin1')
  const text = bytes.toString('utf8')
  return Buffer.from(text, 'utf8').equals(bytes) ? text : bytes
}

/** A sent path or name as text with one character a byte, as the tree has it. */
export function fromWire(sent: WireText): string {
  return wireBytes(sent).toString('latin1')
}

/** The bytes of a sent path or name. */
export function wireBytes(sent: WireText): Buffer {
  return typeof sent === 'string'
    ? Buffer.from(sent, 'utf8')
    : Buffer.from(sent.buffer, sent.byteOffset, sent.length)
}

/** A sent path or name for people: bytes that are not UTF-8 show as U+FFFD. */
export function wireReadable(sent: WireText): string {
  return typeof sent === 'string' ? sent : wireBytes(sent).toString('utf8')
}
