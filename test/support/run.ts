import { type SpawnOptions, spawn } from 'node:child_process'

/** What a program left. */
export interface Result {
  /** Exit code; -1 when a signal ended it. */
  readonly code: number
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** How a program is run. */
export interface RunOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** User and group that it runs as; this process's own unless given. */
  uid?: number | undefined
  /** What it reads. */
  input?: string | Uint8Array
  /** After this it is killed, milliseconds. */
  timeout?: number
}

/** Runs a program to its end. A failing program is a result, not an error. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Result> {
  const { uid, input, timeout = 60_000 } = options
  const spawning: SpawnOptions = { stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] }
  if (options.cwd !== undefined) spawning.cwd = options.cwd
  if (options.env !== undefined) spawning.env = options.env
  if (uid !== undefined) Object.assign(spawning, { uid, gid: uid })
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, spawning)
    const out: Buffer[] = []
    const err: Buffer[] = []
    const timer = setTimeout(() => {
      err.push(Buffer.from(`\nkilled after ${timeout} ms\n`))
      child.kill('SIGKILL')
      // What it started may hold the pipes.
      child.stdout?.destroy()
      child.stderr?.destroy()
    }, timeout)
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk))
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({
        code: code ?? -1,
        signal,
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      })
    })
  })
}

/** Runs a program that must succeed; answers its standard output. */
export async function succeed(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, signal, stdout, stderr } = await run(program, args, options)
  if (code !== 0) {
    const end = signal ?? `exit ${code}`
    throw new Error(`${program} ${args.join(' ')}: ${end}\n${stdout}${stderr}`.trimEnd())
  }
  return stdout
}

/** Runs a shell script that must succeed; its arguments are `$1`, `$2`, … */
export function shell(
  script: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<string> {
  return succeed('/bin/sh', ['-euc', script, 'sh', ...args], options)
}

/** Whether the machine has a program. */
export async function has(program: string): Promise<boolean> {
  return (await run('/bin/sh', ['-c', 'command -v "$1"', 'sh', program])).code === 0
}
