import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ControlClient } from '../../src/daemon/client.ts'
import { findInstance } from '../../src/daemon/instance.ts'
import { type Result, type RunOptions, run } from './run.ts'
import { waitFor } from './wait.ts'

/** The checkout. */
export const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

/** The user that ordinary-user tests run as where the tests run as root: nobody. */
const NOBODY = 65_534
export const isRoot = process.getuid?.() === 0
/** Directory of the tree that is this host. */
export const hostDirectory = `me@${hostname()}`

/** `cosmos status --json`. */
export interface Status {
  pid: number
  supervisor: number
  home: string
  version: string
  mounts: { path: string; driver: string; passthrough: boolean }[]
  frames: number
  log: string
}

/** How an instance is made. */
export interface InstanceOptions {
  /** As an ordinary user; where the tests do not run as root, they are one. */
  asUser?: boolean
  /** Environment besides the usual one. */
  env?: Record<string, string>
  /** Which FUSE driver serves its mount; `cosmos up` chooses where it is not given. */
  driver?: DriverName
  /** Words before every command line of it: a host of its own (`nsenter --net=FILE`). */
  via?: readonly string[]
}

/** The drivers, as `cosmos up --driver` has them. */
type DriverName = 'kernel' | 'fuse-native'

/** Why no instance can run on this machine, with a driver; undefined when one can. */
export function whyNoMount(driver: DriverName = 'kernel'): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux'
  if (!existsSync('/dev/fuse')) return 'this machine has no /dev/fuse'
  if (!isRoot && (statSync('/dev/fuse').mode & 0o006) !== 0o006)
    return '/dev/fuse is not open to users on this machine'
  if (driver === 'fuse-native' && !existsSync(join(checkout, 'node_modules/fuse-native')))
    return 'the optional dependency fuse-native is not installed'
  return undefined
}

const living = new Set<CosmosInstance>()
process.on('exit', () => {
  for (const instance of living) instance.destroy()
})

/**
 * An instance of its own: home, runtime directory and mount point below one short temporary directory, so that
 * it disturbs nobody and nobody disturbs it. `stop` must be called; what a test leaves is cleaned all the same.
 */
export class CosmosInstance {
  /** Everything of it lies here. */
  readonly base: string
  readonly home: string
  readonly mount: string
  /** A directory for a test's files, on the raw file system. */
  readonly work: string
  readonly env: NodeJS.ProcessEnv
  /** Whose it is where that is not this process's user. */
  readonly uid: number | undefined
  readonly #driver: DriverName | undefined
  readonly #via: readonly string[]
  /** Where the user can read the program: the checkout, or a bind mount of it. */
  readonly #code: string

  constructor(options: InstanceOptions = {}) {
    this.uid = options.asUser && isRoot ? NOBODY : undefined
    this.#driver = options.driver
    this.#via = options.via ?? []
    const parent = realpathSync(tmpdir())
    this.base = mkdtempSync(join(parent.length > 40 ? '/tmp' : parent, 'cs-'))
    chmodSync(this.base, 0o755)
    this.home = join(this.base, 'h')
    this.mount = join(this.base, 'm')
    this.work = join(this.base, 'w')
    const runtime = join(this.base, 'r')
    for (const directory of [this.home, this.mount, this.work, runtime]) {
      mkdirSync(directory, { mode: directory === runtime ? 0o700 : 0o755 })
      if (this.uid !== undefined) chownSync(directory, this.uid, this.uid)
    }
    this.env = {
      ...cleanEnvironment(),
      HOME: this.home,
      COSMOS_HOME: join(this.home, '.cosm'),
      XDG_RUNTIME_DIR: runtime,
      ...options.env,
    }
    this.#code = this.uid === undefined ? checkout : readableCheckout(this.base, this.uid)
    if (this.uid !== undefined) openFuseDevice()
    living.add(this)
  }

  /** Makes an instance and starts it. */
  static async start(options: InstanceOptions = {}): Promise<CosmosInstance> {
    const instance = new CosmosInstance(options)
    const { code, stdout, stderr } = await instance.up()
    if (code !== 0) {
      const log = instance.log()
      await instance.stop()
      throw new Error(`cosmos up: exit ${code}\n${stdout}${stderr}\n${log}`)
    }
    return instance
  }

  /** Path of a file of the project that this instance's user can read. */
  code(path: string): string {
    return join(this.#code, path)
  }

  /** Node as the project pins it. */
  get node(): string {
    return this.code('node_modules/node/bin/node')
  }

  up(args: readonly string[] = []): Promise<Result> {
    const driver = this.#driver === undefined ? [] : ['--driver', this.#driver]
    return this.cosmos(['up', '--mount', this.mount, ...driver, ...args])
  }

  /** Runs `cosmos` as this instance's user, with its environment. */
  cosmos(args: readonly string[], options: RunOptions = {}): Promise<Result> {
    return this.run(this.code('bin/cosmos'), args, options)
  }

  /** `cosmos` that must succeed; its output. */
  async tell(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.cosmos(args)
    if (code !== 0) throw new Error(`cosmos ${args.join(' ')}: exit ${code}\n${stdout}${stderr}`)
    return stdout
  }

  /** Runs any program as this instance's user, with its environment. */
  run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Result> {
    const [file = program, ...all] = [...this.#via, program, ...args]
    return run(file, all, {
      cwd: this.base,
      uid: this.uid,
      ...options,
      env: { ...this.env, ...options.env },
    })
  }

  async status(): Promise<Status> {
    return JSON.parse(await this.tell('status', '--json')) as Status
  }

  /** The daemon's process, asked without a process of its own where that is allowed: a test may ask often. */
  async daemon(): Promise<number> {
    if (this.uid !== undefined) return (await this.status()).pid
    const client = new ControlClient(findInstance(this.env))
    try {
      return (await client.call('status', {})).pid
    } finally {
      client.close()
    }
  }

  /** Where the mount shows an absolute path of the host. */
  hostPath(path: string): string {
    return join(this.mount, hostDirectory, path)
  }

  /** Where the mount shows a path of the work directory. */
  inMount(path = ''): string {
    return this.hostPath(join(this.work, path))
  }

  /** Kills the daemon with -9 and waits until the next one answers; that one's status. */
  async killDaemon(): Promise<Status> {
    const { pid } = await this.status()
    process.kill(pid, 'SIGKILL')
    return waitFor('a new daemon', async () => {
      const status = await this.status()
      return status.pid !== pid && status
    })
  }

  /** The last of the instance's log, for a failing test's message. */
  log(lines = 40): string {
    try {
      const text = readFileSync(join(this.home, '.cosm/var/log/cosmos.log'), 'utf8')
      return text.trimEnd().split('\n').slice(-lines).join('\n')
    } catch {
      return '(no log)'
    }
  }

  /** The instance's processes: those whose environment names its home. */
  processes(): number[] {
    const wanted = `\0COSMOS_HOME=${this.env.COSMOS_HOME}\0`
    return readdirSync('/proc').flatMap((name) => {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
      try {
        return `\0${readFileSync(`/proc/${name}/environ`, 'latin1')}`.includes(wanted) ? [Number(name)] : []
      } catch {
        return []
      }
    })
  }

  /** Ends and removes everything, whatever state it is in. */
  async stop(): Promise<void> {
    if (!living.has(this)) return
    if (this.processes().length > 0)
      await this.cosmos(['down', '--force'], { timeout: 12_000 }).catch(() => {})
    this.destroy()
  }

  /** As `stop`, at once and by force. */
  destroy(): void {
    living.delete(this)
    for (const point of mountPointsBelow(this.base)) detach(point)
    for (const pid of this.processes()) kill(pid)
    for (const point of mountPointsBelow(this.base)) detach(point)
    // What a mount shows may be the whole machine: nothing is removed while one is there.
    const left = mountPointsBelow(this.base)
    if (left.length > 0) throw new Error(`${this.base} stays: still mounted are ${left.join(' ')}`)
    const removed = spawnSync('rm', ['-rf', '--one-file-system', '--', this.base], { encoding: 'utf8' })
    if (removed.status !== 0) throw new Error(removed.stderr)
  }
}

/** The environment of a shell in which npm and vitest are not known. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|VITEST|COSMOS_|XDG_)/i.test(name))
  const path = (process.env.PATH ?? '/usr/bin:/bin').split(delimiter)
  return {
    ...Object.fromEntries(own),
    LC_ALL: 'C.UTF-8',
    PATH: path.filter((each) => each !== '' && !each.includes('node_modules')).join(delimiter),
  }
}

/** The checkout where a user can read it; else, where root runs the tests, a bind mount that he can. */
function readableCheckout(base: string, uid: number): string {
  const test = 'test -r "$1/bin/cosmos" && test -x "$1/node_modules/node/bin/node"'
  const { status } = spawnSync('/bin/sh', ['-c', test, 'sh', checkout], { uid, gid: uid, cwd: '/' })
  if (status === 0) return checkout
  const code = join(base, 'c')
  mkdirSync(code)
  const bound = spawnSync('mount', ['--bind', checkout, code], { encoding: 'utf8' })
  if (bound.status !== 0) {
    rmSync(base, { recursive: true })
    throw new Error(`mount --bind ${checkout}: ${bound.stderr}`)
  }
  return code
}

/** Lets ordinary users open /dev/fuse, as Debian does; `global-setup.ts` gives the mode back. */
function openFuseDevice(): void {
  if (isRoot && (statSync('/dev/fuse').mode & 0o777) !== 0o666) chmodSync('/dev/fuse', 0o666)
}

/** Mount points in a directory, innermost first. */
export function mountPointsBelow(directory: string): string[] {
  return mountPoints()
    .map((each) => each.path)
    .filter((path) => path.startsWith(`${directory}/`))
    .reverse()
}

/** What is mounted, from mountinfo. */
export function mountPoints(): { path: string; type: string; source: string }[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const words = line.split(' ')
      const dash = words.indexOf('-')
      return {
        path: (words[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) =>
          String.fromCharCode(Number.parseInt(octal, 8)),
        ),
        type: words[dash + 1] ?? '',
        source: words[dash + 2] ?? '',
      }
    })
}

function detach(point: string): void {
  const { status } = isRoot ? spawnSync('umount', ['-l', point]) : spawnSync('fusermount3', ['-uz', point])
  if (status !== 0) spawnSync('umount', ['-l', point])
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone.
  }
}

/** Whether a process runs: neither gone nor a zombie. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !/^. Z|^. X/.test(stat.slice(stat.lastIndexOf(')')))
  } catch {
    return false
  }
}
