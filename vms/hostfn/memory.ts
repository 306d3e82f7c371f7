import { isUtf8 } from 'node:buffer'
import koffi from 'koffi'
import { CosmosError } from '../../src/errors.ts'
import { allocateNative, viewOf } from '../../src/os/memory.ts'

/**
 * The memory that arguments lie in during a call: one piece that is used from its start again for each call, so that
 * a call allocates nothing. What a function keeps a pointer to is overwritten by the next call.
 */

/** Bytes; the kernel gives only the pages that are touched. */
const ARENA_SIZE = 128 * 1024 * 1024
const arena = allocateNative(ARENA_SIZE)
const { address: start, view } = arena
/** The arena. Offsets into it are called `at`. */
export const bytes = arena.bytes
export { view }

let used = 0

/** Makes the whole arena free. */
export function resetArena(): void {
  used = 0
}

/** Room in the arena, at a multiple of `alignment`; not cleared. Throws CosmosError ENOMEM. */
export function reserve(size: number, alignment: number): number {
  const at = Math.ceil(used / alignment) * alignment
  if (at + size > ARENA_SIZE)
    throw new CosmosError('ENOMEM', 'call', `its arguments need more than ${ARENA_SIZE} bytes`)
  used = at + size
  return at
}

/** The address that a place in the arena has for C. */
export function addressAt(at: number): number {
  return start + at
}

const libc = koffi.load('libc.so.6')
const strlen: (address: number) => number = libc.func('size_t strlen(uintptr_t)')
const wcslen: (address: number) => number = libc.func('size_t wcslen(uintptr_t)')
const memcpy: (to: number, from: number, size: number) => number = libc.func(
  'uintptr_t memcpy(uintptr_t, uintptr_t, size_t)',
)

/** Bytes as a message has them: text where they are UTF-8. */
export function textOf(of: Buffer): string | Buffer {
  return isUtf8(of) ? of.toString('utf8') : Buffer.from(of)
}

/** Code points (wchar_t) as text; what is none becomes U+FFFD. */
export function wideTextOf(of: Buffer): string {
  let text = ''
  for (let at = 0; at + 4 <= of.length; at += 4) {
    const point = of.readUInt32LE(at)
    text += point <= 0x10ffff ? String.fromCodePoint(point) : '\ufffd'
  }
  return text
}

/** The C string at an address. One that points nowhere ends the process, as it would the function's own. */
export function readString(address: number, wide: boolean): string | Buffer {
  const size = wide ? 4 * wcslen(address) : strlen(address)
  const copy = copyOf(address, size)
  return wide ? wideTextOf(copy) : textOf(copy)
}

/** A view of what is at an address: valid until the arena is used again. */
function copyOf(address: number, size: number): Buffer {
  if (address >= start && address + size <= start + ARENA_SIZE)
    return bytes.subarray(address - start, address - start + size)
  const at = used
  if (at + size > ARENA_SIZE) return Buffer.from(viewOf(address, size))
  memcpy(start + at, address, size)
  return bytes.subarray(at, at + size)
}
