import { allocateNative, type NativeMemory } from '../os/memory.ts'
import type { Name } from './operations.ts'

const PREFIX = Buffer.from('/proc/self/fd/')
const scratch: NativeMemory[] = [0, 1].map(() => {
  const memory = allocateNative(64)
  memory.bytes.set(PREFIX)
  return memory
})
let turn = 0

/**
 * Address of the text `/proc/self/fd/N`, for calls that have no descriptor form: what a descriptor reaches is
 * reached by it without another lookup. Two are valid at a time.
 */
export function descriptorPath(fd: number): number {
  turn ^= 1
  const { bytes, address } = scratch[turn]!
  let digits = 1
  for (let rest = fd; rest >= 10; rest = (rest / 10) | 0) digits++
  let value = fd
  for (let i = digits - 1; i >= 0; i--) {
    bytes[PREFIX.length + i] = 48 + (value % 10)
    value = (value / 10) | 0
  }
  bytes[PREFIX.length + digits] = 0
  return address
}

/** A name with memory of its own: text with one character a byte. */
export function makeName(text: string): Name {
  const memory = allocateNative(text.length + 1)
  memory.bytes.write(text, 'latin1')
  return { bytes: memory.bytes, offset: 0, length: text.length, address: memory.address }
}

/** The name as text with one character a byte (latin1). */
export function nameText(name: Name): string {
  return name.bytes.toString('latin1', name.offset, name.offset + name.length)
}

/** Whether a name is this text (ASCII). */
export function nameIs(name: Name, text: string): boolean {
  if (name.length !== text.length) return false
  for (let i = 0; i < text.length; i++) if (name.bytes[name.offset + i] !== text.charCodeAt(i)) return false
  return true
}

/** A path of bytes from text with one character a byte, as Node's file functions take it. */
export function pathBytes(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}

/** Text for people from text with one character a byte: UTF-8 where it is. */
export function readable(text: string): string {
  return Buffer.from(text, 'latin1').toString('utf8')
}

/** Text with one character a byte from text. */
export function toBytesText(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}
