// Builds build/launcher from launcher/*.c, where there is a C compiler; without one the launcher in Node is used.
// setup calls it, and npm does where the package is installed. It never fails an installation.
import { createHash } from 'node:crypto'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { arch, argv, env, platform } from 'node:process'
import { fileURLToPath } from 'node:url'
import { inRoot, run } from './support.mjs'

const STRICT = ['-std=c11', '-Wall', '-Wextra', '-Werror', '-O2', '-static', '-s', '-fno-pie', '-no-pie']
// system.c stands for the C library.
const BARE = [
  '-nostdlib',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-Wl,-z,noexecstack',
]
const BARE_ON = ['x64', 'arm64']

/** Builds it unless it is there already. Answers what came of it: `built`, `kept`, or why there is none. */
export async function buildLauncher() {
  if (platform !== 'linux') return 'it needs Linux'
  const folder = inRoot('launcher')
  const bare = BARE_ON.includes(arch)
  const files = readdirSync(folder).filter((name) => /\.[ch]$/.test(name))
  const hash = createHash('sha256').update(arch)
  for (const name of [...files].sort()) hash.update(name).update(readFileSync(inRoot('launcher', name)))
  hash.update(readFileSync(fileURLToPath(import.meta.url)))
  const wanted = hash.digest('hex')
  const made = inRoot('build/launcher')
  const record = inRoot('build/launcher.sha256')
  if (readOr(record) === wanted && (await works(made))) return 'kept'

  mkdirSync(inRoot('build'), { recursive: true })
  const sources = files.filter((name) => name.endsWith('.c') && (bare || name !== 'system.c'))
  // Beside it first: the former one may be running.
  const fresh = `${made}.${process.pid}`
  const flags = [...STRICT, ...(bare ? BARE : [])]
  const { code, output } = await run(
    env.CC || 'cc',
    [...flags, '-o', fresh, ...sources.map((name) => inRoot('launcher', name))],
    { env: { ...env, LC_ALL: 'C' } },
  )
  try {
    if (code === 127) return 'there is no C compiler'
    if (code !== 0) return `the compiler failed: ${output.trim().split('\n')[0]}`
    chmodSync(fresh, 0o755)
    if (!(await works(fresh))) return 'what the compiler made does not run'
    renameSync(fresh, made)
    writeFileSync(record, wanted)
    return 'built'
  } finally {
    rmSync(fresh, { force: true })
  }
}

/** Whether it runs here: called wrongly it says so and ends with 125. */
async function works(file) {
  const { code, output } = await run(file, [])
  return code === 125 && output.startsWith('cosmos: launcher:')
}

function readOr(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

if (argv[1] && realpathSync(argv[1]) === fileURLToPath(import.meta.url)) {
  const outcome = await buildLauncher()
  if (outcome !== 'kept') console.log(`launcher: ${outcome}`)
}
