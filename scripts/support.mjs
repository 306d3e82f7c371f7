// What the scripts share. They run before anything is installed, on whatever Node (20 or newer) there is.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

/** The Node that everything but these scripts runs on. */
export const node = join(root, 'node_modules/node/bin/node')

export const inRoot = (...names) => join(root, ...names)

/**
 * Runs a program to its end. The promise never rejects: `code` is 127 where the program could not start and
 * 128 + n where signal n ended it, as a shell has it. `output` is empty when `show` sends it to the terminal.
 */
export function run(program, args, { show = false, env = process.env, cwd = root, timeout = 0 } = {}) {
  return new Promise((resolve) => {
    const out = show ? 'inherit' : 'pipe'
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', out, out], timeout })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        output += text
      })
    }
    child.on('error', (error) => resolve({ code: 127, output: `${program}: ${error.message}` }))
    child.on('close', (code, signal) =>
      resolve({ code: code ?? 128 + (constants.signals[signal ?? 'SIGKILL'] ?? 0), output }),
    )
  })
}

/** Becomes a program, as far as Node can: the terminal and the exit are its own. */
export function become(program, args) {
  const child = spawn(program, args, { cwd: root, stdio: 'inherit' })
  // Ctrl-C reaches the program through the terminal; this process waits for what it makes of it.
  for (const signal of ['SIGINT', 'SIGQUIT']) process.on(signal, () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    console.error(`${program}: ${error.message}`)
    process.exitCode = 127
  })
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + constants.signals[signal]
  })
}
