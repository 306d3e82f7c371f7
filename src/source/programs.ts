import { readdirSync, type Stats } from 'node:fs'
import { DeviceTable } from '../frame/devices.ts'
import { pathBytes } from '../frame/paths.ts'
import { resolveHostPath } from './host-path.ts'

/** How long a reading of the PATH's directories is believed, milliseconds. */
const FRESH = 1000
/** The same for a reading of the table of mounts. */
const MOUNTS_FRESH = 100

/**
 * The host's programs as a layer: each executable of the PATH is a symbolic link to its real place (design §3),
 * so that setuid, `/proc/self/exe` and files beside a program keep working and running it costs nothing.
 * Paths and names have one character a byte.
 */
export class ProgramsLayer {
  readonly #directories: string[]
  readonly #own: Map<string, string>
  readonly #mount: string
  readonly #devices = new DeviceTable()
  #listing: string[] = []
  #listedAt = Number.NEGATIVE_INFINITY

  /** `own` are links besides the PATH's, name to target; `mount` is where the tree is. */
  constructor(directories: string[], own: Map<string, string>, mount: string) {
    this.#directories = directories
    this.#own = own
    this.#mount = mount
  }

  /** Where a program is, or undefined. */
  find(name: string): string | undefined {
    for (const directory of this.#directories) {
      const path = `${directory}/${name}`
      if (this.#isProgram(path)) return path
    }
    return this.#own.get(name)
  }

  /** Every place of a name, nearest first. */
  findAll(name: string): string[] {
    const found = this.#directories
      .map((directory) => `${directory}/${name}`)
      .filter((path) => this.#isProgram(path))
    const own = this.#own.get(name)
    return own ? [...found, own] : found
  }

  /** Takes the time of the PATH's directory that changed last, where it is later. */
  newer(into: { mtime: number; mtimensec: number }): void {
    for (const directory of this.#directories) {
      const { mtimeMs } = this.#resolve(directory) ?? { mtimeMs: 0 }
      const mtime = Math.floor(mtimeMs / 1000)
      const mtimensec = Math.floor((mtimeMs - mtime * 1000) * 1_000_000)
      if (mtime > into.mtime || (mtime === into.mtime && mtimensec > into.mtimensec)) {
        into.mtime = mtime
        into.mtimensec = mtimensec
      }
    }
  }

  /** Names of all programs; a second old at most. */
  names(): string[] {
    const now = performance.now()
    if (now - this.#listedAt < FRESH) return this.#listing
    const names = new Set(this.#own.keys())
    for (const directory of this.#directories) {
      if (!this.#resolve(directory)) continue
      try {
        for (const entry of readdirSync(pathBytes(directory), { encoding: 'buffer' })) {
          const name = Buffer.from(entry).toString('latin1')
          if (!names.has(name) && this.#isProgram(`${directory}/${name}`)) names.add(name)
        }
      } catch {
        // A directory of the PATH that is not there, or not to be read, has no programs.
      }
    }
    this.#listing = [...names]
    this.#listedAt = now
    return this.#listing
  }

  #isProgram(path: string): boolean {
    const found = this.#resolve(path)
    return found?.isFile() === true && (found.mode & 0o111) !== 0
  }

  /** What a path leads to, unless that is nothing, lies in the tree, or is not to be reached by this user. */
  #resolve(path: string): Stats | undefined {
    // The directories of a PATH are looked at once a second at most: what is asked often is the last part.
    const found = resolveHostPath(
      path,
      (at) => at === this.#mount || this.#devices.isCosmosMountPoint(at, MOUNTS_FRESH),
    )
    return typeof found === 'string' ? undefined : found.stats
  }
}
