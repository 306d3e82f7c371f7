import { spawn } from 'node:child_process'
import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  opendirSync,
  readlinkSync,
  rmdirSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { CosmosError } from '../src/errors.ts'
import { cosmosMountOf, isWithin, readMountinfo } from './mountinfo.ts'

/** A directory that may be mounted on. */
export interface MountPoint {
  /** Absolute, links followed. */
  readonly path: string
  /** The outermost directory that was made for it; undefined where it was there. */
  readonly made: string | undefined
}

/** Links that are followed in one path, as the kernel does. */
const MAX_LINKS = 40
/** How long a mount may take to say whether somebody serves it. */
const PROBE_MS = 1500
/** Stale mounts that may lie on each other. */
const MAX_STALE = 64

/**
 * Makes a directory ready to be mounted on: makes it if it is absent, and takes away with `detach` what an earlier
 * life left mounted there. Throws CosmosError: ENOTDIR, ENOTEMPTY, EACCES (not ours), EBUSY (a living cosmos is
 * mounted there), EINVAL (inside another cosmos mount, or around the cosmos home).
 */
export async function prepareMountPoint(
  wanted: string,
  home: string,
  detach: (path: string) => Promise<void>,
): Promise<MountPoint> {
  const path = resolveMountPoint(wanted)
  if (isWithin(home, path))
    throw new CosmosError('EINVAL', path, `holds the cosmos home ${home}`, 'mount on a directory of its own')
  await clearStale(path, detach)
  const made = makeDirectory(path)
  try {
    checkDirectory(path)
  } catch (error) {
    removeMountPoint({ path, made })
    throw error
  }
  return { path, made }
}

/** Removes what was made for a mount point, as far as it is empty. */
export function removeMountPoint({ path, made }: MountPoint): void {
  if (made === undefined) return
  try {
    for (let at = path; isWithin(at, made); at = dirname(at)) rmdirSync(at)
  } catch {
    // Somebody uses it by now: it stays.
  }
}

/**
 * The absolute path without links, the missing end of it kept. Looks at each part only after the mount table has
 * said that it is no cosmos mount: a dead one answers nothing, our own must not be waited for.
 * Throws CosmosError EINVAL for what lies inside a cosmos mount, ELOOP, ENOTDIR, EACCES.
 */
export function resolveMountPoint(wanted: string): string {
  const mounts = readMountinfo()
  const parts = wanted.split('/').filter((part) => part !== '' && part !== '.')
  let links = 0
  let path = '/'
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    if (part === '..') {
      path = dirname(path)
      continue
    }
    path = join(path, part)
    const cosmos = cosmosMountOf(path, mounts)
    if (cosmos && parts.length > 0)
      throw new CosmosError(
        'EINVAL',
        wanted,
        `lies inside the cosmos mount ${cosmos.path}`,
        'mount beside it, not inside',
      )
    if (cosmos) return path
    const target = linkAt(path, wanted)
    if (target === undefined) continue
    if (++links > MAX_LINKS) throw new CosmosError('ELOOP', wanted, 'has too many links')
    parts.unshift(...target.split('/').filter((each) => each !== '' && each !== '.'))
    path = target.startsWith('/') ? '/' : dirname(path)
  }
  return path
}

function linkAt(path: string, wanted: string): string | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : undefined
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
    if (code === 'ENOTDIR') throw notDirectory(wanted, dirname(path))
    if (code === 'EACCES')
      throw new CosmosError(code, wanted, `${dirname(path)} may not be searched by this user`)
    throw new CosmosError(code, wanted, code)
  }
}

async function clearStale(path: string, detach: (path: string) => Promise<void>): Promise<void> {
  for (let tries = 0; tries < MAX_STALE; tries++) {
    if (!cosmosMountOf(path, readMountinfo())) return
    const life = await probeMount(path)
    if (life === 'served')
      throw new CosmosError(
        'EBUSY',
        path,
        'another cosmos is mounted there',
        `cosmos down, or umount ${path}`,
      )
    if (life === 'silent')
      throw new CosmosError(
        'EBUSY',
        path,
        'a cosmos is mounted there that does not answer',
        unmountCommand(path),
      )
    await detach(path)
  }
  throw new CosmosError('EBUSY', path, 'a stale mount cannot be taken away', unmountCommand(path))
}

function unmountCommand(path: string): string {
  return process.geteuid?.() === 0 ? `umount -l ${path}` : `fusermount3 -uz ${path}`
}

/** Whether somebody serves a mount. */
type MountLife = 'served' | 'dead' | 'silent'

/** Asks a mount by statfs(2) in another process: one that hangs would never let go of this one. */
function probeMount(path: string): Promise<MountLife> {
  return new Promise((resolve) => {
    const child = spawn('stat', ['-f', '-c', '%t', '--', path], {
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let complaint = ''
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      child.unref()
      child.stderr.destroy()
      resolve('silent')
    }, PROBE_MS)
    child.stderr.on('data', (data: Buffer) => {
      complaint += data
    })
    child.on('error', () => resolve('silent'))
    child.on('close', () => {
      clearTimeout(timer)
      resolve(/not connected|connection abort/i.test(complaint) ? 'dead' : 'served')
    })
  })
}

/** Makes a directory with its parents; answers the outermost that was made. */
function makeDirectory(path: string): string | undefined {
  const missing: string[] = []
  // Not Node's `recursive`: it never comes back where nothing can be made, as in /proc.
  for (let at = path; !existsSync(at); at = dirname(at)) missing.push(at)
  try {
    for (const each of missing.toReversed()) mkdirSync(each)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
    if (code === 'ENOTDIR') throw notDirectory(path, path)
    const why = code === 'EACCES' ? 'cannot be made by this user' : `cannot be made: ${code}`
    throw new CosmosError(code, path, why, 'name another directory with --mount')
  }
  return missing.at(-1)
}

function notDirectory(subject: string, what: string): CosmosError {
  const why = subject === what ? 'is not a directory' : `${what} is not a directory`
  return new CosmosError('ENOTDIR', subject, why, 'name another directory with --mount')
}

function checkDirectory(path: string): void {
  const found = lstatSync(path)
  if (!found.isDirectory()) throw notDirectory(path, path)
  if (found.uid !== process.geteuid?.() && !isWritable(path))
    throw new CosmosError(
      'EACCES',
      path,
      `belongs to uid ${found.uid} and is not writable for this user`,
      'name a directory of yours with --mount',
    )
  if (existsSync(join(path, 'bin', 'cosmos')))
    throw new CosmosError(
      'ENOTEMPTY',
      path,
      'is where cosmos itself lies',
      'move it elsewhere, or name another directory with --mount',
    )
  if (hasEntries(path))
    throw new CosmosError('ENOTEMPTY', path, 'is not empty', 'name an empty or a new directory with --mount')
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

function hasEntries(path: string): boolean {
  try {
    const directory = opendirSync(path)
    try {
      return directory.readSync() !== null
    } finally {
      directory.closeSync()
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
    throw new CosmosError(code, path, code === 'EACCES' ? 'is not readable for this user' : code)
  }
}
