import { lstatSync } from 'node:fs'
import type { ProductionRecord, ProductionsStore } from '../cosmosdb/productions-store.ts'
import { EDITABLE } from '../form/known.ts'
import { suffixReader } from '../lookup/fudge/modifiers.ts'
import { canPeel } from '../lookup/fudge/peel.ts'
import { reread } from '../lookup/fudge/resolve.ts'
import { describeStep, keyOf, makerOf, type Step, stepsOf } from '../lookup/production.ts'
import { EACCES, EROFS, ESTALE } from '../os/errno.ts'
import { ANCHOR_PRODUCED } from '../source/stacks.ts'
import type { TreeCore } from './core.ts'
import { ANCHOR, BACKED, PRODUCED, REMOTE } from './frames.ts'
import type { NodeId } from './operations.ts'
import { makeName, pathBytes } from './paths.ts'
import { type Base, Bases } from './production/bases.ts'
import type { Domain } from './production/domains.ts'
import { type Editable, Edits, type EditsParts } from './production/edits.ts'
import { Fills, LARGE, WHOLE } from './production/fills.ts'
import { Makers } from './production/makers.ts'
import type { ProductionEnd, ProductionRequest } from './production/request.ts'
import { Results } from './production/results.ts'
import { ShownProductions } from './production/shown.ts'
import { Vocabulary, type VocabularyParts, WAITING } from './production/vocabulary.ts'
import { remember } from './remember.ts'

/**
 * What a name stands for that nothing has: `data.json.to-yaml`, `data.json.d` (design §4). It is made from the file that
 * is there, by a VM, when it is looked up, and kept in the store under a name of what it was made from; the tree shows
 * the file or the directory in the store.
 */

/** What a name stands for. */
export type Production =
  | { readonly state: 'made'; readonly path: string; readonly isDirectory: boolean }
  /** It is being made: `key` tells when it has ended. */
  | { readonly state: 'pending'; readonly key: string }
  | { readonly state: 'failed'; readonly why: string }
  /** Who asks is who makes it. */
  | { readonly state: 'loop' }

/** Who makes it, and where it is kept. */
export interface ProductionsParts extends VocabularyParts {
  /** A directory; one character a byte. */
  readonly store: string
  /** How what is there was made. */
  readonly records: ProductionsStore
  /** Has something made; `ended` is called with its key then. Undefined: nothing is. */
  readonly produce: ((request: ProductionRequest) => void) | undefined
  /** Has a document changed; `edits.ended` is called then. */
  readonly edit: EditsParts['edit']
  /** Who waited was interrupted: after a moment `isAbandoned` says whether nobody has come instead. */
  readonly abandoned: (key: string) => void
}

/** A step on the way to what a name stands for: how its result was made, where that is known. */
export interface MadeStep {
  readonly instruction: string
  /** Who makes it. */
  readonly by: string
  readonly record: ProductionRecord | undefined
}

/** A production that is under way. */
interface Pending {
  readonly base: Base
  readonly step: Step
  readonly input: string
  readonly generation: string
}

/** How long a failure is believed: what was made from may be the same, and the VM another. Milliseconds. */
const FAILED_FRESH = 5000
/** Failures that are remembered. */
const CAPACITY = 10_000
/** The step that fetches what a source has. */
const COPY: Step = { kind: 'source', name: '', args: [], form: undefined }

export class Productions {
  readonly #core: TreeCore
  readonly #parts: ProductionsParts
  readonly #vocabulary: Vocabulary
  readonly #failed = new Map<string, { why: string; at: number }>()
  readonly #pending = new Map<string, Pending>()
  readonly #abandoned = new Set<string>()
  readonly #bases: Bases
  readonly #results: Results
  readonly #makers = new Makers()
  readonly shown: ShownProductions
  readonly edits: Edits
  readonly fills: Fills
  /** Keys whose production has ended, and whose lookups go on. */
  readonly #ended: string[] = []

  constructor(core: TreeCore, parts: ProductionsParts) {
    this.#core = core
    this.#parts = parts
    this.#vocabulary = new Vocabulary(core, parts)
    this.#bases = new Bases(core)
    this.#results = new Results(core, parts.store)
    this.shown = new ShownProductions(core)
    this.fills = new Fills(core, {
      produce: (request) => parts.produce?.(request),
      requestOf: (anchor) => this.#requestOf(anchor),
      tell: (key) => this.#ended.push(key),
    })
    this.edits = new Edits(core, {
      store: parts.store,
      edit: parts.edit,
      editable: (anchor) => this.#editable(anchor),
      dropped: (generation) => this.#bases.drop(generation),
      changed: (parent, name) => this.shown.tell(parent, makeName(name)),
      tell: (key) => this.#ended.push(key),
    })
  }

  /** Whether a name could stand for something, were there a file that it is made from. */
  couldBe(parent: NodeId, name: string): boolean {
    return (
      this.#parts.produce !== undefined &&
      canPeel(name, suffixReader(this.#vocabulary.namespace(parent), this.#vocabulary.fudge(parent)))
    )
  }

  /** Which lookup module reads the names of a directory. */
  domain(parent: NodeId): Domain {
    return this.#vocabulary.domain(parent)
  }

  /** What a name that a directory does not have stands for; undefined for nothing. */
  find(parent: NodeId, name: string): Production | undefined {
    const read = this.#read(parent, name)
    if (read === 'waiting') return { state: 'pending', key: this.#core.job.key }
    return read && this.#make(read.base, read.steps)
  }

  /** The kernel is shown what a name stands for. */
  noteShown(parent: NodeId, name: string, slot: NodeId): void {
    const read = this.#readNow(parent, name)
    if (read) this.shown.add(parent, read.base.name, name, slot)
  }

  /** The file that a frame shows that was made; undefined for any other frame. */
  pathOf(slot: NodeId): string | undefined {
    const { frames } = this.#core
    if (frames.kind(slot) !== PRODUCED) return undefined
    const made = this.find(frames.parent(slot), frames.nameText(slot))
    return made?.state === 'made' ? made.path : undefined
  }

  /**
   * The production instruction of a name, for people: what it is, its input with its generation, and when each step
   * was made. Lines; undefined for nothing.
   */
  describe(parent: NodeId, name: string): string | undefined {
    const read = this.#readNow(parent, name)
    if (!read) return undefined
    const { base, steps } = read
    const made = this.#steps(base, steps).flatMap(({ instruction, record }) =>
      record ? [`made ${describeRecord(record)}: ${instruction}`] : [],
    )
    return [
      [...steps.map(describeStep).reverse(), `source ${base.path}`].join(' of '),
      `input ${base.path}, generation ${base.generation}`,
      ...made,
    ].join('\n')
  }

  /** How a name is made, step by step; undefined for nothing. */
  stepsOf(parent: NodeId, name: string): MadeStep[] | undefined {
    const read = this.#readNow(parent, name)
    return read && this.#steps(read.base, read.steps)
  }

  /**
   * Drops what was made for a name, and what failed: it is made anew when it is looked up. Answers host paths, where
   * the dropped lies now, which are to be removed; undefined for a name that is not made.
   */
  drop(parent: NodeId, name: string): string[] | undefined {
    const read = this.#readNow(parent, name)
    if (!read) return undefined
    const dropped: string[] = []
    for (const key of this.#keys(read.base, read.steps)) {
      this.#failed.delete(key)
      if (this.#pending.has(key)) continue
      this.#parts.records.remove(key)
      dropped.push(...this.#results.moveAside(key))
    }
    this.#bases.drop(read.base.generation)
    this.shown.tell(parent, makeName(read.base.name))
    return dropped
  }

  /** What may be changed through a directory that was made; `-errno` where nothing may. */
  #editable(anchor: NodeId): Editable | number {
    const { frames, request } = this.#core
    const parent = frames.parent(anchor)
    const stack = this.#core.stackOf(anchor)
    if (stack.type !== ANCHOR_PRODUCED) return -EROFS
    const read = this.#readNow(parent, frames.nameText(anchor))
    const [step, ...others] = read?.steps ?? []
    if (!read || !step) return -ESTALE
    const { base } = read
    const isDocument = step.kind === 'map' && others.length === 0 && EDITABLE.has(step.name)
    if (!isDocument || this.#vocabulary.makersOf(step) !== '' || !base.isLocal || base.size > LARGE)
      return -EROFS
    if (request.uid !== 0 && (request.uid !== base.uid || (base.mode & 0o200) === 0)) return -EACCES
    const output = stack.layers[0]!.path
    const { path, name, inode: identity, generation } = base
    return { path, name, identity, generation, form: step.name, parent, output }
  }

  #keys(base: Base, steps: readonly Step[]): string[] {
    let identity = base.identity
    return steps.map((step) => {
      identity = keyOf(identity, step, this.#vocabulary.makersOf(step))
      return identity
    })
  }

  #steps(base: Base, steps: readonly Step[]): MadeStep[] {
    return this.#keys(base, steps).map((key, i) => ({
      instruction: describeStep(steps[i]!),
      by: makerOf(steps[i]!),
      record: this.#parts.records.get(key),
    }))
  }

  /** This process makes it. */
  begun(key: string, pid: number): void {
    if (this.#pending.has(key)) this.#makers.begin(key, pid)
  }

  /** A production has ended. One that was cancelled is begun again by whoever has come to wait for it meanwhile. */
  ended(key: string, end: ProductionEnd): void {
    if (this.fills.ended(key, end)) return
    const pending = this.#pending.get(key)
    this.#pending.delete(key)
    this.#abandoned.delete(key)
    this.#makers.end(key)
    if (end.state === 'failed') remember(this.#failed, key, { why: end.why, at: performance.now() }, CAPACITY)
    else if (end.state === 'made' && pending) {
      const { base, step, input, generation } = pending
      const { size, milliseconds } = end
      this.#results.adopt(key, base)
      const instruction = describeStep(step)
      this.#parts.records.put({ key, instruction, input, generation, madeAt: Date.now(), milliseconds, size })
    }
    this.#ended.push(key)
  }

  /**
   * Nobody waits for it any more, for all that is known: others may, whom the kernel lets look a name up only after
   * the first has.
   */
  abandoned(key: string): void {
    if (!this.#pending.has(key)) return
    this.#abandoned.add(key)
    this.#parts.abandoned(key)
  }

  /** Whether it is made for nobody. */
  isAbandoned(key: string): boolean {
    return this.#abandoned.has(key)
  }

  /** What names mean has changed: what the kernel knows of them too. */
  wordsChanged(): void {
    this.#vocabulary.forget()
    this.#core.services.invalidate.everything()
  }

  /** A key whose production has ended since it was last asked. */
  nextEnded(): string | undefined {
    return this.#ended.shift()
  }

  /** How a name is read; `waiting` while a source has to be asked for it, which the request at hand waits for. */
  #read(parent: NodeId, name: string): { base: Base; steps: Step[] } | 'waiting' | undefined {
    try {
      return this.#reading(parent, name)
    } catch (error) {
      if (error === WAITING) return 'waiting'
      throw error
    }
  }

  /** The same for who cannot wait: undefined then. */
  #readNow(parent: NodeId, name: string): { base: Base; steps: Step[] } | undefined {
    const read = this.#read(parent, name)
    return read === 'waiting' ? undefined : read
  }

  #reading(parent: NodeId, name: string): { base: Base; steps: Step[] } | undefined {
    if (!this.#parts.produce) return undefined
    const kind = this.#core.frames.kind(parent)
    if (kind !== BACKED && kind !== ANCHOR && kind !== REMOTE) return undefined
    const namespace = this.#vocabulary.namespace(parent)
    const fudge = this.#vocabulary.fudge(parent)
    if (!canPeel(name, suffixReader(namespace, fudge))) return undefined
    if (this.#vocabulary.domain(parent).module === 'literal') return undefined
    const reading = reread(namespace, name, { fudge })
    // Of all that `pacman.json` could be made of, the first that is a file: the shortest way.
    const chains = reading?.kind === 'match' ? reading.chains : reading?.kind === 'chain' ? [reading] : []
    for (const { base: text, stages } of chains) {
      const steps = stepsOf(stages, namespace.formOf(text))
      if (!steps) continue
      const base = this.#bases.find(parent, text)
      if (base?.source) return { base, steps: [{ ...COPY, name: base.source.scheme }, ...steps] }
      if (base) return { base, steps }
    }
    return undefined
  }

  /** Goes through the steps as far as they are made; has the next one made. */
  #make(base: Base, steps: readonly Step[]): Production | undefined {
    let input = base.path
    let identity = base.identity
    let isDirectory = false
    for (const step of steps) {
      const key = keyOf(identity, step, this.#vocabulary.makersOf(step))
      const output = this.#results.place(key)
      const failed = this.#failed.get(key)
      if (failed && performance.now() - failed.at < FAILED_FRESH) return { state: 'failed', why: failed.why }
      const made = this.#pending.has(key) ? undefined : this.#results.isDirectory(key)
      if (made === undefined) {
        if (!this.#pending.has(key)) {
          const generation = identity === base.identity ? base.generation : identity
          this.#pending.set(key, { base, step, input, generation })
          this.#parts.produce?.(this.#request(key, step, base, input))
        }
        if (this.#makers.isLoop(key, this.#core.request.pid)) return { state: 'loop' }
        this.#abandoned.delete(key)
        return { state: 'pending', key }
      }
      isDirectory = made
      input = output
      identity = key
    }
    return { state: 'made', path: input, isDirectory }
  }

  #request(key: string, step: Step, base: Base, input: string): ProductionRequest {
    const isBase = input === base.path
    const size = isBase ? base.size : (lstatSync(pathBytes(input), { throwIfNoEntry: false })?.size ?? 0)
    const isLarge = step.kind === 'map' && size > LARGE && !WHOLE.has(step.name)
    return {
      key,
      step,
      input,
      identity: isBase ? base.inode : undefined,
      output: this.#results.place(key),
      modules: this.#vocabulary.modules(step.kind),
      scanners: this.#vocabulary.modules('map'),
      executable: this.#vocabulary.executable(step)?.path,
      source: step.kind === 'source' ? base.source : undefined,
      levels: isLarge ? { depth: 1, more: 0 } : undefined,
    }
  }

  /** How the tree that an anchor shows was made; `-errno` where its name stands for another by now. */
  #requestOf(anchor: NodeId): ProductionRequest | number {
    const { frames } = this.#core
    const read = this.#readNow(frames.parent(anchor), frames.nameText(anchor))
    const keys = read && this.#keys(read.base, read.steps)
    const key = keys?.at(-1)
    const step = read?.steps.at(-1)
    if (!read || !step || key === undefined) return -ESTALE
    if (this.#core.stackOf(anchor).layers[0]?.path !== this.#results.place(key)) return -ESTALE
    const former = keys?.at(-2)
    return this.#request(
      key,
      step,
      read.base,
      former === undefined ? read.base.path : this.#results.place(former),
    )
  }
}

/** When something was made, how much it is and how long it took. */
function describeRecord({ madeAt, size, milliseconds, instruction }: ProductionRecord): string {
  const unit = instruction.startsWith('map ') ? 'entries' : 'bytes'
  return `${new Date(madeAt).toISOString()}, ${size} ${unit}, ${milliseconds} ms`
}
