// The samples in C, compiled with Debian's clang and run at the VM's socket.
import { closeSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { read, socketpair, write } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { type VmClient, VmProcess } from '../support/wasi-vm.ts'
import { compileWasm, whyNoWasmCompiler } from '../support/wasm-tools.ts'

const SIGKILL = 9

let missing: string | undefined
let vm: VmProcess
let client: VmClient
let server: Server
let site: string
const requests: string[] = []

beforeAll(async () => {
  missing = await whyNoWasmCompiler()
  if (missing !== undefined) return
  vm = new VmProcess()
  mkdirSync(vm.path('work'))
  mkdirSync(vm.path('modules'))
  await Promise.all([
    ...['hello', 'uppercase', 'uses-adder'].map((name) =>
      compileWasm(`examples/wasm/${name}.c`, vm.directory),
    ),
    ...['wasi-write', 'api-demo'].map((name) => compileWasm(`examples/wasm/${name}.c`, vm.directory, 'bare')),
    compileWasm('examples/wasm/adder.c', vm.path('modules'), 'library'),
    compileWasm('test/wasi/samples/probe.c', vm.directory),
  ])
  server = createServer(({ url = '' }, response) => {
    requests.push(url)
    if (url === '/moved') response.writeHead(302, { location: '/page?x=1' }).end()
    else if (url.startsWith('/page')) response.end(`page ${url}`)
    else response.writeHead(url === '/secret' ? 403 : 404).end('no')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  site = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  client = await vm.connect()
}, 600_000)
afterAll(async () => {
  server?.close()
  await vm?.stop()
})
beforeEach(({ skip }) => {
  if (missing !== undefined) skip(missing)
})

const run = (name: string, args: readonly string[] = [], more: object = {}) =>
  client.exec({ payload: vm.path(`${name}.wasm`), argv: [name, ...args], cwd: vm.path('work'), ...more })
const probe = (...args: string[]) => run('probe', args)

describe('the samples', () => {
  test('hello', async () => {
    expect(await run('hello')).toEqual({ exit: { code: 0 }, stdout: 'hello, world\n', stderr: '' })
    expect((await run('hello', ['you', 'all'])).stdout).toBe('hello, you\nhello, all\n')
  })

  test('uppercase', async () => {
    expect((await run('uppercase', [], { stdin: 'Straße 7\n' })).stdout).toBe('STRAßE 7\n')
    const large = 'abc\n'.repeat(100_000)
    expect((await run('uppercase', [], { stdin: large })).stdout).toBe(large.toUpperCase())
  })

  test('wasi-write', async () => {
    expect((await run('wasi-write')).stdout).toBe('written by fd_write\n')
  })

  test('api-demo', async () => {
    const { exit, stdout, stderr } = await run('api-demo', [], { stdin: 'drawer' })
    expect({ exit, stdout, stderr }).toEqual({ exit: { code: 0 }, stdout: 'reward', stderr: 'done\n' })
    expect((await run('api-demo', [], { stdin: `${site}/page` })).stdout).toBe('page /page')
    const failed = await run('api-demo', [], { stdin: `${site}/none` })
    expect(failed).toMatchObject({ stdout: '', stderr: 'the URL cannot be had\n' })
    expect(vm.log()).toContain(`get_url: ${site}/none: the server answers 404`)
  })

  test('uses-adder, and adder itself', async () => {
    const modules = [vm.path('modules')]
    expect((await run('uses-adder', [], { route: { modules } })).stdout).toBe('42 after 2 calls\n')
    await expect(run('uses-adder')).rejects.toThrow(/uses-adder\.wasm: imports function add of module adder/)
    const { library } = await client.request('open', { library: vm.path('modules/adder.wasm') })
    const call = async (prototype: string, ...args: unknown[]) => {
      const { function: found } = await client.request('sym', { library, prototype })
      return (await client.request('call', { function: found, args })).value
    }
    expect(await call('int add(int a, int b)', 1, 2)).toBe(3)
    expect(await call('product', 3_037_000_499, 3_037_000_499)).toBe(9_223_372_030_926_249_001n)
    expect(await call('scale', 1.5, 2)).toBe(3)
    expect(await call('calls')).toBe(1)
  })
})

describe('a WASI program', () => {
  test('has its arguments, environment and exit code', async () => {
    expect((await probe('args', 'a b', '', 'ü')).stdout).toBe('[probe]\n[args]\n[a b]\n[]\n[ü]\n')
    const env = ['A=1', 'EMPTY=', 'B=x=y', '=odd', 'none']
    expect((await run('probe', ['env'], { env })).stdout).toBe('A=1\nEMPTY=\nB=x=y\n')
    expect((await probe('exit', '7')).exit).toEqual({ code: 7 })
    expect((await probe('exit', '255')).exit).toEqual({ code: 255 })
  })

  test('says how it traps', async () => {
    for (const [what, why] of [
      ['trap', 'unreachable'],
      ['outside', 'memory access out of bounds'],
      ['deep', 'memory access out of bounds|call stack exhausted'],
    ] as const) {
      const { exit, stderr } = await probe(what)
      expect(exit).toEqual({ code: 134 })
      expect(stderr).toMatch(new RegExp(`^.*probe\\.wasm: trap: (${why})\n$`))
    }
  })

  test('has as much memory as it may', async () => {
    const route = { limits: { memory: 8 << 20 } }
    const mebibytes = Number.parseInt((await run('probe', ['grow'], { route })).stdout, 10)
    expect(mebibytes).toBeGreaterThan(3)
    expect(mebibytes).toBeLessThan(8)
    expect(Number.parseInt((await probe('grow')).stdout, 10)).toBeGreaterThan(100)
  })

  test('reads and writes its working directory, by both of its names, and nothing else', async () => {
    expect((await probe('write', 'a.txt', 'text')).exit).toEqual({ code: 0 })
    expect(readFileSync(vm.path('work/a.txt'), 'utf8')).toBe('text')
    expect((await probe('cat', 'a.txt')).stdout).toBe('text')
    expect((await probe('cat', vm.path('work/a.txt'))).stdout).toBe('text')
    expect((await probe('list', '.')).stdout).toBe('a.txt\n')
    writeFileSync(vm.path('secret'), 'secret')
    symlinkSync(vm.path('secret'), vm.path('work/link'))
    for (const path of ['../secret', vm.path('secret'), 'link', '/etc/passwd'])
      expect((await probe('cat', path)).exit).toEqual({ code: 1 })
  })

  test('has what is lent instead, under the names that it is lent by', async () => {
    mkdirSync(vm.path('lent'))
    writeFileSync(vm.path('lent/file'), 'lent')
    const route = { lend: [[vm.path('lent'), '/data']] }
    expect((await run('probe', ['cat', '/data/file'], { route })).stdout).toBe('lent')
    expect((await run('probe', ['cat', 'a.txt'], { route })).exit).toEqual({ code: 1 })
    const gone = run('hello', [], { route: { lend: [[vm.path('gone'), '/data']] } })
    await expect(gone).rejects.toMatchObject({ code: 'ENOENT', subject: vm.path('gone') })
    for (const lend of [[[vm.path('lent'), 'api:']], [[vm.path('lent')]], [3]])
      await expect(run('hello', [], { route: { lend } })).rejects.toMatchObject({
        code: expect.stringMatching(/^(EINVAL|EPROTO)$/),
      })
  })

  test('makes files with its umask', async () => {
    await run('probe', ['write', 'private', 'x'], { umask: 0o077 })
    expect(statSync(vm.path('work/private')).mode & 0o777).toBe(0o600)
    await run('probe', ['write', 'public', 'x'], { umask: 0 })
    expect(statSync(vm.path('work/public')).mode & 0o777).toBe(0o666)
  })

  test('may leave files open', async () => {
    const open = async () => (await probe('leave-open', 'a.txt')).exit
    for (let i = 0; i < 100; i++) expect(await open()).toEqual({ code: 0 })
  })

  test('runs where its working directory is gone', async () => {
    expect((await run('hello', [], { cwd: vm.path('gone') })).stdout).toBe('hello, world\n')
  })

  /** Two ends of one socket; what comes at the first is read as text. */
  function pair(): { ours: number; theirs: number; hear: () => string; say: (text: string) => void } {
    const ends = allocateNative(8)
    socketpair(1, 1, 0, ends.address)
    const [ours, theirs] = [ends.view.getInt32(0, true), ends.view.getInt32(4, true)]
    const buffer = allocateNative(64)
    return {
      ours,
      theirs,
      hear: () => buffer.bytes.toString('latin1', 0, read(ours, buffer.address, 64)),
      say: (text) => write(ours, buffer.address, buffer.bytes.write(text)),
    }
  }

  test('hears what is written while it runs', async () => {
    const { ours, theirs, hear, say } = pair()
    const streams = { stdin: theirs, stdout: theirs }
    const running = client.begin({ payload: vm.path('probe.wasm'), argv: ['probe', 'echo'], ...streams })
    closeSync(theirs)
    for (const line of ['one\n', 'two\n']) {
      say(line)
      expect(hear()).toBe(line)
    }
    closeSync(ours)
    expect((await running.done).exit).toEqual({ code: 0 })
  })

  test('has written what it wrote when a signal ends it', async () => {
    const { ours, theirs, hear } = pair()
    const running = client.begin({ payload: vm.path('probe.wasm'), argv: ['probe', 'spin'], stdout: theirs })
    closeSync(theirs)
    expect(hear()).toBe('spinning\n')
    running.signal(SIGKILL)
    expect((await running.done).exit).toMatchObject({ signal: SIGKILL })
    closeSync(ours)
    client.close()
    client = await vm.connect()
  })
})

describe('files that are URLs', () => {
  test('api://input is the input, whole, as often as it is opened', async () => {
    expect((await run('uppercase', ['api://input'], { stdin: 'input' })).stdout).toBe('INPUT')
    expect((await run('probe', ['seek', 'api://input'], { stdin: '0123456789' })).stdout).toBe('7 of 10:789')
    expect((await run('probe', ['write', 'api://input', 'x'])).stdout).toMatch(/Read-only file system/)
  })

  test('api://output is the output', async () => {
    const { exit, stdout } = await run('uppercase', ['api://input', 'api://output'], { stdin: 'both' })
    expect({ exit, stdout }).toEqual({ exit: { code: 0 }, stdout: 'BOTH' })
    expect((await run('probe', ['cat', 'api://other'])).stdout).toMatch(/No such file/)
    expect((await run('probe', ['list', 'api://'])).exit).toEqual({ code: 1 })
    expect((await run('probe', ['mkdir', 'api://new'])).exit).toEqual({ code: 1 })
    expect(existsSync(vm.path('new'))).toBe(false)
  })

  test('http://… is what the server answers', async () => {
    expect((await run('probe', ['cat', `${site}/page?q=a%20b`])).stdout).toBe('page /page?q=a%20b')
    expect((await run('uppercase', [`${site}/moved`])).stdout).toBe('PAGE /PAGE?X=1')
    expect((await run('probe', ['cat', `${site}/none`])).stdout).toMatch(/No such file/)
    expect((await run('probe', ['cat', `${site}/secret`])).stdout).toMatch(/Permission denied/)
    expect((await run('probe', ['cat', 'http://127.0.0.1:1/'])).stdout).toMatch(/I\/O error/)
    expect((await run('probe', ['write', `${site}/page`, 'x'])).stdout).toMatch(/Read-only file system/)
    expect(requests).toContain('/page?q=a%20b')
  })
})
