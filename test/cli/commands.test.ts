import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkout } from '../support/instance.ts'
import { type MemoryDaemon, startMemoryDaemon } from './memory-daemon.ts'
import { cosmos, type Ended } from './run.ts'

const COMMANDS = readdirSync(join(checkout, 'src/cli/commands')).map((file) => file.replace(/\.ts$/, ''))
let daemon: MemoryDaemon
let absent: NodeJS.ProcessEnv

beforeAll(async () => {
  daemon = await startMemoryDaemon()
  absent = { ...daemon.environment, COSMOS_HOME: '/nonexistent/home' }
})
afterAll(() => daemon.stop())

const ask = (...args: string[]): Promise<Ended> => cosmos(args, daemon.environment)

describe('help', () => {
  test.each(COMMANDS)('of %s has examples', async (name) => {
    const { code, stdout, stderr } = await ask(name, '--help')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`Usage: cosmos ${name}`)
    expect(stdout).toMatch(/Examples:\n {2}\$ /)
  })

  test('lists every command', async () => {
    const { code, stdout } = await ask('--help')
    expect(code).toBe(0)
    for (const name of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'))
    expect((await ask('help', 'ls')).stdout).toContain('Usage: cosmos ls')
  })

  test('the version', async () => {
    expect((await ask('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})

describe('a wrong command line: exit 2 and one line', () => {
  test.each([
    [['bogus'], "cosmos: unknown command 'bogus' (cosmos --help)\n"],
    [['stats'], "cosmos: unknown command 'stats' (Did you mean status?)\n"],
    [['ls', '--bogus'], "cosmos: unknown option '--bogus' (cosmos ls --help)\n"],
    [['cat'], "cosmos: missing required argument 'path' (cosmos cat --help)\n"],
    [['bind', 'one'], 'cosmos: a URL and a path are needed (cosmos bind --help)\n'],
    [['log', '-n', 'x'], expect.stringContaining('A whole number is needed.')],
    [['up', '--driver', 'x'], expect.stringContaining('kernel, fuse-native')],
    [['completion', 'tcsh'], expect.stringContaining('bash, zsh, fish')],
  ])('%j', async (args, stderr) => {
    expect(await ask(...args)).toEqual({ code: 2, stdout: '', stderr })
  })
})

describe('without a daemon: exit 125 and one line', () => {
  const needy = [
    'status',
    'inspect x',
    'which x',
    'ls',
    'cat x',
    'lookup x',
    'bind',
    'bind a b',
    'unbind x',
    'reload',
  ]
  test.each(needy)('%s', async (words) => {
    const { code, stdout, stderr } = await cosmos(words.split(' '), absent)
    expect({ code, stdout }).toEqual({ code: 125, stdout: '' })
    expect(stderr).toBe('cosmos: /nonexistent/home: no daemon runs (cosmos up)\n')
  })

  test('down has nothing to do', async () => {
    const { code, stdout } = await cosmos(['down'], absent)
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'no daemon runs for /nonexistent/home\n' })
  })
})

describe('status', () => {
  test('for people', async () => {
    const { stdout } = await ask('status')
    expect(stdout).toContain('/somewhere/cosmos (kernel, passthrough)')
    expect(stdout).toContain('for 1 min')
  })

  test('as JSON', async () => {
    const status: unknown = JSON.parse((await ask('status', '--json')).stdout)
    expect(status).toMatchObject({
      pid: process.pid,
      supervisor: process.pid,
      home: daemon.instance.home,
      version: '0.0.0',
      mounts: [{ path: '/somewhere/cosmos', driver: 'kernel', passthrough: true }],
      vms: [],
      peers: [],
    })
  })
})

describe('ls', () => {
  test('prints names, their own bytes, sorted', async () => {
    expect((await ask('ls', '/')).stdout).toBe('caf\xc3\xa9\nhello\n\xff\xfe\n')
    expect((await ask('ls', '-a', '/')).stdout).toContain('.hidden\n')
    expect((await ask('ls', '-aU')).stdout).toBe('hello\n.hidden\ncaf\xc3\xa9\n\xff\xfe\n')
  })

  test('-l shows what ls -l shows', async () => {
    const { stdout } = await cosmos(['ls', '-l', '/'], { ...daemon.environment, TZ: 'UTC' })
    expect(stdout).toContain('-rwsr-xr-x 1 root root 13 Sep  9  2001 hello\n')
    expect(stdout).toContain('-rwsr-xr-x 1 root root  5 Sep  9  2001 caf\xc3\xa9\n')
    expect((await ask('ls', '-i', 'hello')).stdout).toBe('18446744073709551615 hello\n')
  })

  test('takes files and several directories, and goes on after a failure', async () => {
    const { code, stdout, stderr } = await ask('ls', 'hello', 'missing', '/')
    expect(stdout).toBe('hello\n\n/:\ncaf\xc3\xa9\nhello\n\xff\xfe\n')
    expect(stderr).toBe('cosmos: missing: not found\n')
    expect(code).toBe(127)
  })

  test('as JSON', async () => {
    const entries = JSON.parse(
      Buffer.from((await ask('ls', '--json', '/')).stdout, 'latin1').toString(),
    ) as unknown[]
    expect(entries).toHaveLength(4)
    const first = { name: 'hello', inode: '18446744073709551615', type: 'file', directory: '/', size: 13 }
    expect(entries[0]).toMatchObject(first)
    expect(entries[3]).toMatchObject({ name: '\ufffd\ufffd' })
    expect((await ask('ls', '--json', 'missing')).stdout).toBe('[]\n')
  })
})

describe('other commands', () => {
  test('cat', async () => {
    expect(await ask('cat', 'hello', 'missing', '.hidden')).toEqual({
      code: 127,
      stdout: 'hello, world\nhidden\n',
      stderr: 'cosmos: missing: not found\n',
    })
  })

  test('cat ends when nobody reads it', async () => {
    const child = spawn(process.execPath, [join(checkout, 'src/cli/main.ts'), 'cat', 'endless'], {
      env: daemon.environment,
    })
    await once(child.stdout, 'data')
    child.stdout.destroy()
    expect(await once(child, 'exit')).toEqual([141, null])
  })

  test('inspect', async () => {
    const { stdout } = await ask('inspect', 'hello')
    expect(stdout).toMatch(/production +source memory\n/)
    expect(stdout).toMatch(/layers +\/upper \(directory, local\)\n/)
    const [found] = JSON.parse((await ask('inspect', '--json', 'hello')).stdout) as unknown[]
    expect(found).toMatchObject({ path: 'hello', dcel: 'memory:1', properties: { mapper: 'none' } })
  })

  test('which', async () => {
    expect((await ask('which', 'hello')).stdout).toBe('/bin/hello\n')
    expect((await ask('which', '-l', 'hello')).stdout).toBe('/bin/hello  /bin  programs\n')
    const { code, stdout, stderr } = await ask('which', '--json', 'missing')
    expect({ code, stdout }).toEqual({ code: 127, stdout: '[]\n' })
    expect(stderr).toMatch(/^cosmos: missing: no layer has it \(.*\)\n$/)
  })

  test('lookup', async () => {
    expect((await ask('lookup', 'hello')).stdout).toBe('/hello  file\n')
    expect((await ask('lookup', '--trace', 'hello')).stdout).toMatch(/hello +12 +host +\/hello\n/)
    const { stages } = JSON.parse((await ask('lookup', '--json', '--trace', 'hello')).stdout) as {
      stages: unknown[]
    }
    expect(stages).toEqual([{ stage: 'hello', by: 'host', answer: '/hello', microseconds: 12 }])
  })

  test('bind, cascade and unbind', async () => {
    expect((await ask('bind', 'file:///a', 'here')).stdout).toBe('here shows file:///a\n')
    await ask('cascade', 'file:///b', 'file:///c', 'there')
    expect((await ask('bind')).stdout).toBe('here  file:///a\n')
    const cascades: unknown = JSON.parse((await ask('cascade', '--json')).stdout)
    expect(cascades).toEqual([{ path: 'there', kind: 'cascade', layers: ['file:///b', 'file:///c'] }])
    expect((await ask('unbind', 'here')).stdout).toBe('here shows nothing\n')
    expect((await ask('unbind', 'here')).stderr).toBe('cosmos: here: nothing is bound here (cosmos bind)\n')
  })

  test('doctor', async () => {
    const results = JSON.parse((await ask('doctor', '--json')).stdout) as { name: string; state: string }[]
    const names = results.map((result) => result.name)
    for (const name of [
      'node',
      'kernel',
      'koffi',
      'sqlite',
      '/dev/fuse',
      'fusermount3',
      'home',
      'runtime directory',
    ])
      expect(names).toContain(name)
    expect(results.find((result) => result.name === 'daemon')?.state).toBe('ok')
    const { code, stdout } = await ask('doctor')
    expect(stdout).toMatch(/^ok +node +\d+/)
    expect(code).toBe(results.some((result) => result.state === 'fail') ? 1 : 0)
  })
})

describe('log', () => {
  test('prints the last lines', async () => {
    expect((await ask('log')).stdout).toBe('first\nsecond\nthird\n')
    expect((await ask('log', '-n', '2')).stdout).toBe('second\nthird\n')
    expect((await ask('log', '-n', '0')).stdout).toBe('')
    const many = Array.from({ length: 100_000 }, (_, i) => `line ${i}\n`)
    writeFileSync(daemon.instance.log, many.join(''))
    expect((await ask('log', '-n', '30000')).stdout).toBe(many.slice(-30_000).join(''))
    expect(await cosmos(['log'], absent)).toMatchObject({ code: 127, stdout: '' })
  })

  test('-f follows, through a rotation', async () => {
    const { log } = daemon.instance
    writeFileSync(log, 'old\n')
    const child = spawn(process.execPath, [join(checkout, 'src/cli/main.ts'), 'log', '-f'], {
      env: daemon.environment,
    })
    let seen = ''
    child.stdout.on('data', (bytes: Buffer) => {
      seen += bytes.toString()
    })
    const expectSeen = (text: string) => expect.poll(() => seen, { timeout: 5000 }).toBe(text)
    await expectSeen('old\n')
    appendFileSync(log, 'one\n')
    await expectSeen('old\none\n')
    renameSync(log, `${log}.1`)
    appendFileSync(`${log}.1`, 'late\n')
    writeFileSync(log, 'two\n')
    await expectSeen('old\none\nlate\ntwo\n')
    appendFileSync(log, 'three\n')
    await expectSeen('old\none\nlate\ntwo\nthree\n')
    child.kill()
    await once(child, 'exit')
  })
})
