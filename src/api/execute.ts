import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { launcherPath } from '../cef/launcher.ts'
import { findInstance } from '../daemon/instance.ts'
import { CosmosError } from '../errors.ts'

/** How an execution ended. */
export type Exit = { readonly code: number } | { readonly signal: NodeJS.Signals }

/** What a program gets of its caller; what is left out is this process's own. */
export interface ExecutionContext {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  /** The only VM that may run it. */
  readonly vm?: string
  /** Directories that a WebAssembly program may use, beside the working directory. */
  readonly lend?: readonly string[]
  /** What it reads; a stream that is written to where it is left out. */
  readonly input?: string | Uint8Array
  /** Ends the program by SIGTERM. */
  readonly signal?: AbortSignal
  /** Whether its output is kept in `.cosm/run`, as it is by default. */
  readonly record?: boolean
}

/** An execution: its streams, while it runs and after. */
export interface Execution {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  /** Settles when it has ended and its streams are at their end. Never rejects for what the program does. */
  readonly exit: Promise<Exit>
  /** All of its output and how it ended. Where it is asked for, the streams are not to be read. */
  result(): Promise<{ stdout: Buffer; stderr: Buffer; exit: Exit }>
  /** Sends a signal. */
  kill(signal?: NodeJS.Signals): void
}

/**
 * Executes what lies at a path, by the VM that accepts it. What cosmos itself has to say (nothing accepts it, no
 * daemon) goes to `stderr`, with the exit codes 125 to 127 (design §10).
 */
export function exec(path: string, args: readonly string[] = [], context: ExecutionContext = {}): Execution {
  const options = new URLSearchParams()
  if (context.vm !== undefined) options.set('vm', context.vm)
  for (const directory of context.lend ?? []) options.append('lend', resolve(directory))
  if (context.record !== false) options.set('record', '1')
  const { controlSocket } = findInstance()
  const child = spawn(
    launcherPath(),
    [options.size > 0 ? `${controlSocket}?${options}` : controlSocket, path, ...args],
    {
      stdio: 'pipe',
      ...(context.cwd === undefined ? {} : { cwd: context.cwd }),
      ...(context.env ? { env: context.env } : {}),
      ...(context.signal ? { signal: context.signal } : {}),
    },
  )
  // A program that does not read its input ends the pipe: that is its business.
  child.stdin.on('error', () => {})
  if (context.input !== undefined) child.stdin.end(context.input)
  const exit = new Promise<Exit>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (error.name !== 'AbortError')
        reject(new CosmosError(error.code ?? 'EIO', path, error.message, 'cosmos doctor'))
    })
    child.once('close', (code, signal) => resolve(signal ? { signal } : { code: code ?? 125 }))
  })
  exit.catch(() => {})
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: child.stderr,
    exit,
    async result() {
      const [stdout, stderr, how] = await Promise.all([buffer(child.stdout), buffer(child.stderr), exit])
      return { stdout, stderr, exit: how }
    },
    kill: (signal = 'SIGTERM') => {
      child.kill(signal)
    },
  }
}
