/** Percent escapes of fudge (docs/fudge.md). Text has one character a byte. */

/** Where the first malformed escape is: a % without two hexadecimal digits, or %00, which no name has; -1 for none. */
export function malformedEscape(text: string): number {
  return text.includes('%') ? text.search(/%(?:00|(?![0-9A-Fa-f]{2}))/) : -1
}

/** Text with its escapes read; what is malformed stays as it is. */
export function readEscapes(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/%(?!00)([0-9A-Fa-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  )
}

/** A character as an escape. */
export function escapeCharacter(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

/**
 * In a lookup that is part of another, `/` and `,` are not those of the lookup around it: they are written %2F and %2C,
 * and what would be %2F or %2C in it is written %252F or %252C, and so on. All other escapes are written once.
 */
export function wrapOperand(text: string): string {
  return text.replace(/%(?=(?:25)*2[FC])/gi, '%25').replace(/[/,]/g, escapeCharacter)
}

/** The opposite of `wrapOperand`. */
export function unwrapOperand(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/%(25)?((?:25)*2([FC]))/gi, (_, level, rest: string, last: string) =>
    level === undefined ? (last.toUpperCase() === 'F' ? '/' : ',') : `%${rest}`,
  )
}
