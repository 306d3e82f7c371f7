import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Hosts, whyNoHosts } from '../support/hosts.ts'
import { whyNotInstalled } from '../support/packages.ts'
import type { Result } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const why = whyNoHosts() ?? (await whyNotInstalled(['bubblewrap'], async () => existsSync('/usr/bin/bwrap')))
if (why) test.skip(`programs of peers: ${why}`, () => {})

describe.skipIf(why)('programs of a peer', () => {
  let hosts: Hosts
  /** A directory on a, open to whom programs in sandboxes are. */
  let directory: string

  /** A program that only b has. */
  const program = (name: string, script: string): void => {
    const path = join(hosts.get('b').programs, name)
    writeFileSync(path, `#!/bin/sh\n${script}\n`)
    chmodSync(path, 0o755)
  }
  /** Runs a line of shell on a, where the programs of the tree come first. */
  const shell = (line: string, cwd = directory): Promise<Result> => {
    const { cosmos } = hosts.get('a')
    return cosmos.run('sh', ['-c', line], {
      cwd,
      env: { PATH: `${cosmos.mount}/.cosm/bin:${cosmos.env.PATH}` },
    })
  }

  beforeAll(async () => {
    hosts = await Hosts.start(['a', 'b'])
    directory = join(hosts.get('a').cosmos.work, 'project')
    mkdirSync(directory)
    program('only-b', 'echo "$@"; exit 3')
    program('upper', 'tr a-z A-Z')
    program('convert-it', 'tr a-z A-Z < "$1" > "$2"')
    program('here', 'pwd; ls')
    program('slow', 'echo begun; echo begun > begun; sleep 60; echo never')
    program('die', 'kill -TERM $$')
    program('see', 'cat "$1"; ls "$(dirname "$1")"')
    program('environment', 'env')
    await hosts.join('b', 'a', ['exec:.cosm/bin'])
    const bin = join(hosts.get('a').cosmos.mount, '.cosm/bin')
    await waitFor('the programs of b', () => readdirSync(bin).includes('environment'))
  })
  afterAll(() => hosts?.stop())

  test('is on the PATH, gets its arguments, and its exit code is the own', async () => {
    expect(await shell('only-b one "two three"')).toMatchObject({
      code: 3,
      stdout: 'one two three\n',
      stderr: '',
    })
    expect(await shell('only-b || echo failed')).toMatchObject({ code: 0, stdout: '\nfailed\n' })
    expect(JSON.parse(await hosts.get('a').cosmos.tell('where', '--json', 'only-b'))).toEqual([
      { host: 'me@b', local: false },
    ])
    // What this host has itself stays its own.
    expect((await shell('command -v tr; echo x | tr x y')).stdout).toMatch(/\ny\n$/)
    expect(readFileSync(join(hosts.get('a').cosmos.mount, '.cosm/bin/only-b'), 'utf8')).toMatch(/^#!/)
  })

  test('is part of a pipe with programs of this host', async () => {
    expect(await shell('printf "b\\na\\n" | sort | upper | tail -1')).toMatchObject({
      code: 0,
      stdout: 'B\n',
    })
    expect(await shell('yes | upper | head -2')).toMatchObject({ code: 0, stdout: 'Y\nY\n' })
  })

  test('works on the files of the directory where it is called', async () => {
    writeFileSync(join(directory, 'in'), 'hello\n')
    expect(await shell('convert-it in out && cat out')).toMatchObject({
      code: 0,
      stdout: 'HELLO\n',
      stderr: '',
    })
    expect(await shell(`convert-it ${directory}/in ${directory}/absolute`)).toMatchObject({ code: 0 })
    expect(readFileSync(join(directory, 'absolute'), 'utf8')).toBe('HELLO\n')
    expect((await shell('here')).stdout.split('\n')).toEqual([directory, 'absolute', 'in', 'out', ''])
  })

  test('a directory of the tree is lent too', async () => {
    const inTree = `${hosts.get('a').cosmos.mount}/me@a${directory}`
    const { code, stdout, stderr } = await shell('here; convert-it in from-tree', inTree)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`${inTree}\n`)
    expect(readFileSync(join(directory, 'from-tree'), 'utf8')).toBe('HELLO\n')
  })

  test('sees nothing else: not of this host, not of its own', async () => {
    const secret = join(hosts.get('a').cosmos.work, 'secret')
    writeFileSync(secret, 'secret\n')
    symlinkSync(secret, join(directory, 'link'))
    for (const path of [
      secret,
      'link',
      '/etc/shadow',
      `${hosts.get('b').cosmos.home}/.cosm/var/identity.key`,
    ]) {
      const { stdout } = await shell(`see ${path} 2>/dev/null | grep -v '^link$'`)
      expect(stdout).not.toMatch(/secret\n|root:|PRIVATE/)
    }
    const { stdout } = await shell('MY_TOKEN=secret LD_PRELOAD=/x LANG=C.UTF-8 environment')
    expect(stdout).not.toMatch(/MY_TOKEN|LD_PRELOAD/)
    expect(stdout).toContain('LANG=C.UTF-8')
  })

  test('a signal reaches it, and its death is told', async () => {
    expect((await shell('die; echo $?')).stdout).toContain('143')
    const { cosmos } = hosts.get('a')
    const child = spawn('sh', ['-c', 'exec slow'], {
      cwd: directory,
      env: { ...cosmos.env, PATH: `${cosmos.mount}/.cosm/bin:${cosmos.env.PATH}` },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [first] = (await once(child.stdout, 'data')) as [Buffer]
    expect(first.toString()).toBe('begun\n')
    await waitFor('its file', () => readFileSync(join(directory, 'begun'), 'utf8') === 'begun\n')
    child.kill('SIGINT')
    const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
    expect({ code, signal }).toEqual({ code: null, signal: 'SIGINT' })
  })

  test('100 MB go through it, byte for byte', async () => {
    const line = 'head -c 100000000 /dev/urandom > copy; cat-b < copy | cmp - copy && echo same; rm copy'
    program('cat-b', 'cat')
    await hosts.get('b').cosmos.tell('grant', 'me@a', 'exec:.cosm/bin/cat-b')
    await waitFor('cat-b', () => existsSync(join(hosts.get('a').cosmos.mount, '.cosm/bin/cat-b')), 30_000)
    expect(await shell(line)).toMatchObject({ code: 0, stdout: 'same\n', stderr: '' })
  })

  test('what is asked of a peer is never done here', async () => {
    const { cosmos } = hosts.get('a')
    const missing = await cosmos.cosmos(['exec', '--on', 'me@b', 'no-such-program'])
    expect(missing.stderr).toMatch(/^cosmos: no-such-program: .*no program of this host/)
    expect((await cosmos.cosmos(['exec', '--on', 'me@c', 'true'])).stderr).toContain('me@c: is no peer')
    const { stdout } = await cosmos.cosmos(['exec', '--on', 'me@b', 'sh', '-c', 'echo $0 on b'], {
      cwd: directory,
    })
    expect(stdout).toMatch(/sh on b\n$/)
  })

  test('a revoked grant ends what runs, and is gone from the PATH', async () => {
    rmSync(join(directory, 'begun'))
    const running = shell('slow; echo $?')
    await waitFor('it to run', () => existsSync(join(directory, 'begun')))
    await hosts.get('b').cosmos.tell('revoke', 'me@a')
    expect((await running).stdout).not.toContain('never')
    await waitFor('its name to go', async () => (await shell('only-b')).code === 127)
    const { stderr } = await hosts.get('a').cosmos.cosmos(['exec', '--on', 'me@b', 'only-b'])
    expect(stderr).toMatch(/may not be run by this peer/)
  })
})
