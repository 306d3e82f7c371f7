import { readdir, stat } from 'node:fs/promises'
import { pathBytes } from '../frame/paths.ts'

/** How long a reading is believed, milliseconds. */
const FRESH = 5000
/** Files that are looked at before others get their turn. */
const TURN = 64

/** The programs of this host that peers may be offered: those of its cosm's own layers and of its PATH. */
export class OwnPrograms {
  readonly #directories: readonly string[]
  #programs: Promise<ReadonlyMap<string, string>> | undefined
  #readAt = Number.NEGATIVE_INFINITY

  /** `directories` are searched in their order; one character a byte. */
  constructor(directories: readonly string[]) {
    this.#directories = directories
  }

  /** Host paths by name; one character a byte. `anew`: as they are now. */
  all(anew = false): Promise<ReadonlyMap<string, string>> {
    const now = performance.now()
    if (anew || !this.#programs || now - this.#readAt > FRESH) {
      this.#readAt = now
      this.#programs = readAll(this.#directories)
    }
    return this.#programs
  }
}

async function readAll(directories: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const programs = new Map<string, string>()
  for (const directory of directories) {
    const names = await readdir(pathBytes(directory), { encoding: 'latin1' }).catch(() => [])
    for (let at = 0; at < names.length; at += TURN) {
      const some = names.slice(at, at + TURN).filter((name) => !programs.has(name))
      const found = await Promise.all(some.map((name) => isProgram(`${directory}/${name}`)))
      for (const [index, name] of some.entries()) if (found[index]) programs.set(name, `${directory}/${name}`)
    }
  }
  return programs
}

async function isProgram(path: string): Promise<boolean> {
  const found = await stat(pathBytes(path)).catch(() => undefined)
  return found?.isFile() === true && (found.mode & 0o111) !== 0
}
