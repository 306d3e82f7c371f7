import { isUtf8 } from 'node:buffer'
import { malformedAt } from './mapper.ts'

/** Text of documents. */

/**
 * The text of a document that must be UTF-8, without its byte order mark. Throws CosmosError EILSEQ with the place of
 * the first wrong byte.
 */
export function utf8Of(form: string, bytes: Buffer): string {
  if (!isUtf8(bytes)) {
    const readable = bytes.toString('utf8')
    // What was replaced is the first that does not come back.
    let offset = 0
    for (let at = 0; ; offset++) {
      const character = String.fromCodePoint(readable.codePointAt(offset) ?? 0)
      const encoded = Buffer.from(character)
      if (!encoded.equals(bytes.subarray(at, at + encoded.length))) break
      at += encoded.length
      if (character.length > 1) offset++
    }
    throw malformedAt(form, readable, offset, 'is not UTF-8')
  }
  return withoutMark(bytes.toString('utf8'))
}

/** The text of a document that nothing prescribes a charset for: UTF-8, UTF-16 with a mark, else Windows-1252. */
export function textOf(bytes: Buffer): string {
  if (isUtf8(bytes)) return withoutMark(bytes.toString('utf8'))
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes)
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder('utf-16be').decode(bytes)
  return new TextDecoder('windows-1252').decode(bytes)
}

/** Lines without their ends; a last end does not begin another line. */
export function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  return lines
}

/** Without the blank lines at both ends. */
export function trimLines(lines: readonly string[]): string[] {
  const isText = (line: string): boolean => line.trim() !== ''
  return lines.slice(
    lines.findIndex(isText) < 0 ? lines.length : lines.findIndex(isText),
    lines.findLastIndex(isText) + 1,
  )
}

function withoutMark(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
}
