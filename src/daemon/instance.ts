import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, realpathSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { CosmosError } from '../errors.ts'

/** Where one instance keeps what it has: an instance is a user's cosmos home (design §10). */
export interface Instance {
  /** The user's own cosm layer: `$COSMOS_HOME`, by default `~/.cosm`. */
  readonly home: string
  /** State that stays: the cosmosdb, keys, the log. 0700. */
  readonly state: string
  /** State that goes with the machine's boot: sockets, locks. 0700, in the runtime directory. */
  readonly runtime: string
  readonly controlSocket: string
  readonly database: string
  readonly log: string
  /** Directory whose content is the root URL's, unless the configuration names another. */
  readonly root: string
  readonly defaultMount: string
}

/**
 * The instance that this environment names. Nothing is made on disk.
 * Throws CosmosError ENAMETOOLONG when the socket's path would not fit a Unix address (107 bytes).
 */
export function findInstance(environment: NodeJS.ProcessEnv = process.env): Instance {
  const userHome = environment.HOME || homedir()
  const home = real(resolve(environment.COSMOS_HOME || join(userHome, '.cosm')))
  const state = join(home, 'var')
  const id = createHash('sha256').update(home).digest('hex').slice(0, 12)
  const runtime = join(runtimeRoot(environment), id)
  const controlSocket = join(runtime, 'control')
  if (Buffer.byteLength(controlSocket) > 107)
    throw new CosmosError(
      'ENAMETOOLONG',
      controlSocket,
      'too long for a socket',
      'set a shorter XDG_RUNTIME_DIR',
    )
  return {
    home,
    state,
    runtime,
    controlSocket,
    database: environment.COSMOS_DB_FILE || join(state, 'cosmos.db'),
    log: join(state, 'log', 'cosmos.log'),
    root: join(home, 'root'),
    defaultMount: join(userHome, 'cosmos'),
  }
}

/** Makes the directories of an instance. Throws CosmosError EPERM when one belongs to somebody else. */
export function prepareInstance(instance: Instance): void {
  mkdirSync(instance.home, { recursive: true, mode: 0o755 })
  for (const part of ['root', 'bin', 'etc/cosmos', 'lib/cosmos', 'vm'])
    mkdirSync(join(instance.home, part), { recursive: true, mode: 0o755 })
  mkdirSync(instance.state, { recursive: true, mode: 0o700 })
  mkdirSync(dirname(instance.log), { recursive: true, mode: 0o700 })
  mkdirSync(dirname(instance.runtime), { recursive: true, mode: 0o700 })
  mkdirSync(instance.runtime, { recursive: true, mode: 0o700 })
  for (const directory of [dirname(instance.runtime), instance.runtime]) {
    const found = lstatSync(directory)
    if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o077) !== 0)
      throw new CosmosError(
        'EPERM',
        directory,
        'is not a private directory of this user',
        `rm -r ${directory}`,
      )
  }
}

/** `$XDG_RUNTIME_DIR/cosmos`; else `/var/run/cosmos` for root and a private directory for another user. */
function runtimeRoot(environment: NodeJS.ProcessEnv): string {
  if (environment.XDG_RUNTIME_DIR) return join(environment.XDG_RUNTIME_DIR, 'cosmos')
  const uid = process.getuid?.() ?? 0
  if (uid === 0) return '/var/run/cosmos'
  const perUser = `/run/user/${uid}`
  return existsSync(perUser) ? join(perUser, 'cosmos') : join(tmpdir(), `cosmos-${uid}`)
}

/** One spelling for one home: links in its path are followed as far as it exists. */
function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    const parent = dirname(path)
    return parent === path ? path : join(real(parent), path.slice(parent.length).replace(/^\//, ''))
  }
}
