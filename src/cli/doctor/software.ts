import { accessSync, constants, statSync } from 'node:fs'
import { release } from 'node:os'
import { delimiter, join } from 'node:path'
import { launcherPath } from '../../cef/launcher.ts'
import { packageFile } from '../version.ts'
import { asRoot, type Check, type Finding, fail, isRoot, ok, warn } from './check.ts'

/** Programs and libraries that cosmos needs or uses. */
export const SOFTWARE: readonly Check[] = [
  { name: 'node', run: node },
  { name: 'kernel', run: kernel },
  { name: 'koffi', run: koffi },
  { name: 'sqlite', run: sqlite },
  { name: 'fuse-native', run: fuseNative },
  { name: 'fusermount3', run: fusermount },
  { name: 'launcher', run: launcher },
  { name: 'systemd', run: systemd },
]

function node(): Finding {
  const { node: version } = process.versions
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 18)) return ok(`${version} (${process.execPath})`)
  return fail(`${version} is too old: 22.18 or newer is needed`, 'npm install -g node@24')
}

function kernel(): Finding {
  if (process.platform !== 'linux') return warn(`${process.platform}: the fuse-native driver is used`)
  const [major = 0, minor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10))
  const since = (a: number, b: number): boolean => major > a || (major === a && minor >= b)
  if (since(6, 9)) return ok(`${release()}: passthrough, resend`)
  const without = 'no passthrough; when the daemon crashes, programs see it'
  if (since(6, 6)) return warn(`${release()}: ${without} (6.9 has both)`, 'install a newer kernel')
  return warn(`${release()}: ${without}, no mmap with direct I/O (6.9 has all)`, 'install a newer kernel')
}

async function koffi(): Promise<Finding> {
  try {
    const { default: loaded } = await import('koffi')
    return ok(loaded.version)
  } catch (error) {
    return fail(`does not load: ${reason(error)}`, 'npm rebuild koffi')
  }
}

async function sqlite(): Promise<Finding> {
  try {
    const { default: Database } = await import('better-sqlite3')
    const database = new Database(':memory:')
    const row: unknown = database.prepare('select sqlite_version() as version').get()
    database.close()
    return ok(`better-sqlite3, SQLite ${(row as { version: string }).version}`)
  } catch (error) {
    const why = `better-sqlite3 does not load: ${reason(error)}`
    try {
      await import('node:sqlite')
      return warn(`${why}; node:sqlite is used`, 'npm rebuild better-sqlite3')
    } catch {
      return fail(why, 'npm rebuild better-sqlite3')
    }
  }
}

async function fuseNative(): Promise<Finding> {
  const needed = process.platform !== 'linux'
  try {
    // By a name of its own: the types of an optional package may be absent.
    const name = 'fuse-native'
    await import(name)
    return ok(needed ? 'loads' : 'loads (the second driver)')
  } catch (error) {
    const why = `does not load: ${reason(error)}`
    return needed
      ? fail(why, 'npm rebuild fuse-native')
      : ok(`${why}; it is needed for --driver fuse-native only`)
  }
}

function fusermount(): Finding {
  if (process.platform !== 'linux') return ok('not needed here')
  const path = find('fusermount3')
  const install = asRoot('apt-get install -y fuse3')
  if (!path) {
    const why = 'is missing: an ordinary user cannot mount without it'
    return isRoot() ? warn(`${why} (root can)`, install) : fail(why, install)
  }
  const { mode, uid } = statSync(path)
  if (uid === 0 && (mode & 0o4000) !== 0) return ok(path)
  const why = `${path} is not setuid root: an ordinary user cannot mount`
  const fix = asRoot(`chmod u+s ${path}`)
  return isRoot() ? warn(why, fix) : fail(why, fix)
}

function launcher(): Finding {
  const path = launcherPath()
  if (!path.endsWith('/cosmos-launcher')) return ok(path)
  const build = `node ${packageFile('scripts/build-launcher.mjs')}`
  const compiler = ['cc', 'gcc', 'clang'].some((name) => find(name) !== undefined)
  const fix = compiler ? build : `${asRoot('apt-get install -y gcc libc6-dev')} && ${build}`
  return warn('the one in Node: what a VM runs starts slower', fix)
}

function systemd(): Finding {
  if (process.platform !== 'linux') return ok('not needed here')
  const running = find('systemctl') !== undefined && exists('/run/systemd/system')
  if (!running) return ok('does not run here: start cosmos with `cosmos up`')
  return ok(
    `runs; to mount at each login: systemctl --user enable --now ${packageFile('etc/cosmos.service')}`,
  )
}

/** A program of the PATH. */
function find(name: string): string | undefined {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory || '.', name)
    try {
      accessSync(path, constants.X_OK)
      if (statSync(path).isFile()) return path
    } catch {
      // Not in this directory.
    }
  }
  return undefined
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

function reason(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? ''
}
