// Many at once, and nothing left of them.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { waitFor } from '../support/wait.ts'
import { childrenOf, forBoth, openFiles } from './launchers.ts'

forBoth('many at once', (subject) => {
  test('each gets its own answer, and no process and no descriptor is left', async () => {
    // A launcher in Node takes some 60 MB.
    const count = subject.name === 'C' ? 1000 : 25
    const { vm, control } = subject.world
    expect((await subject.launch('/bin/true', [])).code).toBe(0)
    const before = openFiles(vm.pid).length
    const launched: ChildProcess[] = []
    const answers: Promise<unknown[]>[] = []
    let begun = 0
    for (let i = 0; i < count; i++) {
      const script = `echo begun; read x; exit ${i % 256}`
      const child = spawn(subject.file, [control, '/bin/sh', '-c', script], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      ;(child.stdout as Readable).on('data', () => begun++)
      launched.push(child)
      answers.push(once(child, 'exit'))
    }
    await waitFor('all to run at once', () => begun === count, 60_000)
    expect(childrenOf(vm.pid)).toHaveLength(count)
    for (const child of launched) child.stdin?.end('\n')
    expect(await Promise.all(answers)).toEqual(launched.map((_, i) => [i % 256, null]))
    await waitFor('descriptors to go', () => openFiles(vm.pid).length <= before)
    expect(childrenOf(vm.pid)).toEqual([])
  }, 120_000)

  test('clients that all go away leave nothing', async () => {
    const { vm, control } = subject.world
    const before = openFiles(vm.pid).length
    const launched = Array.from({ length: 20 }, () =>
      spawn(subject.file, [control, '/bin/sh', '-c', 'echo begun; sleep 1000 & wait'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    )
    await Promise.all(launched.map((child) => once(child.stdout as Readable, 'data')))
    for (const child of launched) child.kill('SIGKILL')
    await waitFor('all to end', () => childrenOf(vm.pid).length === 0)
    await waitFor('descriptors to go', () => openFiles(vm.pid).length <= before)
  })
})
