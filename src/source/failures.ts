import type { SourceAnswer, SourceFailure, SourceQuestion, SourceTransfer } from './requests.ts'
import type { SourcePath } from './service.ts'

/** Paths whose failures are remembered. */
const CAPACITY = 1000
/** What says nothing of a path that is there: nothing is; nobody wanted it any more. */
const NONE = new Set(['ENOENT', 'EINTR'])

type Work = SourceQuestion['op'] | SourceTransfer['op']

/** Why the last work on a path failed, for `name:error`: until the same work succeeds. */
export class Failures {
  readonly #last = new Map<string, { op: Work; failure: SourceFailure }>()

  failed(path: SourcePath, op: Work, failure: SourceFailure): void {
    if (NONE.has(failure.code)) return
    const key = keyOf(path)
    this.#last.delete(key)
    this.#last.set(key, { op, failure })
    if (this.#last.size > CAPACITY) this.#last.delete(this.#last.keys().next().value as string)
  }

  succeeded(path: SourcePath, op: Work): void {
    if (this.#last.size === 0) return
    const key = keyOf(path)
    if (this.#last.get(key)?.op === op) this.#last.delete(key)
  }

  /** The text of `name:error`; nothing where nothing has failed. */
  answer(path: SourcePath): SourceAnswer {
    const last = this.#last.get(keyOf(path))
    if (!last) return {}
    const { subject, why } = last.failure
    return { bytes: Buffer.from(`${subject === undefined ? '' : `${subject}: `}${why}\n`) }
  }
}

function keyOf({ scheme, segments }: SourcePath): string {
  return [scheme, ...segments].join('/')
}
