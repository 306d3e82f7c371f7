import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { launcherPath } from '../cef/launcher.ts'
import { findInstance } from '../daemon/instance.ts'
import { CosmosError } from '../errors.ts'
import { ExitCode } from './errors.ts'

/** What `cosmos exec` and `cosmos run rerun` execute. */
export interface Launch {
  readonly path: string
  readonly args: readonly string[]
  /** Options of the launch, see `launch` in docs/protocol.md. */
  readonly options: URLSearchParams
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** A library function is called: a signal that ends it is told, and not died of. */
  readonly call?: { readonly name: string; readonly deadline: number | undefined }
}

/** Signals that come to this process and are the launched program's. */
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const

/**
 * Executes by way of the launcher, which has the streams, the signals and the exit. Ends as the program ended: throws
 * its exit code, or dies by its signal.
 */
export async function launch({ path, args, options, cwd, env, call }: Launch): Promise<never> {
  const { controlSocket } = findInstance()
  const socket = options.size > 0 ? `${controlSocket}?${options}` : controlSocket
  const child = spawn(launcherPath(), [socket, path, ...args], {
    stdio: 'inherit',
    ...(cwd === undefined ? {} : { cwd }),
    ...(env ? { env } : {}),
  })
  // A terminal sends its signals to the launcher too; those that somebody sends to this process alone are handed on.
  for (const signal of FORWARDED)
    process.on(signal, () => {
      if (!process.stdin.isTTY || (signal !== 'SIGINT' && signal !== 'SIGQUIT')) child.kill(signal)
    })
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(new CosmosError(error.code ?? 'EIO', path, error.message, 'cosmos doctor')),
    )
    child.once('exit', (...how) => resolve(how))
  })
  if (signal === null) throw new ExitCode(code ?? 125)
  if (call) throw new CosmosError('EIO', call.name, ended(signal, call.deadline))
  for (const each of FORWARDED) process.removeAllListeners(each)
  process.kill(process.pid, signal)
  // Some signals do not end this process at once, or at all.
  throw new ExitCode(128 + constants.signals[signal])
}

/** How a call came to its end, for people. */
function ended(signal: NodeJS.Signals, deadline: number | undefined): string {
  if (signal === 'SIGALRM' && deadline !== undefined) return `took longer than ${deadline} s`
  return `its process was ended by ${signal}`
}
