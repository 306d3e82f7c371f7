import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PEER_PROGRAM } from '../cef/peer-program.ts'
import { pathBytes } from '../frame/paths.ts'

/**
 * The cosm layer of what peers have (design §3): a launcher file in its `bin` for every program that a peer offers and
 * this host has not. It is the last layer, so a name that comes to this host wins. Of peers that offer the same name the
 * one with the smallest peer id has it.
 */
export class PeerCosm {
  readonly #bin: string
  readonly #offers = new Map<string, { readonly name: string; readonly programs: readonly string[] }>()
  #writing: Promise<void> = Promise.resolve()
  #shown = new Map<string, string>()

  /** `directory` is the layer. */
  constructor(directory: string) {
    this.#bin = join(directory, 'bin')
  }

  /** Names of programs that are peers' alone. */
  get names(): ReadonlySet<string> {
    return new Set(this.#shown.keys())
  }

  /** Names of peers that offer a program. */
  offering(program: string): string[] {
    return [...this.#offers.values()]
      .filter((each) => each.programs.includes(program))
      .map((each) => each.name)
  }

  /** What a peer offers now; `own` are the programs of this host. Settles when the layer shows it. */
  offer(peer: string, name: string, programs: readonly string[], own: ReadonlySet<string>): Promise<void> {
    this.#offers.set(peer, { name, programs })
    return this.#show(own)
  }

  /** A peer is none any more. */
  withdraw(peer: string, own: ReadonlySet<string>): Promise<void> {
    if (!this.#offers.delete(peer)) return this.#writing
    return this.#show(own)
  }

  #show(own: ReadonlySet<string>): Promise<void> {
    // What could not be written once may be the next time.
    this.#writing = this.#writing.catch(() => {}).then(() => this.#write(own))
    return this.#writing
  }

  async #write(own: ReadonlySet<string>): Promise<void> {
    const wanted = new Map<string, string>()
    for (const peer of [...this.#offers.keys()].sort()) {
      const { name, programs } = this.#offers.get(peer)!
      for (const program of programs)
        if (!wanted.has(program) && isName(program) && !(own.has(program) && !this.#shown.has(program)))
          wanted.set(program, name)
    }
    await mkdir(this.#bin, { recursive: true, mode: 0o755 })
    for (const file of await readdir(this.#bin, { encoding: 'latin1' }))
      if (!wanted.has(file)) await rm(this.#file(file))
    for (const [program, peer] of wanted) {
      if (this.#shown.get(program) === peer) continue
      const part = this.#file(`.${program}.part`)
      await writeFile(part, `${PEER_PROGRAM}${peer}\n`, { mode: 0o755 })
      await rename(part, this.#file(program))
    }
    this.#shown = wanted
  }

  /** Names have one character a byte. */
  #file(name: string): Buffer {
    return Buffer.concat([Buffer.from(`${this.#bin}/`), pathBytes(name)])
  }
}

function isName(program: string): boolean {
  return program !== '' && !program.startsWith('.') && !/[/\0]/.test(program) && program.length < 200
}
