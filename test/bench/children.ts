import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** How a child is run: its environment, the ordinary user it runs as, and how long it may take. */
export interface RunOptions {
  env?: NodeJS.ProcessEnv
  /** Uid and gid of the child; without it, ours. */
  user?: number
  seconds?: number
}

const running = new Set<() => void>()

/** Runs a program to its end and answers its standard output; a failure is an error that quotes it. */
export async function run(command: string, args: string[], options: RunOptions = {}): Promise<string> {
  const { user, seconds = 120 } = options
  const child = spawn(command, args, {
    cwd: '/',
    env: options.env ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    ...(user === undefined ? {} : { uid: user, gid: user }),
  })
  const kill = () => {
    try {
      if (child.pid) process.kill(-child.pid, 'SIGKILL')
    } catch {}
  }
  running.add(kill)
  let late = false
  const timer = setTimeout(() => {
    late = true
    kill()
  }, seconds * 1000)
  let out = ''
  let err = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  try {
    // `exit`, not `close`: a daemon that the child leaves behind may hold the streams.
    const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
    if (code !== 0) {
      const why = late ? `took longer than ${seconds} s` : `ended with ${code ?? signal}`
      throw new Error(`${command} ${args.join(' ')} ${why}\n${err.trim()}`.trim())
    }
    if (!child.stdout.readableEnded) await Promise.race([once(child.stdout, 'end'), pause(0.05)])
    return out
  } finally {
    clearTimeout(timer)
    running.delete(kill)
    child.stdout.destroy()
    child.stderr.destroy()
  }
}

/** Ends every child that `run` still waits for, with what it started. */
export function killAll(): void {
  for (const kill of running) kill()
}

/** Waits. */
export function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000))
}

/** What has to be undone at the end, whatever happens: the last thing made goes first. */
export class Undo {
  readonly #steps: (() => unknown)[] = []

  /** Remembers how to undo what was just done. */
  defer(step: () => unknown): void {
    this.#steps.push(step)
  }

  /** Undoes everything; a step that fails is told and does not keep the others from running. */
  async run(): Promise<void> {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step()
      } catch (error) {
        console.error(`bench: clean-up: ${(error as Error).message}`)
      }
    }
  }
}
