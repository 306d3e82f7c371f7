import { errnoNumber } from '../../os/errno.ts'
import type { SourceAnswer, SourceQuestion, ToSources } from '../../source/requests.ts'
import type { TreeCore } from '../core.ts'
import { PENDING } from '../operations.ts'
import { remember } from '../remember.ts'

/**
 * What the tree thread asks of the sources, which are on the main thread: a request of the kernel that needs an answer
 * waits for it by its key, and is dispatched once more when it is there. A question that several wait for is asked once.
 */
export class Questions {
  readonly #core: TreeCore
  readonly send: (message: ToSources) => void
  readonly #asked = new Set<string>()
  readonly #answers = new Map<string, SourceAnswer>()
  readonly #ended: string[] = []

  constructor(core: TreeCore, send: (message: ToSources) => void) {
    this.#core = core
    this.send = send
  }

  /** An answer of the main thread. */
  answered(key: string, answer: SourceAnswer): void {
    this.#asked.delete(key)
    remember(this.#answers, key, answer)
    this.#ended.push(key)
  }

  /** A key that has been answered since it was last asked. */
  nextEnded(): string | undefined {
    return this.#ended.shift()
  }

  /** Nobody waits for a key any more. */
  abandoned(key: string): void {
    if (this.#asked.has(key)) this.send({ type: 'abandoned', key })
  }

  /** The answer to a question that any request may have asked; PENDING until it is there. */
  ask(key: string, question: SourceQuestion): SourceAnswer | typeof PENDING {
    const answer = this.#answers.get(key)
    if (answer) {
      this.#answers.delete(key)
      return answer
    }
    if (!this.#asked.has(key)) {
      this.#asked.add(key)
      this.send({ type: 'question', key, question })
    }
    const { job } = this.#core
    job.kind = 'produce'
    job.key = key
    job.again = true
    return PENDING
  }

  /** The answer to what the request at hand alone asks: PENDING until it is there, `-errno` where it failed. */
  askOnce(question: SourceQuestion): SourceAnswer | number {
    const { uniqueLow, uniqueHigh } = this.#core.request
    const answer = this.ask(`${question.op} ${uniqueHigh}:${uniqueLow}`, question)
    return typeof answer !== 'number' && answer.error ? -errnoNumber(answer.error.code) : answer
  }
}
