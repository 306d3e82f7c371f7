import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  CosmosInstance,
  checkout,
  hostDirectory,
  isRunning,
  mountPoints,
  whyNoMount,
} from '../support/instance.ts'
import { waitFor } from '../support/wait.ts'

const why = whyNoMount()
const isMounted = (path: string): boolean => mountPoints().some((each) => each.path === path)

describe.skipIf(why)(`commands against a daemon${why ? `: ${why}` : ''}`, () => {
  let instance: CosmosInstance
  beforeAll(async () => {
    instance = await CosmosInstance.start()
  })
  afterAll(() => instance.stop())

  test('a second up attaches', async () => {
    const { pid, supervisor } = await instance.status()
    const again = await Promise.all(Array.from({ length: 4 }, () => instance.up()))
    for (const { code, stdout } of again) {
      expect(code).toBe(0)
      expect(stdout).toBe(`already mounted: ${instance.mount} (daemon ${pid})\n`)
    }
    expect(await instance.status()).toMatchObject({ pid, supervisor })
    const elsewhere = await instance.cosmos(['up', '--mount', join(instance.base, 'other')])
    expect(elsewhere).toMatchObject({ code: 125, stdout: '' })
    expect(elsewhere.stderr).toMatch(/^cosmos: .*already mounted at .* \(.*cosmos down\)\n$/)
  })

  test('status', async () => {
    const status = await instance.status()
    expect(status).toMatchObject({ home: join(instance.home, '.cosm'), vms: [], peers: [] })
    expect(status.mounts).toEqual([
      { path: instance.mount, driver: 'kernel', passthrough: expect.any(Boolean) },
    ])
    expect(isRunning(status.pid) && isRunning(status.supervisor)).toBe(true)
    expect(await instance.tell('status')).toContain(`mount       ${instance.mount} (kernel`)
  })

  test('ls shows what the mount shows', async () => {
    const tell = async (...args: string[]) => (await instance.tell('ls', ...args)).trim().split('\n')
    expect(await tell('-a', instance.mount)).toEqual(readdirSync(instance.mount).sort())
    expect(await tell(instance.hostPath('/etc'))).toEqual(await tell('/etc'))
    expect(await tell('-a', '/etc')).toEqual(readdirSync('/etc').sort())
    const passwd = await instance.tell('ls', '-l', '/etc/passwd')
    expect(passwd).toMatch(/^-rw-r--r-- 1 root root +\d+ .* \/etc\/passwd\n$/)
  })

  test('cat and inspect reach what the kernel reaches', async () => {
    const path = instance.hostPath('/etc/passwd')
    expect(await instance.tell('cat', path)).toBe(readFileSync('/etc/passwd', 'utf8'))
    const [found] = JSON.parse(await instance.tell('inspect', '--json', path)) as Record<string, unknown>[]
    const stat = statSync(path, { bigint: true })
    expect(found).toMatchObject({
      inode: String(stat.ino),
      type: 'file',
      size: Number(stat.size),
      mode: Number(stat.mode & 0o7777n),
      nlink: Number(stat.nlink),
    })
    expect(await instance.tell('inspect', path)).toMatch(/production +source file:\/\/\/etc\/passwd\n/)
  })

  test('paths are those of the working directory', async () => {
    writeFileSync(join(instance.work, 'here'), 'here\n')
    for (const cwd of [instance.work, instance.inMount()])
      expect((await instance.cosmos(['cat', './here'], { cwd })).stdout).toBe('here\n')
  })

  test('names that are not UTF-8', async () => {
    const script = `printf text > "$1/$(printf '\\377')"; "$2" cat "$1/$(printf '\\377')"; "$2" ls "$1" | od -An -tx1`
    mkdirSync(join(instance.work, 'bytes'))
    const args = ['-c', script, 'sh', join(instance.work, 'bytes'), instance.code('bin/cosmos')]
    expect((await instance.run('/bin/sh', args)).stdout).toBe('text ff 0a\n')
  })

  test('which and lookup', async () => {
    expect((await instance.tell('which', 'sh')).split('\n')).toContain('/bin/sh')
    expect((await instance.cosmos(['which', 'no-such-program'])).code).toBe(127)
    const found = JSON.parse(await instance.tell('lookup', '--json', '--trace', '/etc/passwd')) as {
      stages: unknown[]
    }
    expect(found).toMatchObject({ path: `/${hostDirectory}/etc/passwd`, kind: 'file' })
    expect(found.stages).toMatchObject([
      { stage: hostDirectory, by: 'host', answer: '/' },
      { stage: 'etc', by: 'host', answer: '/etc' },
      { stage: 'passwd', by: 'host', answer: '/etc/passwd' },
    ])
    const program = await instance.tell('lookup', '--trace', `${instance.mount}/.cosm/bin/sh`)
    expect(program).toMatch(
      /\n\.cosm +\d+ +cascade +.*\nbin +\d+ +cascade +.*\nsh +\d+ +PATH +\/\S*bin\/sh\n/,
    )
  })

  test('bind, cascade, unbind', async () => {
    const [lower, upper] = [join(instance.work, 'lower'), join(instance.mount, 'bound')]
    mkdirSync(lower)
    writeFileSync(join(lower, 'low'), '')
    for (const kind of ['bind', 'cascade']) {
      mkdirSync(upper, { recursive: true })
      await instance.tell(kind, `file://${lower}`, upper)
      expect(readdirSync(upper)).toEqual(['low'])
      const all = JSON.parse(await instance.tell(kind, '--json')) as Record<string, unknown>[]
      expect(all).toEqual([{ kind, path: '/bound', layers: expect.arrayContaining([lower]) }])
      await instance.tell('unbind', upper)
      expect(readdirSync(upper)).toEqual([])
      expect(await instance.tell(kind)).toBe('')
    }
  })

  test('a missing path is told in one line: exit 127', async () => {
    for (const command of ['ls', 'cat', 'inspect', 'lookup', 'unbind']) {
      const { code, stderr } = await instance.cosmos([command, join(instance.work, 'missing')])
      expect({ command, code }).toEqual({ command, code: 127 })
      expect(stderr).toMatch(/^cosmos: .*missing: [^\n]+\n$/)
    }
  })

  test('commands do not notice that the daemon is replaced', async () => {
    let over = false
    const failures: string[] = []
    const asking = (async () => {
      while (!over) {
        const { code, stderr } = await instance.cosmos(['cat', '/etc/passwd'])
        if (code !== 0) failures.push(`${code}: ${stderr}`)
      }
    })()
    for (let i = 0; i < 3; i++) await instance.killDaemon()
    const before = await instance.status()
    const said = await instance.tell('reload')
    const after = await instance.status()
    expect(after.pid).not.toBe(before.pid)
    expect(after.supervisor).toBe(before.supervisor)
    expect(said).toContain(`daemon ${before.pid} was replaced by ${after.pid}`)
    over = true
    await asking
    expect(failures).toEqual([])
  })

  test('log, and the Python client', async () => {
    expect(await instance.tell('log')).toContain(instance.mount)
    const { stdout } = await instance.run('python3', [join(checkout, 'examples/control-client.py')])
    expect(stdout).toContain(`mount ${instance.mount} (kernel)`)
  })

  test('down names who is busy, and a second has nothing to do', async () => {
    const busy = spawn('sleep', ['60'], { cwd: instance.inMount() })
    const { pid, supervisor } = await instance.status()
    const said = await instance.tell('down')
    expect(said).toContain(`unmounted ${instance.mount}\n`)
    expect(said).toMatch(new RegExp(`sleep \\(${busy.pid}\\)`))
    expect(isRunning(pid) || isRunning(supervisor) || isMounted(instance.mount)).toBe(false)
    busy.kill('SIGKILL')
    expect(await instance.tell('down')).toMatch(/^no daemon runs/)
    expect((await instance.cosmos(['status'])).code).toBe(125)
  })
})

test.skipIf(why)('down --force ends a daemon that does not answer', async () => {
  const instance = await CosmosInstance.start()
  try {
    const { pid, supervisor } = await instance.status()
    process.kill(pid, 'SIGSTOP')
    expect(await instance.tell('down', '--force')).toBe(`unmounted ${instance.mount}\n`)
    expect(isRunning(pid) || isRunning(supervisor) || isMounted(instance.mount)).toBe(false)
  } finally {
    await instance.stop()
  }
})

describe.skipIf(why)('up --foreground', () => {
  let instance: CosmosInstance
  beforeAll(() => {
    instance = new CosmosInstance()
  })
  afterAll(() => instance.stop())

  /** Starts it and waits till it says so. */
  async function start(...args: string[]) {
    const words = ['up', '--foreground', '--mount', instance.mount, ...args]
    const child = spawn(instance.code('bin/cosmos'), words, { env: instance.env })
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    const foreground = { child, ended, said: '' }
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (bytes: Buffer) => {
        foreground.said += bytes.toString()
      })
    await waitFor('it to be up', () => foreground.said.includes('Ctrl-C unmounts.'))
    return foreground
  }

  test.each(['SIGINT', 'SIGTERM'] as const)('%s unmounts and says so', async (signal) => {
    const foreground = await start()
    expect(isMounted(instance.mount)).toBe(true)
    foreground.child.kill(signal)
    expect(await foreground.ended).toBe(0)
    expect(foreground.said).toContain(`unmounted ${instance.mount}\n`)
    expect(isMounted(instance.mount)).toBe(false)
  })

  test('ends, and says so, when the mount is taken away', async () => {
    const foreground = await start()
    await instance.tell('down')
    expect(await foreground.ended).toBe(0)
    expect(foreground.said).toContain(`${instance.mount} is no longer mounted\n`)
  })

  test('--tour can be pasted', async () => {
    const foreground = await start('--tour')
    const lines = [...foreground.said.matchAll(/^ {4}(.+)$/gm)].map((match) => match[1])
    expect(lines.length).toBeGreaterThan(8)
    const script = `set -eo pipefail\n${lines.join('\n')}\n`.replaceAll('| head -5', '| sed -n 1,5p')
    const { code, stdout, stderr } = await instance.run('bash', ['--norc', '-c', script])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(hostDirectory)
    expect(stdout).toContain(`${instance.mount}/.cosm/bin/ls\n`)
    expect(stdout).toMatch(/^\/usr\/share\/doc$/m)
    foreground.child.kill('SIGINT')
    expect(await foreground.ended).toBe(0)
  })
})
