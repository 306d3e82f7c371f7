import type { DirectorySink, TreeOperations } from '../../src/frame/operations.ts'
import { DIRENT_SIZE, ENTRY_OUT_SIZE, OUT_HEADER_SIZE } from './abi.ts'
import type { MessageBuffer } from './message-buffer.ts'
import { writeEntry } from './reply.ts'

/**
 * Packs directory entries into the payload of a reply: struct fuse_dirent, or fuse_direntplus (an entry_out before
 * each), every one padded to 8 bytes.
 */
export class DirectoryPacker implements DirectorySink {
  readonly #tree: TreeOperations
  readonly #bytes: Buffer
  readonly #words: Uint32Array
  #plus = false
  #at = 0
  #end = 0

  constructor(tree: TreeOperations, buffer: MessageBuffer) {
    this.#tree = tree
    this.#bytes = buffer.bytes
    this.#words = buffer.words
  }

  /** Begins an answer of at most `room` bytes. */
  begin(plus: boolean, room: number): void {
    this.#plus = plus
    this.#at = OUT_HEADER_SIZE
    this.#end = OUT_HEADER_SIZE + room
  }

  /** Bytes packed so far. */
  get size(): number {
    return this.#at - OUT_HEADER_SIZE
  }

  add(
    bytes: Uint8Array,
    nameOffset: number,
    nameLength: number,
    inoLow: number,
    inoHigh: number,
    type: number,
    cookieLow: number,
    cookieHigh: number,
  ): boolean {
    const start = this.#plus ? this.#at + ENTRY_OUT_SIZE : this.#at
    const nameAt = start + DIRENT_SIZE
    const next = (nameAt + nameLength + 7) & ~7
    if (next > this.#end) return false
    const words = this.#words
    if (this.#plus) {
      const tree = this.#tree
      writeEntry(words, this.#at >>> 2, tree.entryNode, tree.validity, tree.attributes)
    }
    const at = start >>> 2
    words[at] = inoLow
    words[at + 1] = inoHigh
    words[at + 2] = cookieLow
    words[at + 3] = cookieHigh
    words[at + 4] = nameLength
    words[at + 5] = type
    const into = this.#bytes
    for (let i = 0; i < nameLength; i++) into[nameAt + i] = bytes[nameOffset + i]!
    for (let i = nameAt + nameLength; i < next; i++) into[i] = 0
    this.#at = next
    return true
  }
}
