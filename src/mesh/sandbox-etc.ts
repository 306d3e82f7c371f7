import { closeSync, constants, openSync, statSync } from 'node:fs'
import { cp, lstat, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { O_PATH } from '../os/constants.ts'

/**
 * /etc as programs in a sandbox see it: a directory with copies of what programs need and everybody may read. One
 * mount of it costs what a mount of each file would.
 */

/** What is taken of the host's /etc, where it is there. No keys, no passwords, no names of users or hosts. */
const TAKEN = [
  'alternatives',
  'ca-certificates.conf',
  'debian_version',
  'fonts',
  'gai.conf',
  'inputrc',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'locale.alias',
  'localtime',
  'magic',
  'mime.types',
  'nsswitch.conf',
  'OpenCL',
  'os-release',
  'perl',
  'protocols',
  'python3',
  'services',
  'ssl/certs',
  'ssl/openssl.cnf',
  'terminfo',
  'timezone',
  'vulkan',
]
/** Beginnings of names that have a version in them. */
const VERSIONED = ['ImageMagick-', 'java-']
/** Beside them, for a program that may reach the network. */
const OF_NETWORK = ['hosts', 'resolv.conf']
/** When these change (a package was installed), the copies are made again. */
const TELLING = ['/etc/ld.so.cache', '/etc/alternatives', '/etc/ssl/certs']

/** Copies of /etc in a directory of the daemon's, for programs with one user id. */
export class SandboxEtc {
  readonly #directory: string
  readonly #uid: number
  readonly #gid: number
  readonly #made = new Map<string, { state: string; fd: Promise<number> }>()

  /** `directory` is made; the user must be able to reach it. Its content is this object's. */
  constructor(directory: string, user: { readonly uid: number; readonly gid: number }) {
    this.#directory = directory
    this.#uid = user.uid
    this.#gid = user.gid
  }

  /** The directory, as a descriptor that stays this object's. Throws an error of the file system. */
  async descriptor(network: boolean): Promise<number> {
    const name = network ? 'etc-network' : 'etc'
    const state = stateOfHost()
    const made = this.#made.get(name)
    if (made?.state === state) return made.fd
    const before = made?.fd
    const fd = this.#make(name, network, before)
    this.#made.set(name, { state, fd })
    // A failure is the caller's; the next one tries again.
    fd.catch(() => this.#made.delete(name))
    return fd
  }

  /** Removes the copies. */
  async close(): Promise<void> {
    for (const { fd } of this.#made.values()) await fd.then(closeSync, () => {})
    this.#made.clear()
    await rm(this.#directory, { recursive: true, force: true })
  }

  async #make(name: string, network: boolean, before: Promise<number> | undefined): Promise<number> {
    const directory = join(this.#directory, name)
    const fresh = `${directory}.new`
    await rm(fresh, { recursive: true, force: true })
    await mkdir(fresh, { recursive: true, mode: 0o755 })
    const versioned = (await readdir('/etc')).filter((each) =>
      VERSIONED.some((start) => each.startsWith(start)),
    )
    for (const each of [...TAKEN, ...versioned, ...(network ? OF_NETWORK : [])]) await copy(each, fresh)
    await writeFile(join(fresh, 'passwd'), passwd(this.#uid, this.#gid))
    await writeFile(join(fresh, 'group'), group(this.#gid))
    if (!network) await writeFile(join(fresh, 'hosts'), '127.0.0.1 localhost\n::1 localhost\n')
    // Programs that run keep the former one: it is removed, but not what they have mounted.
    await rm(`${directory}.old`, { recursive: true, force: true })
    if (before) {
      await before.then(closeSync, () => {})
      await rename(directory, `${directory}.old`)
    } else await rm(directory, { recursive: true, force: true })
    await rename(fresh, directory)
    return openSync(directory, O_PATH | constants.O_DIRECTORY)
  }
}

function stateOfHost(): string {
  return TELLING.map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs).join(' ')
}

async function copy(name: string, to: string): Promise<void> {
  const from = join('/etc', name)
  if (!(await isPublic(from))) return
  await mkdir(dirname(join(to, name)), { recursive: true, mode: 0o755 })
  await cp(from, join(to, name), { recursive: true, verbatimSymlinks: true, filter: isPublic })
}

/** Whether a file of the host is one that everybody may read; links are taken as they are. */
async function isPublic(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined)
  return found !== undefined && (found.isSymbolicLink() || (found.mode & 0o004) !== 0)
}

function passwd(uid: number, gid: number): string {
  const lines = ['root:x:0:0:root:/nonexistent:/usr/sbin/nologin', `peer:x:${uid}:${gid}:peer:/tmp:/bin/sh`]
  if (uid !== 65_534) lines.push('nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin')
  return `${lines.join('\n')}\n`
}

function group(gid: number): string {
  const lines = ['root:x:0:', `peer:x:${gid}:`]
  if (gid !== 65_534) lines.push('nogroup:x:65534:')
  return `${lines.join('\n')}\n`
}
