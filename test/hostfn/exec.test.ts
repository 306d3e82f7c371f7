import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { decodePayload, encodeFrame, FrameReader } from '../../src/form/msgpack.ts'
import { sendDescriptors } from '../support/descriptors.ts'
import { waitFor } from '../support/wait.ts'
import { missing, setUp } from './support.ts'

const setup = setUp()
const sockets: Socket[] = []
let made = 0

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})

/** One execution as a launcher asks for it. */
class Execution {
  readonly messages: Record<string, unknown>[] = []
  readonly #directory = join(setup.directory, `exec${made++}`)
  readonly #socket: Socket
  isClosed = false

  private constructor(socket: Socket) {
    this.#socket = socket
    sockets.push(socket)
    mkdirSync(this.#directory)
    const frames = new FrameReader()
    socket.on('data', (bytes: Buffer) => {
      for (const payload of frames.push(bytes)) this.messages.push(decodePayload(payload))
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.isClosed = true
    })
  }

  static async start(
    prototype: string,
    argv: string[],
    options: object = {},
    input = '',
  ): Promise<Execution> {
    const execution = new Execution(await setup.vm.connect())
    execution.#send(prototype, argv, options, input)
    return execution
  }

  #send(prototype: string, argv: string[], options: object, input: string): void {
    writeFileSync(join(this.#directory, '0'), input)
    const descriptors = [0, 1, 2].map((n) => openSync(join(this.#directory, String(n)), n === 0 ? 'r' : 'w'))
    const route = { path: '/f', payload: setup.library, kind: 'function', prototype, ...options }
    const args = {
      route,
      argv: ['f', ...argv],
      env: ['COLOR=green'],
      cwd: setup.directory,
      umask: 0o22,
      limits: [],
    }
    this.#socket.write(encodeFrame({ version: 1 }))
    const frame = encodeFrame({ id: 7, op: 'exec', args: { ...args, ...options, descriptors: [0, 1, 2] } })
    sendDescriptors(this.#socket, frame, descriptors)
    for (const descriptor of descriptors) closeSync(descriptor)
  }

  signal(signal: number): void {
    this.#socket.write(encodeFrame({ id: 7, signal, group: false }))
  }

  hangUp(): void {
    this.#socket.destroy()
  }

  output(descriptor: 1 | 2): string {
    return readFileSync(join(this.#directory, String(descriptor)), 'utf8')
  }

  async pid(): Promise<number> {
    const started = await waitFor('the start', () => this.messages.find((message) => message.started))
    expect(started.id).toBe(7)
    return (started.started as { pid: number }).pid
  }

  /** The exit; undefined when the connection ended without one. */
  async exit(): Promise<unknown> {
    await waitFor('the end', () => this.isClosed)
    return this.messages.find((message) => message.exit)?.exit
  }
}

/** Executes to the end: exit, standard output, standard error. */
async function execute(prototype: string, argv: string[], options: object = {}, input = '') {
  const execution = await Execution.start(prototype, argv, options, input)
  const exit = await execution.exit()
  return { exit, stdout: execution.output(1), stderr: execution.output(2) }
}

const done = (stdout: string) => ({ exit: { code: 0 }, stdout, stderr: '' })

describe.skipIf(missing !== undefined)('a function as a program', () => {
  test('its arguments are argv, its result is printed', async () => {
    expect(await execute('int add(int x, int y)', ['40', '0x2'])).toEqual(done('42\n'))
    expect(await execute('const char *greet(const char *name)', ['wörld'])).toEqual(done('hello wörld\n'))
    expect(await execute('double cos(double x)', ['0'], { library: 'libm.so.6' })).toEqual(done('1\n'))
    expect(await execute('void halves(int x, out int *low, out double *half)', ['7'])).toEqual(
      done('3\n3.5\n'),
    )
    expect(await execute('void scale(double xs[n], int n, double by)', ['1,2.5', '2', '2'])).toEqual(
      done('[2,5]\n'),
    )
    const move = 'struct point { int x; double y; }; struct point move(struct point p, double by)'
    expect(await execute(move, ['{"x":1,"y":2}', '1'])).toEqual(done('{"x":2,"y":3}\n'))
  })

  test('its streams are the caller’s', async () => {
    expect(await execute('void print_line(const char *text)', ['hi'])).toEqual(done('printed: hi\n'))
    expect(await execute('void print_error(const char *text)', ['hi'])).toEqual({
      exit: { code: 0 },
      stdout: '',
      stderr: 'error: hi\n',
    })
    expect(await execute('int read_input(out char text[size], size_t size)', ['16'], {}, 'typed')).toEqual(
      done('5\ntyped\n'),
    )
    const printf = 'int printf(const char *format, ..., int, const char *)'
    expect(await execute(printf, ['%d %s;', '7', 'x'], { library: 'libc.so.6' })).toEqual(done('7 x;4\n'))
  })

  test('environment, directory and mask are the caller’s', async () => {
    const libc = { library: 'libc.so.6' }
    expect(await execute('char *getenv(const char *name)', ['COLOR'], libc)).toEqual(done('green\n'))
    expect(await execute('char *getenv(const char *name)', ['HOME'], libc)).toEqual(done('null\n'))
    expect((await execute('char *getcwd(out char path[n], size_t n)', ['400'], libc)).stdout).toContain(
      setup.directory,
    )
    expect(await execute('unsigned umask(unsigned mask)', ['0'], libc)).toEqual(done('18\n'))
  })

  test.each([
    ['too few arguments', ['1'], 'cosmos: add: too few arguments: takes 2, 1 given\n'],
    ['no number', ['1', 'x'], 'cosmos: y: x is no integer\n'],
    ['out of range', ['1', '2147483648'], 'cosmos: y: 2147483648 is not in -2147483648…2147483647 (int)\n'],
  ])('wrong arguments are the caller’s mistake: %s', async (_, argv, stderr) => {
    expect(await execute('int add(int x, int y)', argv)).toEqual({ exit: { code: 2 }, stdout: '', stderr })
  })

  test('what is not found, and what is no library', async () => {
    const symbol = await execute('int no_such_thing(void)', [])
    expect(symbol).toMatchObject({
      exit: { code: 127 },
      stderr: expect.stringMatching(/^cosmos: no_such_thing: .*\n$/),
    })
    const library = await execute('int add(void)', [], { library: '/nonexistent.so' })
    expect(library).toMatchObject({ exit: { code: 127 }, stderr: expect.stringMatching(/^cosmos: .*\n$/) })
    writeFileSync(join(setup.directory, 'text'), 'text')
    const text = await execute('int add(void)', [], { library: join(setup.directory, 'text') })
    expect(text).toMatchObject({ exit: { code: 126 }, stderr: expect.stringMatching(/^cosmos: .*\n$/) })
    expect(await execute('qsort', [])).toMatchObject({ exit: { code: 125 } })
  })

  test('a crash ends the process by its signal', async () => {
    const execution = await Execution.start('int null_dereference(void)', [])
    const pid = await execution.pid()
    expect(await execution.exit()).toBe(undefined)
    expect(await setup.vm.obituary(pid)).toEqual({ signal: 'SIGSEGV' })
  })

  test('exit ends it with its code', async () => {
    const execution = await Execution.start('void exit(int code)', ['9'], { library: 'libc.so.6' })
    const pid = await execution.pid()
    expect(await execution.exit()).toBe(undefined)
    expect(await setup.vm.obituary(pid)).toEqual({ code: 9 })
  })

  test('signals reach it', async () => {
    const execution = await Execution.start('int loop(void)', [])
    const pid = await execution.pid()
    execution.signal(28) // SIGWINCH, which is not heard
    execution.signal(2)
    expect(await setup.vm.obituary(pid)).toEqual({ signal: 'SIGINT' })
  })

  test('it ends with its client, and with its time', async () => {
    const execution = await Execution.start('int loop(void)', [])
    const pid = await execution.pid()
    execution.hangUp()
    expect(await setup.vm.obituary(pid)).toEqual({ signal: 'SIGHUP' })
    const late = await Execution.start('int loop(void)', [], { limits: { seconds: 0.1 } })
    expect(await setup.vm.obituary(await late.pid())).toEqual({ signal: 'SIGALRM' })
  })
})

describe('the protocol', () => {
  const talk = async (...messages: object[]) => {
    const socket = await setup.vm.connect()
    sockets.push(socket)
    const frames = new FrameReader()
    const answers: Record<string, unknown>[] = []
    socket.on('data', (bytes: Buffer) => {
      for (const payload of frames.push(bytes)) answers.push(decodePayload(payload))
    })
    let isClosed = false
    socket.on('close', () => {
      isClosed = true
    })
    socket.write(Buffer.concat(messages.map(encodeFrame)))
    return { answers, isClosed: () => isClosed, socket }
  }

  test('hello, stats, what it does not know', async () => {
    const { answers, socket } = await talk({ version: 1 }, { id: 1, op: 'stats' }, { id: 2, op: 'fly' })
    await waitFor('the answers', () => answers.length === 3)
    expect(answers[0]).toMatchObject({ version: 1, vm: 'test', pid: expect.any(Number) })
    expect(answers[1]).toEqual({ id: 1, ok: { calls: 0, libraries: 0, functions: 0 } })
    expect(answers[2]).toMatchObject({ id: 2, error: { code: 'ENOSYS' } })
    // Nothing foreign was in the process, so it is used again.
    const pid = answers[0]?.pid as number
    socket.destroy()
    for (let i = 0; i < 10; i++) {
      const again = await talk({ version: 1 })
      await waitFor('hello', () => again.answers.length === 1)
      again.socket.destroy()
    }
    expect(setup.vm.pids).toContain(pid)
  })

  test('another version and what is no message end the connection', async () => {
    for (const first of [{ version: 2 }, { version: 1, id: 1 }]) {
      const { answers, isClosed } = await talk(first, { op: 'stats' })
      await waitFor('the end', isClosed)
      expect(answers.at(-1)).toMatchObject({ id: 0, error: { code: 'EPROTO' } })
    }
  })

  test('wrong requests are answered', async () => {
    const { answers } = await talk(
      { version: 1 },
      { id: 1, op: 'call', args: { function: 3, args: [] } },
      { id: 2, op: 'open', args: {} },
      { id: 3, op: 'close', args: { library: 9 } },
      { id: 4, op: 'exec', args: { argv: ['x'], descriptors: [1] } },
    )
    await waitFor('the answers', () => answers.length === 5)
    const codes = answers.slice(1).map((answer) => (answer.error as { code: string }).code)
    expect(codes).toEqual(['EBADF', 'EINVAL', 'EBADF', 'EBADF'])
  })
})
