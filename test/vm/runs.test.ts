// Result frames: what was executed, while it runs and after.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { waitFor } from '../support/wait.ts'

const skip = whyNoMount()

interface Run {
  id: string
  argv: string[]
  vm: string
  exit?: string
}

describe.skipIf(skip)(`result frames${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  let shown: string
  beforeAll(async () => {
    instance = await CosmosInstance.start()
    shown = join(instance.mount, '.cosm/run')
  })
  afterAll(() => instance.stop())

  const runs = async (): Promise<Run[]> => JSON.parse(await instance.tell('run', 'list', '--json')) as Run[]
  const newest = async (): Promise<Run> => (await runs()).at(-1) as Run

  test('a frame has the streams, the exit and what it takes to do it again', async () => {
    const script = 'echo out; echo err >&2; exit 5'
    const result = await instance.cosmos(['exec', '/bin/sh', '-c', script], { env: { MARK: 'yes' } })
    expect(result).toMatchObject({ code: 5, stdout: 'out\n', stderr: 'err\n' })
    const { id } = await waitFor('the exit', async () => {
      const run = await newest()
      return run?.exit === '5' && run
    })
    const file = (name: string): string => readFileSync(join(shown, id, name), 'utf8')
    expect(file('stdout')).toBe('out\n')
    expect(file('stderr')).toBe('err\n')
    expect(file('exit')).toBe('5\n')
    expect(file('argv')).toBe(`/bin/sh\0-c\0${script}\0`)
    expect(file('env')).toContain('\0MARK=yes\0')
    expect(file('vm')).toBe('hostexec\n')
    expect(file('peer')).toBe('local\n')
    expect(await instance.tell('run', 'show', id)).toContain('hostexec')
  })

  test('the output of one that runs can be followed', async () => {
    const go = join(instance.work, 'go')
    const running = instance.cosmos([
      'exec',
      '/bin/sh',
      '-c',
      'echo first; while ! [ -e "$1" ]; do :; done; echo second',
      'sh',
      go,
    ])
    const { id } = await waitFor('the run', async () => {
      const run = await newest()
      return run?.argv.at(-1) === go && run
    })
    await waitFor('its first line', async () => readFileSync(join(shown, id, 'stdout'), 'utf8') === 'first\n')
    expect(existsSync(join(shown, id, 'exit'))).toBe(false)
    writeFileSync(go, '')
    expect((await running).stdout).toBe('first\nsecond\n')
    expect(readFileSync(join(shown, id, 'stdout'), 'utf8')).toBe('first\nsecond\n')
  })

  test('a rerun gives the same bytes, and the same exit', async () => {
    const script = 'printf "%s " "$@" "$PWD" "$MARK"; head -c 100000 /dev/zero | tr "\\0" x; exit 3'
    const first = await instance.cosmos(['exec', '/bin/sh', '-c', script, 'sh', 'a b', 'ü'], {
      cwd: instance.work,
      env: { MARK: 'mark' },
    })
    const { id } = await waitFor('the frame', async () => {
      const run = await newest()
      return run?.argv.at(-1) === 'ü' && run
    })
    const again = await instance.cosmos(['run', 'rerun', id])
    expect(again.code).toBe(3)
    expect(again.stdout === first.stdout).toBe(true)
    expect(again.stdout).toContain(`a b ü ${instance.work} mark `)
  })

  test('one that a signal ended, and one whose launcher was killed, say so', async () => {
    await instance.cosmos(['exec', '/bin/sh', '-c', 'kill -USR1 $$'])
    await waitFor('the signal', async () => (await newest()).exit === 'signal 10')
  })

  test('no record is kept of what asks for none', async () => {
    await instance.cosmos(['exec', '--no-record', '/bin/echo', 'secret'])
    const { id } = await waitFor('the frame', async () => {
      const run = await newest()
      return run?.argv.at(-1) === 'secret' && run
    })
    expect(readdirSync(join(shown, id))).toEqual(expect.not.arrayContaining(['env', 'stdout', 'stderr']))
  })

  test('one is run again at a time', async () => {
    const result = await instance.cosmos(['run', 'rerun', 'one', 'two'])
    expect(result).toMatchObject({ code: 125, stdout: '' })
    expect(result.stderr).toMatch(/^cosmos: run rerun: wants one id/)
  })

  test('a frame that is not there', async () => {
    const result = await instance.cosmos(['run', 'show', 'nothing'])
    expect(result).toMatchObject({ code: 127, stdout: '' })
    expect(result.stderr).toBe('cosmos: run nothing: there is none (cosmos run list)\n')
  })
})
