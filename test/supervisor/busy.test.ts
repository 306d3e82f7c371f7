import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdtempSync, realpathSync, rmdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findBusy } from '../../src/daemon/busy.ts'

describe.skipIf(process.geteuid?.() !== 0)('who uses a mount', () => {
  const mount = realpathSync(mkdtempSync(join(tmpdir(), 'cosmos busy-')))
  const children: ChildProcess[] = []

  beforeAll(() => {
    execFileSync('mount', ['-t', 'tmpfs', 'cosmos-test', mount])
    writeFileSync(join(mount, 'file'), 'text\n')
    copyFileSync('/bin/sleep', join(mount, 'sleeper'))
    chmodSync(join(mount, 'sleeper'), 0o755)
  })
  afterAll(async () => {
    for (const child of children) {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    execFileSync('umount', [mount])
    rmdirSync(mount)
  })

  async function start(program: string, args: string[], cwd = '/'): Promise<number> {
    const child = spawn(program, args, { cwd, stdio: 'ignore' })
    children.push(child)
    await once(child, 'spawn')
    return child.pid as number
  }

  test('nobody at first; then each with what it holds, and others not', async () => {
    expect(await findBusy(mount)).toEqual([])
    const inside = await start('sleep', ['1000'], mount)
    const reader = await start('tail', ['-f', join(mount, 'file')])
    const runner = await start(join(mount, 'sleeper'), ['1000'])
    const outside = await start('sleep', ['1000'])
    await expect
      .poll(async () => (await findBusy(mount)).sort((a, b) => a.pid - b.pid), { timeout: 5000 })
      .toEqual(
        [
          { pid: inside, name: 'sleep', what: 'working directory' },
          { pid: reader, name: 'tail', what: `open file ${mount}/file` },
          { pid: runner, name: 'sleeper', what: `program ${mount}/sleeper` },
        ].sort((a, b) => a.pid - b.pid),
      )
    expect((await findBusy('/')).map(({ pid }) => pid)).toContain(outside)
  })
})
