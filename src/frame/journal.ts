import { JOURNAL_OFFSET, type StateMemory } from './state-memory.ts'

/**
 * What was begun: one record for each of the last requests that change something, written before the change.
 * A daemon that takes over and is sent a request again sees from it whether the effect may be there already;
 * together with what the disk says now that decides it (design §8: no operation happens twice).
 */

const RECORDS = 64
/** 32-bit words of a record: unique low, unique high, kind, and what the operation noted. */
const WORDS = 16
const KIND = 2
const NOTES = 3
/** Word of the first record, unused there: the record to be written next, so that a new daemon keeps what it needs. */
const NEXT_RECORD = 15

export class Journal {
  readonly #words: Uint32Array
  /** Word index of the record that `find` found. */
  #found = -1
  /** Word index of the record written last. */
  #last = -1

  constructor(memory: StateMemory) {
    this.#words = memory.words.subarray(JOURNAL_OFFSET / 4, JOURNAL_OFFSET / 4 + RECORDS * WORDS)
  }

  /** Notes that a request is about to have its effect; the notes are unsigned 32-bit words. */
  begin(low: number, high: number, kind: number, a: number, b: number, c: number, d: number): void {
    this.#last = -1
    if (low === 0 && high === 0) return
    const words = this.#words
    const record = words[NEXT_RECORD]!
    const at = record * WORDS
    this.#last = at
    words[NEXT_RECORD] = (record + 1) % RECORDS
    words[at] = 0
    words[at + 1] = 0
    words[at + KIND] = kind
    words[at + NOTES] = a
    words[at + NOTES + 1] = b
    words[at + NOTES + 2] = c
    words[at + NOTES + 3] = d
    words[at + 1] = high
    words[at] = low
  }

  /** What was begun last has failed: it has no effect that a later daemon could find. */
  failed(): void {
    if (this.#last >= 0) this.#words[this.#last + KIND] = 0
  }

  /** Whether a request of this kind had begun; its notes can be read then. */
  find(low: number, high: number, kind: number): boolean {
    this.#found = -1
    for (let record = 0; record < RECORDS; record++) {
      const at = record * WORDS
      if (this.#words[at] === low && this.#words[at + 1] === high && this.#words[at + KIND] === kind) {
        this.#found = at
        return true
      }
    }
    return false
  }

  /** Note `index` (0 to 3) of the record found last. */
  note(index: number): number {
    return this.#words[this.#found + NOTES + index]!
  }
}
