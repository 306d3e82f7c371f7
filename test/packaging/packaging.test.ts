// The published package: packed, installed into a prefix of its own and started from there, by a Node that can
// run it and by one that is too old; and the commands of a checkout.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const folder = mkdtempSync(join(tmpdir(), 'cosmos-packaging-'))
const pinned = dirname(process.execPath)
/** A registry that does not answer fails the test and does not hold it up for ever. */
const NPM_PATIENCE_MS = 240_000

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The environment of a shell in which the folder's `node` comes first and nothing of npm's run is left. */
function shellOf(bin: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^npm_|^NODE_|^VITEST/i.test(name))
  return { ...Object.fromEntries(own), PATH: [bin, ...pathFolders()].join(delimiter) }
}

/** The PATH's folders without those that npm and this project put there. */
function pathFolders(): string[] {
  const folders = (process.env.PATH ?? '').split(delimiter)
  return folders.filter((name) => name !== '' && name !== pinned && !name.includes('node_modules'))
}

/** The first Node of the machine itself, where it is one that cosmos cannot run on. */
function oldNode(): string | undefined {
  const bin = pathFolders().find((name) => existsSync(join(name, 'node')))
  if (bin === undefined) return undefined
  const [major = 0, minor = 0] = execFileSync(join(bin, 'node'), ['-p', 'process.versions.node'])
    .toString()
    .split('.')
    .map(Number)
  return major < 22 || (major === 22 && minor < 18) ? bin : undefined
}

const run = (command: string, args: string[], env: NodeJS.ProcessEnv) =>
  spawnSync(command, args, { cwd: folder, env, encoding: 'utf8' })

describe('installed from its tarball', () => {
  const prefix = join(folder, 'prefix')
  const cosmos = join(prefix, 'bin/cosmos')

  beforeAll(() => {
    const quiet = ['--silent', '--no-audit', '--no-fund', '--prefer-offline', '--fetch-timeout=60000']
    const npm = (args: string[], cwd: string) =>
      execFileSync('npm', args, { cwd, env: shellOf(pinned), timeout: NPM_PATIENCE_MS })
    npm(['pack', '--silent', '--pack-destination', folder], root)
    const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))
    expect(tarball).toBeDefined()
    npm(['install', '--global', '--prefix', prefix, ...quiet, join(folder, String(tarball))], folder)
  }, 2 * NPM_PATIENCE_MS)

  test('runs where Node is new enough', () => {
    const { stdout, stderr, status } = run(cosmos, ['--version'], shellOf(pinned))
    expect({ stdout: stdout.trim(), stderr, status }).toEqual({
      stdout: expect.stringContaining(version),
      stderr: '',
      status: 0,
    })
  })

  test('brings the helper of mount(8)', () => {
    const helper = join(prefix, 'bin/mount.fuse.cosmos')
    const { stderr, status } = run(helper, ['cosmos', folder, '-o', 'rw,ro'], shellOf(pinned))
    expect(stderr).toMatch(/^mount\.fuse\.cosmos: option ro: .*\n$/)
    expect(status).toBe(1)
  })

  test('says in one line that an old Node is too old', ({ skip }) => {
    const old = oldNode()
    if (old === undefined) return skip('this machine has no Node older than 22.18')
    const { stdout, stderr, status } = run(cosmos, ['--version'], shellOf(old))
    expect(stderr).toMatch(/^cosmos needs Node 22\.18 or newer; this is v\d+\.\d+\.\d+ \(.*\)\n$/)
    expect(stdout).toBe('')
    expect(status).toBe(1)
  })
})

describe('in a checkout', () => {
  const command = join(root, 'node_modules/.bin/cosmos')

  test('the command runs from any directory, through a link, whichever Node is first', () => {
    const link = join(folder, 'linked')
    symlinkSync(command, link)
    const { stdout, status } = run(link, ['--version'], shellOf(oldNode() ?? pinned))
    expect({ stdout: stdout.trim(), status }).toEqual({ stdout: expect.stringContaining(version), status: 0 })
  })

  test('an old Node hands over to the pinned one', ({ skip }) => {
    const old = oldNode()
    if (old === undefined) return skip('this machine has no Node older than 22.18')
    const { stdout, status } = run(
      join(old, 'node'),
      [join(root, 'bin/cosmos.mjs'), '--version'],
      shellOf(old),
    )
    expect({ stdout: stdout.trim(), status }).toEqual({ stdout: expect.stringContaining(version), status: 0 })
  })
})
