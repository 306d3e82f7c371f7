// Functions of modules at the VM's socket, without a compiler.
import { writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type VmClient, VmProcess } from '../support/wasi-vm.ts'
import { constant, FOREVER, I32, tiny, tinyModule } from './tiny.ts'

let vm: VmProcess
let client: VmClient
let library: number

beforeAll(async () => {
  vm = new VmProcess()
  writeFileSync(vm.path('library.wasm'), tiny.library)
  await renew()
})
afterAll(() => vm?.stop())

async function open(name = 'library.wasm', more: object = {}): Promise<number> {
  return (await client.request('open', { library: vm.path(name), ...more })).library as number
}

async function renew(): Promise<void> {
  client?.close()
  client = await vm.connect()
  library = await open()
}

async function symbol(prototype: string, of = library): Promise<number> {
  return (await client.request('sym', { library: of, prototype })).function as number
}

async function call(prototype: string, ...args: unknown[]): Promise<unknown> {
  return (await client.request('call', { function: await symbol(prototype), args })).value
}

describe('a function', () => {
  test('is found by name or prototype, and tells its type', async () => {
    expect(await client.request('sym', { library, prototype: 'add' })).toMatchObject({
      name: 'add',
      prototype: 'int add(int, int)',
    })
    const prototype = 'unsigned add(unsigned x, unsigned y);'
    expect(await client.request('sym', { library, prototype })).toMatchObject({ name: 'add', prototype })
    expect(await client.request('sym', { library, prototype: 'nothing' })).toMatchObject({
      prototype: 'void nothing(void)',
    })
    await expect(symbol('fly')).rejects.toMatchObject({ code: 'ENOENT', subject: 'fly' })
    await expect(symbol('int add(int x)')).rejects.toMatchObject({ code: 'EINVAL', subject: 'add' })
    await expect(symbol('int add(')).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(symbol('reference')).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  test('is called with numbers of its types', async () => {
    expect(await call('add', 40, 2)).toBe(42)
    expect(await call('add', 2 ** 31 - 1, 1)).toBe(-(2 ** 31))
    expect(await call('unsigned add(unsigned x, unsigned y)', 2 ** 31 - 1, 1)).toBe(2 ** 31)
    expect(await call('bool add(int x, int y)', 1, 1)).toBe(true)
    expect(await call('half', 5)).toBe(2.5)
    expect(await call('half', Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY)
    expect(await call('single', 0.1)).toBe(Math.fround(0.1))
    expect(await call('both', 3, 4n)).toEqual([4, 3])
    expect(await call('nothing')).toBe(null)
  })

  test('keeps every bit of a 64-bit integer', async () => {
    const same = await symbol('same')
    await fc.assert(
      fc.asyncProperty(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), async (value) => {
        const answer = await client.request('call', { function: same, args: [value] })
        expect(BigInt(answer.value as number)).toBe(value)
      }),
      { numRuns: 50 },
    )
    expect(await call('uint64_t same(uint64_t x)', 2n ** 64n - 1n)).toBe(2n ** 64n - 1n)
  })

  test('refuses what is none of its arguments', async () => {
    for (const args of [[1], [1, 2, 3], [1, 'x'], [1, 0.5], [1, 2 ** 32], [1, null], [1, [2]]])
      await expect(call('add', ...args)).rejects.toMatchObject({ code: 'EINVAL', subject: 'add' })
    await expect(call('same', 2n ** 64n - 1n)).resolves.toBe(-1)
    await expect(client.request('call', { function: 999, args: [] })).rejects.toMatchObject({ code: 'EBADF' })
  })

  test('that traps has failed that call and no other', async () => {
    await expect(call('divide', 1, 0)).rejects.toMatchObject({
      code: 'EFAULT',
      subject: 'divide',
      message: 'divide: trap: divide by zero',
    })
    expect(await call('divide', 7, 2)).toBe(3)
  })

  test('is called for a list, up to the first failure', async () => {
    const divide = await symbol('divide')
    const list = [
      [6, 3],
      [9, 3],
    ]
    expect(await client.request('call', { function: divide, list })).toEqual({
      results: [{ value: 2 }, { value: 3 }],
    })
    const failing = client.request('call', { function: divide, list: [...list, [1, 0], [1, 1]] })
    await expect(failing).rejects.toMatchObject({ code: 'EFAULT', subject: 'divide, call 3 of 4' })
  })

  test('that never returns ends the process at its deadline, or with its client', async () => {
    const forever = await symbol('forever')
    const late = client.request('call', { function: forever, args: [], deadline: 0.05 })
    await expect(late).rejects.toThrow('the session ended')
    expect(await vm.ended).toEqual({ code: null, signal: 'SIGALRM' })
    await renew()
    expect(
      await client.request('call', { function: await symbol('add'), args: [1, 2], deadline: 5 }),
    ).toEqual({ value: 3 })
    client.request('call', { function: await symbol('forever'), args: [] }).catch(() => {})
    // The call is behind another that is answered, so it has begun or is about to.
    client.close()
    expect(await vm.ended).toEqual({ code: 0, signal: null })
    await renew()
  })
})

describe('a library', () => {
  test('that is opened twice is one, and is gone after the last close', async () => {
    const [first, second] = [await open(), await open()]
    expect(second).toBe(first)
    const add = await symbol('add', first)
    await client.request('close', { library: first })
    expect(await client.request('call', { function: add, args: [1, 2] })).toEqual({ value: 3 })
    while (await client.request('close', { library: first }).catch(() => undefined)) {}
    await expect(client.request('call', { function: add, args: [1, 2] })).rejects.toMatchObject({
      code: 'EBADF',
    })
    library = await open()
  })

  test('is initialised once, and keeps its state', async () => {
    const counter = tinyModule({
      functions: [
        { name: '_initialize', code: [...constant(0), ...constant(40), 0x36, 2, 0] },
        {
          name: 'next',
          results: [I32],
          code: [
            ...constant(0),
            ...constant(0),
            0x28,
            2,
            0,
            ...constant(1),
            0x6a,
            0x36,
            2,
            0,
            ...constant(0),
            0x28,
            2,
            0,
          ],
        },
      ],
      memory: 1,
    })
    writeFileSync(vm.path('counter.wasm'), counter)
    const next = await symbol('next', await open('counter.wasm'))
    expect((await client.request('call', { function: next, list: [[], []] })).results).toEqual([
      { value: 41 },
      { value: 42 },
    ])
    const wants = tinyModule({
      imports: [{ module: 'counter', name: 'next', results: [I32] }],
      functions: [{ name: 'twice', results: [I32], code: [0x10, 0, 0x10, 0, 0x6a] }],
    })
    writeFileSync(vm.path('wants.wasm'), wants)
    await expect(open('wants.wasm')).rejects.toMatchObject({ code: 'ENOEXEC' })
    const twice = await symbol('twice', await open('wants.wasm', { modules: [vm.directory] }))
    expect(await client.request('call', { function: twice, args: [] })).toEqual({ value: 83 })
  })

  test('that is none is refused', async () => {
    await expect(open('none.wasm')).rejects.toMatchObject({ code: 'ENOENT' })
    writeFileSync(vm.path('text.wasm'), 'text')
    await expect(open('text.wasm')).rejects.toMatchObject({ code: 'ENOEXEC' })
    const failing = tinyModule({ functions: [{ name: '_initialize', code: [0] }] })
    writeFileSync(vm.path('failing.wasm'), failing)
    await expect(open('failing.wasm')).rejects.toMatchObject({ code: 'EFAULT' })
    for (const op of ['sym', 'close'])
      await expect(client.request(op, { library: 999, prototype: 'x' })).rejects.toMatchObject({
        code: 'EBADF',
      })
  })

  test('whose initialisation never ends does so with its client', async () => {
    writeFileSync(
      vm.path('endless.wasm'),
      tinyModule({ functions: [{ name: '_initialize', code: FOREVER }] }),
    )
    open('endless.wasm').catch(() => {})
    client.close()
    expect(await vm.ended).toEqual({ code: 0, signal: null })
    await renew()
  })
})
