// A run that is recorded: what the program writes reaches its caller as ever, and the record up to its limit.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isAlive } from '../../src/daemon/client.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'
import { forBoth } from './launchers.ts'

const LIMIT = 100_000

forBoth('a recorded run', (subject) => {
  const { file, shell } = subject
  const recorded = (name: string): string => readFileSync(join(subject.world.record, name), 'latin1')

  beforeEach(() => {
    subject.world.answer = { recordLimit: LIMIT }
  })
  afterEach(() => {
    for (const name of ['stdout', 'stderr']) rmSync(join(subject.world.record, name), { force: true })
  })

  test('both streams, and the exit', async () => {
    const { code, stdout, stderr } = await shell('echo out; echo err >&2; exit 3')
    expect({ code, stdout, stderr }).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' })
    expect([recorded('stdout'), recorded('stderr')]).toEqual(['out\n', 'err\n'])
  })

  test('beyond the limit the caller gets all', async () => {
    const { stdout } = await shell('seq 1 200000')
    const native = await run('seq', ['1', '200000'])
    expect(stdout === native.stdout).toBe(true)
    expect(recorded('stdout')).toBe(native.stdout.slice(0, LIMIT))
  })

  test('is there while the program runs', async () => {
    const child = spawn(file, [subject.world.control, '/bin/sh', '-c', 'echo first; read x; echo last'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const out = text(child.stdout as Readable)
    await waitFor('the first line', () => recorded('stdout') === 'first\n')
    child.stdin?.end('\n')
    expect(await out).toBe('first\nlast\n')
    await waitFor('the last line', () => recorded('stdout') === 'first\nlast\n')
  })

  test('a reader that goes away ends the program by SIGPIPE', async () => {
    const { stdout } = await run('/bin/bash', [
      '-c',
      `'${file}' '${subject.world.control}' /usr/bin/yes | head -n1; echo \${PIPESTATUS[0]}`,
    ])
    expect(stdout).toBe('y\n141\n')
  })

  test('a slow reader holds the program up, and signals still reach it', async () => {
    const child = spawn(file, [subject.world.control, '/usr/bin/yes'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await waitFor('the record', () => recorded('stdout').length === LIMIT)
    process.kill(child.pid as number, 'SIGTERM')
    const ended = once(child, 'exit')
    child.stdout?.resume()
    expect(await ended).toEqual([null, 'SIGTERM'])
  })

  test('what is left in the background does not hold the end up', async () => {
    const child = spawn(file, [subject.world.control, '/bin/sh', '-c', 'sleep 1000 & echo $!'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = (await once(child.stdout as Readable, 'data')) as [Buffer]
    if (child.exitCode === null) expect(await once(child, 'exit')).toEqual([0, null])
    expect(isAlive(Number(line))).toBe(true)
    process.kill(Number(line), 'SIGKILL')
  })

  test('a record that cannot be made fails the run: 125', async () => {
    subject.world.answer = { recordLimit: LIMIT, recordDirectory: '/nowhere' }
    const { code, stderr } = await shell('echo on')
    expect(code).toBe(125)
    expect(stderr).toMatch(/^cosmos: \/nowhere\/std(out|err): [^\n]*\n$/)
  })
})
