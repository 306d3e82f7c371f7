// Programs that run for a peer, in a sandbox and without one: streams, terminal, signals, ends, and what is left over.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitFor, within } from '../support/wait.ts'
import { Kept, keptStreams, openInput, PEER, PeerHost, whyNoBubblewrap } from './peer-programs.ts'

const skip = await whyNoBubblewrap()
const sh = (script: string) => ['/bin/sh', '-c', script]
let host: PeerHost
beforeAll(() => {
  host = new PeerHost()
})
afterAll(() => host.stop())

/** Processes whose arguments hold this text, this one not. */
const processesWith = (text: string): string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) &&
        Number(pid) !== process.pid &&
        readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(text)
      )
    } catch {
      return false
    }
  })

describe.each([
  ['without a sandbox', 'exec-bare', undefined],
  ['in a sandbox', 'exec', skip],
])('a program %s', (_, operation, why) => {
  const rules = [`${operation}:/usr`]
  describe.skipIf(why)(why ?? 'runs', () => {
    test('streams, arguments, environment and exit code', async () => {
      const request = {
        argv: [
          ...sh('printf "%s " "$@" "$LANG" "$LD_X"; cat; echo bad >&2; exit 3'),
          'sh',
          'a b',
          'caf\xc3\xa9',
        ],
      }
      const left = await host.run(rules, { ...request, env: ['LANG=C', 'LD_X=1'] }, 'input')
      expect(left).toEqual({ exit: { code: 3 }, stdout: 'a b caf\xc3\xa9 C  input', stderr: 'bad\n' })
    })

    test('death by a signal', async () => {
      expect(await host.run(rules, { argv: sh('kill -SEGV $$') })).toMatchObject({ exit: { signal: 11 } })
      expect(await host.run(rules, { argv: sh('kill -KILL $$') })).toMatchObject({ exit: { signal: 9 } })
    })

    test('100 MB go through, and no more is read than is taken', async () => {
      const size = 100_000_000
      let taken = 0
      let most = 0
      const streams = keptStreams()
      let release = () => {}
      const stalled = new Promise<void>((resolve) => {
        release = resolve
      })
      const stdout = new Writable({
        write(chunk: Buffer, _, done) {
          taken += chunk.length
          if (taken === chunk.length) void stalled.then(() => done())
          else done()
        },
      })
      const before = process.memoryUsage().arrayBuffers
      const run = await host.start(
        rules,
        { argv: ['/usr/bin/head', '-c', String(size), '/dev/zero'] },
        { ...streams, stdout },
      )
      await waitFor('the reader to have something', () => taken > 0)
      // The program waits: its pipe is full, and nobody takes what comes out.
      await waitFor('the writer to wait', () =>
        processesWith(`head\0-c\0${size}`).some((pid) =>
          /^State:\s+S/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')),
        ),
      )
      most = process.memoryUsage().arrayBuffers - before
      expect(most).toBeLessThan(16 * 1024 * 1024)
      release()
      expect((await run.result).exit).toEqual({ code: 0 })
      expect(taken).toBe(size)
    })

    test('the end of input is told, and output may go on after it', async () => {
      const input = openInput()
      const streams = keptStreams(input)
      const run = await host.start(rules, { argv: sh('cat; echo after') }, streams)
      input.write('first ')
      await waitFor('the first words', () => streams.stdout.text === 'first ')
      input.end('last ')
      expect((await run.result).exit).toEqual({ code: 0 })
      expect(streams.stdout.text).toBe('first last after\n')
    })

    test('who reads no more ends the writer; who writes on to one that ended is told', async () => {
      const streams = keptStreams()
      const stdout = new Writable({
        write(_chunk, _encoding, done) {
          done()
          this.destroy()
        },
      })
      const run = await host.start(rules, { argv: ['/usr/bin/yes'] }, { ...streams, stdout })
      expect((await run.result).exit).toEqual({ signal: 13 })
      const endless = new Readable({
        read() {
          this.push(Buffer.alloc(65_536))
        },
      })
      expect(await host.run(rules, { argv: ['/bin/true'] }, endless)).toMatchObject({ exit: { code: 0 } })
      await waitFor('the source to be told', () => endless.destroyed)
    })

    test('signals reach the program and what it runs, also those that are early', async () => {
      const streams = keptStreams(openInput())
      const run = await host.start(
        rules,
        { argv: sh('trap "echo got; exit 5" TERM; echo ready; sleep 7157 & wait') },
        streams,
      )
      await waitFor('the trap', () => streams.stdout.text === 'ready\n')
      run.signal(15)
      expect((await run.result).exit).toEqual({ code: 5 })
      expect(streams.stdout.text).toBe('ready\ngot\n')
      const early = await host.start(rules, { argv: ['/usr/bin/sleep', '1000'] }, keptStreams())
      early.signal(2)
      expect((await within(10_000, 'an early signal', early.result)).exit).toEqual({ signal: 2 })
    })

    test('it is stopped and goes on', async () => {
      const input = openInput()
      const streams = keptStreams(input)
      const run = await host.start(
        rules,
        { argv: sh('echo 8151; exec cat /dev/stdin /dev/fd/0 - # 8151') },
        streams,
      )
      await waitFor('it to run', () => streams.stdout.text === '8151\n')
      const state = () =>
        processesWith('cat\0/dev/stdin\0/dev/fd/0').map(
          (pid) => /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1],
        )
      await waitFor('cat', () => state().includes('S'))
      run.signal(20)
      await waitFor('the stop', () => state().includes('T'))
      run.signal(18)
      input.end('more')
      expect((await run.result).exit).toEqual({ code: 0 })
      expect(streams.stdout.text).toBe('8151\nmore')
    })

    test('a terminal: its size, its changes, Ctrl-C, job control', async () => {
      const input = openInput()
      const streams = keptStreams(input)
      const script = `$| = 1; $SIG{WINCH} = sub { print \`stty size\` }; $SIG{INT} = sub { print "int\\n" };
        print \`stty -echo; stty size\`; open T, ">/dev/tty"; print T "x\\n"; close T; print "ready\\n";
        while (<STDIN>) { chomp; print "<$_>\\n" } exit 6`
      const argv = ['/usr/bin/perl', '-e', script]
      const run = await host.start(
        rules,
        { argv, env: ['TERM=xterm'], terminal: { rows: 30, columns: 90 } },
        streams,
      )
      await waitFor('the terminal', () => streams.stdout.text.endsWith('ready\r\n'))
      expect(streams.stdout.text).toBe('30 90\r\nx\r\nready\r\n')
      run.resize({ rows: 40, columns: 100 })
      await waitFor('the new size', () => streams.stdout.text.includes('40 100\r\n'))
      input.write('line\n')
      await waitFor('the line', () => streams.stdout.text.includes('<line>\r\n'))
      input.write('\x03')
      await waitFor('the interrupt', () => streams.stdout.text.includes('int\r\n'))
      input.end()
      expect((await within(10_000, 'the end of input', run.result)).exit).toEqual({ code: 6 })
      expect(streams.stderr.text).toBe('')
      expect(streams.stderr.writableFinished).toBe(true)
    })

    test('it has no descriptors but its streams', async () => {
      const { stdout } = await host.run(rules, { argv: sh('cd /proc/self/fd; echo *') })
      expect(stdout).toMatch(/^0 1 2( 3)?\n$/)
    })

    test('its time is over: told to end, then killed, with all it has started', async () => {
      const [gentle, deaf] = [
        `${operation}:/usr:time=1`,
        'trap "" TERM HUP; sleep 7151 & sleep 7151; sleep 7151; sleep 7151',
      ]
      expect(await host.run([gentle], { argv: sh('trap "exit 7" TERM; sleep 7152 & wait') })).toMatchObject({
        exit: { code: 7 },
        ended: 'time',
      })
      const left = await within(20_000, 'the kill', host.run([gentle], { argv: sh(deaf) }))
      expect(left).toMatchObject({ exit: { signal: 9 }, ended: 'time' })
      await waitFor('nothing to be left', () => processesWith('sleep\x007151').length === 0)
      await waitFor('nothing to be left', () => processesWith('sleep\x007152').length === 0)
    })

    test('the caller is gone: it ends, though it ignores it, and nothing is left', async () => {
      const run = await host.start(
        rules,
        { argv: sh('trap "" HUP TERM; (sleep 7153 & sleep 7153) & sleep 7153; sleep 7153') },
        keptStreams(openInput()),
      )
      await waitFor('all processes', () => processesWith('sleep\x007153').length >= 3)
      host.programs.endFor(PEER.id)
      const result = await within(10_000, 'the end', run.result)
      expect(result.ended).toBe('cancelled')
      await waitFor('nothing to be left', () => processesWith('sleep\x007153').length === 0)
    })

    test('what it leaves in the background ends with it', async () => {
      const left = await within(10_000, 'the end', host.run(rules, { argv: sh('sleep 7154 & exit 0') }))
      expect(left.exit).toEqual({ code: 0 })
      await waitFor('nothing to be left', () => processesWith('sleep\x007154').length === 0)
      const request = {
        argv: ['/bin/bash', '-ic', 'set -m; sleep 7155 & sleep 7155 & exit 0'],
        terminal: { rows: 9, columns: 9 },
      }
      await within(10_000, 'the end', host.run(rules, request))
      await waitFor('nothing to be left', () => processesWith('sleep\x007155').length === 0)
    })

    test('a limit of memory, and of what a file may hold', async () => {
      const bounded = [`${operation}:/usr:memory=200M,filesize=4K`]
      const hog = await host.run(bounded, {
        argv: ['/usr/bin/perl', '-e', 'my $x = "a" x 1e9; print length $x'],
      })
      expect(hog.stdout).toBe('')
      expect(hog.exit).not.toEqual({ code: 0 })
      const path = join(operation === 'exec' ? '/tmp' : host.base, 'big')
      const big = await host.run(bounded, { argv: sh(`exec /usr/bin/head -c 100000 /dev/zero >${path}`) })
      expect(big.exit).toEqual({ signal: 25 })
    })

    test("the less of the grant's and the caller's limits holds", async () => {
      const argv = ['/usr/bin/sleep', '1000']
      expect(await host.run([`${operation}:/usr:time=900`], { argv, limits: { time: 1 } })).toMatchObject({
        ended: 'time',
      })
      expect(await host.run([`${operation}:/usr:time=1`], { argv, limits: { time: 900 } })).toMatchObject({
        ended: 'time',
      })
    })

    test('it works in the directory that is lent', async () => {
      const lentHost = join(host.base, `lent ${operation}`)
      mkdirSync(join(lentHost, 'sub'), { recursive: true })
      chmodSync(join(lentHost, 'sub'), 0o777)
      writeFileSync(join(lentHost, 'sub/in'), 'input')
      const lent = [{ host: lentHost, at: '/home/u/proj', writable: true }]
      const left = await host.run(rules, {
        argv: sh('cat in; echo out >out; pwd'),
        cwd: '/home/u/proj/sub',
        lent,
      })
      expect(left.stderr).toBe('')
      expect(left.stdout).toBe(`input${operation === 'exec' ? '/home/u/proj/sub' : `${lentHost}/sub`}\n`)
      expect(readFileSync(join(lentHost, 'sub/out'), 'utf8')).toBe('out\n')
      for (const cwd of ['/home/u', '/home/u/proj/../..', '/home/u/project'])
        await expect(host.start(rules, { argv: sh('pwd'), cwd, lent })).rejects.toMatchObject({
          code: 'EINVAL',
        })
    })

    test('a name that is a link stays the name', async () => {
      const bin = join(host.base, `bin-${operation}`)
      mkdirSync(bin, { recursive: true })
      writeFileSync(join(bin, 'tool'), '#!/bin/sh\necho "$0"\n', { mode: 0o755 })
      symlinkSync('tool', join(bin, 'alias'))
      const { stdout } = await host.run([`${operation}:${bin}`], { argv: [join(bin, 'alias')] })
      expect(stdout).toBe(`${join(bin, 'alias')}\n`)
    })
  })
})

test('what is not granted is refused and logged, and so is what cannot be run', async () => {
  const refusals: [request: Parameters<PeerHost['start']>[1], rules: string[], code: string][] = [
    [{ argv: ['/usr/bin/true'] }, [], 'EACCES'],
    [{ argv: ['/usr/bin/true'] }, ['read:/'], 'EACCES'],
    [{ argv: ['/usr/bin/true'] }, ['exec:/usr', 'deny:exec:/usr/bin/true'], 'EACCES'],
    [{ argv: ['/usr/bin/../bin/true'] }, ['exec:/usr', 'deny:exec:/usr/bin/true'], 'EACCES'],
    [{ argv: ['/no/such'] }, ['exec-bare:/'], 'ENOENT'],
    [{ argv: ['/etc/passwd'] }, ['exec-bare:/'], 'EACCES'],
    [{ argv: ['/usr'] }, ['exec-bare:/'], 'EACCES'],
  ]
  for (const [request, rules, code] of refusals)
    await expect(host.start(rules, request)).rejects.toMatchObject({ code })
  const refused = (await host.audited()).filter(
    ({ what, visitor }) => what === 'refused' && visitor === PEER.id,
  )
  expect(refused.map(({ path }) => path)).toEqual(
    expect.arrayContaining(refusals.map(([{ argv }]) => argv[0])),
  )
})

test("a link is judged by what it leads to, or by its name in this host's cosm", async () => {
  const link = join(host.base, 'link')
  symlinkSync('/usr/bin/echo', link)
  await expect(host.start([`exec-bare:${host.base}`], { argv: [link] })).rejects.toMatchObject({
    code: 'EACCES',
  })
  expect(await host.run(['exec-bare:/usr/bin'], { argv: [link, 'x'] })).toMatchObject({ stdout: 'x\n' })
  const named = { argv: [link, 'y'], name: '.cosm/bin/echo' }
  expect(await host.run(['exec-bare:.cosm/bin'], named)).toMatchObject({ stdout: 'y\n' })
})

test('an execution is in the audit log, with the digest of what ran', async () => {
  await host.run(['exec-bare:/usr/bin'], { argv: ['/usr/bin/env', 'sh', '-c', 'exit 9'] })
  const line = await waitFor('the line', async () => (await host.audited()).find(({ exit }) => exit === '9'))
  expect(line).toMatchObject({
    what: 'executed',
    visitor: PEER.id,
    path: '/usr/bin/env',
    vm: 'hostexec',
    sandboxed: false,
  })
  expect(line.digest).toMatch(/^[0-9a-f]{64}$/)
})

test('too many at a time are refused, and all can be ended', async () => {
  const runs = []
  for (let i = 0; i < 128; i++)
    runs.push(
      await host.start(
        ['exec-bare:/usr'],
        { argv: ['/usr/bin/sleep', '7156'] },
        { stdin: openInput(), stdout: new Kept(), stderr: new Kept() },
      ),
    )
  await expect(host.start(['exec-bare:/usr'], { argv: ['/bin/true'] })).rejects.toMatchObject({
    code: 'EAGAIN',
  })
  host.programs.endFor(PEER.id)
  await within(20_000, 'all ends', Promise.all(runs.map(({ result }) => result)))
  await waitFor('nothing to be left', () => processesWith('sleep\x007156').length === 0)
})

test('too many at a time are refused while they are being prepared, too', async () => {
  const asked = Array.from({ length: 200 }, () =>
    host.start(
      ['exec-bare:/usr'],
      { argv: ['/usr/bin/sleep', '7157'] },
      { stdin: openInput(), stdout: new Kept(), stderr: new Kept() },
    ),
  )
  const started = (await Promise.allSettled(asked)).filter((each) => each.status === 'fulfilled')
  expect(started.length).toBeLessThanOrEqual(128)
  host.programs.endFor(PEER.id)
  await within(20_000, 'all ends', Promise.all(started.map(({ value }) => value.result)))
})

test('what is ended while it is being prepared is not begun', async () => {
  const rules = skip ? ['exec-bare:/usr'] : ['exec:/usr']
  const marker = join(host.base, 'begun')
  const starting = host.start(['write:/tmp', ...rules], { argv: ['/usr/bin/touch', marker] })
  host.programs.endFor(PEER.id)
  await expect(starting).rejects.toMatchObject({ code: 'ECANCELED' })
  expect(existsSync(marker)).toBe(false)
})

test('runs leave no descriptors', async () => {
  const rules = skip ? ['exec-bare:/usr'] : ['exec:/usr']
  await host.run(rules, { argv: ['/bin/true'] })
  const before = readdirSync('/proc/self/fd').length
  for (let i = 0; i < 30; i++) {
    await host.run(rules, {
      argv: ['/bin/true'],
      ...(i % 3 === 0 ? { terminal: { rows: 1, columns: 1 } } : {}),
    })
    await host.start([], { argv: ['/bin/true'] }).catch(() => {})
  }
  await waitFor('descriptors to be closed', () => readdirSync('/proc/self/fd').length <= before)
})
