import { spawn } from 'node:child_process'
import { closeSync, lstatSync, openSync, readlinkSync } from 'node:fs'
import { CosmosError } from '../errors.ts'
import { readable } from '../frame/paths.ts'
import { O_PATH } from '../os/constants.ts'
import { isWithin, type OpenedPath, type ShownPath, SYSTEM } from './sandbox-paths.ts'

/**
 * The sandbox of programs that peers start (design §7): bubblewrap, with all namespaces its own, no capabilities, the
 * system read-only, an empty /tmp, no home, and of other files what grants show and what the caller lends. Paths have
 * one character a byte.
 */

const BWRAP = '/usr/bin/bwrap'
/** util-linux */
const SETPRIV = '/usr/bin/setpriv'

/** Namespaces of its own, and none that it could make; it ends with its caller. */
const CUT_OFF = [
  ...['--unshare-user', '--unshare-ipc', '--unshare-pid', '--unshare-uts', '--unshare-cgroup'],
  ...['--disable-userns', '--die-with-parent', '--hostname', 'cosmos'],
]

/** User and group that programs in sandboxes have. */
export interface SandboxUser {
  readonly uid: number
  readonly gid: number
}

/** nobody and nogroup: who owns nothing. */
const NOBODY: SandboxUser = { uid: 65_534, gid: 65_534 }

/**
 * As whom a daemon runs programs in sandboxes: an ordinary user's as that user; root's as `wanted`, or as nobody, so
 * that a file that is shown by mistake is still protected by its mode, and limits of processes hold, which for root
 * they do not. Throws CosmosError EINVAL where root is wanted.
 */
export function sandboxUser(wanted?: SandboxUser): SandboxUser {
  const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  if (own.uid !== 0) return own
  if (wanted && (wanted.uid === 0 || wanted.gid === 0))
    throw new CosmosError('EINVAL', 'the user of sandboxes', 'may not be root')
  return wanted ?? NOBODY
}

/** A directory of the caller's, reached through the mount of this host. */
export interface LentDirectory {
  readonly opened: OpenedPath
  /** Where it lies on the caller's host, and in the sandbox: absolute, without `.` and `..`. */
  readonly at: string
  readonly writable: boolean
}

/** What is to run in a sandbox. */
export interface SandboxPlan {
  readonly user: SandboxUser
  /** The program as it was found, and what it is when links are followed. */
  readonly program: { readonly path: string; readonly opened: OpenedPath }
  /** Working directory in the sandbox. */
  readonly cwd: string
  readonly lent: readonly LentDirectory[]
  readonly shown: readonly ShownPath[]
  /** Descriptor of what /etc is: see SandboxEtc. */
  readonly etc: number
  readonly network: boolean
  /** The standard streams are a terminal, which becomes the program's own. */
  readonly terminal: boolean
  /** Bytes of memory that each of the writable directories in memory, /tmp and /dev/shm, may take. */
  readonly temporary: number
}

/** Options of bwrap(1), and what they name. */
export interface SandboxOptions {
  /** bwrap's arguments, without the program. */
  readonly options: readonly string[]
  /** Descriptors of this process that the options name, by the numbers that they have there. */
  readonly descriptors: readonly (readonly [from: number, to: number])[]
  /** The program's path in the sandbox. */
  readonly program: string
}

/**
 * The options of a sandbox. Descriptors get numbers from `first` on. Throws CosmosError EINVAL for a directory that
 * cannot be lent at its path.
 */
export function sandboxOptions(plan: SandboxPlan, first: number): SandboxOptions {
  const { program, lent, etc } = plan
  const descriptors: [number, number][] = []
  const numbered = (from: number): string => {
    const to = first + descriptors.length
    descriptors.push([from, to])
    return String(to)
  }
  for (const { at } of lent) checkLent(at, program.opened.resolved)
  // What is lent comes first: a path of the caller's has to mean there what it means at home.
  const shown = plan.shown.filter(
    ({ path }) => !lent.some(({ at }) => isWithin(path, at) || isWithin(at, path)),
  )
  const options = [
    ...CUT_OFF,
    ...(plan.network ? [] : ['--unshare-net']),
    // A terminal becomes the program's after this, in a session of its own.
    ...(plan.terminal ? [] : ['--new-session']),
    ...systemOptions(),
    ...['--ro-bind-fd', numbered(etc), '/etc', '--proc', '/proc', '--dev', '/dev'],
    ...memoryDirectory('/tmp', plan.temporary),
    ...memoryDirectory('/dev/shm', plan.temporary),
    ...['--perms', '0755', '--dir', '/var', '--symlink', '/tmp', '/var/tmp', '--dir', '/run'],
    ...shown.flatMap((each) => shownOptions(each, numbered)),
  ]
  for (const { opened, at, writable } of [...lent].sort((a, b) => a.at.length - b.at.length))
    options.push(writable ? '--bind-fd' : '--ro-bind-fd', numbered(opened.fd), at)
  const visible = (path: string) => isVisible(path, shown, lent)
  const { resolved } = program.opened
  if (!visible(resolved)) options.push('--ro-bind-fd', numbered(program.opened.fd), resolved)
  // A name that is a link stays one: some programs go by theirs.
  let name = program.path
  if (name !== resolved && !visible(name)) {
    if (lent.some(({ at }) => isWithin(name, at))) name = resolved
    else options.push('--symlink', resolved, name)
  }
  options.push('--remount-ro', '/dev', '--remount-ro', '/', '--chdir', plan.cwd)
  return { options, descriptors, program: name }
}

/** The command that makes a sandbox, as whom it has to be made: what follows are bwrap's arguments. */
export function sandboxCommand({ uid, gid }: SandboxUser): readonly [file: string, ...args: string[]] {
  if (process.getuid?.() === uid) return [BWRAP]
  return [SETPRIV, `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', BWRAP]
}

/** Every system directory as the host has it: most are links into /usr. */
function systemOptions(): string[] {
  return SYSTEM.flatMap((path) => {
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found?.isSymbolicLink()) return ['--symlink', readlinkSync(path, 'latin1'), path]
    return found ? ['--ro-bind', path, path] : []
  })
}

function memoryDirectory(path: string, size: number): string[] {
  return ['--perms', '1777', '--size', String(size), '--tmpfs', path]
}

function shownOptions({ path, as, opened }: ShownPath, numbered: (fd: number) => string): string[] {
  // A device is of no use where devices are off, and there is no read-only one.
  if (path.startsWith('/dev/')) return as === 'write' ? ['--dev-bind', path, path] : []
  if (as !== 'hidden') return [as === 'write' ? '--bind-fd' : '--ro-bind-fd', numbered(opened.fd), path]
  return opened.stat.isDirectory()
    ? ['--perms', '0555', '--size', '4096', '--tmpfs', path, '--remount-ro', path]
    : ['--ro-bind', '/dev/null', path]
}

/** Directories where what a caller lends would change what programs are or do. */
const NOT_LENT = [...SYSTEM, '/etc', '/proc', '/dev', '/sys', '/run']

function checkLent(at: string, program: string): void {
  const names = at.split('/')
  const isPlain = at.startsWith('/') && !names.slice(1).some((name) => ['', '.', '..'].includes(name))
  const why = !isPlain
    ? 'is no directory that can be lent'
    : NOT_LENT.some((each) => isWithin(at, each))
      ? 'is a place of the system, and cannot be lent'
      : isWithin(program, at)
        ? 'is where the program lies on the host that runs it'
        : undefined
  if (why) throw new CosmosError('EINVAL', readable(at), why, 'run it in another directory, or --lend one')
}

/** Whether a path of this host is there in the sandbox, as it is here. */
function isVisible(path: string, shown: readonly ShownPath[], lent: readonly LentDirectory[]): boolean {
  if (lent.some(({ at }) => isWithin(path, at))) return false
  const nearest = shown.findLast((each) => isWithin(path, each.path))
  if (nearest) return nearest.as !== 'hidden'
  return SYSTEM.some((system) => isWithin(path, system)) || isWithin(path, '/etc/alternatives')
}

/** How long a failed trial counts, milliseconds. */
const TRIAL_MS = 10_000
const trials = new Map<number, { at: number; works: boolean; why: Promise<CosmosError | undefined> }>()

/**
 * Why no sandbox can be had for this user, with what mends it; undefined where one can. It is tried once, and after a
 * failure not more often than every ten seconds.
 */
export async function whyNoSandbox(user: SandboxUser): Promise<CosmosError | undefined> {
  const last = trials.get(user.uid)
  if (last && (last.works || performance.now() - last.at < TRIAL_MS)) return last.why
  const trial = { at: performance.now(), works: true, why: trySandbox(user) }
  trials.set(user.uid, trial)
  const why = await trial.why
  trial.works = why === undefined
  return why
}

/** Makes a sandbox as real ones are made. */
async function trySandbox(user: SandboxUser): Promise<CosmosError | undefined> {
  const [file, ...args] = sandboxCommand(user)
  const options = [
    ...[...CUT_OFF, '--unshare-net', '--new-session', ...systemOptions(), '--ro-bind-fd', '3', '/srv'],
    ...['--proc', '/proc', '--dev', '/dev', '--size', '4096', '--tmpfs', '/tmp', '--', '/bin/true'],
  ]
  const directory = openSync('/usr', O_PATH)
  try {
    return await new Promise((resolve) => {
      const child = spawn(file, [...args, ...options], {
        cwd: '/',
        env: {},
        stdio: ['ignore', 'ignore', 'pipe', directory],
      })
      let complaint = ''
      child.stderr?.on('data', (chunk: Buffer) => {
        complaint += chunk.toString()
      })
      child.on('error', (error) => resolve(explainTrial(error.message)))
      child.on('close', (code) => resolve(code === 0 ? undefined : explainTrial(complaint)))
    })
  } finally {
    closeSync(directory)
  }
}

/** What bwrap's complaint means, and what mends it. */
function explainTrial(complaint: string): CosmosError {
  const line = complaint.trim().split('\n', 1)[0] ?? ''
  const refusal = (why: string, hint: string) => new CosmosError('EPERM', 'no sandbox', why, hint)
  if (/ENOENT|No such file or directory.*bwrap|bwrap.*No such file/.test(line))
    return refusal('bubblewrap is not installed', 'apt install bubblewrap')
  if (/Unknown option/.test(line))
    return refusal(
      `bubblewrap is too old (${line})`,
      'install bubblewrap 0.10, or the newest of your release: apt install bubblewrap',
    )
  return refusal(
    `user namespaces cannot be made here (${line})`,
    'sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0, as far as they are there',
  )
}
