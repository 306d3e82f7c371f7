// Productions end: when nobody waits for them, at their deadline, and where they would read themselves.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, isRunning, whyNoMount } from '../support/instance.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const skip = whyNoMount()

describe.skipIf(skip)(`the end of productions${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  const put = (name: string, content: string): string => {
    writeFileSync(join(instance.work, name), content)
    return instance.inMount(name)
  }
  /** An executable transformer that tells its number in a file beside what it is given as argument. */
  const transformer = (name: string, script: string): void => {
    const file = join(instance.home, '.cosm/lib/cosmos/transformers', name)
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, `#!/bin/sh\n${script}\n`)
    chmodSync(file, 0o755)
  }
  const pidOf = (name: string) =>
    waitFor(name, () => {
      const path = join(instance.work, name)
      return existsSync(path) && Number(readFileSync(path, 'utf8'))
    })
  const reader = (path: string) => {
    const child = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'pipe'] })
    return { child, ended: once(child, 'close') }
  }
  beforeAll(async () => {
    instance = new CosmosInstance()
    const etc = join(instance.home, '.cosm/etc/cosmos')
    mkdirSync(etc, { recursive: true })
    writeFileSync(join(etc, 'cosmos.conf'), `[root]\nurl = "${instance.work}"\n[lookup]\ndeadline = 8\n`)
    transformer('slow', `echo $$ > ${instance.work}/pid; exec sleep 1000`)
    transformer(
      'wait',
      `echo $$ > ${instance.work}/waits; while [ ! -e ${instance.work}/go ]; do :; done; cat`,
    )
    // By another path: one name is looked up by the kernel for one at a time, and only the deadline would end that.
    const other = join(instance.mount, 'self.txt')
    transformer('itself', `cat ${other}.itself 2>&1; :`)
    transformer('one', `cat ${other}.two 2>&1; :`)
    transformer('two', `cat ${other}.one 2>&1; :`)
    const { code, stderr } = await instance.up()
    if (code !== 0) throw new Error(stderr)
  })
  afterAll(() => instance.stop())

  test('a reader that is interrupted ends what only he waited for', async () => {
    const { child, ended } = reader(`${put('a.txt', 'x')}.slow`)
    const pid = await pidOf('pid')
    child.kill('SIGINT')
    await ended
    await waitFor('the end of the program', () => !isRunning(pid))
    const store = join(instance.home, '.cosm/var/store')
    await waitFor('what it had made to go', () => !readdirSync(store).some((name) => name.endsWith('.part')))
  })

  test('others who wait for it keep it', async () => {
    const path = `${put('b.txt', 'kept')}.wait`
    const first = reader(path)
    const pid = await pidOf('waits')
    const second = run('cat', [path])
    await waitFor('the second reader', () => {
      const readers = readdirSync('/proc').filter((name) => fileOf(name, 'cmdline') === `cat\0${path}\0`)
      return readers.length === 2 && readers.every((each) => OPENING.test(fileOf(each, 'syscall')))
    })
    first.child.kill('SIGINT')
    await first.ended
    expect(isRunning(pid)).toBe(true)
    writeFileSync(join(instance.work, 'go'), '')
    expect((await second).stdout).toBe('kept')
  })

  test('what takes too long is EIO, and says so', async () => {
    const path = `${put('c.txt', 'x')}.slow`
    expect((await run('cat', [path])).stderr).toMatch(/Input\/output error/)
    expect(readFileSync(`${path}:error`, 'utf8')).toMatch(/slow: took longer than 8 s/)
  })

  test('what would read itself finds a loop', () => {
    const path = put('self.txt', '')
    expect(readFileSync(`${path}.itself`, 'utf8')).toMatch(/Too many levels of symbolic links/)
    expect(readFileSync(`${path}.one`, 'utf8')).toMatch(/Too many levels of symbolic links/)
  })
})

/** What a process does that is in openat(2) on x86_64 or arm64 (proc(5)). */
const OPENING = /^(?:257|56) /

function fileOf(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}
