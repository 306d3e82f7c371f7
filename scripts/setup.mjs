// Brings a fresh checkout to where it runs: npm's packages, the pinned Node, native parts, fuse3, the command.
// A step that finds its work done is silent and quick, so that every other script can begin with it.
import { createHash } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { arch, argv, env, getuid, platform } from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { buildLauncher } from './build-launcher.mjs'
import { inRoot, node, root, run } from './support.mjs'

const say = (line) => console.log(`setup: ${line}`)

/** A reason for which nothing further can be done. */
class SetupError extends Error {}

export async function setup() {
  const unlock = await lock()
  try {
    await installPackages()
    await installNode()
    await checkNativeParts()
    await installFuse()
    await makeLauncher()
    linkCommand()
    return true
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    console.error(`setup: ${error.message}`)
    return false
  } finally {
    unlock()
  }
}

/**
 * One setup at a time in a checkout. The lock is one that the kernel drops when its holder dies: an abstract
 * socket on Linux, an exclusively locked file on macOS. Returns the function that lets go of it.
 */
async function lock() {
  const id = createHash('sha256').update(realpathSync(root)).digest('hex').slice(0, 24)
  for (let waited = false; ; waited = true) {
    const unlock = platform === 'linux' ? await holdSocket(`\0cosmos-setup-${id}`) : holdFile()
    if (unlock) return unlock
    if (!waited) say('another setup is at work in this checkout; waiting for it')
    await sleep(200)
  }
}

function holdSocket(name) {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)))
    server.listen(name, () => resolve(() => server.close()))
  })
}

function holdFile() {
  const O_EXLOCK = 0x20
  try {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | O_EXLOCK
    const descriptor = openSync(inRoot('package.json'), flags)
    return () => closeSync(descriptor)
  } catch (error) {
    if (error.code === 'EAGAIN') return undefined
    throw error
  }
}

async function installPackages() {
  if (packagesMatchLock()) return
  say('installing the packages of package-lock.json')
  // What install scripts would do is done below: some would build with headers that they fetch from elsewhere.
  const { code, output } = await run('npm', [
    'ci',
    '--ignore-scripts',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
  ])
  if (code !== 0) throw new SetupError(`npm ci failed (${code}); it said:\n${lastLines(output)}`)
  say(`installed ${Object.keys(readJson('node_modules/.package-lock.json').packages).length} packages`)
}

/** Whether node_modules holds what the lock asks for, by the record that npm leaves of what it installed. */
function packagesMatchLock() {
  if (!existsSync(inRoot('node_modules/.package-lock.json'))) return false
  const wanted = readJson('package-lock.json').packages
  const found = readJson('node_modules/.package-lock.json').packages
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue
    const installed = found[path]
    if (!installed) {
      if (entry.optional || entry.devOptional) continue
      return false
    }
    if (installed.version !== entry.version || installed.integrity !== entry.integrity) return false
    if (!existsSync(inRoot(path, 'package.json'))) return false
  }
  return true
}

/**
 * The package `node` has no Node in it: its install script fetches the package of this platform. npm may have
 * been told not to run scripts, so it is run here where its result is missing.
 */
async function installNode() {
  const wanted = readJson('package.json').devDependencies.node
  const version = async () => (await run(node, ['--version'])).output.trim()
  if ((await version()) === `v${wanted}`) return
  const { output } = await run('node', ['installArchSpecificPackage.js'], {
    cwd: inRoot('node_modules/node'),
  })
  const got = await version()
  if (got !== `v${wanted}`) {
    const why = output === '' ? got : lastLines(output)
    throw new SetupError(`Node ${wanted} for ${platform} ${arch} could not be installed; npm said:\n${why}`)
  }
  say(`installed Node ${wanted}`)
}

/** Native parts come as binaries inside their packages; what has none for this machine is compiled or named. */
async function checkNativeParts() {
  const reasons = await whatDoesNotLoad()
  if (reasons.koffi) say(`koffi does not load, so the kernel driver cannot run here: ${reasons.koffi}`)
  if (reasons['fuse-native']) say(`the fuse-native driver is not available here: ${reasons['fuse-native']}`)
  if (reasons['better-sqlite3']) await compileSqlite(reasons['better-sqlite3'])
}

async function whatDoesNotLoad() {
  const program = `
    const reasons = {}
    for (const name of ['koffi', 'better-sqlite3', 'fuse-native']) {
      try {
        const loaded = require(name)
        if (name === 'better-sqlite3') new loaded(':memory:').close()
      } catch (error) {
        reasons[name] = error.message.split('\\n')[0]
      }
    }
    console.log(JSON.stringify(reasons))`
  const { code, output } = await run(node, ['-e', program])
  if (code !== 0) throw new SetupError(`the native parts end Node itself (${code}):\n${lastLines(output)}`)
  return JSON.parse(output)
}

async function compileSqlite(reason) {
  const instead = "cosmos uses Node's own SQLite instead"
  const missing = ['c++', 'make', 'python3'].filter((name) => !onPath(name))
  const headers = nodeHeaders()
  if (!headers) missing.push("Node's headers")
  if (missing.length > 0) {
    say(
      `better-sqlite3 does not load (${reason}) and cannot be compiled without ${missing.join(', ')}: ${instead}`,
    )
    return
  }
  say('compiling better-sqlite3 for this machine')
  const { code, output } = await run('npm', ['run', 'build-release'], {
    cwd: inRoot('node_modules/better-sqlite3'),
    // node-gyp builds for the Node that runs it, so the pinned one comes first.
    env: { ...env, PATH: `${dirname(node)}${delimiter}${env.PATH ?? ''}`, npm_config_nodedir: headers },
  })
  const still = code === 0 ? (await whatDoesNotLoad())['better-sqlite3'] : lastLines(output)
  say(
    still
      ? `better-sqlite3 could not be compiled, ${instead}; the reason:\n${still}`
      : 'compiled better-sqlite3',
  )
}

/** Where the pinned Node's own headers are: in the package of the platform, wherever npm has put it. */
function nodeHeaders() {
  for (const folder of [inRoot('node_modules/node/node_modules'), inRoot('node_modules')]) {
    if (!existsSync(folder)) continue
    const name = readdirSync(folder).find((entry) => entry.startsWith('node-') && entry.endsWith(`-${arch}`))
    if (name && existsSync(join(folder, name, 'include/node/node_api.h'))) return join(folder, name)
  }
  return undefined
}

async function installFuse() {
  if (platform !== 'linux') return
  if (!onPath('fusermount3')) await installFuse3()
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch (error) {
    if (error.code === 'ENOENT')
      say('/dev/fuse is missing, so nothing can be mounted; as root: modprobe fuse')
    else say('/dev/fuse is closed to this user, so nothing can be mounted; as root: chmod 0666 /dev/fuse')
  }
}

async function installFuse3() {
  if (getuid() !== 0 || !onPath('apt-get')) {
    say(
      `fusermount3 is missing; install the package fuse3${onPath('apt-get') ? ': sudo apt-get install fuse3' : ''}`,
    )
    return
  }
  const options = ['-q', '-o', 'DPkg::Lock::Timeout=120']
  const quiet = { env: { ...env, DEBIAN_FRONTEND: 'noninteractive' } }
  await run('apt-get', [...options, 'update'], quiet)
  const install = [...options, 'install', '-y', '--no-install-recommends', 'fuse3']
  const { code, output } = await run('apt-get', install, quiet)
  if (code === 0) say('installed fuse3')
  else say(`fuse3 could not be installed, only root can mount; apt-get said:\n${lastLines(output)}`)
}

async function makeLauncher() {
  const outcome = await buildLauncher()
  if (outcome === 'built') say('compiled the launcher')
  else if (outcome !== 'kept') say(`the launcher is the slower one in Node, since ${outcome}`)
}

/** npm links the commands of dependencies only; in a checkout the project's own one belongs there too. */
function linkCommand() {
  const link = inRoot('node_modules/.bin/cosmos')
  const target = '../../bin/cosmos'
  try {
    if (readlinkSync(link) === target) return
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EINVAL') throw error
  }
  mkdirSync(dirname(link), { recursive: true })
  rmSync(link, { force: true })
  symlinkSync(target, link)
  say('the command is node_modules/.bin/cosmos')
}

function onPath(name) {
  const folders = [...(env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].filter(
    (folder) => folder !== '',
  )
  return folders.some((folder) => {
    const file = join(folder, name)
    try {
      accessSync(file, constants.X_OK)
      return statSync(file).isFile()
    } catch {
      return false
    }
  })
}

const readJson = (path) => JSON.parse(readFileSync(inRoot(path), 'utf8'))

const lastLines = (text) => text.trimEnd().split('\n').slice(-12).join('\n')

if (argv[1] && realpathSync(argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = (await setup()) ? 0 : 1
}
