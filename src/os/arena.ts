import type { WireText } from '../form/wire.ts'
import { allocateNative, type NativeMemory } from './memory.ts'

/**
 * Memory for the texts of one call: they lie one after the other in one piece that the next call uses again, so
 * nothing of them is allocated nor can be collected while the call is made.
 */
export class Arena {
  #memory: NativeMemory = allocateNative(64 * 1024)
  #at = 0

  /** Forgets what was written, and has room for the texts of these lists and for two more. */
  begin(first: WireText, second: WireText, ...lists: (readonly WireText[])[]): void {
    let size = sizeOf(first) + sizeOf(second)
    for (const list of lists) {
      size += 16 + 8 * list.length
      for (const text of list) size += sizeOf(text)
    }
    if (size > this.#memory.bytes.length) this.#memory = allocateNative(2 * size)
    this.#at = 0
  }

  /** The address of a text that ends with NUL. */
  text(text: WireText): number {
    const { bytes, address } = this.#memory
    const start = this.#at
    if (typeof text === 'string') this.#at += bytes.write(text, start, 'utf8')
    else {
      bytes.set(text, start)
      this.#at += text.length
    }
    bytes[this.#at++] = 0
    return address + start
  }

  /** The address of a list of texts as execve(2) has it: pointers, the last one NULL. */
  vector(list: readonly WireText[]): number {
    this.#at = (this.#at + 7) & ~7
    const { view, address } = this.#memory
    const start = this.#at
    this.#at += 8 * (list.length + 1)
    for (const [i, text] of list.entries()) view.setBigUint64(start + 8 * i, BigInt(this.text(text)), true)
    view.setBigUint64(start + 8 * list.length, 0n, true)
    return address + start
  }
}

function sizeOf(text: WireText): number {
  return 1 + (typeof text === 'string' ? Buffer.byteLength(text) : text.length)
}
