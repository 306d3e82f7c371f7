import { existsSync, lstatSync, renameSync, utimesSync } from 'node:fs'
import { LEFT_SUFFIX } from '../../form/tree.ts'
import { AT_FDCWD, S_IFMT, S_IFREG } from '../../os/constants.ts'
import { chmod, fchownat } from '../../os/libc.ts'
import { cString } from '../../os/memory.ts'
import type { TreeCore } from '../core.ts'
import { pathBytes } from '../paths.ts'
import type { Base } from './bases.ts'

/** Permissions that what was made takes from what it was made from. */
const READ = 0o444
/** A use is noted so long after the last, milliseconds. */
const USED_AFTER_MS = 60_000

/** The store of what was made: files and directories under the names of their keys. */
export class Results {
  readonly #core: TreeCore
  readonly #store: string

  /** `store` is a directory; one character a byte. */
  constructor(core: TreeCore, store: string) {
    this.#core = core
    this.#store = store
  }

  /** Where the result of a key is, or will be. */
  place(key: string): string {
    return `${this.#store}/${key}`
  }

  /** Whether a result is a directory; undefined while there is none. */
  isDirectory(key: string): boolean | undefined {
    const path = pathBytes(this.place(key))
    const stats = lstatSync(path, { throwIfNoEntry: false })
    if (!stats) return undefined
    // The store drops what was not used for the longest time, by this.
    const now = Date.now()
    if (now - stats.mtimeMs > USED_AFTER_MS) utimesSync(path, now / 1000, now / 1000)
    return stats.isDirectory()
  }

  /** What was made may be read by whoever may read what it was made from. */
  adopt(key: string, base: Base): void {
    const path = cString(Buffer.from(this.place(key), 'latin1'))
    const { stat } = this.#core
    if (stat.child(AT_FDCWD, path.address) < 0) return
    const isDirectory = (stat.mode & S_IFMT) !== S_IFREG
    const read = base.mode & READ
    // An ordinary user's daemon can give nothing away; the mount is that user's alone.
    fchownat(AT_FDCWD, path.address, base.uid, base.gid, 0)
    chmod(path.address, isDirectory ? read | (read >> 2) | 0o200 : read)
  }

  /** Moves a result out of the way: host paths, where it lies now, which are to be removed. */
  moveAside(key: string): string[] {
    const moved: string[] = []
    for (const suffix of ['', '.index', LEFT_SUFFIX]) {
      const place = this.place(key) + suffix
      if (!existsSync(pathBytes(place))) continue
      const aside = `${place}.dropped`
      // What was dropped a moment ago and is not removed yet gives way to a name of its own.
      const free = existsSync(pathBytes(aside)) ? `${aside}.${process.hrtime.bigint()}` : aside
      renameSync(pathBytes(place), pathBytes(free))
      moved.push(free)
    }
    return moved
  }
}
