import { EIO } from '../../os/errno.ts'
import { ANCHOR_PRODUCED } from '../../source/stacks.ts'
import type { TreeCore } from '../core.ts'
import { type NodeId, PENDING } from '../operations.ts'
import type { ProductionEnd, ProductionRequest } from './request.ts'

/**
 * Directories of large trees, whose members are written when somebody looks for them. One that was left has the sticky
 * bit (src/form/tree.ts); it is filled where it is, with those that follow it: who reads on finds them there.
 */

/** What is mapped by and by: larger inputs, bytes. */
export const LARGE = 4 * 1024 * 1024
/** Nodes that are written beyond what is asked for: at first, and at most. Each time of one tree twice as many. */
const FIRST_MORE = 1000
const MOST_MORE = 64_000
/** Forms that are read as a whole whatever is wanted, and whose members are files already. */
export const WHOLE: ReadonlySet<string> = new Set(['tar', 'zip', 'mbox'])
const STICKY = 0o1000
/** Trees whose size of the last time is remembered, and failures. */
const CAPACITY = 1000

export interface FillsParts {
  readonly produce: (request: ProductionRequest) => void
  /** How the tree that an anchor shows was made; undefined, or `-errno`, where it is made of another input by now. */
  readonly requestOf: (anchor: NodeId) => ProductionRequest | number
  /** Keys of fills that have ended, for whoever waits. */
  readonly tell: (key: string) => void
}

export class Fills {
  readonly #core: TreeCore
  readonly #parts: FillsParts
  /** Of each tree one at a time: several would write the same. Outputs by key, and the other way round. */
  readonly #pending = new Map<string, string>()
  readonly #running = new Map<string, string>()
  /** Why the last attempt has failed, for those who waited for it. */
  readonly #failed = new Map<string, string>()
  readonly #more = new Map<string, number>()

  constructor(core: TreeCore, parts: FillsParts) {
    this.#core = core
    this.#parts = parts
  }

  /** Sees to it that a directory's members are there: 0, PENDING with a `job`, or `-errno`. */
  fill(slot: NodeId): number {
    const core = this.#core
    if (core.stackOf(slot).type !== ANCHOR_PRODUCED) return 0
    const fd = core.nodeFd(slot)
    if (fd < 0 || core.stat.descriptor(fd) < 0 || (core.stat.mode & STICKY) === 0) return 0
    const path = core.pathInStack(slot)
    const request = this.#parts.requestOf(core.frames.context(slot))
    if (typeof request === 'number') return request
    const key = `fill:${request.output}/${path}`
    if (this.#failed.delete(key)) return -EIO
    const running = this.#running.get(request.output)
    if (running === undefined) {
      const more = this.#more.get(request.output) ?? FIRST_MORE
      this.#more.set(request.output, Math.min(MOST_MORE, 2 * more))
      if (this.#more.size > CAPACITY) this.#more.delete(this.#more.keys().next().value as string)
      this.#pending.set(key, request.output)
      this.#running.set(request.output, key)
      this.#parts.produce({ ...request, key, fill: { at: path.split('/'), more } })
    }
    core.job.kind = 'produce'
    core.job.key = running ?? key
    core.job.again = true
    return PENDING
  }

  /** A fill has ended; false for what is none. */
  ended(key: string, end: ProductionEnd): boolean {
    const output = this.#pending.get(key)
    if (output === undefined) return false
    this.#pending.delete(key)
    this.#running.delete(output)
    if (end.state === 'failed') this.#failed.set(key, end.why)
    if (this.#failed.size > CAPACITY) this.#failed.delete(this.#failed.keys().next().value as string)
    this.#parts.tell(key)
    return true
  }
}
