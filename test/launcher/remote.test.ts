// A program that a peer runs: its streams and its end are the launcher's.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { RemoteWorld } from '../support/remote.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'
import { forBothIn, statusOf } from './launchers.ts'

const MIB = 1024 * 1024

/** Waits until a number has been the same for a while: what moves has come to a halt. */
async function still(number: () => number): Promise<void> {
  let [last, times] = [Number.NaN, 0]
  await waitFor('it to halt', () => {
    const now = number()
    times = now === last ? times + 1 : 0
    last = now
    return times === 5
  })
}

forBothIn(
  () => RemoteWorld.start(),
  'a program of a peer',
  (_name, file, world) => {
    const launch = (program: string, args: readonly string[], options = {}) =>
      run(file, [world().control, program, ...args], options)
    const shell = (script: string, options = {}) => launch('/bin/sh', ['-c', script], options)

    test('its streams and its exit code', async () => {
      const { code, stdout, stderr } = await shell('echo out; echo err >&2; exit 3')
      expect({ code, stdout, stderr }).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' })
      expect((await launch('/bin/true', [])).code).toBe(0)
      await waitFor('both ends to be told', () => world().ran.length >= 2)
      expect(world().ran.slice(0, 2)).toEqual([
        { run: expect.stringMatching(/^run-/), exit: { code: 3 } },
        { run: expect.stringMatching(/^run-/), exit: { code: 0 } },
      ])
      await waitFor('nothing to be left', () => world().netrun.running === 0)
    })

    test('it gets arguments, environment and working directory', async () => {
      const env = { ...process.env, WORD: 'grüße\n', PATH: '/usr/bin:/bin' }
      const cwd = world().directory
      const { stdout } = await shell('echo "$0 $1|$WORD|$(pwd)"', { env, cwd })
      expect(stdout).toBe(`/bin/sh |grüße\n|${cwd}\n`)
      const last = world().asked.at(-1)
      expect(last).toMatchObject({ program: '/bin/sh', cwd, terminal: undefined, lend: [] })
      expect(last?.argv.slice(0, 2)).toEqual(['/bin/sh', '-c'])
      await run('/bin/sh', ['-c', `exec '${file}' '${world().control}' /bin/echo "$(printf 'x\\377\\376')"`])
      expect(world().asked.at(-1)?.argv).toEqual(['/bin/echo', 'x\xff\xfe'])
    })

    test('its input ends where the caller’s does', async () => {
      expect((await launch('/bin/cat', [], { input: 'to and fro' })).stdout).toBe('to and fro')
      expect((await launch('/usr/bin/wc', ['-c'], { input: Buffer.alloc(5 * MIB) })).stdout).toBe(
        `${5 * MIB}\n`,
      )
      expect((await launch('/usr/bin/wc', ['-c'])).stdout).toBe('0\n')
      const path = join(world().directory, 'input')
      writeFileSync(path, 'of a file')
      const fd = openSync(path, 'r')
      const child = spawn(file, [world().control, '/bin/cat'], { stdio: [fd, 'pipe', 'inherit'] })
      closeSync(fd)
      expect(String((await once(child.stdout as Readable, 'data'))[0])).toBe('of a file')
    })

    test('it goes on after the end of its input', async () => {
      const { stdout } = await shell('cat; echo end', { input: 'text ' })
      expect(stdout).toBe('text end\n')
    })

    test('closed descriptors are no obstacle', async () => {
      const script = `'${file}' '${world().control}' /bin/sh -c 'exit 4' <&- >&- 2>&-; echo $?`
      expect((await run('/bin/sh', ['-c', script])).stdout).toBe('4\n')
    })

    test('files are written to, appended to and shared', async () => {
      const path = join(world().directory, 'output')
      const script = `'${file}' '${world().control}' /bin/sh -c 'echo one; echo two >&2' >'${path}' 2>&1
        '${file}' '${world().control}' /bin/echo three >>'${path}'; sort '${path}'`
      expect((await run('/bin/sh', ['-c', script])).stdout).toBe('one\nthree\ntwo\n')
    })

    test('a file that takes no more is told, and the program ended', async () => {
      const script = `'${file}' '${world().control}' /usr/bin/yes >/dev/full; echo $?`
      const { stdout, stderr } = await run('/bin/sh', ['-c', script])
      expect({ stdout, stderr }).toEqual({
        stdout: '125\n',
        stderr: 'cosmos: stdout: no space on the disk\n',
      })
      await waitFor('the program to end', () => world().peer.children.size === 0)
    })

    test('100 MB go through in bounded memory while nobody reads', async () => {
      const size = 100 * MIB
      const child = spawn(file, [world().control, '/usr/bin/head', '-c', String(size), '/dev/zero'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const out = child.stdout as Readable
      const call = () => world().calls.at(-1)
      const before = process.memoryUsage().arrayBuffers
      await waitFor('the first bytes', () => out.readableLength > 0)
      await still(() => process.memoryUsage().arrayBuffers + out.readableLength)
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * MIB)
      expect(call()).toBeDefined()
      const peak = Number.parseInt(statusOf(child.pid as number, 'VmHWM'), 10)
      let taken = 0
      for await (const bytes of out) taken += (bytes as Buffer).length
      expect(taken).toBe(size)
      // A launcher in Node is large by itself.
      if (_name === 'C') expect(peak).toBeLessThan(8 * 1024)
    })

    test('a stalled stdout does not stall stderr', async () => {
      const script = 'head -c 30000000 /dev/zero & read x; echo on >&2; wait'
      const child = spawn(file, [world().control, '/bin/sh', '-c', script], { stdio: 'pipe' })
      const ended = once(child, 'exit')
      await waitFor('the first bytes', () => child.stdout.readableLength > 0)
      await still(() => process.memoryUsage().arrayBuffers + child.stdout.readableLength)
      child.stdin.write('\n')
      expect(String((await once(child.stderr, 'data'))[0])).toBe('on\n')
      let taken = 0
      for await (const bytes of child.stdout) taken += (bytes as Buffer).length
      expect(taken).toBe(30_000_000)
      expect(await ended).toEqual([0, null])
    })

    test('a pipe is not made non-blocking for those who share it', async () => {
      const flags = 'grep flags /proc/self/fdinfo/1 >&2; grep flags /proc/self/fdinfo/0 >&2'
      const script = `: | { ${flags}; '${file}' '${world().control}' /bin/echo text; ${flags}; } | cat`
      const { stdout, stderr } = await run('/bin/sh', ['-c', script])
      expect(stdout).toBe('text\n')
      const [out, input, outAfter, inputAfter] = stderr.split('\n')
      expect([outAfter, inputAfter]).toEqual([out, input])
    })

    test('a reader that goes away ends the program by SIGPIPE', async () => {
      const { stdout } = await run('/bin/bash', [
        '-c',
        `'${file}' '${world().control}' /usr/bin/yes | head -n1; echo \${PIPESTATUS[0]}`,
      ])
      expect(stdout).toBe('y\n141\n')
    })

    test('a reader of stdout that goes away leaves the rest: stderr and the code', async () => {
      const script = 'trap "" PIPE; while echo y; do :; done 2>/dev/null; echo heard >&2; exit 7'
      const { stdout, stderr } = await run('/bin/bash', [
        '-c',
        `'${file}' '${world().control}' /bin/sh -c '${script}' | head -n1; echo \${PIPESTATUS[0]}`,
      ])
      expect({ stdout, stderr }).toEqual({ stdout: 'y\n7\n', stderr: 'heard\n' })
    })

    test('a program that reads no more ends its writer, before it ends itself', async () => {
      const go = join(world().directory, 'go')
      const program = `read x; exec <&-; echo $x; until [ -e ${go} ]; do sleep 0.02; done; exit 4`
      const { stdout } = await run('/bin/bash', [
        '-c',
        `{ yes; echo $? >${go}; } | '${file}' '${world().control}' /bin/sh -c '${program}'; echo $? $(cat ${go})`,
      ])
      expect(stdout).toBe('y\n4 141\n')
      rmSync(go)
    })

    test('what is not read is taken from the input up to a bound', async () => {
      const child = spawn(file, [world().control, '/bin/sleep', '1000'], {
        stdio: ['pipe', 'inherit', 'inherit'],
      })
      child.stdin.on('error', () => {})
      for (let i = 0; i < 800; i++) child.stdin.write(Buffer.alloc(64 * 1024))
      await waitFor('the program', () => world().peer.children.size > 0)
      await still(() => child.stdin.writableLength)
      expect(child.stdin.writableLength).toBeGreaterThan(40 * MIB)
      child.kill()
      expect(await once(child, 'exit')).toEqual([null, 'SIGTERM'])
    })

    test('many at once', async () => {
      const count = _name === 'C' ? 60 : 8
      const results = await Promise.all(
        Array.from({ length: count }, (_, i) => shell(`cat; exit ${i}`, { input: `text ${i}` })),
      )
      expect(results.map(({ code, stdout }) => [code, stdout])).toEqual(
        results.map((_, i) => [i, `text ${i}`]),
      )
      await waitFor('nothing to be left', () => world().netrun.running === 0)
    })
  },
)
