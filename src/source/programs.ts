import { readdirSync, statSync } from 'node:fs'
import { pathBytes } from '../frame/paths.ts'

/**
 * The host's programs as a layer: each executable of the PATH is a symbolic link to its real place (design §3),
 * so that setuid, `/proc/self/exe` and files beside a program keep working and running it costs nothing.
 * Paths and names have one character a byte.
 */
export class ProgramsLayer {
  readonly #directories: string[]
  readonly #own: Map<string, string>
  #listing: string[] = []
  #listedAt = 0

  /** `own` are links besides the PATH's, name to target. */
  constructor(directories: string[], own: Map<string, string>) {
    this.#directories = directories
    this.#own = own
  }

  /** Where a program is, or undefined. */
  find(name: string): string | undefined {
    for (const directory of this.#directories) {
      const path = `${directory}/${name}`
      if (isProgram(path)) return path
    }
    return this.#own.get(name)
  }

  /** Every place of a name, nearest first. */
  findAll(name: string): string[] {
    const found = this.#directories.map((directory) => `${directory}/${name}`).filter(isProgram)
    const own = this.#own.get(name)
    return own ? [...found, own] : found
  }

  /** Takes the time of the PATH's directory that changed last, where it is later. */
  newer(into: { mtime: number; mtimensec: number }): void {
    for (const directory of this.#directories) {
      const found = statSync(pathBytes(directory), { throwIfNoEntry: false, bigint: true })
      if (!found) continue
      const mtime = Number(found.mtimeNs / 1_000_000_000n)
      const mtimensec = Number(found.mtimeNs % 1_000_000_000n)
      if (mtime > into.mtime || (mtime === into.mtime && mtimensec > into.mtimensec)) {
        into.mtime = mtime
        into.mtimensec = mtimensec
      }
    }
  }

  /** Names of all programs; a second old at most. */
  names(): string[] {
    const now = performance.now()
    if (this.#listing.length > 0 && now - this.#listedAt < 1000) return this.#listing
    const names = new Set(this.#own.keys())
    for (const directory of this.#directories) {
      try {
        for (const entry of readdirSync(pathBytes(directory), { encoding: 'buffer', withFileTypes: true })) {
          const name = Buffer.from(entry.name).toString('latin1')
          if (!entry.isDirectory() && !names.has(name) && isProgram(`${directory}/${name}`)) names.add(name)
        }
      } catch {
        // A directory of the PATH that is not there has no programs.
      }
    }
    this.#listing = [...names]
    this.#listedAt = now
    return this.#listing
  }
}

function isProgram(path: string): boolean {
  try {
    const found = statSync(pathBytes(path), { throwIfNoEntry: false })
    return found?.isFile() === true && (found.mode & 0o111) !== 0
  } catch {
    // Not to be reached by this user: no program for it.
    return false
  }
}
