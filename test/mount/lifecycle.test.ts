// An instance's life: up, down, and everything that can go wrong between them.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findInstance } from '../../src/daemon/instance.ts'
import {
  CosmosInstance,
  hostDirectory,
  isRoot,
  isRunning,
  mountPoints,
  whyNoMount,
} from '../support/instance.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const missing = whyNoMount()
let instance: CosmosInstance

describe.each([
  { title: 'as root', asUser: false },
  { title: 'as an ordinary user', asUser: true },
])('$title', ({ asUser }) => {
  beforeEach(({ skip }) => {
    if (missing !== undefined) return skip(missing)
    if (!asUser && !isRoot) return skip('needs root')
    instance = new CosmosInstance({ asUser })
  })
  afterEach(() => instance?.stop())

  const isMounted = () =>
    mountPoints().some(({ path, type }) => path === instance.mount && type === 'fuse.cosmos')
  const isOver = (pids: number[]) =>
    waitFor('the end of its processes', () => {
      const left = pids.filter(isRunning)
      if (left.length > 0) throw new Error(left.map((pid) => `${pid} runs: ${commandOf(pid)}`).join())
      return true
    })

  test('up mounts, and a second up attaches', async () => {
    const first = await instance.up()
    expect([first.code, first.stderr]).toEqual([0, ''])
    expect(isMounted()).toBe(true)
    const { pid, supervisor, mounts } = await instance.status()
    expect(mounts).toEqual([{ path: instance.mount, driver: 'kernel', passthrough: !asUser }])
    const second = await instance.up()
    expect([second.code, second.stderr]).toEqual([0, ''])
    expect(second.stdout).toContain(instance.mount)
    expect(await instance.status()).toMatchObject({ pid, supervisor })
    expect(mountPoints().filter(({ path }) => path === instance.mount).length).toBe(1)
    expect((await instance.run('ls', ['-A', instance.mount])).stdout).toBe(
      `.cosm\nhttp:\nhttps:\n${hostDirectory}\nssh:\n`,
    )
  })

  test('ten at once make one daemon', async () => {
    const results = await Promise.all(Array.from({ length: 10 }, () => instance.up()))
    expect(results.map(({ code, stderr }) => `${code}${stderr}`)).toEqual(
      Array.from({ length: 10 }, () => '0'),
    )
    expect(mountPoints().filter(({ path }) => path === instance.mount).length).toBe(1)
    const { pid, supervisor } = await instance.status()
    // The supervisor keeps a spare beside the daemon that serves.
    await waitFor('one supervisor, its daemon and at most one spare', () => {
      const processes = instance.processes()
      const supervisors = processes.filter((each) => commandOf(each).includes('src/daemon/supervisor'))
      const daemons = processes.filter((each) => commandOf(each).includes('src/daemon/main'))
      return supervisors.join() === `${supervisor}` && daemons.includes(pid) && daemons.length <= 2
    })
  })

  test('down unmounts, ends both processes, and up starts anew', async () => {
    await instance.up()
    const { pid, supervisor } = await instance.status()
    const down = await instance.cosmos(['down'])
    expect([down.code, down.stderr]).toEqual([0, ''])
    expect(down.stdout).toContain(instance.mount)
    expect(isMounted()).toBe(false)
    await isOver([pid, supervisor])
    expect(instance.processes()).toEqual([])
    const status = await instance.cosmos(['status'])
    expect(status.code).toBe(125)
    expect(status.stderr).toMatch(/^cosmos: .*cosmos up.*\n$/)
    expect((await instance.cosmos(['down'])).code).toBe(0)
    await instance.up()
    expect((await instance.status()).pid).not.toBe(pid)
    expect(isMounted()).toBe(true)
  })

  test('down while busy detaches, and names who is busy', async () => {
    await instance.up()
    const identity = instance.uid === undefined ? {} : { uid: instance.uid, gid: instance.uid }
    // It goes there itself: root may not enter an ordinary user's mount.
    const shell = spawn('/bin/sh', ['-c', 'cd "$1" && echo in; read x', 'sh', instance.inMount('')], {
      cwd: '/',
      ...identity,
    })
    try {
      await once(shell.stdout, 'data')
      const down = await instance.cosmos(['down'])
      expect(down.code).toBe(0)
      expect(down.stdout).toContain(`(${shell.pid})`)
      expect(isMounted()).toBe(false)
      expect(isRunning(shell.pid ?? 0)).toBe(true)
      await waitFor('the end of its processes', () => instance.processes().length === 0)
    } finally {
      shell.kill('SIGKILL')
    }
    await instance.up()
    expect((await instance.run('ls', ['-A', instance.mount])).stdout).toContain(hostDirectory)
  })

  test('kill -9 of the daemon is not noticed', async () => {
    await instance.up()
    writeFileSync(join(instance.work, 'f'), 'content')
    const before = await instance.status()
    const after = await instance.killDaemon()
    expect(after.supervisor).toBe(before.supervisor)
    expect((await instance.run('cat', [instance.inMount('f')])).stdout).toBe('content')
    expect(isMounted()).toBe(true)
  })

  test('cosmos reload replaces the daemon under the mount', async () => {
    await instance.up()
    const before = await instance.status()
    await instance.tell('reload')
    const after = await waitFor('another daemon', async () => {
      const status = await instance.status()
      return status.pid !== before.pid && status
    })
    expect(after.supervisor).toBe(before.supervisor)
    expect((await instance.run('ls', ['-A', instance.mount])).stdout).toContain(hostDirectory)
    await isOver([before.pid])
  })

  test('kill -9 of the supervisor ends the daemon, and up starts anew', async () => {
    await instance.up()
    const { pid, supervisor } = await instance.status()
    process.kill(supervisor, 'SIGKILL')
    await isOver([pid, supervisor])
    const again = await instance.up()
    expect([again.code, again.stderr]).toEqual([0, ''])
    expect((await instance.run('ls', ['-A', instance.mount])).stdout).toContain(hostDirectory)
    expect(mountPoints().filter(({ path }) => path === instance.mount).length).toBe(1)
  })

  test('kill -9 of both leaves a stale mount, which up cleans', async () => {
    await instance.up()
    const { pid, supervisor } = await instance.status()
    process.kill(supervisor, 'SIGKILL')
    process.kill(pid, 'SIGKILL')
    await isOver([pid, supervisor])
    const again = await instance.up()
    expect([again.code, again.stderr]).toEqual([0, ''])
    expect((await instance.run('ls', ['-A', instance.mount])).stdout).toContain(hostDirectory)
    expect(mountPoints().filter(({ path }) => path === instance.mount).length).toBe(1)
  })

  test('an outside umount ends it, and the log says so', async () => {
    await instance.up()
    const { pid, supervisor } = await instance.status()
    const unmounted = asUser
      ? await instance.run('fusermount3', ['-u', instance.mount])
      : await run('umount', [instance.mount])
    expect(unmounted.stderr).toBe('')
    await isOver([pid, supervisor])
    expect(instance.log()).toMatch(/unmounted/i)
    expect((await instance.up()).code).toBe(0)
    expect(isMounted()).toBe(true)
  })

  test.each(['SIGTERM', 'SIGINT'] as const)('%s to the supervisor unmounts', async (signal) => {
    await instance.up()
    const { pid, supervisor } = await instance.status()
    process.kill(supervisor, signal)
    await isOver([pid, supervisor])
    expect(isMounted()).toBe(false)
  })

  test('SIGTERM to the daemon unmounts', async () => {
    await instance.up()
    const { pid, supervisor } = await instance.status()
    process.kill(pid, 'SIGTERM')
    await isOver([pid, supervisor])
    expect(isMounted()).toBe(false)
  })

  test('up --foreground stays, and unmounts on a signal', async () => {
    const identity = instance.uid === undefined ? {} : { uid: instance.uid, gid: instance.uid }
    const child = spawn(instance.code('bin/cosmos'), ['up', '--foreground', '--mount', instance.mount], {
      cwd: instance.base,
      env: instance.env,
      ...identity,
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => {
        output += data
      })
    const closed = once(child, 'close')
    await waitFor('the mount', () => isMounted() && /Ctrl-C/.test(output))
    child.kill('SIGINT')
    expect(await closed, output).toEqual([0, null])
    expect(isMounted()).toBe(false)
    await waitFor('the end of all', () => instance.processes().length === 0)
  })

  test('mount points that are refused, in one line, before anything starts', async () => {
    const at = (name: string) => join(instance.work, name)
    mkdirSync(at('full'))
    writeFileSync(at('full/f'), '')
    writeFileSync(at('file'), '')
    const wrong = ['full', 'file']
    if (asUser && isRoot) {
      mkdirSync(at('foreign'), { mode: 0o755 })
      wrong.push('foreign')
    }
    for (const name of wrong) {
      const { code, stdout, stderr } = await instance.cosmos(['up', '--mount', at(name)])
      expect([code, stdout], name).toEqual([125, ''])
      expect(stderr, name).toMatch(/^cosmos: [^\n]+\n$/)
      expect(stderr, name).toContain(at(name))
    }
    await waitFor('nothing runs', () => instance.processes().length === 0)
    await instance.up()
    const other = new CosmosInstance({ asUser })
    try {
      for (const place of [instance.inMount(''), join(instance.mount, 'x'), instance.mount]) {
        const { code, stderr } = await other.cosmos(['up', '--mount', place])
        expect(code, place).toBe(125)
        expect(stderr, place).toMatch(/^cosmos: [^\n]+\n$/)
      }
    } finally {
      await other.stop()
    }
    expect((await instance.run('ls', ['-A', instance.mount])).code).toBe(0)
  })

  test('a mount point that is not there is made', async () => {
    const place = join(instance.home, 'new')
    expect((await instance.cosmos(['up', '--mount', place])).code).toBe(0)
    expect(mountPoints().some(({ path }) => path === place)).toBe(true)
    expect((await instance.status()).mounts[0]?.path).toBe(place)
  })

  test('the default mount point is ~/cosmos', async () => {
    expect((await instance.cosmos(['up'])).code).toBe(0)
    expect((await instance.status()).mounts[0]?.path).toBe(join(instance.home, 'cosmos'))
  })

  test('two instances live side by side', async () => {
    await instance.up()
    const other = await CosmosInstance.start({ asUser })
    try {
      const [one, two] = [await instance.status(), await other.status()]
      expect(one.pid).not.toBe(two.pid)
      expect(two.home).toBe(join(other.home, '.cosm'))
      await other.tell('down')
      expect((await instance.status()).pid).toBe(one.pid)
      expect((await instance.run('ls', ['-A', instance.mount])).stdout).toContain(hostDirectory)
    } finally {
      await other.stop()
    }
  })

  test('the socket and the state are private', async () => {
    await instance.up()
    const { socket, directory } = controlSocket()
    expect(statSync(socket).mode & 0o777).toBe(0o600)
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    expect(statSync(join(instance.home, '.cosm/var')).mode & 0o777).toBe(0o700)
  })

  test('another user is refused on the control socket', async ({ skip }) => {
    if (!isRoot) return skip('being another user needs root')
    await instance.up()
    const { socket } = controlSocket()
    if (asUser) {
      // Root may connect to any socket; the daemon's own check is what refuses.
      const client = connect(socket)
      client.on('error', () => {})
      client.write(Buffer.from([0, 0, 0, 1, 0xc0]))
      let received = 0
      client.on('data', (data: Buffer) => {
        received += data.length
      })
      await once(client, 'close')
      expect(received).toBeLessThan(200)
      expect(instance.log()).toMatch(/refused/i)
    } else {
      const asNobody = { uid: 65_534, env: instance.env, cwd: '/' }
      const { code, stderr } = await run(instance.code('bin/cosmos'), ['status'], asNobody)
      expect([code, stderr.split('\n').length]).toEqual([125, 2])
    }
    expect((await instance.cosmos(['status'])).code).toBe(0)
  })

  test("another user does not see an ordinary user's mount", async ({ skip }) => {
    if (!asUser || !isRoot) return skip('of ordinary users, seen by root')
    await instance.up()
    const { stderr } = await run('ls', [instance.mount], { uid: 1234 })
    expect(stderr).toMatch(/Permission denied/)
  })

  test('a home that is a link is the same instance', async () => {
    await instance.up()
    const link = join(instance.work, 'link')
    symlinkSync(join(instance.home, '.cosm'), link)
    const { stdout } = await instance.cosmos(['status', '--json'], { env: { COSMOS_HOME: link } })
    expect(JSON.parse(stdout)).toMatchObject({ pid: (await instance.status()).pid })
  })

  test('log, and what status says of it', async () => {
    await instance.up()
    const { log } = await instance.status()
    expect(existsSync(log)).toBe(true)
    expect(await instance.tell('log')).toBe(readFileSync(log, 'utf8'))
  })
})

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1')
  } catch {
    return ''
  }
}

/** Where this instance's control socket is. */
function controlSocket(): { socket: string; directory: string } {
  const { controlSocket: socket, runtime: directory } = findInstance(instance.env)
  return { socket, directory }
}
