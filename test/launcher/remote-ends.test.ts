// Signals to and from a program that a peer runs, and what is said where it cannot run or nobody knows how it ended.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterEach, expect, test } from 'vitest'
import { isAlive } from '../../src/daemon/client.ts'
import { CosmosError } from '../../src/errors.ts'
import { encodeFrame } from '../../src/form/msgpack.ts'
import { RemoteWorld } from '../support/remote.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'
import { forBothIn, statusOf } from './launchers.ts'

forBothIn(
  () => RemoteWorld.start(),
  'signals of a program of a peer',
  (_name, file, world) => {
    const shell = (script: string, options = {}) =>
      run(file, [world().control, '/bin/sh', '-c', script], options)

    /** Starts it and waits for its first line. */
    async function begun(script: string): Promise<{ child: ChildProcess; line: string }> {
      const child = spawn(file, [world().control, '/bin/sh', '-c', script], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      const [line] = (await once(child.stdout as Readable, 'data')) as [Buffer]
      return { child, line: String(line).trim() }
    }

    test.for(['INT', 'TERM', 'HUP', 'QUIT', 'USR1', 'USR2', 'CONT', 'ALRM', 'URG'])(
      'SIG%s is forwarded',
      async (name) => {
        const { child } = await begun(
          `trap "echo heard; exit 3" ${name}; echo ready; while :; do sleep 0.02; done`,
        )
        const rest = text(child.stdout as Readable)
        process.kill(child.pid!, `SIG${name}`)
        expect(await once(child, 'exit')).toEqual([3, null])
        expect(await rest).toBe('heard\n')
      },
    )

    test('one that the caller ignores is not', async () => {
      const script = `trap '' HUP; exec '${file}' '${world().control}' /bin/sh -c 'trap "echo hup" HUP; echo on; read x'`
      const child = spawn('/bin/sh', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] })
      const out: string[] = []
      child.stdout?.on('data', (bytes: Buffer) => out.push(bytes.toString()))
      await waitFor('the program', () => out.length > 0)
      process.kill(child.pid!, 'SIGHUP')
      child.stdin?.end('\n')
      expect(await once(child, 'close')).toEqual([0, null])
      expect(out.join('')).toBe('on\n')
    })

    test.for(['HUP', 'INT', 'QUIT', 'ABRT', 'KILL', 'SEGV', 'PIPE', 'TERM', 'USR1', 'XCPU'])(
      'death by SIG%s is the launcher’s',
      async (name) => {
        const { signal, stderr } = await shell(`ulimit -c 0; kill -${name} $$`)
        expect({ signal, stderr }).toEqual({ signal: `SIG${name}`, stderr: '' })
      },
    )

    test('without a core of the launcher', async () => {
      const directory = join(world().directory, 'core')
      mkdirSync(directory, { recursive: true })
      const script = `ulimit -c unlimited; exec '${file}' '${world().control}' /bin/sh -c 'ulimit -c 0; kill -SEGV $$'`
      const { signal } = await run('/bin/bash', ['-c', script], { cwd: directory })
      expect(signal).toBe('SIGSEGV')
      expect(readdirSync(directory)).toEqual([])
    })

    test('SIGTSTP stops both, and SIGCONT lets both go on', async () => {
      const { child, line } = await begun('echo $$; read x; echo "$x"; exit 4')
      const rest = text(child.stdout as Readable)
      process.kill(child.pid!, 'SIGTSTP')
      await waitFor('the launcher to stop', () => statusOf(child.pid!, 'State').startsWith('T'))
      // The program leads a group that nobody could let go on: the kernel does not stop it, but it is told.
      const told = () =>
        world()
          .peer.events.filter(([op]) => op === 'signal')
          .map(([, args]) => args)
      const last = (signal: number) => (): boolean =>
        (told().at(-1) as { signal?: number })?.signal === signal
      await waitFor('the program to be told', last(20))
      process.kill(child.pid!, 'SIGCONT')
      await waitFor('the program to be told that it goes on', last(18))
      child.stdin?.end('on\n')
      expect(await once(child, 'exit')).toEqual([4, null])
      expect(await rest).toBe('on\n')
      expect(told().slice(-2)).toEqual([
        { signal: 20, group: true },
        { signal: 18, group: true },
      ])
      expect(isAlive(Number(line))).toBe(false)
    })

    test('a launcher that is killed ends the program', async () => {
      const { child, line } = await begun('trap "" HUP; echo $$; sleep 1000')
      process.kill(child.pid!, 'SIGKILL')
      await waitFor('the program to end', () => !isAlive(Number(line)))
      await waitFor('nothing to be left', () => world().netrun.running === 0)
    })

    test('a launcher that is killed has not ended the program’s input', async () => {
      const { child, line } = await begun('echo $$; cat >/dev/null; echo ended >ended; sleep 1000')
      child.stdin?.write('text')
      process.kill(child.pid!, 'SIGKILL')
      await waitFor('the program to end', () => !isAlive(Number(line)))
      expect(readdirSync(world().directory)).not.toContain('ended')
    })

    test('a signal that comes while its output is read slowly ends what is left', async () => {
      const child = spawn(file, [world().control, '/usr/bin/head', '-c', '1100000', '/dev/zero'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      // A session keeps as much, and the pipes.
      await waitFor('it to be full', () => (child.stdout as Readable).readableLength > 0)
      await waitFor('the program to end', () => world().peer.children.size === 0)
      // The launcher learns of it a moment later.
      await waitFor('the launcher to end', () => {
        child.kill('SIGTERM')
        return child.signalCode !== null || child.exitCode !== null
      })
      expect([child.signalCode, child.exitCode]).toEqual(['SIGTERM', null])
      await waitFor('nothing to be left', () => world().netrun.running === 0)
    })
  },
)

forBothIn(
  () => RemoteWorld.start(),
  'what cannot run at a peer',
  (_name, file, world) => {
    const launch = (...args: string[]) => run(file, [world().control, ...args])
    afterEach(async () => {
      world().open = (request) => world().call(request)
    })

    test('is not there: 127', async () => {
      expect(await launch('/nowhere/at/all')).toMatchObject({
        code: 127,
        stdout: '',
        stderr: 'cosmos: /nowhere/at/all: is not there\n',
      })
    })

    test.for([
      ['EACCES', 126, 'may not be run by this peer; on its host: cosmos grant'],
      ['EHOSTDOWN', 125, 'the host is down'],
      ['EAGAIN', 125, 'too many run'],
    ] as const)('is refused as %s: %d', async ([code, exit, why]) => {
      const [reason = '', hint] = why.split('; ')
      world().open = () => {
        throw new CosmosError(code, 'b'.repeat(64), reason, hint)
      }
      const { code: ended, stderr } = await launch('/bin/true')
      expect({ ended, stderr }).toEqual({ ended: exit, stderr: `cosmos: me@B: ${why}\n` })
    })

    test('an error of the daemon is one line, and logged', async () => {
      world().open = async () => {
        throw new Error('surprise')
      }
      const { code, stderr } = await launch('/bin/true')
      expect(code).toBe(125)
      expect(stderr).toBe('cosmos: daemon: internal error: surprise; cosmos log\n')
      expect(world().logged).toContain('netrun: surprise')
    })

    test('an answer that is no end of a program: 125', async () => {
      for (const answer of [null, {}, { code: 256 }, { signal: 0 }, { signal: 65 }, 'no']) {
        world().open = (request) => {
          const call = world().call(request)
          return {
            ...call,
            writers: call.writers,
            readers: call.readers,
            result: call.result.then(() => answer),
            notify() {},
            cancel() {},
          }
        }
        const { code, stderr } = await launch('/bin/true')
        expect({ code, stderr }).toEqual({
          code: 125,
          stderr: 'cosmos: peer: answered nothing that a program ends by\n',
        })
      }
    })

    /** A launcher whose call is not made before `go`. */
    async function startHeld(): Promise<{ child: ChildProcess; go: () => void }> {
      const { promise: gate, resolve: go } = Promise.withResolvers<void>()
      let asked = false
      world().open = async (request) => {
        asked = true
        await gate
        return world().call(request)
      }
      const child = spawn(file, [world().control, '/bin/sleep', '1000'], { stdio: 'ignore' })
      await waitFor('it to be asked', () => asked)
      return { child, go }
    }

    test('signals that come before there is a call are not lost', async () => {
      const { child, go } = await startHeld()
      process.kill(child.pid!, 'SIGTERM')
      const ended = once(child, 'exit')
      // The connection keeps order: what was sent before this was taken.
      process.kill(child.pid!, 'SIGUSR1')
      await new Promise(setImmediate)
      go()
      const [code, signal] = (await ended) as [number | null, string | null]
      expect(code).toBeNull()
      expect(['SIGTERM', 'SIGUSR1']).toContain(signal)
    })

    test('a launcher that goes while the call is made: it is cancelled', async () => {
      const { child, go } = await startHeld()
      child.kill('SIGKILL')
      await waitFor('nothing to be left', () => world().netrun.running === 0)
      const before = world().calls.length
      go()
      await waitFor('the call', () => world().calls.length > before)
      await expect(world().calls.at(-1)!.result).rejects.toMatchObject({ code: 'ECANCELED' })
    })

    test('the peer is lost: 125, and that nobody knows', async () => {
      const child = spawn(file, [world().control, '/bin/sh', '-c', 'echo on; exec sleep 1000'], {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const stderr = text(child.stderr as Readable)
      await once(child.stdout as Readable, 'data')
      world().cut()
      expect(await once(child, 'exit')).toEqual([125, null])
      expect(await stderr).toMatch(/^cosmos: me@B: outcome unknown: exec was sent, and [^\n]*\n$/)
      await waitFor('the program to end', () => world().peer.children.size === 0)
      // Not even asked.
      const { code, stderr: down } = await launch('/bin/true')
      expect(code).toBe(125)
      expect(down).toMatch(/^cosmos: me@B: [^\n]*\n$/)
      await world().connect()
      expect((await launch('/bin/true')).code).toBe(0)
    })

    test('the daemon goes: 125, and that nobody knows', async () => {
      const other = await RemoteWorld.start()
      try {
        const child = spawn(file, [other.control, '/bin/sh', '-c', 'echo on; exec sleep 1000'], {
          stdio: ['ignore', 'pipe', 'pipe'],
        })
        const stderr = text(child.stderr as Readable)
        await once(child.stdout as Readable, 'data')
        await other.netrun.close()
        expect(await once(child, 'exit')).toEqual([125, null])
        expect(await stderr).toBe('cosmos: me@B: outcome unknown: the daemon ended; cosmos log\n')
        const { code, stderr: gone } = await run(file, [other.control, '/bin/true'])
        expect(code).toBe(125)
        expect(gone).toMatch(/^cosmos: me@B: (is not there|nobody listens)[^\n]*; cosmos log\n$/)
      } finally {
        await other.stop()
      }
    })

    test('a daemon that answers nonsense: 125', async () => {
      const hello = encodeFrame({ version: 1 })
      const answers: Buffer[] = [
        Buffer.alloc(0),
        Buffer.alloc(4),
        Buffer.from([0xff, 0xff, 0xff, 0xff, 1]),
        encodeFrame([1]),
        encodeFrame({ version: 2 }),
        encodeFrame({ exit: { code: 0 } }),
        encodeFrame({ error: { code: 'EPERM', message: 'netrun: no' } }),
        hello,
        Buffer.concat([hello, Buffer.alloc(4)]),
        Buffer.concat([hello, encodeFrame({ exit: 1 })]),
        Buffer.concat([hello, encodeFrame({ exit: { code: 256 } })]),
        Buffer.concat([hello, encodeFrame({ exit: { signal: 0 } })]),
        Buffer.concat([hello, encodeFrame({ error: 'no' })]),
      ]
      for (const answer of answers) {
        const path = join(world().directory, 'nonsense')
        const server = createServer((socket) => {
          socket.on('error', () => {})
          socket.on('data', (greeting: Buffer) => socket.end(greeting.includes('control') ? answer : ''))
        })
        await new Promise<void>((resolve) => server.listen(path, resolve))
        const control = join(world().directory, 'control-nonsense')
        const daemon = createServer((socket) => {
          socket.on('error', () => {})
          socket.resume()
          socket.write(hello)
          socket.write(
            encodeFrame({
              id: 1,
              ok: { vm: 'netrun', socket: path, run: 'r', remote: { token: 't', peer: 'me@B' } },
            }),
          )
        })
        await new Promise<void>((resolve) => daemon.listen(control, resolve))
        try {
          const { code, stdout, stderr } = await run(file, [control, '/bin/true'], { timeout: 20_000 })
          expect({ code, stdout }, String(answer)).toEqual({ code: 125, stdout: '' })
          expect(stderr).toMatch(/^cosmos: [^\n]*\n$/)
        } finally {
          server.close()
          daemon.close()
        }
      }
    }, 60_000)

    test('an answer of `launch` that has no place or no token: 125', async () => {
      const good = { vm: 'netrun', socket: '/nowhere', run: 'r', remote: { token: 't', peer: 'me@B' } }
      for (const answer of [
        { ...good, remote: {} },
        { ...good, remote: { token: 't'.repeat(300), peer: 'me@B' } },
        { ...good, socket: undefined },
        good,
      ]) {
        const control = join(world().directory, 'control-odd')
        const daemon = createServer((socket) => {
          socket.on('error', () => {})
          socket.resume()
          socket.write(Buffer.concat([encodeFrame({ version: 1 }), encodeFrame({ id: 1, ok: answer })]))
        })
        await new Promise<void>((resolve) => daemon.listen(control, resolve))
        try {
          const { code, stderr } = await run(file, [control, '/bin/true'])
          expect(code).toBe(125)
          expect(stderr).toMatch(/^cosmos: [^\n]*; cosmos log\n$/)
        } finally {
          daemon.close()
        }
      }
    })
  },
)
