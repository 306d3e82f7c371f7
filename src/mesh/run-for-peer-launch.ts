import { closeSync } from 'node:fs'
import { CosmosError } from '../errors.ts'
import type { ExecutionLimits } from './grants.ts'
import { Pty, type WindowSize } from './pty.ts'
import {
  type Ended,
  exitOfSandbox,
  type PeerExit,
  type PeerStreams,
  ProgramProcesses,
  ProgramStreams,
  SandboxStatus,
} from './run-for-peer-running.ts'
import { type ChildExit, spawnChild } from './run-for-peer-spawn.ts'
import type { SandboxUser } from './sandbox.ts'

/** How a program's run came to an end. */
export interface PeerResult {
  readonly exit: PeerExit
  /** Set where it was ended: its time was over, or nobody waits for it any more. */
  readonly ended?: Ended
  /** Seconds. */
  readonly duration: number
}

/** A program that runs for a peer. */
export interface PeerRun {
  readonly pid: number
  /** What runs: the resolved path. */
  readonly path: string
  readonly vm: string
  readonly sandboxed: boolean
  /** Names of the caller's environment that were left out. */
  readonly refusedEnvironment: readonly string[]
  /** Resolves once: when the program has ended, and, unless it was cancelled, its output was taken. Never rejects. */
  readonly result: Promise<PeerResult>
  /** Sends a signal to the program's process group; a number that is none is ignored. */
  signal(signal: number): void
  resize(window: WindowSize): void
  /** Nobody waits for it any more: it is told to end, and killed with all it has started a second later. */
  cancel(): void
}

/** signal(7) */
const MAX_SIGNAL = 64

/** How the VM is called that runs them. */
const VM = 'hostexec'

/** All that is needed to start a program. */
export interface Prepared {
  readonly file: string
  readonly argv: readonly string[]
  readonly environment: readonly string[]
  readonly refused: readonly string[]
  readonly descriptors: readonly (readonly [from: number, to: number])[]
  /** Descriptors to close when it has started. */
  readonly owned: readonly number[]
  /** Where bwrap tells of the sandbox; closed at its end. */
  readonly status?: number
  /** Whose the streams have to be. */
  readonly owner?: SandboxUser
  readonly sandboxed: boolean
}

/**
 * Starts a program that is prepared, its streams connected to the peer's. Throws what spawning it throws; nothing of it
 * is left then.
 */
export function launch(
  terminal: WindowSize | undefined,
  streams: PeerStreams,
  prepared: Prepared,
  limits: ExecutionLimits,
  path: string,
): PeerRun {
  const since = performance.now()
  const pty = terminal && Pty.open(terminal, prepared.owner)
  const own = new ProgramStreams(pty, prepared.owner)
  const { stdin, stdout, stderr } = own.ends
  // In a sandbox the program makes the terminal its own: bwrap may not have it.
  const takesTerminal = pty !== undefined && !prepared.sandboxed
  const status = prepared.status === undefined ? undefined : new SandboxStatus(prepared.status)
  const { promise: exited, resolve: tellExit } = Promise.withResolvers<ChildExit>()
  let pid: number
  try {
    pid = spawnChild(
      {
        ...{ file: prepared.file, argv: prepared.argv, env: prepared.environment },
        descriptors: takesTerminal
          ? prepared.descriptors
          : [[stdin, 0], [stdout, 1], [stderr, 2], ...prepared.descriptors],
        ...(takesTerminal ? { terminal: pty.path } : {}),
      },
      tellExit,
    )
  } catch (error) {
    own.destroy()
    throw error
  } finally {
    own.closeEnds()
    for (const fd of prepared.owned) closeSync(fd)
  }
  const processes = new ProgramProcesses(pid, status, pty !== undefined)
  if (limits.time !== undefined) processes.endAfter(limits.time)
  const taken = own.connect(streams)
  const cancelled = Promise.withResolvers<void>()

  const result = async (): Promise<PeerResult> => {
    const exit = await exited
    processes.gone()
    own.closeInput()
    await status?.told
    await Promise.race([taken, cancelled.promise])
    const { ended } = processes
    return {
      exit: status ? exitOf(status, exit, ended, own.complaint) : exit,
      ...(ended ? { ended } : {}),
      duration: (performance.now() - since) / 1000,
    }
  }
  return {
    ...{ pid, path, vm: VM, sandboxed: prepared.sandboxed, refusedEnvironment: prepared.refused },
    result: result(),
    signal: (signal) => {
      if (Number.isInteger(signal) && signal > 0 && signal <= MAX_SIGNAL) processes.signal(signal)
    },
    resize: (window) => own.resize(window),
    cancel: () => {
      processes.end('cancelled')
      own.destroy()
      cancelled.resolve()
    },
  }
}

/** How the program in a sandbox ended; that of bwrap itself counts where it was killed. */
function exitOf(
  status: SandboxStatus,
  guard: ChildExit,
  ended: Ended | undefined,
  complaint: string,
): PeerExit {
  if (status.exitCode !== undefined) return exitOfSandbox(status.exitCode)
  if ('signal' in guard || ended) return 'signal' in guard ? guard : exitOfSandbox(guard.code)
  const why = complaint || 'it could not be made'
  const hint = 'the user of sandboxes must be able to reach every directory that is lent or granted'
  return { error: new CosmosError('EPERM', 'sandbox', why, hint) }
}
