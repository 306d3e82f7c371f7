#!/usr/bin/env node
// Picks what to run: the TypeScript sources in a checkout, dist/ in an installed package. Kept to what
// Node 20 understands, because it has to say in one line that an old Node is too old.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import * as module from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const source = join(root, 'src/cli/main.ts')
const built = join(root, 'dist/src/cli/main.js')
const pinned = join(root, 'node_modules/node/bin/node')

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const suitable = major > 22 || (major === 22 && minor >= 18)

if (suitable) await load(existsSync(source) ? source : built)
else if (existsSync(source) && existsSync(pinned)) continueOn(pinned)
else refuse()

/** Runs the program in this process, with the compiled code of earlier runs. */
async function load(file) {
  module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cosmos/compile'))
  process.argv[1] = file
  await import(file)
}

/** Hands over to another Node; this process stays only where it cannot become the other one. */
function continueOn(node) {
  const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  if (process.execve) process.execve(node, [node, ...args], process.env)
  const child = spawn(node, args, { stdio: 'inherit' })
  // A terminal sends these to the whole foreground group, so the child has them already.
  for (const signal of ['SIGINT', 'SIGQUIT']) process.on(signal, () => {})
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR2']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    if (signal) {
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    } else process.exitCode = code ?? 1
  })
}

function refuse() {
  const remedy = existsSync(source) ? '; `npm run setup` brings a suitable one' : ''
  console.error(`cosmos needs Node 22.18 or newer; this is ${process.version} (${process.execPath})${remedy}`)
  process.exitCode = 1
}
