import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, lstatSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { createConnection } from 'node:net'
import { dirname } from 'node:path'
import type { Instance } from '../../daemon/instance.ts'
import { asRoot, type Check, type Finding, fail, isRoot, ok, warn } from './check.ts'

/** What this user's instance has on this machine. */
export const STATE: readonly Check[] = [
  { name: 'home', run: home },
  { name: 'runtime directory', run: runtime },
  { name: 'mounts', run: mounts },
  { name: 'daemon', run: daemon },
]

function home(instance: Instance): readonly Finding[] {
  const { home: path, state } = instance
  const found = statSync(path, { throwIfNoEntry: false })
  if (!found) return [writable(dirname(path), `${path} will be made by cosmos up`)]
  const findings: Finding[] = []
  if (!found.isDirectory()) return [fail(`${path} is no directory`, `mv ${path} ${path}.old`)]
  if (found.uid !== process.getuid?.())
    findings.push(fail(`${path} belongs to uid ${found.uid}`, asRoot(`chown -R $(id -u) ${path}`)))
  if ((found.mode & 0o022) !== 0) findings.push(warn(`others can write to ${path}`, `chmod go-w ${path}`))
  const inside = statSync(state, { throwIfNoEntry: false })
  if (inside && (inside.mode & 0o077) !== 0)
    findings.push(fail(`others can read ${state}`, `chmod 0700 ${state}`))
  const space = existsSync(state) ? statfsSync(state) : statfsSync(path)
  if (space.bavail * space.bsize < 64 * 1024 * 1024) findings.push(warn(`the disk of ${path} is nearly full`))
  return findings.length > 0 ? findings : [writable(path, path)]
}

function runtime(instance: Instance): Finding {
  const { runtime: path } = instance
  const parent = dirname(path)
  for (const directory of [parent, path]) {
    const found = lstatSync(directory, { throwIfNoEntry: false })
    if (!found) return writable(nearest(directory), `${path} will be made by cosmos up`)
    if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o077) !== 0)
      return fail(`${directory} is not a private directory of this user`, `rm -r ${directory}`)
  }
  return writable(path, path)
}

/** This user's mounts of cosmos that nobody serves any more: "Transport endpoint is not connected". */
function mounts(instance: Instance): readonly Finding[] {
  if (process.platform !== 'linux') return [ok('not known here')]
  const findings: Finding[] = []
  let living = 0
  for (const { path, type, uid } of mountTable()) {
    if (type !== 'fuse.cosmos' || uid !== process.getuid?.()) continue
    const problem = problemOf(path)
    const unmount = isRoot() ? `umount -l ${path}` : `fusermount3 -u -z ${path}`
    if (problem === 'stale')
      findings.push(
        warn(`${path} is stale: nobody serves it`, path === instance.defaultMount ? 'cosmos up' : unmount),
      )
    else if (problem === 'hangs') findings.push(fail(`${path} does not answer`, unmount))
    else living++
  }
  return findings.length > 0 ? findings : [ok(living === 0 ? 'none' : `${living}, served`)]
}

async function daemon(instance: Instance): Promise<Finding> {
  const code = await new Promise<string>((resolve) => {
    const socket = createConnection(instance.controlSocket, () => {
      socket.destroy()
      resolve('')
    })
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'EIO'))
  })
  if (code === '') return ok(`answers at ${instance.controlSocket}`)
  if (code === 'ENOENT') return ok('does not run (cosmos up starts it)')
  if (code === 'ECONNREFUSED') return warn('ended without taking its socket away', 'cosmos up')
  return fail(`${instance.controlSocket}: ${code}`)
}

function mountTable(): { path: string; type: string; uid: number }[] {
  const rows = readFileSync('/proc/self/mountinfo', 'latin1').trimEnd().split('\n')
  return rows.map((row) => {
    const [before = '', after = ''] = row.split(' - ')
    const bytes = (before.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    )
    const uid = Number(/\buser_id=(\d+)/.exec(after)?.[1] ?? -1)
    return { path: Buffer.from(bytes, 'latin1').toString('utf8'), type: after.split(' ')[0] ?? '', uid }
  })
}

/** What stat(1) says of a mount: a process of its own, because a mount that hangs would not let go of this one. */
function problemOf(mount: string): 'none' | 'stale' | 'hangs' {
  const found = spawnSync('stat', ['-c', '%i', '--', mount], {
    env: { ...process.env, LC_ALL: 'C' },
    encoding: 'utf8',
    timeout: 2000,
    killSignal: 'SIGKILL',
  })
  if (found.signal) return 'hangs'
  return /not connected|connection abort/i.test(found.stderr) ? 'stale' : 'none'
}

function nearest(path: string): string {
  return existsSync(path) ? path : nearest(dirname(path))
}

function writable(directory: string, detail: string): Finding {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
    return ok(detail)
  } catch {
    return fail(`${directory} is not writable for this user`, asRoot(`chown $(id -u) ${directory}`))
  }
}
