import { execFile } from 'node:child_process'
import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { mountOf, readMountinfo } from '../../mount/mountinfo.ts'
import { CosmosError } from '../errors.ts'

const runProgram = promisify(execFile)

/** How long the tree stays reachable after its last use, milliseconds. */
const IDLE_MS = 30_000
/** Others may go through a directory. */
const SEARCH = 0o001

/**
 * Where programs of peers reach this host's tree. A daemon of root runs them as another user, who cannot go through
 * `/root`: there the tree is mounted once more, at a place that every user reaches, for as long as something runs.
 */
export class ReachableMount {
  readonly #mount: string
  readonly #place: string
  #users = 0
  #ready: Promise<string> | undefined
  #idle: NodeJS.Timeout | undefined

  /** `mount` is where the tree is; `directory` may get a mount point in it. */
  constructor(mount: string, directory: string) {
    this.#mount = mount
    this.#place = join(directory, 'tree')
  }

  /** The tree's path for programs of peers, until `release`. Rejects with CosmosError. */
  use(): Promise<string> {
    this.#users++
    clearTimeout(this.#idle)
    this.#ready ??= this.#prepare()
    return this.#ready
  }

  release(): void {
    if (--this.#users > 0) return
    this.#idle = setTimeout(() => void this.close(), IDLE_MS).unref()
  }

  /** Takes the second mount away. */
  async close(): Promise<void> {
    clearTimeout(this.#idle)
    const ready = this.#ready
    this.#ready = undefined
    if ((await ready?.catch(() => undefined)) !== this.#place) return
    await runProgram('umount', ['-l', '--', this.#place]).catch(() => {})
  }

  async #prepare(): Promise<string> {
    if (process.getuid?.() !== 0 || (await isReachable(this.#mount))) return this.#mount
    const mounts = readMountinfo()
    // A former daemon's is the same tree.
    if (mountOf(this.#place, mounts)?.device === mountOf(this.#mount, mounts)?.device) return this.#place
    try {
      await mkdir(this.#place, { recursive: true, mode: 0o711 })
      // A process of its own: it looks the tree's root up, which this one answers.
      await runProgram('mount', ['--bind', '--', this.#mount, this.#place])
      return this.#place
    } catch (error) {
      this.#ready = undefined
      throw new CosmosError(
        'EPERM',
        this.#place,
        `the tree cannot be shown there: ${(error as Error).message}`,
      )
    }
  }
}

/** Whether every user can go to a mount point: its own directory is the tree's. */
async function isReachable(mount: string): Promise<boolean> {
  for (let at = dirname(mount); ; at = dirname(at)) {
    if (((await stat(at)).mode & SEARCH) === 0) return false
    if (at === '/') return true
  }
}
