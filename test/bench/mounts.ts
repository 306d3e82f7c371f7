import { existsSync } from 'node:fs'
import { chmod, chown, link, mkdir, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run, type Undo } from './children.ts'

/** Whose figures stand beside each other. */
export type PlaceName = 'raw' | 'bindfs' | 'mergerfs' | 'cosmos'

/** One way to reach the same files. */
export interface Place {
  name: PlaceName
  /** Where the data directory is seen. */
  data: string
  /** Where the lower layer is seen: through a merged directory in cosmos, as it is in raw. */
  lower?: string
  /** Who mounted it and measures in it; without it, root. */
  user?: number
}

/** The files that all places show, and the helper programs. */
export interface Bench {
  /** A directory on the raw file system; everything lies in it. */
  base: string
  data: string
  lower: string
  probe: string
  undo: Undo
}

/** The tree: 100 directories of 100 files of 100 bytes. */
export const tree = { dirs: 100, files: 100, bytes: 100 }

/** MiB of the file that is read, and of the one that is written. */
export const megabytes = 256

/** Makes the raw files (tree, large file, static program) and the helpers, in a new directory of `parent`. */
export async function prepare(parent: string, undo: Undo): Promise<Bench> {
  const base = await mkdtemp(join(parent, 'cosmos-bench-'))
  undo.defer(() => remove(base))
  await chmod(base, 0o755)
  const bench = {
    base,
    data: join(base, 'data'),
    lower: join(base, 'lower'),
    probe: join(base, 'probe'),
    undo,
  }
  for (const dir of ['data', 'data/tree', 'data/scratch', 'lower']) await mkdir(join(base, dir))
  await run('cc', ['-O2', '-o', bench.probe, join(import.meta.dirname, 'probe.c')])
  await compileTrue(bench)
  await run(bench.probe, ['tree', join(bench.data, 'tree'), `${tree.dirs}`, `${tree.files}`, `${tree.bytes}`])
  await writeFile(join(bench.data, 'large'), Buffer.alloc(megabytes << 20, 'cosmos '))
  // Hard links: the same cached pages, by another path.
  for (const name of ['large', 'true']) await link(join(bench.data, name), join(bench.lower, name))
  return bench
}

/** Removes the files; never what a mount shows, which may be the whole machine. */
async function remove(base: string): Promise<void> {
  const left = (await mountPoints()).filter((path) => path.startsWith(`${base}/`))
  if (left.length) throw new Error(`${base} stays: still mounted are ${left.join(' ')}`)
  await run('rm', ['-rf', '--one-file-system', base])
}

/** Where something is mounted, from /proc/self/mountinfo. */
async function mountPoints(): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  return lines.map((line) => line.split(' ')[4] ?? '')
}

/** The program that exec is measured with: static where the C library can be linked so. */
async function compileTrue(bench: Bench): Promise<void> {
  const source = join(bench.base, 'true.c')
  await writeFile(source, 'int main(void) { return 0; }\n')
  const out = join(bench.data, 'true')
  await run('cc', ['-O2', '-static', '-o', out, source]).catch(() => run('cc', ['-O2', '-o', out, source]))
}

/** The file system as it is. */
export function raw(bench: Bench, user?: number): Place {
  return { name: 'raw', data: bench.data, lower: bench.lower, ...owned(user) }
}

/** Debian's bindfs or mergerfs over the same files, with its own defaults. */
export async function peer(bench: Bench, name: 'bindfs' | 'mergerfs', user?: number): Promise<Place> {
  const data = await mountPoint(bench, name, user)
  // bindfs asks for allow_other unless told; only root may have that by Debian's fuse.conf.
  const options = name === 'bindfs' && user !== undefined ? ['--no-allow-other'] : []
  await run(name, [...options, bench.data, data], owned(user))
  bench.undo.defer(() => run('umount', ['-l', data]))
  return { name, data, ...owned(user) }
}

/** A cosmos instance with a home and a runtime directory of its own. */
export class Cosmos {
  readonly mount: string
  readonly #bench: Bench
  readonly #program: string
  readonly #user: number | undefined
  readonly #env: NodeJS.ProcessEnv

  private constructor(bench: Bench, program: string, mount: string, user: number | undefined) {
    this.#bench = bench
    this.#program = program
    this.#user = user
    this.mount = mount
    const home = `${mount}.home`
    this.#env = {
      ...process.env,
      HOME: home,
      COSMOS_HOME: join(home, '.cosm'),
      XDG_RUNTIME_DIR: join(home, 'run'),
    }
    delete this.#env.XDG_CACHE_HOME
  }

  /** Makes the directories of an instance; `up` starts it. */
  static async make(bench: Bench, program: string, label: string, user?: number): Promise<Cosmos> {
    if (!existsSync(program)) throw new Error(`there is no ${program}`)
    const cosmos = new Cosmos(bench, program, await mountPoint(bench, label, user), user)
    await ownDirectory(`${cosmos.mount}.home`, user)
    await ownDirectory(join(`${cosmos.mount}.home`, 'run'), user)
    bench.undo.defer(() => cosmos.#end())
    return cosmos
  }

  /** `cosmos up`. */
  async up(): Promise<void> {
    await this.#cosmos('up', '--mount', this.mount)
  }

  /** `cosmos down`. */
  async down(): Promise<void> {
    await this.#cosmos('down')
  }

  /** The daemon's process id. */
  async pid(): Promise<number> {
    const status: unknown = JSON.parse(await this.#cosmos('status', '--json'))
    if (status && typeof status === 'object' && 'pid' in status && typeof status.pid === 'number')
      return status.pid
    throw new Error('cosmos status --json names no pid')
  }

  /** Where a path of this machine is seen through the mount. */
  async path(path: string): Promise<string> {
    // By a child: an ordinary user's mount is closed to root.
    const names = (await run('ls', ['-A', this.mount], owned(this.#user))).split('\n')
    const hosts = names.filter((name) => /^[^:]+@/.test(name))
    const host = hosts.find((name) => name.startsWith('me@')) ?? hosts[0]
    if (!host) throw new Error(`no host in ${this.mount}`)
    return join(this.mount, host, path)
  }

  /** The place to measure in: the data under `me@host`, the lower layer through a merged directory. */
  async place(): Promise<Place> {
    const merged = join(this.mount, 'merged')
    const place: Place = { name: 'cosmos', data: await this.path(this.#bench.data), ...owned(this.#user) }
    try {
      await run('mkdir', ['-p', merged], owned(this.#user))
      await this.#cosmos('bind', this.#bench.lower, merged)
      place.lower = merged
    } catch (error) {
      console.error(`no merged directory: ${(error as Error).message}`)
    }
    return place
  }

  #cosmos(...args: string[]): Promise<string> {
    return run(this.#program, args, { env: this.#env, seconds: 60, ...owned(this.#user) })
  }

  async #end(): Promise<void> {
    await this.down().catch(() => {})
    if ((await mountPoints()).includes(this.mount)) await run('umount', ['-l', this.mount])
  }
}

async function mountPoint(bench: Bench, label: string, user: number | undefined): Promise<string> {
  const dir = join(bench.base, user === undefined ? label : `${label}-user`)
  await ownDirectory(dir, user)
  return dir
}

async function ownDirectory(dir: string, user: number | undefined): Promise<void> {
  await mkdir(dir, { mode: 0o700 })
  if (user !== undefined) await chown(dir, user, user)
}

function owned(user: number | undefined): { user?: number } {
  return user === undefined ? {} : { user }
}

/** Lets an ordinary user open /dev/fuse for the time of the run. */
export async function openFuseDevice(undo: Undo): Promise<void> {
  const device = '/dev/fuse'
  const mode = (await stat(device)).mode & 0o7777
  if ((mode & 0o666) === 0o666) return
  await chmod(device, 0o666)
  undo.defer(() => chmod(device, mode))
}
