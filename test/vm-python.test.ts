// The example VM in Python, at its socket.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { encodeFrame } from '../src/form/msgpack.ts'
import { checkout } from './support/instance.ts'
import { has, run } from './support/run.ts'
import { waitFor } from './support/wait.ts'
import { type VmClient, VmProcess } from './support/wasi-vm.ts'

const { SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGTERM, SIGTSTP } = constants.signals
const program = join(checkout, 'examples/vm-python/bin/vm.py')

let missing: string | undefined
let vm: VmProcess
let client: VmClient

beforeAll(async () => {
  missing = await whyNoPython()
  if (missing !== undefined) return
  vm = new VmProcess([program])
  client = await vm.connect()
})
afterAll(() => vm?.stop())
beforeEach(({ skip }) => {
  if (missing !== undefined) skip(missing)
})

async function whyNoPython(): Promise<string | undefined> {
  if (!(await has('python3'))) return 'there is no python3'
  const { code } = await run('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))'])
  return code === 0 ? undefined : 'python3 is older than 3.9'
}

let files = 0
function script(...lines: string[]): string {
  const path = vm.path(`${++files}.py`)
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}

const execute = (lines: string[], more: object = {}) => client.exec({ payload: script(...lines), ...more })

/** A program that runs until it is ended; the answer comes when it runs. */
async function sleeping(lines: string[] = [], by = client) {
  const flag = vm.path(`${files}.ready`)
  const payload = script(
    'import signal, time',
    ...lines,
    `open(${JSON.stringify(flag)}, "w")`,
    'time.sleep(60)',
  )
  const running = by.begin({ payload })
  await waitFor('the program', () => statSync(flag))
  return running
}

/** Whether a process is there; one that has ended and is not waited for is not. */
function lives(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

describe('a Python program', () => {
  test('has its streams, arguments, environment, directory and umask', async () => {
    const lines = [
      'import os, sys',
      'print(sys.argv[1:], sorted(os.environ.items()), os.getcwd(), oct(os.umask(0)), __name__)',
      'print(sys.stdin.read().upper(), end="")',
      'print("to the error", file=sys.stderr)',
    ]
    const more = {
      argv: ['x.py', 'a b', 'ü'],
      env: ['A=1', 'B=x=y'],
      cwd: vm.directory,
      umask: 0o027,
      stdin: 'in\n',
    }
    expect(await execute(lines, more)).toEqual({
      exit: { code: 0 },
      stdout: `['a b', 'ü'] [('A', '1'), ('B', 'x=y')] ${vm.directory} 0o27 __main__\nIN\n`,
      stderr: 'to the error\n',
    })
  })

  test('ends as it does in an interpreter of its own', async () => {
    const exits = async (...lines: string[]) => (await execute(lines)).exit
    expect(await exits('import sys; sys.exit(7)')).toEqual({ code: 7 })
    expect(await exits('import os; os._exit(9)')).toEqual({ code: 9 })
    expect(await exits('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)')).toMatchObject({
      signal: SIGSEGV,
    })
    expect(await execute(['import sys', 'sys.exit("why")'])).toMatchObject({
      exit: { code: 1 },
      stderr: 'why\n',
    })
    const { stdout } = await execute(['import atexit', 'atexit.register(print, "last")', 'print("first")'])
    expect(stdout).toBe('first\nlast\n')
  })

  test('shows its own errors, and none of the VM', async () => {
    const payload = script('def f():', '  return 1 / 0', 'f()')
    const { exit, stderr } = await client.exec({ payload })
    expect(exit).toEqual({ code: 1 })
    expect(stderr).toMatch(
      /^Traceback .*\n {2}File ".*\.py", line 3, in <module>\n(?:.*\n)*ZeroDivisionError: .*\n$/,
    )
    expect(stderr).not.toContain('vm.py')
    expect((await execute(['syntax error'])).stderr).toMatch(/SyntaxError/)
  })

  test('has the files that it is handed and no others', async () => {
    const lines = ['import os', 'print(sorted(int(n) for n in os.listdir("/proc/self/fd"))[:-1])']
    expect((await execute(lines)).stdout).toBe('[0, 1, 2]\n')
    const pid = (await client.hello).pid
    const count = () => readdirSync(`/proc/${pid}/fd`).length
    const before = count()
    for (let i = 0; i < 5; i++) await execute(['pass'])
    await expect(client.exec({ payload: vm.path('none.py') })).rejects.toMatchObject({ code: 'ENOENT' })
    expect(count()).toBe(before)
  })

  test('has limits', async () => {
    const loop = ['while True: pass']
    expect((await execute(loop, { route: { limits: { seconds: 0.2 } } })).exit).toMatchObject({
      signal: SIGALRM,
    })
    const limits = [[7, 20, 20]]
    const lines = ['import resource', 'print(resource.getrlimit(resource.RLIMIT_NOFILE))']
    expect((await execute(lines, { limits })).stdout).toBe('(20, 20)\n')
    const { stderr } = await execute(['bytearray(1 << 30)'], { route: { limits: { memory: 512 << 20 } } })
    expect(stderr).toMatch(/MemoryError/)
  })
})

describe('signals', () => {
  test.each([SIGTERM, SIGHUP, SIGKILL])('%i ends it', async (signal) => {
    const running = await sleeping()
    running.signal(signal)
    expect((await running.done).exit).toEqual({ signal, core: false })
  })

  test('SIGINT is an exception', async () => {
    const running = await sleeping()
    running.signal(SIGINT)
    const { exit, stderr } = await running.done
    expect(exit).toEqual({ signal: SIGINT, core: false })
    expect(stderr).toMatch(/KeyboardInterrupt\n$/)
  })

  test('it handles what it wants to, and its children hear it too', async () => {
    const running = await sleeping([
      'import os',
      'child = os.fork()',
      'if child == 0: time.sleep(60)',
      'signal.signal(signal.SIGTERM, lambda *_: os._exit(100 + os.waitpid(child, 0)[1]))',
    ])
    running.signal(SIGTERM)
    expect((await running.done).exit).toEqual({ code: 100 + SIGTERM })
  })

  test('it stops and goes on', async () => {
    const running = await sleeping()
    running.signal(SIGTSTP)
    await waitFor('the stop', () => running.stops.includes(SIGTSTP))
    running.signal(SIGCONT)
    running.signal(SIGTERM)
    expect((await running.done).exit).toMatchObject({ signal: SIGTERM })
  })

  test('it ends when its client is gone, even if it will not', async () => {
    for (const lines of [[], ['signal.signal(signal.SIGHUP, signal.SIG_IGN)']]) {
      const other = await vm.connect()
      const running = await sleeping(lines, other)
      const pid = await running.started
      other.close()
      await waitFor('its end', () => !lives(pid))
    }
    await waitFor('the VM to hear of it', async () => (await client.request('stats')).running === 0)
  })
})

describe('the VM', () => {
  test('serves many at once', async () => {
    const running = await sleeping()
    const other = await vm.connect()
    const payload = script('print("other")')
    const executions = Array.from({ length: 5 }, () => other.exec({ payload }))
    for (const { stdout } of await Promise.all(executions)) expect(stdout).toBe('other\n')
    expect(await other.request('stats')).toMatchObject({ sessions: expect.any(Number), running: 1 })
    running.signal(SIGKILL)
    await running.done
  })

  test('answers what it accepts, and what it does not have', async () => {
    expect(await client.request('accepts', { profile: { kind: 'program' } })).toEqual({ accepts: true })
    expect(await client.request('accepts', { profile: { kind: 'wasm' } })).toMatchObject({ accepts: false })
    await expect(client.request('open')).rejects.toMatchObject({ code: 'ENOSYS' })
    await expect(client.request('exec', {})).rejects.toMatchObject({ code: 'EPROTO' })
  })

  test('ends a session that sends what is no message, and no other', async () => {
    for (const bytes of [
      Buffer.from([0, 0, 0, 0]),
      Buffer.from([0, 0, 0, 1, 0xc1]),
      Buffer.from([0, 0, 0, 2, 0x81, 0xa5]),
      encodeFrame({ id: 'x', op: 'stats' }),
    ]) {
      const other = await vm.connect()
      other.sendRaw(bytes)
      await other.closed
    }
    expect((await execute(['print(1)'])).stdout).toBe('1\n')
  })

  test('ends with the daemon, and what it runs too', async () => {
    const running = await sleeping()
    const pid = await running.started
    vm.leave()
    expect(await vm.ended).toEqual({ code: 0, signal: null })
    await waitFor('its end', () => !lives(pid))
    expect(vm.log()).toBe('')
  })
})
