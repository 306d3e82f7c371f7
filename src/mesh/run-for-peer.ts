import { closeSync } from 'node:fs'
import { CosmosError } from '../errors.ts'
import { readable } from '../frame/paths.ts'
import { type AuditLog, Digests, identityOf } from './audit.ts'
import { bareBase, environmentFor, SANDBOX_BASE } from './environment.ts'
import type { ExecutionGrant, ExecutionLimits, Grants, Visitor } from './grants.ts'
import type { WindowSize } from './pty.ts'
import { launch, type PeerRun, type Prepared } from './run-for-peer-launch.ts'
import { leastOf, shellFor } from './run-for-peer-limits.ts'
import type { PeerStreams } from './run-for-peer-running.ts'
import { memoryFile, openPipe } from './run-for-peer-spawn.ts'
import {
  type LentDirectory,
  type SandboxUser,
  sandboxCommand,
  sandboxOptions,
  sandboxUser,
  whyNoSandbox,
} from './sandbox.ts'
import { SandboxEtc } from './sandbox-etc.ts'
import { closePath, isWithin, type OpenedPath, openPath, shownPaths } from './sandbox-paths.ts'

/** Programs of this host that peers run (design §7). Texts have one character a byte. */

/** What a peer asks to be run. */
export interface PeerRequest {
  /** Host path of the program, as this host's tree has found it; its links are followed here. */
  readonly program: string
  /** Its path in this host's cosm, where it was found by that: `.cosm/bin/ffmpeg`. */
  readonly name?: string
  readonly argv: readonly string[]
  /** The caller's environment, `NAME=value`; most of it is left out. */
  readonly env: readonly string[]
  /** Working directory on the caller's host: in one of those lent. Left out: a directory of this host. */
  readonly cwd?: string
  readonly lent: readonly PeerLent[]
  /** The caller has a terminal, and the program gets one. */
  readonly terminal?: WindowSize
  /** The caller's own bounds; the less of these and the grant's holds. */
  readonly limits?: ExecutionLimits
}

/** A directory that the caller lends. */
export interface PeerLent {
  /** Below this host's mount, where its files are: a resolved path. */
  readonly host: string
  /** On the caller's host. */
  readonly at: string
  readonly writable: boolean
}

/** What programs for peers share. */
export interface PeerProgramsOptions {
  /** Directory for the files that sandboxes are made of; its user must be able to reach it. */
  readonly directory: string
  /** Who programs in sandboxes are where the daemon is root's; by default nobody. */
  readonly user?: SandboxUser
  /** Never shown to programs: the daemon's state and runtime directories, and every cosmos mount. Resolved paths. */
  readonly secrets: readonly string[]
  readonly audit: AuditLog
  /** The daemon's environment. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** Programs of one peer at a time. */
const MAX_RUNS = 128
/** Bounds of a sandbox whose grant has none: what stops an accident. */
const DEFAULT_PROCESSES = 512
const TEMPORARY_BYTES = 1024 * 1024 * 1024

export class PeerPrograms {
  readonly #options: PeerProgramsOptions
  readonly #user: SandboxUser
  readonly #etc: SandboxEtc
  readonly #digests = new Digests()
  readonly #runs = new Map<string, Set<PeerRun>>()
  /** What is being prepared, by visitor; what is ended meanwhile is not begun. */
  readonly #starting = new Map<string, Set<{ ended: boolean }>>()

  /** Throws CosmosError EINVAL. */
  constructor(options: PeerProgramsOptions) {
    this.#options = options
    this.#user = sandboxUser(options.user)
    this.#etc = new SandboxEtc(options.directory, this.#user)
  }

  /**
   * Runs a program for a peer, as far as the grants go. Throws CosmosError, and the streams are untouched: ENOENT or
   * EACCES for the program, EACCES for what is not granted, EPERM where there is no sandbox, EAGAIN where too many run,
   * EINVAL for what cannot be lent. Refusals are in the audit log.
   */
  async start(
    visitor: Visitor,
    grants: Grants,
    request: PeerRequest,
    streams: PeerStreams,
  ): Promise<PeerRun> {
    const opened: OpenedPath[] = []
    const starting = { ended: false }
    const others = this.#starting.get(visitor.id) ?? new Set()
    this.#starting.set(visitor.id, others.add(starting))
    try {
      return await this.#start(visitor, grants, request, streams, opened, starting)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      this.#options.audit.refused({ visitor: visitor.id, operation: 'exec', path: request.program, why })
      throw error
    } finally {
      others.delete(starting)
      if (others.size === 0) this.#starting.delete(visitor.id)
      for (const each of opened) closePath(each)
    }
  }

  /** Ends what runs for a peer, or is about to: it is lost, or what it was granted is revoked. */
  endFor(visitor: string): void {
    for (const each of this.#starting.get(visitor) ?? []) each.ended = true
    for (const run of this.#runs.get(visitor) ?? []) run.cancel()
  }

  /** Ends all, and removes what sandboxes were made of. */
  async close(): Promise<void> {
    const runs = [...this.#runs.values()].flatMap((each) => [...each])
    for (const visitor of [...this.#runs.keys(), ...this.#starting.keys()]) this.endFor(visitor)
    await Promise.all(runs.map(({ result }) => result))
    await this.#options.audit.flush()
    await this.#etc.close()
  }

  async #start(
    visitor: Visitor,
    grants: Grants,
    request: PeerRequest,
    streams: PeerStreams,
    opened: OpenedPath[],
    starting: { readonly ended: boolean },
  ): Promise<PeerRun> {
    checkTexts(request)
    const { secrets } = this.#options
    const program = await openNamed(request.program, secrets, opened)
    const path = program.resolved
    const grant = this.#grantFor(grants, request, path)
    const starts = this.#starting.get(visitor.id)?.size ?? 0
    if ((this.#runs.get(visitor.id)?.size ?? 0) + starts > MAX_RUNS)
      throw new CosmosError('EAGAIN', visitor.name ?? visitor.id, `runs ${MAX_RUNS} programs here already`)
    checkExecutable(program)
    const lent: LentDirectory[] = []
    for (const { host, at, writable } of request.lent) {
      const found = await openNamed(host, secrets, opened)
      // Its links would be followed on this host.
      if (found.resolved !== host || !found.stat.isDirectory())
        throw new CosmosError(
          'EACCES',
          readable(at),
          'is no directory, or one behind a link, and cannot be lent',
        )
      lent.push({ opened: found, at, writable })
    }
    const limits = leastOf(grant.limits, request.limits ?? {})
    const identity = identityOf(program.stat)
    const prepared = grant.bare
      ? this.#bare(request, lent, limits)
      : await this.#sandboxed(grants, request, program, lent, limits, opened)
    if (starting.ended) {
      for (const fd of [...prepared.owned, ...(prepared.status === undefined ? [] : [prepared.status])])
        closeSync(fd)
      throw new CosmosError('ECANCELED', readable(path), 'was ended before it began')
    }
    const run = launch(request.terminal, streams, prepared, limits, path)
    this.#follow(visitor, run, identity)
    return run
  }

  #grantFor(grants: Grants, { program, name }: PeerRequest, path: string): ExecutionGrant {
    const grant = grants.execution(name === undefined ? [path] : [path, name])
    if (grant) return grant
    throw new CosmosError(
      'EACCES',
      readable(name ?? program),
      'may not be run by this peer',
      `on its host: cosmos grant PEER exec:${readable(path)}`,
    )
  }

  /** A program without a sandbox: as the daemon's user. */
  #bare(
    { program, argv, env, cwd }: PeerRequest,
    lent: readonly LentDirectory[],
    limits: ExecutionLimits,
  ): Prepared {
    const base = bareBase(this.#options.environment)
    const { environment, refused } = environmentFor(env, base)
    const directory = cwd === undefined ? (base.HOME ?? '/') : hostPath(cwd, lent)
    const shell = shellFor(limits, undefined)
    // The daemon's own mount is entered by the child: the daemon would wait for itself.
    const script = `cd -- "$1" || exit 126; shift; ${shell}`
    return {
      file: '/bin/sh',
      argv: ['sh', '-c', script, 'sh', directory, program, ...argv.slice(1)],
      environment,
      refused,
      descriptors: [],
      owned: [],
      sandboxed: false,
    }
  }

  async #sandboxed(
    grants: Grants,
    request: PeerRequest,
    program: OpenedPath,
    lent: readonly LentDirectory[],
    limits: ExecutionLimits,
    opened: OpenedPath[],
  ): Promise<Prepared> {
    const { secrets } = this.#options
    const user = this.#user
    const why = await whyNoSandbox(user)
    if (why) throw why
    const shown = await shownPaths(grants, secrets, user)
    opened.push(...shown.map((each) => each.opened))
    const cwd = request.cwd ?? '/tmp'
    if (request.cwd !== undefined) hostPath(cwd, lent)
    const network = limits.network ?? false
    const terminal = request.terminal !== undefined
    const etc = await this.#etc.descriptor(network)
    const status = openPipe()
    // Above all that is handed over: a number in the child may not be that of a descriptor still to be placed.
    const first = 1 + Math.max(etc, status.write, ...opened.map(({ fd }) => fd))
    const sandbox = sandboxOptions(
      {
        ...{
          user,
          program: { path: request.program, opened: program },
          cwd,
          lent,
          shown,
          etc,
          network,
          terminal,
        },
        temporary: Math.min(limits.memory ?? TEMPORARY_BYTES, TEMPORARY_BYTES),
      },
      first + 2,
    )
    // What is lent as /tmp is no home: settings there would be the caller's.
    const home = lent.some(({ at }) => at === '/tmp') ? { HOME: '/nonexistent' } : {}
    const { environment, refused } = environmentFor(request.env, { ...SANDBOX_BASE, ...home })
    // Not on the command line, which the program sees.
    const options = [...sandbox.options, '--json-status-fd', String(first)]
    const optionsFile = memoryFile(Buffer.from(options.map((each) => `${each}\0`).join(''), 'latin1'))
    const [file, ...command] = sandboxCommand(user)
    const shell = shellFor(limits, limits.processes ?? DEFAULT_PROCESSES)
    return {
      file,
      argv: [
        ...[file, ...command, '--args', String(first + 1), '/bin/sh', '-c', shell, 'sh'],
        ...(terminal ? ['/usr/bin/setsid', '--ctty'] : []),
        ...[sandbox.program, ...request.argv.slice(1)],
      ],
      environment,
      refused,
      descriptors: [[optionsFile, first + 1], [status.write, first], ...sandbox.descriptors],
      owned: [status.write, optionsFile],
      status: status.read,
      owner: user,
      sandboxed: true,
    }
  }

  #follow(visitor: Visitor, run: PeerRun, identity: string): void {
    const { path, vm, sandboxed } = run
    const runs = this.#runs.get(visitor.id) ?? new Set()
    this.#runs.set(visitor.id, runs.add(run))
    run.result.then(async ({ exit, ended, duration }) => {
      runs.delete(run)
      if (runs.size === 0) this.#runs.delete(visitor.id)
      const text =
        'error' in exit ? exit.error.message : 'code' in exit ? `${exit.code}` : `signal ${exit.signal}`
      this.#options.audit.executed({
        ...{ visitor: visitor.id, path, vm, sandboxed, duration },
        digest: await this.#digests.digest(path, identity),
        exit: ended ? `${text} (${ended})` : text,
      })
    })
  }
}

/** Where the caller's path lies on this host. Throws CosmosError EINVAL. */
function hostPath(cwd: string, lent: readonly LentDirectory[]): string {
  const found = lent.find(({ at }) => isWithin(cwd, at))
  if (!found || cwd.split('/').some((name) => name === '..' || name === '.'))
    throw new CosmosError('EINVAL', readable(cwd), 'is not in a directory that was lent', '--lend it')
  return found.opened.resolved + cwd.slice(found.at.length)
}

/**
 * A NUL would end a text early, and begin another option of the sandbox; of a character that is no byte only a part
 * would be left, which may be a NUL. Throws CosmosError EINVAL.
 */
function checkTexts({ program, argv, env, cwd = '', lent }: PeerRequest): void {
  const texts = [program, ...argv, ...env, cwd, ...lent.flatMap(({ host, at }) => [host, at])]
  if (!program.startsWith('/') || texts.some((text) => /\0|[^\0-\xff]/.test(text)))
    throw new CosmosError(
      'EINVAL',
      readable(program),
      'is no absolute path, or has a NUL byte in what belongs to it',
    )
}

async function openNamed(path: string, mounts: readonly string[], opened: OpenedPath[]): Promise<OpenedPath> {
  try {
    const found = await openPath(path, mounts)
    opened.push(found)
    return found
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'EIO'
    throw new CosmosError(
      code,
      readable(path),
      code === 'ENOENT' ? 'not found' : `cannot be opened (${code})`,
    )
  }
}

function checkExecutable({ stat, resolved }: OpenedPath): void {
  if (stat.isFile() && (stat.mode & 0o111n) !== 0n) return
  throw new CosmosError('EACCES', readable(resolved), 'is nothing that can be run')
}
