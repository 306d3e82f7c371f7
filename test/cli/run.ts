import { spawn } from 'node:child_process'
import { checkout } from './memory-daemon.ts'

/** How a program ended. */
export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs a program to its end; `input` is its standard input. */
export function run(program: string, args: string[], env = process.env, input = ''): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env })
    const parts: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
    child.stdout.on('data', (bytes: Buffer) => parts.stdout.push(bytes))
    child.stderr.on('data', (bytes: Buffer) => parts.stderr.push(bytes))
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    child.on('error', reject)
    child.on('close', (code) => {
      const [stdout, stderr] = [parts.stdout, parts.stderr].map((all) =>
        Buffer.concat(all).toString('latin1'),
      )
      resolve({ code, stdout: stdout ?? '', stderr: stderr ?? '' })
    })
  })
}

/** Runs `cosmos` to its end; what it prints comes with one character a byte. */
export function cosmos(args: string[], env = process.env): Promise<Ended> {
  return run(process.execPath, [checkout('src/cli/main.ts'), ...args], env)
}
