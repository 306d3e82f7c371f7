import { ENOENT, errnoNumber } from '../../os/errno.ts'
import type { SourceFailure } from '../../source/requests.ts'
import type { SourceNode } from '../../source/service.ts'
import { PENDING } from '../operations.ts'
import { remember } from '../remember.ts'
import { sourcePathOf } from './path.ts'
import type { Questions } from './questions.ts'

/** The least that anything is believed: the requests that waited for it must all find it. Milliseconds. */
const LEAST_FRESH = 1000
/** Properties that are remembered; each may be long. */
const PROPERTIES = 16
/** Failures that are remembered. */
const WHYS = 1000
/** Names of one directory that are told of. */
const MAX_NAMES = 1_000_000
/** Names of one directory that are asked for one by one, before all of it is listed anew. */
const SINGLY = 2
/** Names that are listed in the time that one question takes. */
const AS_ONE = 64

/** A directory's names, as they were told. */
interface Listing {
  readonly names: ReadonlyMap<string, SourceNode | undefined>
  /** Names that were asked for since, as what was known of them was too old. */
  asked: number
}

/** Something, until then (performance.now()). */
interface Until<T> {
  readonly value: T
  readonly until: number
}

/**
 * What is known of the sources' nodes, by their paths from the mount's root, for as long as their service says. What is
 * not known is asked for: the answer is PENDING then.
 */
export class Known {
  readonly #questions: Questions
  readonly #nodes = new Map<string, Until<SourceNode | number>>()
  /** Names of directories; a name whose node is known is in `#nodes` too. */
  readonly #listings = new Map<string, Until<Listing>>()
  /** Why a node or its names could not be had, for people. */
  readonly #whys = new Map<string, string>()
  readonly #properties = new Map<string, Until<Uint8Array | undefined>>()

  constructor(questions: Questions) {
    this.#questions = questions
  }

  /** The node of a path, PENDING, or `-errno`. */
  node(path: string): SourceNode | number {
    const known = this.#nodes.get(path)
    if (known && known.until > performance.now()) return known.value
    const listed = this.#listed(path)
    if (typeof listed === 'object' && 'type' in listed) return listed
    if (listed === PENDING) return PENDING
    const answer = this.#questions.ask(`stat ${path}`, { op: 'stat', path: sourcePathOf(path) })
    if (typeof answer === 'number') return answer
    if (listed) listed.asked++
    const node = answer.error ? this.#failed(path, answer.error) : (answer.node ?? -ENOENT)
    this.keep(path, node)
    return node
  }

  /**
   * Of a name whose directory was listed, too long ago: the listing, or the node by a new one. Who looks at one name after
   * the other goes through the directory, and one question does for all of it.
   */
  #listed(path: string): SourceNode | Listing | typeof PENDING | undefined {
    const slash = path.lastIndexOf('/')
    const [directory, name] = [path.slice(0, slash), path.slice(slash + 1)]
    const known = this.#listings.get(directory)
    if (!known || known.until > performance.now()) return undefined
    const listing = known.value
    if (!listing.names.get(name)) return undefined
    if (listing.asked < SINGLY || listing.asked * AS_ONE < listing.names.size) return listing
    const names = this.names(directory)
    if (names === PENDING) return PENDING
    if (typeof names === 'object') return names.get(name)
    listing.asked = 0
    return listing
  }

  /** The node that was last known, however long ago. */
  last(path: string): SourceNode | undefined {
    const node = this.#nodes.get(path)?.value
    return typeof node === 'object' ? node : undefined
  }

  /** Whether the node of a path need not be asked for. */
  has(path: string): boolean {
    return (this.#nodes.get(path)?.until ?? 0) > performance.now()
  }

  keep(path: string, node: SourceNode | number): void {
    const fresh = typeof node === 'number' ? 0 : node.fresh
    remember(this.#nodes, path, { value: node, until: performance.now() + Math.max(LEAST_FRESH, fresh) })
  }

  /** Names of a directory, with what is known of each; PENDING, or `-errno`. */
  names(path: string): ReadonlyMap<string, SourceNode | undefined> | number {
    const known = this.#listings.get(path)
    if (known && known.until > performance.now()) return known.value.names
    const answer = this.#questions.ask(`list ${path}`, { op: 'list', path: sourcePathOf(path) })
    if (typeof answer === 'number') return answer
    if (answer.error) return this.#failed(path, answer.error)
    const names = new Map<string, SourceNode | undefined>()
    for (const { name, node } of answer.entries ?? []) {
      if (!isName(name) || names.size === MAX_NAMES) continue
      names.set(name, node)
      if (node) this.keep(`${path}/${name}`, node)
    }
    const until = performance.now() + LEAST_FRESH
    remember(this.#listings, path, { value: { names, asked: 0 }, until })
    return names
  }

  /** Bytes of a property that a service has of its own; undefined for none. PENDING while it is asked for. */
  property(path: string, name: string): Uint8Array | undefined | typeof PENDING {
    const key = `property ${name} ${path}`
    const known = this.#properties.get(key)
    if (known && known.until > performance.now()) return known.value
    const answer = this.#questions.ask(key, { op: 'property', path: sourcePathOf(path), name })
    if (typeof answer === 'number') return answer
    const until = performance.now() + LEAST_FRESH
    remember(this.#properties, key, { value: answer.bytes, until }, PROPERTIES)
    return answer.bytes
  }

  /** The same as it was last known. */
  lastProperty(path: string, name: string): Uint8Array | undefined {
    return this.#properties.get(`property ${name} ${path}`)?.value
  }

  /** Why a path was last answered by an errno; undefined where it never was. */
  why(path: string): string | undefined {
    return this.#whys.get(path)
  }

  #failed(path: string, { code, why }: SourceFailure): number {
    remember(this.#whys, path, why, WHYS)
    return -errnoNumber(code)
  }

  /** A node is another by now. */
  forget(path: string): void {
    this.#nodes.delete(path)
  }

  /** A name of a directory has come, gone or changed. */
  changed(directory: string, name: string): void {
    this.#nodes.delete(`${directory}/${name}`)
    this.#nodes.delete(directory)
    this.#listings.delete(directory)
  }

  /** All that was below a path is elsewhere. */
  forgetBelow(path: string): void {
    for (const map of [this.#nodes, this.#listings])
      for (const each of map.keys()) if (each.startsWith(`${path}/`)) map.delete(each)
  }
}

function isName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name)
}
