import { identityOf, placeOf } from '../cef/host-file.ts'
import type { VmPlan } from './registry.ts'
import type { Route } from './route.ts'

/** How an executable is run, as it was found. */
export interface FoundPlan {
  readonly plan: VmPlan
  readonly route: Route
}

interface Entry {
  readonly found: FoundPlan
  /** What the payload was. */
  readonly identity: string
  readonly foundAt: number
}

/** How long an answer holds while the file is the same, as in the tree: interpreters and VMs come and go. Milliseconds. */
const FRESH = 1000
const CAPACITY = 256

/**
 * Routes that were found a moment ago, so that a program that is run again and again does not ask the tree thread each
 * time. A file that was replaced is another one at once.
 */
export class RouteCache {
  readonly #mount: string
  readonly #entries = new Map<string, Entry>()

  /** `mount` is the tree's mount point; it is never looked at from here. */
  constructor(mount: string) {
    this.#mount = mount
  }

  /** What was found for a path (one character a byte) and these options, if it still holds. */
  get(path: string, options: string): FoundPlan | undefined {
    const entry = this.#entries.get(`${path}\0${options}`)
    if (!entry || performance.now() - entry.foundAt > FRESH) return undefined
    return this.#identity(path, entry.found.route.payload) === entry.identity ? entry.found : undefined
  }

  set(path: string, options: string, found: FoundPlan): void {
    const identity = path.startsWith('/') ? this.#identity(path, found.route.payload) : undefined
    if (identity === undefined) return
    const key = `${path}\0${options}`
    this.#entries.delete(key)
    this.#entries.set(key, { found, identity, foundAt: performance.now() })
    if (this.#entries.size > CAPACITY) this.#entries.delete(this.#entries.keys().next().value as string)
  }

  /** What a payload is now, and how a path of the host leads to it. */
  #identity(path: string, payload: string): string | undefined {
    const place = placeOf(path === this.#mount || path.startsWith(`${this.#mount}/`) ? payload : path)
    return typeof place === 'string' ? undefined : `${place.path} ${identityOf(place.stats)}`
  }
}
