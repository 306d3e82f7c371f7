// VMs: started when they are needed, replaced when they die, told about when they do not start.
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, isRunning, whyNoMount } from '../support/instance.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const skip = whyNoMount()

interface Vm {
  name: string
  state: string
  pids: number[]
  sessions: number
  restarts: number
}

describe.skipIf(skip)(`the life of VMs${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  let vms: string
  beforeAll(async () => {
    instance = await CosmosInstance.start()
    vms = join(instance.mount, '.cosm/vm')
  })
  afterAll(() => instance.stop())

  const vm = async (name: string): Promise<Vm> => {
    const all = JSON.parse(await instance.tell('vm', 'list', '--json')) as Vm[]
    const found = all.find((each) => each.name === name)
    if (!found) throw new Error(`no VM ${name}`)
    return found
  }
  const define = (name: string, profile: string, program: string): void => {
    const directory = join(instance.home, '.cosm/vm', name)
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, 'profile'), profile)
    writeFileSync(join(directory, 'main'), program)
    chmodSync(join(directory, 'main'), 0o755)
  }
  const payload = (name: string, text = 'words\n'): string => {
    writeFileSync(join(instance.home, '.cosm/bin', name), text, { mode: 0o755 })
    return join(instance.mount, '.cosm/bin', name)
  }

  test('none runs before it is needed; one that was is shown with its processes', async () => {
    expect((await vm('hostexec')).pids).toEqual([])
    expect((await instance.cosmos(['exec', '/bin/true'])).code).toBe(0)
    const { pids, state } = await vm('hostexec')
    expect(state).toBe('running')
    expect(pids.length).toBeGreaterThan(0)
    expect(readFileSync(join(vms, 'hostexec/state'), 'utf8')).toContain(`process ${pids[0]}\n`)
    expect(readFileSync(join(vms, 'hostexec/stats'), 'utf8')).toMatch(/^launches \d+$/m)
    expect(readFileSync(join(vms, 'hostexec/err'), 'utf8')).toBe('')
    expect(readFileSync(join(vms, 'hostexec/profile'), 'utf8')).toContain('native = true')
  })

  test('one that is killed is replaced, and who comes next is answered', async () => {
    await instance.cosmos(['exec', '/bin/true'])
    const before = await vm('hostexec')
    for (const pid of before.pids) process.kill(pid, 'SIGKILL')
    expect((await instance.cosmos(['exec', '/bin/echo', 'next'])).stdout).toBe('next\n')
    const after = await waitFor('the replacement', async () => {
      const now = await vm('hostexec')
      return now.restarts > before.restarts && now
    })
    expect(after.pids.some((pid) => before.pids.includes(pid))).toBe(false)
    expect(readFileSync(join(vms, 'hostexec/err'), 'utf8')).toMatch(/process \d+ ended by SIGKILL/)
  })

  test('a program whose VM is killed is ended; its caller is told', async () => {
    const marker = join(instance.work, 'pid')
    const running = instance.cosmos([
      'exec',
      '/bin/sh',
      '-c',
      'echo $$ > "$1"; exec sleep 1000',
      'sh',
      marker,
    ])
    const pid = await waitFor('the program', () => Number(readFileSync(marker, 'utf8')))
    for (const each of (await vm('hostexec')).pids) process.kill(each, 'SIGKILL')
    const result = await running
    expect(result.code).toBe(125)
    expect(result.stderr).toMatch(/^cosmos: .+\n$/)
    await waitFor('its end', () => !isRunning(pid))
  })

  test('restart and stop are written to ctl', async () => {
    await instance.cosmos(['exec', '/bin/true'])
    const before = (await vm('hostexec')).pids
    writeFileSync(join(vms, 'hostexec/ctl'), 'restart\n')
    await waitFor('others', async () => {
      const { pids } = await vm('hostexec')
      return !pids.some((pid) => before.includes(pid))
    })
    await waitFor('their end', () => before.every((pid) => !isRunning(pid)))
    expect((await instance.cosmos(['exec', '/bin/true'])).code).toBe(0)
    expect(existsSync(join(instance.home, '.cosm/vm/hostexec'))).toBe(false)
    expect((await instance.cosmos(['vm', 'restart', 'hostexec'])).code).toBe(0)
    expect(await instance.cosmos(['vm', 'restart', 'none'])).toMatchObject({
      code: 127,
      stderr: 'cosmos: VM none: no layer of the cosm has it (cosmos vm list)\n',
    })
  })

  test('one that does not start says why, and its callers are not kept', async () => {
    define(
      'broken',
      'kinds = ["program"]\nsuffixes = [".broken"]\ncommand = "main"\n',
      '#!/bin/sh\necho "no licence" >&2\nexit 3\n',
    )
    const path = payload('x.broken')
    await waitFor('the VM', async () => (await vm('broken')).state === 'stopped')
    const first = await run(path, [])
    expect(first.code).toBe(125)
    expect(first.stderr).toMatch(/^cosmos: .+\n$/)
    await waitFor('the state', async () => (await vm('broken')).state === 'failed: no licence')
    expect(readFileSync(join(vms, 'broken/state'), 'utf8')).toMatch(/^failed: no licence\n/)
    expect(readFileSync(join(vms, 'broken/err'), 'utf8')).toContain('no licence')
    expect(await run(path, [])).toMatchObject({
      code: 125,
      stderr: expect.stringMatching(
        /^cosmos: VM broken: does not start: no licence.*cosmos vm restart broken.*\n$/,
      ),
    })
  })

  test('a profile that is wrong is told', async () => {
    define('wrong', 'kinds = ["nonsense"]\n', '')
    await waitFor('the problem', async () => /nonsense/.test((await vm('wrong')).state))
  })

  test('a VM may not start VMs; the programs that it runs may', async () => {
    const api = JSON.stringify(instance.code('bin/api.mjs'))
    // The library asks the daemon by itself, so it is this process that asks.
    const asking = `import { writeFileSync } from 'node:fs'
import { dlopen } from ${api}
const cos = dlopen('libm.so.6').dlsym('cos')
writeFileSync(process.argv[2], await cos(0).then(String, (error) => error.code + ' ' + error.message))
`
    const script = join(instance.work, 'asking.mjs')
    writeFileSync(script, asking)
    const told = join(instance.work, 'told')
    await instance.cosmos(['exec', instance.node, script, told])
    expect(readFileSync(told, 'utf8')).toBe('1')

    define(
      'asking',
      'kinds = ["program"]\nsuffixes = [".asking"]\ncommand = "main"\n',
      `#!/bin/sh\nexec ${instance.node} ${script} ${told}.vm\n`,
    )
    const path = payload('x.asking')
    await waitFor('the VM', async () => (await vm('asking')).state === 'stopped')
    const running = run(path, [])
    const answer = await waitFor('its answer', () => readFileSync(`${told}.vm`, 'utf8'))
    expect(answer).toBe('EPERM VM asking: may not start VMs')
    await instance.tell('vm', 'restart', 'asking')
    writeFileSync(join(vms, 'asking/ctl'), 'stop\n')
    expect((await running).code).toBe(125)
  })

  test('a ctl that is removed ends nobody', async () => {
    const daemon = async (): Promise<number> => JSON.parse(await instance.tell('status', '--json')).pid
    await instance.cosmos(['exec', '/bin/true'])
    const before = await daemon()
    const [directory = ''] = readdirSync(join(instance.base, 'r/cosmos'))
    rmSync(join(instance.base, 'r/cosmos', directory, 'cosm/vm/hostexec/ctl'))
    expect((await instance.cosmos(['exec', '/bin/echo', 'on'])).stdout).toBe('on\n')
    expect(await daemon()).toBe(before)
  })

  test('the daemon is killed under a program: 125, one line, and nothing is left over', async () => {
    const marker = join(instance.work, 'other')
    const running = instance.cosmos([
      'exec',
      '/bin/sh',
      '-c',
      'echo $$ > "$1"; exec sleep 1000',
      'sh',
      marker,
    ])
    const pid = await waitFor('the program', () => Number(readFileSync(marker, 'utf8')))
    const { pids } = await vm('hostexec')
    await instance.killDaemon()
    const result = await running
    expect(result.code).toBe(125)
    expect(result.stderr).toMatch(/^cosmos: .+\n$/)
    await waitFor('their end', () => [pid, ...pids].every((each) => !isRunning(each)))
    expect((await instance.cosmos(['exec', '/bin/echo', 'again'])).stdout).toBe('again\n')
  })

  test('down ends VMs and programs', async () => {
    const child = spawn(instance.code('bin/cosmos'), ['exec', '/bin/sleep', '1000'], {
      env: instance.env,
      stdio: 'ignore',
    })
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    await waitFor('the session', async () => (await vm('hostexec')).sessions === 1)
    const { pids } = await vm('hostexec')
    await instance.tell('down')
    expect(await ended).toBe(125)
    await waitFor('their end', () => pids.every((each) => !isRunning(each)))
    await waitFor('the end of all', () => instance.processes().length === 0)
  })
})
