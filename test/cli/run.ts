import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { checkout } from '../support/instance.ts'

/** How a program ended. */
export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs a program to its end; what it prints comes with one character a byte, unlike that of support/run.ts. */
export function run(program: string, args: string[], env = process.env): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env })
    const parts: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
    child.stdout.on('data', (bytes: Buffer) => parts.stdout.push(bytes))
    child.stderr.on('data', (bytes: Buffer) => parts.stderr.push(bytes))
    child.stdin.end()
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
  return run(process.execPath, [join(checkout, 'src/cli/main.ts'), ...args], env)
}
