import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Argument } from '../../src/api/functions.ts'
import { waitFor } from '../support/wait.ts'
import { failure, missing, setUp } from './support.ts'

const setup = setUp()

describe.skipIf(missing !== undefined)('a call that ends its process', () => {
  const crashes: [string, string, Argument[], RegExp][] = [
    ['a null dereference', 'int null_dereference()', [], /^ECONNABORTED null_dereference: .*SIGSEGV$/],
    ['abort', 'void call_abort()', [], /^ECONNABORTED call_abort: .*SIGABRT$/],
    ['a stack overflow', 'int overflow_stack(int n)', [0], /^ECONNABORTED overflow_stack: .*SIGSEGV$/],
    ['a smashed heap', 'void smash_heap()', [], /^ECONNABORTED smash_heap: .*SIGABRT$/],
    ['exit', 'void call_exit(int code)', [3], /^ECONNABORTED call_exit: .*exited with code 3$/],
    [
      'a pointer to nowhere',
      'const char *same_address(void *p)',
      [16],
      /^ECONNABORTED same_address: .*SIGSEGV$/,
    ],
  ]

  test.each(crashes)('%s fails alone; calls in flight are answered', async (_, prototype, args, error) => {
    const library = await setup.open()
    const add = await library.dlsym<number>('int add(int x, int y)')
    const crash = await library.dlsym(prototype)
    const before = Array.from({ length: 20 }, (_, i) => add(i, 1))
    const crashed = failure(crash(...args))
    const after = Array.from({ length: 20 }, (_, i) => add(i, 2))
    expect(await Promise.all(before)).toEqual(before.map((_, i) => i + 1))
    expect(await crashed).toMatch(error)
    expect(await Promise.all(after)).toEqual(after.map((_, i) => i + 2))
    expect(await add(1, 1)).toBe(2)
  })

  test('several at once, each fails alone', async () => {
    const library = await setup.open()
    const add = await library.dlsym<number>('int add(int x, int y)')
    const abort = await library.dlsym('void call_abort()')
    const calls = Array.from({ length: 12 }, (_, i) => (i % 4 === 3 ? failure(abort()) : add(i, i)))
    const results = await Promise.all(calls)
    for (const [i, result] of results.entries())
      if (i % 4 === 3) expect(result).toMatch(/^ECONNABORTED call_abort: .*SIGABRT$/)
      else expect(result).toBe(2 * i)
  })

  test('no call is made twice or left out while others crash', async () => {
    const library = await setup.open()
    const [count, exit] = [
      await library.dlsym<number>('int count()'),
      await library.dlsym('void call_exit(int)'),
    ]
    // A process counts from 1: what is answered tells how many calls it has made.
    const counted: Promise<number>[] = []
    const exits: Promise<string>[] = []
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 50; i++) counted.push(count())
      exits.push(failure(exit(round)))
      await counted[50 * round + 7]
    }
    expect(await Promise.all(exits)).toEqual(
      exits.map((_, i) => `ECONNABORTED call_exit: its process exited with code ${i}`),
    )
    expect(await Promise.all(counted)).toEqual(counted.map((_, i) => (i % 50) + 1))
  })

  test('a batch fails as a whole', async () => {
    const library = await setup.open()
    const read = await library.dlsym('const char *same_address(void *p)')
    expect(await failure(read.batch([[null], [16], [null]]))).toMatch(
      /^ECONNABORTED same_address: .*SIGSEGV$/,
    )
    expect(await read(null)).toBe(null)
  })

  test('one that takes longer than it may', async () => {
    const library = await setup.open({ deadline: 0.2 })
    const add = await library.dlsym<number>('int add(int x, int y)')
    const loop = await library.dlsym('int loop()')
    const [late, sum] = [failure(loop()), add(1, 2)]
    expect(await late).toBe('ETIMEDOUT loop: took longer than 0.2 s')
    expect(await sum).toBe(3)
  })

  test('one that does not hear SIGALRM is killed', async () => {
    const library = await setup.open({ deadline: 0.1 })
    expect(await failure((await library.dlsym('int loop_deaf()'))())).toMatch(
      /^ECONNABORTED loop_deaf: .*SIGKILL$/,
    )
  })

  test('one that nobody waits for any more', async () => {
    const session = setup.session()
    const library = await session.open(setup.library)
    const pid = (await (await (await session.open('libc.so.6')).dlsym('int getpid()'))()) as number
    const loop = failure((await library.dlsym('int loop()'))())
    await waitFor('the process to be in the loop', () => setup.vm.pids.includes(pid))
    session.close()
    expect(await loop).toMatch(/^ECANCELED/)
    // SIGHUP where it was in the loop already; else it saw that the client is gone.
    expect([{ signal: 'SIGHUP' }, { code: 0 }]).toContainEqual(await setup.vm.obituary(pid))
  })

  test('leaves no core', async () => {
    const libc = await setup.session().open('libc.so.6')
    const pid = (await (await libc.dlsym('int getpid()'))()) as number
    // 1 byte: none is written, to a pipe neither (core(5)).
    expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max core file size +1 +1 +bytes/m)
  })

  test('one that runs when the daemon goes', async () => {
    const session = setup.session()
    const library = await session.open(setup.library)
    const pid = (await (await (await session.open('libc.so.6')).dlsym('int getpid()'))()) as number
    const loop = failure((await library.dlsym('int loop()'))())
    setup.vm.endLife(pid)
    expect(await loop).toMatch(/^ECONNABORTED loop: /)
    expect([{ signal: 'SIGHUP' }, { code: 0 }]).toContainEqual(await setup.vm.obituary(pid))
  })
})
