// Signals, how a program ends, and what is said when it cannot begin.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { isAlive } from '../../src/daemon/client.ts'
import { LaunchWorld } from '../support/launching.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'
import { forBoth, statusOf } from './launchers.ts'

/** Tells every signal that it gets. */
const TELLER = `
import signal
every = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
print('ready', flush=True)
while True: print(int(signal.sigwait(every)), flush=True)
`

forBoth('signals', (subject) => {
  const { file, launch, shell } = subject

  test('every one is forwarded', async () => {
    const child = spawn(file, [subject.world.control, '/usr/bin/env', 'python3', '-c', TELLER], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: child.stdout as Readable })[Symbol.asyncIterator]()
    const next = async (): Promise<string> => String((await lines.next()).value)
    expect(await next()).toBe('ready')
    const named = Object.values(constants.signals).filter((each) => each !== 9 && each !== 19)
    // Node has no handlers for the nameless ones.
    const more = subject.name === 'C' ? Array.from({ length: 31 }, (_, i) => 34 + i) : []
    for (const signal of [...new Set(named), ...more]) {
      process.kill(child.pid as number, signal)
      expect(await next()).toBe(String(signal))
    }
    process.kill(child.pid as number, 'SIGKILL')
    await once(child, 'exit')
    // Nobody waits for it any more.
    await waitFor('the program to end', () => subject.world.running().length === 0)
  })

  test('one that the caller ignores is not', async () => {
    const script = `trap '' HUP; exec '${file}' '${subject.world.control}' /bin/sh -c 'trap "echo hup" HUP; echo $$; read x'`
    const child = spawn('/bin/sh', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] })
    const out: string[] = []
    child.stdout?.on('data', (text: Buffer) => out.push(text.toString()))
    await waitFor('the program', () => out.length > 0)
    process.kill(child.pid as number, 'SIGHUP')
    child.stdin?.end('\n')
    expect(await once(child, 'close')).toEqual([0, null])
    expect(out.join('')).toMatch(/^\d+\n$/)
  })

  test.for(['HUP', 'INT', 'QUIT', 'ABRT', 'KILL', 'SEGV', 'PIPE', 'TERM', 'USR1', 'XCPU'] as const)(
    'death by SIG%s is the launcher’s',
    async (name) => {
      const { signal, stderr } = await shell(`ulimit -c 0; kill -${name} $$`)
      expect({ signal, stderr }).toEqual({ signal: `SIG${name}`, stderr: '' })
    },
  )

  test('without a core of the launcher', async () => {
    const directory = join(subject.world.directory, 'core')
    mkdirSync(directory, { recursive: true })
    const script = `ulimit -c unlimited; exec '${file}' '${subject.world.control}' /bin/sh -c 'ulimit -c 0; kill -SEGV $$'`
    const { signal } = await run('/bin/bash', ['-c', script], { cwd: directory })
    expect(signal).toBe('SIGSEGV')
    expect(readdirSync(directory)).toEqual([])
  })

  test('a stop is the launcher’s too, and so is going on', async () => {
    const child = spawn(
      file,
      [subject.world.control, '/bin/sh', '-c', 'echo $$; read x; kill -STOP $$; echo on'],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    )
    const out: string[] = []
    child.stdout?.on('data', (text: Buffer) => out.push(text.toString()))
    await waitFor('the program', () => out.length > 0)
    child.stdin?.write('\n')
    await waitFor('the stop', () => statusOf(child.pid as number, 'State').startsWith('T'))
    process.kill(child.pid as number, 'SIGCONT')
    expect(await once(child, 'close')).toEqual([0, null])
    expect(out.join('')).toMatch(/^\d+\non\n$/)
  })

  test('a launcher that is killed ends the program', async () => {
    const child = spawn(file, [subject.world.control, '/bin/sh', '-c', 'trap "" HUP; echo $$; sleep 1000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = (await once(child.stdout as Readable, 'data')) as [Buffer]
    process.kill(child.pid as number, 'SIGKILL')
    await waitFor('the program to end', () => !isAlive(Number(line)))
  })

  test('what runs longer than its route allows is ended', async () => {
    subject.world.answer = { route: { limits: { seconds: 0.2 } } }
    expect((await shell('sleep 1000')).signal).toBe('SIGTERM')
    expect((await shell('trap "" TERM; while :; do sleep 0.1; done')).signal).toBe('SIGKILL')
    subject.world.answer = {}
  })

  test('memory that its route bounds', async () => {
    subject.world.answer = { route: { limits: { memory: 123 * 1024 * 1024 } } }
    // It is bound right after it has begun.
    const script = `until [ "$(ulimit -v)" = ${123 * 1024} ]; do sleep 0.01; done`
    expect((await shell(script, { timeout: 10_000 })).code).toBe(0)
    subject.world.answer = {}
  })

  test('an interpreter of the route runs the payload', async () => {
    const payload = join(subject.world.directory, 'script')
    writeFileSync(payload, 'echo "$0" "$@"')
    subject.world.answer = { payload: () => payload, route: { interpreter: '/bin/sh', kind: 'script' } }
    expect((await launch('/any', ['a', 'b'])).stdout).toBe(`${payload} a b\n`)
    subject.world.answer = {}
  })
})

forBoth('what cannot run', (subject) => {
  const { file, launch } = subject
  const oneLine = /^cosmos: [^\n]+\n$/

  test('is not there: 127', async () => {
    const { code, stderr } = await launch('/nowhere/at/all', [])
    expect({ code, stderr }).toEqual({ code: 127, stderr: 'cosmos: /nowhere/at/all: is not there\n' })
  })

  test('may not be executed, or is no program: 126', async () => {
    const path = join(subject.world.directory, 'plain')
    writeFileSync(path, 'no program')
    expect(await launch(path, [])).toMatchObject({ code: 126, stderr: expect.stringMatching(oneLine) })
    chmodSync(path, 0o755)
    const { code, stderr } = await launch(path, [])
    expect(code).toBe(126)
    expect(stderr).toBe(`cosmos: ${path}: is no program of this machine\n`)
  })

  test('has an interpreter that is missing: 127', async () => {
    const path = join(subject.world.directory, 'orphan')
    writeFileSync(path, '#!/no/interpreter\n', { mode: 0o755 })
    expect(await launch(path, [])).toMatchObject({ code: 127, stderr: expect.stringMatching(oneLine) })
  })

  test('without arguments, or without a daemon: 125', async () => {
    expect(await run(file, [])).toMatchObject({ code: 125, stderr: expect.stringMatching(oneLine) })
    const { code, stderr } = await run(file, [join(subject.world.directory, 'none'), '/bin/true'])
    expect({ code, stderr }).toEqual({ code: 125, stderr: 'cosmos: no daemon is running; cosmos up\n' })
  })

  test('loses its VM: 125, and the program is ended', async () => {
    const script = 'trap "echo heard" USR1; echo $$; while :; do sleep 0.05; done'
    const child = spawn(file, [subject.world.control, '/bin/sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stderr = ''
    child.stderr?.on('data', (text: Buffer) => {
      stderr += text
    })
    const [line] = (await once(child.stdout as Readable, 'data')) as [Buffer]
    // What the launcher is told when the program starts it has been told when a signal has gone this way.
    process.kill(child.pid as number, 'SIGUSR1')
    expect(String((await once(child.stdout as Readable, 'data'))[0])).toBe('heard\n')
    const ended = once(child, 'exit')
    subject.world.vm.kill()
    expect((await ended)[0]).toBe(125)
    await waitFor('the line', () => stderr.endsWith('\n'))
    expect(stderr).toBe('cosmos: VM hostexec: ended before the program did; cosmos log\n')
    await waitFor('the program to end', () => !isAlive(Number(line)))
    subject.world.startVm()
    expect((await launch('/bin/true', [])).code).toBe(0)
  })

  test('a VM whose daemon is gone ends what it runs', async () => {
    const child = spawn(file, [subject.world.control, '/bin/sh', '-c', 'echo $$; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [line] = (await once(child.stdout as Readable, 'data')) as [Buffer]
    const ended = once(child, 'exit')
    await subject.world.vm.end()
    expect((await ended)[0]).toBe(125)
    await waitFor('the program to end', () => !isAlive(Number(line)))
    subject.world.startVm()
  })

  test('the daemon goes while a program runs: it goes on', async () => {
    const world = await LaunchWorld.start()
    try {
      const child = spawn(file, [world.control, '/bin/sh', '-c', 'echo on; read x; exit 5'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      await once(child.stdout as Readable, 'data')
      await world.closeControl()
      child.stdin?.end('\n')
      expect(await once(child, 'exit')).toEqual([5, null])
    } finally {
      await world.stop()
    }
  })
})
