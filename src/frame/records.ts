import { MADV_REMOVE } from '../os/constants.ts'
import { madvise } from '../os/libc.ts'
import { FREE, KIND, NAME_REST } from './record-layout.ts'
import { FRAMES_OFFSET, MAX_FRAMES, type StateMemory } from './state-memory.ts'

/** Records of a page of memory, 128 bytes each. */
const PER_PAGE = 32
/** Word of record 0, which is no frame: how many pages were ever used. */
const HIGH_WATER = 31

/**
 * Which records of the state memory are in use. A page of 32 records that are all free is given back to the system.
 */
export class Records {
  readonly #words: Uint32Array
  readonly #address: number
  /** Records in use by page. */
  readonly #pageLive = new Uint8Array(MAX_FRAMES / PER_PAGE)
  /** Pages with free records, each at most once. */
  readonly #partial: number[] = []
  readonly #isPartial = new Uint8Array(MAX_FRAMES / PER_PAGE)
  #nextPage: number

  /** Of a memory that is inherited `count` must be called before a record is taken. */
  constructor(memory: StateMemory) {
    this.#words = memory.words.subarray(FRAMES_OFFSET / 4)
    this.#address = memory.address + FRAMES_OFFSET
    // Record 0 is no frame.
    this.#words[KIND] = NAME_REST
    this.#nextPage = Math.max(1, this.#words[HIGH_WATER]!)
    if (memory.inherited) return
    this.#pageLive[0] = 1
    this.#words[HIGH_WATER] = 1
    this.#markPartial(0)
  }

  /** One more than the highest record that was ever used. */
  get end(): number {
    return this.#nextPage * PER_PAGE
  }

  /** A free record, 0 for none. Its caller sets its kind. */
  take(): number {
    for (;;) {
      const page = this.#partial[this.#partial.length - 1]
      if (page === undefined) {
        if (this.#nextPage >= MAX_FRAMES / PER_PAGE) return 0
        this.#markPartial(this.#nextPage++)
        this.#words[HIGH_WATER] = this.#nextPage
        continue
      }
      for (let slot = page * PER_PAGE; slot < (page + 1) * PER_PAGE; slot++) {
        if (this.#words[slot * 32 + KIND] !== FREE) continue
        // The record is taken by its caller, which sets a kind at once.
        this.#words[slot * 32 + KIND] = NAME_REST
        if (++this.#pageLive[page]! === PER_PAGE) {
          this.#partial.pop()
          this.#isPartial[page] = 0
        }
        return slot
      }
      this.#partial.pop()
      this.#isPartial[page] = 0
    }
  }

  give(slot: number): void {
    this.#words[slot * 32 + KIND] = FREE
    const page = (slot / PER_PAGE) | 0
    if (--this.#pageLive[page]! === 0) madvise(this.#address + page * 4096, 4096, MADV_REMOVE)
    this.#markPartial(page)
  }

  /** Every record of a page that has one in use. */
  *inUse(): Generator<number> {
    for (let page = 0; page < this.#nextPage; page++) {
      if (this.#pageLive[page] === 0) continue
      for (let slot = page * PER_PAGE; slot < (page + 1) * PER_PAGE; slot++) yield slot
    }
  }

  /** Finds out which records an earlier daemon has left in use, by their kinds. */
  count(): void {
    for (let slot = 0; slot < this.end; slot++)
      if (this.#words[slot * 32 + KIND] !== FREE) this.#pageLive[(slot / PER_PAGE) | 0]! += 1
    for (let page = 0; page < this.#nextPage; page++) {
      // Looking at a page that had been given back has brought it in again.
      if (this.#pageLive[page] === 0) madvise(this.#address + page * 4096, 4096, MADV_REMOVE)
      if (this.#pageLive[page]! < PER_PAGE) this.#markPartial(page)
    }
  }

  #markPartial(page: number): void {
    if (this.#isPartial[page] === 1) return
    this.#isPartial[page] = 1
    this.#partial.push(page)
  }
}
