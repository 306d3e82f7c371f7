import { existsSync, readFileSync } from 'node:fs'
import { LEFT_SUFFIX, leftNamesPath } from '../../form/tree.ts'
import { EEXIST, EIO, ENOENT } from '../../os/errno.ts'
import { mkdirat } from '../../os/libc.ts'
import { ANCHOR_PRODUCED } from '../../source/stacks.ts'
import type { TreeCore } from '../core.ts'
import { type Name, type NodeId, PENDING } from '../operations.ts'
import { nameText, pathBytes, toBytesText } from '../paths.ts'
import type { ProductionEnd, ProductionRequest } from './request.ts'

/**
 * Directories of large trees, whose members are written when somebody looks for them. Of those that were left only the
 * names are known; one that is looked up is made, empty and with the sticky bit (src/form/tree.ts), and filled when it
 * is looked at, with those that follow it: who reads on finds them there.
 */

/** What is mapped by and by: larger inputs, bytes. */
export const LARGE = 4 * 1024 * 1024
/** Nodes that are written beyond what is asked for: at first, and at most. Each time of one tree twice as many. */
const FIRST_MORE = 1000
const MOST_MORE = 64_000
/** Forms that are read as a whole whatever is wanted, and whose members are files already. */
export const WHOLE: ReadonlySet<string> = new Set(['tar', 'zip', 'mbox'])
const STICKY = 0o1000
const LEFT_MODE = 0o1755
/** Directories whose names are kept at hand. */
const LISTS = 16
const NONE: ReadonlySet<string> = new Set()
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
  /** Trees that have names of what was left. */
  readonly #left = new Map<string, boolean>()
  readonly #names = new Map<string, ReadonlySet<string>>()

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

  /** The names in a directory of those that were left; some of them may be there by now. */
  leftNames(slot: NodeId): ReadonlySet<string> {
    const core = this.#core
    const stack = core.stackOf(slot)
    if (stack.type !== ANCHOR_PRODUCED) return NONE
    const output = stack.layers[0]!.path
    if (!this.#hasLeft(output)) return NONE
    const path = core.pathInStack(slot)
    const key = `${output}/${path}`
    const known = this.#names.get(key)
    if (known) return known
    const names = readNames(leftNamesPath(pathBytes(output).toString(), pathBytes(path).toString()))
    if (names.size === 0) return NONE
    this.#names.set(key, names)
    if (this.#names.size > LISTS) this.#names.delete(this.#names.keys().next().value as string)
    return names
  }

  /** Makes a directory that was left, after a lookup has missed it: 0 with its `stat`, or `-errno`. */
  make(parent: NodeId, name: Name): number {
    if (!this.leftNames(parent).has(nameText(name))) return -ENOENT
    const core = this.#core
    const fd = core.nodeFd(parent)
    if (fd < 0) return fd
    const made = mkdirat(fd, name.address, LEFT_MODE)
    return made < 0 && made !== -EEXIST ? made : core.statIn(fd, name)
  }

  #hasLeft(output: string): boolean {
    let has = this.#left.get(output)
    if (has === undefined) {
      has = existsSync(pathBytes(output + LEFT_SUFFIX))
      this.#left.set(output, has)
      if (this.#left.size > CAPACITY) this.#left.delete(this.#left.keys().next().value as string)
    }
    return has
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

function readNames(file: string): ReadonlySet<string> {
  try {
    return new Set(readFileSync(file, 'utf8').split('\0').slice(0, -1).map(toBytesText))
  } catch {
    // Nothing was left in this directory.
    return NONE
  }
}
