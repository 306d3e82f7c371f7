import { type FSWatcher, watch } from 'node:fs'
import { join } from 'node:path'

/** Where a cosm says what names mean: aliases and settings, users' mappers and transformers. */
const PLACES = ['etc/cosmos', 'lib/cosmos/scanners', 'lib/cosmos/transformers']
/** An editor that saves makes several changes, milliseconds. */
const SETTLE_MS = 20

/**
 * Watches what cosms say names mean, and calls back after it has changed: the kernel may remember for long that
 * there is no `a.txt.shout`. Directories that are not there are waited for where the cosm itself is there.
 */
export class WordsWatch {
  readonly #paths: readonly string[]
  readonly #changed: () => void
  readonly #watchers = new Map<string, FSWatcher>()
  #timer: NodeJS.Timeout | undefined

  /** `cosms` are directories on the host. */
  constructor(cosms: readonly string[], changed: () => void) {
    this.#paths = cosms.flatMap((cosm) => PLACES.flatMap((place) => pathsTo(cosm, place)))
    this.#changed = changed
    this.#watchAll()
  }

  #watchAll(): void {
    for (const path of new Set(this.#paths)) if (!this.#watchers.has(path)) this.#watch(path)
  }

  #watch(path: string): void {
    let watcher: FSWatcher
    try {
      watcher = watch(path, { persistent: false })
    } catch {
      // It is not there: who makes it changes what is above it.
      return
    }
    this.#watchers.set(path, watcher)
    watcher.on('change', () => this.#later())
    watcher.on('error', () => this.#forget(path))
  }

  #forget(path: string): void {
    this.#watchers.get(path)?.close()
    this.#watchers.delete(path)
  }

  #later(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      // A directory of that name may be another by now.
      for (const path of [...this.#watchers.keys()]) this.#forget(path)
      this.#watchAll()
      this.#changed()
    }, SETTLE_MS)
  }
}

/** `cosm`, `cosm/lib`, `cosm/lib/cosmos`, … */
function pathsTo(cosm: string, place: string): string[] {
  const parts = place.split('/')
  return [cosm, ...parts.map((_, i) => join(cosm, ...parts.slice(0, i + 1)))]
}
