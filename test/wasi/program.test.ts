// Programs at the VM's socket, without a compiler: modules of a few bytes.
import { closeSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodeFrame } from '../../src/form/msgpack.ts'
import { socketpair } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { waitFor } from '../support/wait.ts'
import { type VmClient, VmProcess } from '../support/wasi-vm.ts'
import { constant, I32, I64, tiny, tinyModule } from './tiny.ts'

const { SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGTSTP, SIGWINCH } = constants.signals

let vm: VmProcess
let client: VmClient

beforeAll(async () => {
  vm = new VmProcess()
  client = await vm.connect()
})
afterAll(() => vm?.stop())

/** A session of its own: the VM has one at a time. */
async function renew(): Promise<void> {
  client.close()
  client = await vm.connect()
}

let files = 0
function moduleFile(bytes: Uint8Array): string {
  const path = vm.path(`${++files}.wasm`)
  writeFileSync(path, bytes)
  return path
}

const execute = (bytes: Uint8Array, more: object = {}) => client.exec({ payload: moduleFile(bytes), ...more })

describe('a program', () => {
  test('runs, writes and ends with its code', async () => {
    expect(await execute(tiny.write)).toEqual({ exit: { code: 0 }, stdout: 'tiny\n', stderr: '' })
    expect(await execute(tiny.exit42)).toEqual({ exit: { code: 42 }, stdout: '', stderr: '' })
    expect((await execute(tiny.nothing)).exit).toEqual({ code: 0 })
  })

  test('tells the process that runs it', async () => {
    expect(await vmPid()).toBe((await client.hello).pid)
  })

  test('is compiled once for a file, and again when the file changes', async () => {
    const path = moduleFile(tiny.exit42)
    const modules = async () => (await client.request('stats')).modules as number
    expect((await client.exec({ payload: path })).exit).toEqual({ code: 42 })
    const before = await modules()
    await client.exec({ payload: path })
    expect(await modules()).toBe(before)
    writeFileSync(path, tiny.write)
    expect((await client.exec({ payload: path })).stdout).toBe('tiny\n')
  })

  test('that traps says why, and its code is 134', async () => {
    const path = moduleFile(tiny.trap)
    expect(await client.exec({ payload: path })).toEqual({
      exit: { code: 134 },
      stdout: '',
      stderr: `${path}: trap: unreachable\n`,
    })
    const { exit, stderr } = await execute(tiny.recursion)
    expect(exit).toEqual({ code: 134 })
    expect(stderr).toMatch(/trap: call stack exhausted\n$/)
  })

  test('has no more memory than it may', async () => {
    const large = tinyModule({ functions: [{ name: '_start', code: [] }], memory: 200 })
    expect((await execute(large, { route: { limits: { memory: 200 * 65_536 } } })).exit).toEqual({ code: 0 })
    const limited = execute(large, { route: { limits: { memory: 199 * 65_536 } } })
    await expect(limited).rejects.toMatchObject({ code: 'ENOMEM' })
    const ulimit = execute(large, { limits: [[9, 1 << 20, 1 << 20]] })
    await expect(ulimit).rejects.toMatchObject({ code: 'ENOMEM' })
    expect((await execute(large)).exit).toEqual({ code: 0 })
  })

  test('leaves no descriptor open', async () => {
    const pid = (await client.hello).pid
    const count = () => readdirSync(`/proc/${pid}/fd`).length
    const path = moduleFile(tiny.write)
    await client.exec({ payload: path })
    const before = count()
    for (let i = 0; i < 20; i++) await client.exec({ payload: path })
    await expect(client.exec({ payload: moduleFile(Buffer.from('no')) })).rejects.toThrow()
    expect(count()).toBe(before)
  })

  test('whose output nobody reads is ended by SIGPIPE, and the VM goes on', async () => {
    const pair = allocateNative(8)
    socketpair(1, 1, 0, pair.address)
    const [ours, theirs] = [pair.view.getInt32(0, true), pair.view.getInt32(4, true)]
    closeSync(ours)
    const { exit } = await client.exec({ payload: moduleFile(tiny.write), stdout: theirs })
    expect(exit).toEqual({ signal: SIGPIPE, core: false })
    closeSync(theirs)
    expect(await vmPid()).toBe((await client.hello).pid)
  })

  test('is run or refused, whatever its bytes are', async () => {
    const changes = fc.array(fc.tuple(fc.nat(tiny.write.length - 1), fc.nat(255)), { maxLength: 4 })
    const path = moduleFile(tiny.write)
    await fc.assert(
      fc.asyncProperty(changes, async (list) => {
        const bytes = Buffer.from(tiny.write)
        for (const [at, byte] of list) bytes[at] = byte
        writeFileSync(path, bytes)
        try {
          const { exit } = await client.exec({ payload: path, route: { limits: { seconds: 1 } } })
          if (exit.signal !== undefined) await renew()
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^(ENOEXEC|ENOMEM)$/) })
        }
      }),
      { numRuns: 200 },
    )
  })
})

/** The process that serves now. */
async function vmPid(): Promise<number> {
  const running = client.begin({ payload: moduleFile(tiny.nothing) })
  const pid = await running.started
  await running.done
  return pid
}

describe('what is no program', () => {
  const refused = (bytes: Uint8Array) => expect(execute(bytes)).rejects
  const imports = (module: string, name: string) =>
    tinyModule({ imports: [{ module, name }], functions: [{ name: '_start', code: [] }], memory: 1 })

  test('is refused with the file and the reason', async () => {
    const path = moduleFile(Buffer.from('#!/bin/sh\n'))
    await expect(client.exec({ payload: path })).rejects.toMatchObject({
      code: 'ENOEXEC',
      subject: path,
      message: expect.stringContaining('no valid WebAssembly module'),
    })
    await refused(Buffer.alloc(0)).toMatchObject({ code: 'ENOEXEC' })
    await refused(tiny.library).toMatchObject({ code: 'ENOEXEC', message: expect.stringContaining('_start') })
  })

  test('is refused cut short at any byte', async () => {
    const path = moduleFile(tiny.exit42)
    for (let size = tiny.exit42.length - 1; size > 8; size--) {
      truncateSync(path, size)
      await expect(client.exec({ payload: path })).rejects.toMatchObject({ code: 'ENOEXEC' })
    }
  })

  test('is refused for what it imports', async () => {
    await refused(imports('wasi_snapshot_preview1', 'fly')).toThrow(
      /imports function fly of module wasi_snapshot_preview1, which WASI does not have$/,
    )
    await refused(imports('my-own-cluster', 'fly')).toThrow(/fly .*which the guest API does not have$/)
    await refused(imports('my-own-cluster', 'test')).toThrow(/as \(\) → nothing, but it is \(\) → i32$/)
    await refused(imports('env', 'abort')).toThrow(/imports function abort of module env, and no directory/)
    for (const name of ['../env', '', '.', 'a\0b'])
      await refused(imports(name, 'abort')).toMatchObject({ code: 'ENOEXEC' })
    const withoutMemory = tinyModule({
      imports: [{ module: 'wasi_snapshot_preview1', name: 'sched_yield', results: [I32] }],
      functions: [{ name: '_start', code: [] }],
    })
    await refused(withoutMemory).toThrow(/exports no memory$/)
  })

  test('is not waited for', async () => {
    await expect(client.exec({ payload: vm.path('none') })).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(client.exec({ payload: vm.directory })).rejects.toMatchObject({ code: 'ENOEXEC' })
    await expect(client.exec({ payload: '/dev/zero' })).rejects.toMatchObject({ code: 'ENOEXEC' })
  })
})

describe('a module that another imports', () => {
  const wants = (module: string, name = 'add', params = [I32, I32]) =>
    tinyModule({
      imports: [
        { module, name, params, results: [I32] },
        { module: 'wasi_snapshot_preview1', name: 'proc_exit', params: [I32] },
      ],
      functions: [{ name: '_start', code: [...constant(40), ...constant(2), 0x10, 0, 0x10, 1] }],
      memory: 1,
    })
  let modules: string[]
  beforeAll(() => {
    modules = [vm.path('nowhere'), vm.path('modules')]
    mkdirSync(vm.path('modules'))
    writeFileSync(vm.path('modules/calc.wasm'), tiny.library)
    writeFileSync(vm.path('modules/plain'), tiny.library)
    for (const [name, other] of ['ab', 'ba', 'cc'] as const) {
      const circle = tinyModule({
        imports: [{ module: other!, name: 'add', params: [I32, I32], results: [I32] }],
        functions: [{ name: 'add', params: [I32, I32], results: [I32], code: constant(1) }],
      })
      writeFileSync(vm.path(`modules/${name}.wasm`), circle)
    }
  })

  test('is found under its name', async () => {
    expect((await execute(wants('calc'), { route: { modules } })).exit).toEqual({ code: 42 })
    expect((await execute(wants('plain'), { route: { modules } })).exit).toEqual({ code: 42 })
  })

  test('is missed with a word on who wants what', async () => {
    const missing = execute(wants('other'), { route: { modules } })
    await expect(missing).rejects.toThrow(
      /\.wasm: imports function add of module other, which is not in .*modules/,
    )
    const lacking = execute(wants('calc', 'sub'), { route: { modules } })
    await expect(lacking).rejects.toThrow(/sub of module calc, but .*calc\.wasm exports no such function/)
    const other = tinyModule({
      imports: [{ module: 'calc', name: 'add', params: [I64], results: [I32] }],
      functions: [{ name: '_start', code: [] }],
    })
    await expect(execute(other, { route: { modules } })).rejects.toThrow(
      /as \(i64\) → i32, but it is \(i32, i32\)/,
    )
  })

  test('may not need its importer', async () => {
    for (const name of ['a', 'c'])
      await expect(execute(wants(name), { route: { modules } })).rejects.toMatchObject({
        code: 'ELOOP',
        message: expect.stringContaining('imports function add of module'),
      })
  })
})

describe('signals', () => {
  /** A program that runs for ever. */
  async function spinning() {
    await renew()
    const running = client.begin({ payload: moduleFile(tiny.spin) })
    await running.started
    return running
  }
  const state = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0]

  test.each([SIGINT, SIGTERM, SIGHUP, SIGKILL])('%i ends it', async (signal) => {
    const running = await spinning()
    running.signal(SIGWINCH)
    running.signal(signal)
    expect((await running.done).exit).toEqual({ signal, core: false })
    expect(await vm.ended).toEqual({ code: 0, signal: null })
  })

  test('one that comes with the request ends it before it begins', async () => {
    await renew()
    const running = client.begin({ payload: moduleFile(tiny.spin) })
    running.signal(SIGTERM)
    expect((await running.done).exit).toMatchObject({ signal: SIGTERM })
  })

  test('it stops and goes on', async () => {
    const running = await spinning()
    const pid = await running.started
    for (const round of [1, 2]) {
      running.signal(SIGTSTP)
      running.signal(SIGTSTP)
      await waitFor('the stop', () => running.stops.length === round)
      await waitFor('the main thread to sleep', () => state(pid) === 'S')
      running.signal(SIGCONT)
      await waitFor('the main thread to run', () => state(pid) === 'R')
    }
    running.signal(SIGTSTP)
    running.signal(SIGTERM)
    expect((await running.done).exit).toMatchObject({ signal: SIGTERM })
    expect(running.stops).toEqual([SIGTSTP, SIGTSTP, SIGTSTP])
  })

  test('a deadline ends it', async () => {
    await renew()
    const running = client.begin({ payload: moduleFile(tiny.spin), route: { limits: { seconds: 0.1 } } })
    expect((await running.done).exit).toEqual({ signal: SIGALRM, core: false })
  })

  test('it ends with its client and with the daemon', async () => {
    await spinning()
    client.close()
    expect(await vm.ended).toEqual({ code: 0, signal: null })
    await spinning()
    vm.leave()
    expect(await vm.ended).toEqual({ code: 0, signal: null })
  })

  test('whoever waits has the next session', async () => {
    const running = await spinning()
    const next = vm.connect()
    running.signal(SIGKILL)
    await running.done
    await vm.ended
    client.close()
    client = await next
    expect((await execute(tiny.exit42)).exit).toEqual({ code: 42 })
  })

  test('another request meanwhile is refused', async () => {
    const running = await spinning()
    await expect(client.request('stats')).rejects.toMatchObject({ code: 'EBUSY' })
    running.signal(SIGKILL)
    await running.done
  })
})

describe('the protocol', () => {
  test('what is no message ends the session, and the VM goes on', async () => {
    for (const bytes of [
      Buffer.from([0, 0, 0, 0]),
      Buffer.from([0, 0, 0, 1, 0xc1]),
      encodeFrame({ id: 'x', op: 'stats' }),
    ]) {
      await renew()
      client.sendRaw(bytes)
      await client.closed
    }
    await renew()
    await expect(client.request('fly')).rejects.toMatchObject({ code: 'ENOSYS', subject: 'fly' })
    await expect(client.request('exec', { route: 3 })).rejects.toMatchObject({ code: 'EPROTO' })
    await expect(client.request('exec', { descriptors: [0, 1] })).rejects.toMatchObject({ code: 'EBADF' })
    expect(await client.request('accepts', { profile: {} })).toEqual({ accepts: true })
    expect(await client.request('stats')).toMatchObject({
      sessions: expect.any(Number),
      runs: expect.any(Number),
    })
  })

  test('a request cut into bytes is one', async () => {
    await renew()
    const answer = client.request('stats')
    await answer
    const frame = encodeFrame({ id: 77, op: 'accepts', args: { profile: {} } })
    for (const byte of frame) client.sendRaw(Buffer.from([byte]))
    expect(await client.request('accepts', { profile: {} })).toEqual({ accepts: true })
  })
})
