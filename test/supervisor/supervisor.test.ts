import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cosmosMountOf, readMountinfo } from '../../mount/mountinfo.ts'
import type { InstanceRecord } from '../../src/daemon/record.ts'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { waitFor } from '../support/wait.ts'

describe.skipIf(whyNoMount())('the supervisor', () => {
  let instance: CosmosInstance
  afterEach(() => instance.stop())

  const isMounted = () => cosmosMountOf(instance.mount, readMountinfo()) !== undefined
  const ended = (pid: number) => waitFor(`the end of ${pid}`, () => !existsSync(`/proc/${pid}`))
  function record(): InstanceRecord {
    const runtime = join(instance.base, 'r/cosmos')
    const [id = ''] = readdirSync(runtime)
    return JSON.parse(readFileSync(join(runtime, id, 'instance.json'), 'utf8')) as InstanceRecord
  }

  test('ten starts at once make one instance; another place or driver is refused', async () => {
    instance = new CosmosInstance()
    const started = await Promise.all(Array.from({ length: 10 }, () => instance.up()))
    expect(started.map(({ code }) => code)).toEqual(Array(10).fill(0))
    expect(started.filter(({ stdout }) => stdout.startsWith('mounted ')).length).toBe(1)
    const { pid, supervisor } = await instance.status()
    expect(record()).toMatchObject({ supervisor, daemon: pid, mount: instance.mount, state: 'running' })

    const elsewhere = await instance.cosmos(['up', '--mount', join(instance.base, 'other')])
    expect(elsewhere.code).toBe(125)
    expect(elsewhere.stderr).toContain(`is already mounted at ${instance.mount} (first: cosmos down)`)
    expect(existsSync(join(instance.base, 'other'))).toBe(false)
    expect((await instance.up(['--driver', 'fuse-native'])).stderr).toContain('by the kernel driver')
  })

  test('a killed daemon is replaced, then by a spare; who lives in the mount stays there', async () => {
    instance = await CosmosInstance.start()
    writeFileSync(join(instance.work, 'file'), 'text')
    const shell = spawn('sh', ['-c', 'while read line; do cat "$line" || echo lost; done'], {
      cwd: instance.inMount(),
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let said = ''
    shell.stdout.on('data', (data: Buffer) => {
      said += data
    })
    for (let i = 0; i < 4; i++) {
      process.kill(record().daemon, 'SIGKILL')
      shell.stdin.write('file\n')
      await waitFor('the answer', () => said.length >= 4 * (i + 1) && record().state === 'running')
    }
    shell.stdin.end()
    expect(said).toBe('text'.repeat(4))
    const { spare } = await waitFor('a spare', () => record().spare > 0 && record())
    process.kill(record().daemon, 'SIGKILL')
    await waitFor('the spare to serve', () => record().daemon === spare && record().state === 'running')
  })

  test('reload replaces the daemon under the mount', async () => {
    instance = await CosmosInstance.start()
    const before = record()
    await instance.tell('reload')
    await waitFor('the next daemon', () => record().daemon !== before.daemon && record().state === 'running')
    expect(record()).toMatchObject({ supervisor: before.supervisor, device: before.device })
    expect(existsSync(`/proc/${before.daemon}`)).toBe(false)
    expect((await instance.status()).pid).toBe(record().daemon)
  })

  test('a killed supervisor ends the mount, and the next start cleans up', async () => {
    instance = await CosmosInstance.start()
    const { supervisor, daemon } = record()
    process.kill(supervisor, 'SIGKILL')
    await ended(supervisor)
    expect((await instance.up()).stdout).toMatch(/^mounted /)
    await ended(daemon)
    expect(existsSync(instance.hostPath('/etc'))).toBe(true)
    expect(readMountinfo().filter(({ path }) => path === instance.mount).length).toBe(1)
  })

  test('an unmount from outside is noticed and said, and ends everything', async () => {
    instance = await CosmosInstance.start()
    const { supervisor, daemon } = record()
    await instance.run(process.geteuid?.() === 0 ? 'umount' : 'fusermount3', [
      ...(process.geteuid?.() === 0 ? [] : ['-u']),
      instance.mount,
    ])
    await ended(supervisor)
    await ended(daemon)
    expect(instance.log()).toContain(`${instance.mount} was unmounted from outside`)
    expect(existsSync(instance.mount)).toBe(true)
  })

  test('SIGTERM unmounts, lazily when somebody is inside, and names them', async () => {
    instance = await CosmosInstance.start()
    const { supervisor, daemon } = record()
    const sleeper = spawn('sleep', ['1000'], { cwd: instance.mount })
    await waitFor('the sleeper', () => readlinkSync(`/proc/${sleeper.pid}/cwd`) === instance.mount)
    process.kill(supervisor, 'SIGTERM')
    await ended(supervisor)
    await ended(daemon)
    sleeper.kill('SIGKILL')
    expect(isMounted()).toBe(false)
    expect(instance.log()).toContain(`sleep (${sleeper.pid}): working directory`)
  })

  test('a hung daemon does not keep it from ending', async () => {
    instance = await CosmosInstance.start()
    const { supervisor, daemon } = record()
    process.kill(daemon, 'SIGSTOP')
    process.kill(supervisor, 'SIGTERM')
    await waitFor('the end', () => !existsSync(`/proc/${supervisor}`), 20_000)
    expect(isMounted()).toBe(false)
    expect(existsSync(`/proc/${daemon}`)).toBe(false)
  })

  test('a start that fails says why, and leaves nothing', async () => {
    instance = new CosmosInstance()
    mkdirSync(join(instance.home, '.cosm/var/cosmos.db'), { recursive: true })
    const { code, stderr } = await instance.up()
    expect(code).toBe(125)
    expect(stderr).toMatch(/^cosmos: .+\n$/)
    expect(isMounted()).toBe(false)
    expect(instance.processes()).toEqual([])
  })

  test('in the foreground it ends with whoever started it', async () => {
    instance = new CosmosInstance()
    const child = spawn(instance.code('bin/cosmos'), ['up', '--foreground', '--mount', instance.mount], {
      env: instance.env,
      stdio: 'ignore',
    })
    const { supervisor } = await waitFor('the start', () => {
      try {
        return record().state === 'running' && record()
      } catch {
        return false
      }
    })
    child.kill('SIGKILL')
    await ended(supervisor)
    expect(isMounted()).toBe(false)
  })
})
