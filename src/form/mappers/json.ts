import type { Budget } from '../budget.ts'
import { mayBeEntry } from '../entry-names.ts'
import { budgetFor, type MapOptions, type Mapper, malformedAt } from '../mapper.ts'
import { utf8Of } from '../text.ts'
import type { MappedNode } from '../tree.ts'

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * JSON (RFC 8259). Members and elements are children, elements by their number. It is read here and not by JSON.parse,
 * which would lose the order of members with numbers for names, names that come twice, and digits of numbers; and what
 * lies deeper than asked for is only checked, so that a large document's root is there soon.
 */
export const json: Mapper = {
  name: 'json',
  extensions: ['json', 'geojson', 'webmanifest', 'ipynb'],
  map: (bytes, options) =>
    new Reader(utf8Of('json', bytes), budgetFor('json', bytes, options), options).document(options?.depth),
}

class Reader {
  readonly #text: string
  readonly #budget: Budget
  /** Entries from the root to what is wanted. */
  readonly #path: readonly string[]
  /** Nodes that may still be made deeper than asked for. */
  #more: number
  /** Whether what is wanted has been met. */
  #isMet: boolean
  #at = 0

  constructor(text: string, budget: Budget, { at = [], more = 0 }: MapOptions = {}) {
    this.#text = text
    this.#budget = budget
    this.#path = at
    this.#more = more
    this.#isMet = at.length === 0
  }

  document(depth = Number.POSITIVE_INFINITY): MappedNode {
    const root = this.#value('', 0, depth)
    if (this.#next() !== '') throw this.#wrong('something follows the value')
    return root
  }

  /** The next character that is no space; `''` at the end. */
  #next(): string {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) break
      this.#at++
    }
    return this.#text.charAt(this.#at)
  }

  #wrong(why: string): Error {
    return malformedAt('json', this.#text, this.#at, this.#at < this.#text.length ? why : 'ends too early')
  }

  /** A value on this level; nodes are made down to level `depth`. */
  #value(name: string, level: number, depth: number): MappedNode {
    const isKept = level <= depth
    if (isKept) this.#budget.node(level)
    else this.#budget.level(level)
    switch (this.#next()) {
      case '"':
        return { name, text: this.#string(isKept) }
      case '{':
        return this.#container(name, level, depth, 'object')
      case '[':
        return this.#container(name, level, depth, 'array')
      case 't':
        return this.#word(name, 'true', 'boolean')
      case 'f':
        return this.#word(name, 'false', 'boolean')
      case 'n':
        return this.#word(name, 'null', 'null')
      default:
        return this.#number(name)
    }
  }

  #word(name: string, word: string, type: 'boolean' | 'null'): MappedNode {
    if (!this.#text.startsWith(word, this.#at)) throw this.#wrong('no value')
    this.#at += word.length
    return { name, text: word, type }
  }

  #number(name: string): MappedNode {
    NUMBER.lastIndex = this.#at
    const text = NUMBER.exec(this.#text)?.[0]
    if (text === undefined) throw this.#wrong('no value')
    this.#at += text.length
    return { name, text, type: 'number' }
  }

  #container(name: string, level: number, asked: number, type: 'object' | 'array'): MappedNode {
    const end = type === 'object' ? '}' : ']'
    const isMore = level >= asked && this.#isMet && this.#more > 0
    const depth = isMore ? level + 1 : asked
    const isKept = level < depth
    const wanted = this.#path[level]
    const children: MappedNode[] = []
    let count = 0
    this.#at++
    if (this.#next() === end) {
      this.#at++
      return { name, type, children }
    }
    for (;;) {
      const key = type === 'object' ? this.#key(isKept) : String(count)
      const isAside = wanted !== undefined && !mayBeEntry(wanted, key)
      if (wanted !== undefined && !isAside && level + 1 === this.#path.length) this.#isMet = true
      const child = this.#value(key, level + 1, isAside ? Math.min(depth, level + 1) : depth)
      if (isKept) children.push(child)
      if (isMore) this.#more--
      count++
      const next = this.#next()
      if (next !== ',' && next !== end) throw this.#wrong(`"," or "${end}" is missing`)
      this.#at++
      if (next === end) break
    }
    return isKept ? { name, type, children } : { name, type, left: true }
  }

  #key(isKept: boolean): string {
    if (this.#next() !== '"') throw this.#wrong('no name of a member')
    const key = this.#string(isKept)
    if (this.#next() !== ':') throw this.#wrong('":" is missing')
    this.#at++
    return key
  }

  #string(isKept: boolean): string {
    const text = this.#text
    const start = this.#at + 1
    let isPlain = true
    for (let at = start; ; at++) {
      const code = text.charCodeAt(at)
      if (code === QUOTE) {
        this.#at = at + 1
        if (isPlain) return isKept ? text.slice(start, at) : ''
        return this.#unescaped(start, at)
      }
      if (code === BACKSLASH) {
        isPlain = false
        at++
      } else if (!(code >= 0x20)) {
        this.#at = at
        throw this.#wrong('a control character in a string')
      }
    }
  }

  #unescaped(start: number, end: number): string {
    try {
      return JSON.parse(this.#text.slice(start - 1, end + 1))
    } catch {
      this.#at = start - 1
      throw this.#wrong('a string with an escape that is none')
    }
  }
}
