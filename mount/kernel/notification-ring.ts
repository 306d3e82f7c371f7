/**
 * Notifications on their way from the tree thread, which makes them, to the thread that writes them: a ring of
 * 32-bit words in memory that both see. The tree thread never waits: when the ring is full, everything is expired
 * instead.
 *
 * A record: kind and name length (`kind | length << 8`), node, and the name's bytes, four to a word.
 */

const DATA_WORDS = 1 << 16
const MASK = DATA_WORDS - 1
const CONTROL_WORDS = 16
export const RING_BYTES = (CONTROL_WORDS + DATA_WORDS) * 4

// Control words.
const HEAD = 0
const TAIL = 1
/** Counts what was put in; the reader sleeps on it. */
const SIGNAL = 2
const SLEEPING = 3
const EVERYTHING = 4

export const KIND_ATTRIBUTES = 1
export const KIND_DATA = 2
export const KIND_NAME = 3

/** The end that the tree thread has. */
export class RingWriter {
  readonly #control: Int32Array
  readonly #data: Int32Array
  /** Where the last record begins, and its first words. */
  #last = 0
  #lastKind = 0
  #lastNode = 0

  constructor(memory: SharedArrayBuffer) {
    this.#control = new Int32Array(memory, 0, CONTROL_WORDS)
    this.#data = new Int32Array(memory, CONTROL_WORDS * 4, DATA_WORDS)
  }

  /** False when there is no room. One that repeats the last, which still waits, is left out. */
  node(node: number, data: boolean): boolean {
    const kind = data ? KIND_DATA : KIND_ATTRIBUTES
    const repeats = this.#lastNode === node && (this.#lastKind === kind || this.#lastKind === KIND_DATA)
    if (repeats && this.#lastKind !== KIND_NAME && this.#lastWaits()) return true
    return this.#begin(kind, node, 0) && this.#publish(2)
  }

  name(parent: number, bytes: Uint8Array, offset: number, length: number): boolean {
    if (this.#lastKind === KIND_NAME && this.#lastNode === parent && this.#lastWaits()) {
      if (this.#sameName(bytes, offset, length)) return true
    }
    if (!this.#begin(KIND_NAME, parent, length)) return false
    const words = (length + 3) >>> 2
    for (let i = 0; i < words; i++) {
      this.#data[(this.#last + 2 + i) & MASK] = pack(bytes, offset + 4 * i, offset + length)
    }
    return this.#publish(2 + words)
  }

  everything(): void {
    Atomics.store(this.#control, EVERYTHING, 1)
    this.#wake()
  }

  /** Nothing waits and the reader sleeps. */
  get idle(): boolean {
    const control = this.#control
    const empty = Atomics.load(control, HEAD) === Atomics.load(control, TAIL)
    return empty && Atomics.load(control, EVERYTHING) === 0 && Atomics.load(control, SLEEPING) === 1
  }

  /** Less than half full. */
  get roomy(): boolean {
    return this.#used() < DATA_WORDS / 2
  }

  #used(): number {
    return (Atomics.load(this.#control, HEAD) - Atomics.load(this.#control, TAIL)) | 0
  }

  #lastWaits(): boolean {
    return ((Atomics.load(this.#control, TAIL) - this.#last) | 0) <= 0 && this.#used() > 0
  }

  #sameName(bytes: Uint8Array, offset: number, length: number): boolean {
    if (this.#data[this.#last & MASK]! >>> 8 !== length) return false
    for (let i = 0; i * 4 < length; i++) {
      const word = pack(bytes, offset + 4 * i, offset + length)
      if (this.#data[(this.#last + 2 + i) & MASK] !== word) return false
    }
    return true
  }

  #begin(kind: number, node: number, length: number): boolean {
    if (this.#used() + 2 + ((length + 3) >>> 2) > DATA_WORDS) return false
    const head = Atomics.load(this.#control, HEAD)
    this.#last = head
    this.#lastKind = kind
    this.#lastNode = node
    this.#data[head & MASK] = kind | (length << 8)
    this.#data[(head + 1) & MASK] = node
    return true
  }

  #publish(words: number): true {
    Atomics.store(this.#control, HEAD, (this.#last + words) | 0)
    this.#wake()
    return true
  }

  #wake(): void {
    Atomics.add(this.#control, SIGNAL, 1)
    if (Atomics.load(this.#control, SLEEPING) === 1) Atomics.notify(this.#control, SIGNAL)
  }
}

/** The end that the notifying thread has. */
export class RingReader {
  readonly #control: Int32Array
  readonly #data: Int32Array
  kind = 0
  node = 0
  /** Bytes of the name in `name`. */
  length = 0
  readonly name: Uint8Array

  /** `name`: where names are put, at least 1024 bytes. */
  constructor(memory: SharedArrayBuffer, name: Uint8Array) {
    this.#control = new Int32Array(memory, 0, CONTROL_WORDS)
    this.#data = new Int32Array(memory, CONTROL_WORDS * 4, DATA_WORDS)
    this.name = name
  }

  /** Whether everything is to be expired; asked for once. */
  takeEverything(): boolean {
    return Atomics.exchange(this.#control, EVERYTHING, 0) === 1
  }

  /** Takes the next record; false for none. From then on the writer counts it as sent. */
  take(): boolean {
    const tail = Atomics.load(this.#control, TAIL)
    if (Atomics.load(this.#control, HEAD) === tail) return false
    const first = this.#data[tail & MASK]!
    this.kind = first & 0xff
    this.length = first >>> 8
    this.node = this.#data[(tail + 1) & MASK]!
    const words = (this.length + 3) >>> 2
    for (let i = 0; i < this.length; i++) {
      this.name[i] = this.#data[(tail + 2 + (i >>> 2)) & MASK]! >>> ((i & 3) * 8)
    }
    Atomics.store(this.#control, TAIL, (tail + 2 + words) | 0)
    return true
  }

  /** A mark to sleep on: taken before looking for records. */
  mark(): number {
    return Atomics.load(this.#control, SIGNAL)
  }

  /** Sleeps until something has been put in since the mark. */
  sleep(mark: number): void {
    Atomics.store(this.#control, SLEEPING, 1)
    Atomics.wait(this.#control, SIGNAL, mark)
    Atomics.store(this.#control, SLEEPING, 0)
  }
}

function pack(bytes: Uint8Array, at: number, end: number): number {
  let word = 0
  for (let i = 0; i < 4 && at + i < end; i++) word |= bytes[at + i]! << (i * 8)
  return word
}
