import { once } from 'node:events'
import { chmodSync, existsSync, statSync, writeFileSync } from 'node:fs'
import { createConnection, createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { ControlClient } from '../../src/daemon/client.ts'
import { ControlServer } from '../../src/daemon/control-server.ts'
import { CosmosError } from '../../src/errors.ts'
import { decodePayload, encodeFrame, FrameReader } from '../../src/form/msgpack.ts'
import { checkout } from '../support/instance.ts'
import { type MemoryDaemon, noHandlers, startMemoryDaemon } from './memory-daemon.ts'
import { run } from './run.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function start(...override: Parameters<typeof startMemoryDaemon>): Promise<MemoryDaemon> {
  const daemon = await startMemoryDaemon(...override)
  closing.push(() => daemon.stop())
  return daemon
}

function connect(daemon: MemoryDaemon): ControlClient {
  const client = new ControlClient(daemon.instance)
  closing.push(() => client.close())
  return client
}

/** A connection that sends what it likes. */
class RawConnection {
  readonly socket: Socket
  readonly received: Record<string, unknown>[] = []
  readonly #frames = new FrameReader()

  constructor(daemon: MemoryDaemon) {
    this.socket = createConnection(daemon.instance.controlSocket)
    this.socket.on('error', () => {})
    this.socket.on('data', (bytes: Buffer) => {
      for (const payload of this.#frames.push(bytes)) this.received.push(decodePayload(payload))
    })
    closing.push(() => this.socket.destroy())
  }

  async until(found: (message: Record<string, unknown>) => boolean): Promise<Record<string, unknown>> {
    return await eventually(() => this.received.find(found))
  }
}

/** Waits until something is there. */
async function eventually<T>(get: () => T | undefined | false): Promise<T> {
  for (let i = 0; i < 500; i++) {
    const value = get()
    if (value !== undefined && value !== false) return value
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error('it did not come')
}

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const part of stream) all.push(part)
  return all
}

describe('client and server', () => {
  test('call and stream', async () => {
    const client = connect(await start())
    expect(await client.call('status', {})).toMatchObject({ pid: process.pid, frames: 7, vms: [] })
    const names = (await collect(client.stream('list', { path: '/', cwd: '/' })))
      .flat()
      .map((entry) => entry.name)
    expect(names).toEqual(['hello', '.hidden', 'café', Buffer.from([0xff, 0xfe])])
    const read = await collect(client.stream('read', { path: Buffer.from([0xff, 0xfe]), cwd: '/' }))
    expect(Buffer.concat(read).toString()).toBe('no text\n')
  })

  test('answer side by side', async () => {
    const releases: (() => void)[] = []
    const daemon = await start({
      lookup: async ({ path }) => {
        await new Promise<void>((resolve) => releases.push(resolve))
        return { path, kind: 'file', stages: [] }
      },
    })
    const client = connect(daemon)
    const slow = ['a', 'b'].map((path) => client.call('lookup', { path, cwd: '/' }))
    await eventually(() => releases.length === 2)
    expect((await client.call('status', {})).frames).toBe(7)
    for (const release of releases.reverse()) release()
    expect((await Promise.all(slow)).map((answer) => answer.path)).toEqual(['a', 'b'])
  })

  test('errors come as they are', async () => {
    const client = connect(await start())
    const missing = client.call('unbind', { path: 'x', cwd: '/' })
    await expect(missing).rejects.toMatchObject({ code: 'ENOENT', subject: 'x', hint: 'cosmos bind' })
    await expect(collect(client.stream('read', { path: 'x', cwd: '/' }))).rejects.toBeInstanceOf(CosmosError)
    const nul = client.call('inspect', { path: 'a\0b', cwd: '/' })
    await expect(nul).rejects.toMatchObject({ code: 'EINVAL' })
    const long = client.call('inspect', { path: 'x'.repeat(20_000), cwd: '/' })
    await expect(long).rejects.toMatchObject({ code: 'ENAMETOOLONG' })
  })

  test("a handler's own failure is an error, and is logged", async () => {
    const daemon = await start({ binds: () => Promise.reject(new TypeError('oops')) })
    const client = connect(daemon)
    await expect(client.call('binds', {})).rejects.toMatchObject({ code: 'EIO', hint: 'cosmos log' })
    expect(daemon.log.join()).toContain('TypeError: oops')
    expect((await client.call('status', {})).frames).toBe(7)
  })

  test('leaving a stream cancels it', async () => {
    const daemon = await start()
    const client = connect(daemon)
    for await (const part of client.stream('read', { path: 'endless', cwd: '/' })) {
      expect(part.length).toBe(64 * 1024)
      break
    }
    await eventually(() => daemon.aborted.includes('read endless'))
    expect((await client.call('status', {})).frames).toBe(7)
  })

  test('a dropped connection cancels its requests', async () => {
    const daemon = await start()
    const client = connect(daemon)
    const stream = client.stream('read', { path: 'endless', cwd: '/' })
    await stream.next()
    client.close()
    await eventually(() => daemon.aborted.includes('read endless'))
    await expect(collect(stream)).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  test('a slow reader costs little memory', async () => {
    let produced = 0
    const daemon = await start({
      async *read() {
        for (;;) {
          produced++
          yield Buffer.alloc(1024 * 1024)
        }
      },
    })
    const client = connect(daemon)
    const stream = client.stream('read', { path: 'x', cwd: '/' })
    await stream.next()
    // It comes to rest, and soon.
    for (let before = -1; before !== produced; await new Promise((resolve) => setTimeout(resolve, 300)))
      before = produced
    expect(produced).toBeLessThan(64)
    for (let i = 0; i < 100; i++) await stream.next()
    expect(produced).toBeGreaterThan(100)
    await stream.return(undefined)
  })

  test('large parts and many entries arrive', async () => {
    const entry = { inode: '1', type: 'file' as const }
    const daemon = await start({
      async *read() {
        yield Buffer.alloc(20 * 1024 * 1024, 'y')
      },
      async *list() {
        for (let i = 0; i < 100; i++)
          yield Array.from({ length: 1000 }, (_, j) => ({ ...entry, name: `f${i}-${j}` }))
      },
    })
    const client = connect(daemon)
    const [read, list] = await Promise.all([
      collect(client.stream('read', { path: 'x', cwd: '/' })),
      collect(client.stream('list', { path: 'x', cwd: '/' })),
    ])
    expect(Buffer.concat(read).equals(Buffer.alloc(20 * 1024 * 1024, 'y'))).toBe(true)
    expect(list.flat().length).toBe(100_000)
  })
})

describe('a daemon that is not there', () => {
  test('is told with what to do', async () => {
    const daemon = await start()
    await daemon.server.close()
    const client = connect(daemon)
    const asked = client.call('status', {})
    await expect(asked).rejects.toMatchObject({ code: 'ENOTCONN', hint: 'cosmos up' })
  })

  test('is waited for while it is being replaced, and asked again', async () => {
    const daemon = await start()
    await daemon.server.close()
    // A daemon that greets, and crashes at the first request.
    const crashing = createServer((socket) => {
      socket.write(encodeFrame({ version: 1 }))
      socket.on('data', (bytes: Buffer) => {
        if (bytes.includes('lookup') || bytes.includes('unbind')) socket.destroy()
      })
      socket.on('error', () => {})
    })
    crashing.listen(daemon.instance.controlSocket)
    await once(crashing, 'listening')
    const client = new ControlClient(daemon.instance, { expected: () => true })
    closing.push(() => client.close())
    await client.connect()
    const lost = client.call('unbind', { path: 'b', cwd: '/' })
    await expect(lost).rejects.toMatchObject({ code: 'ECONNRESET' })
    await client.connect()
    const asked = client.call('lookup', { path: 'hello', cwd: '/' })
    crashing.close()
    // Closing takes the socket away, which a crash does not.
    writeFileSync(daemon.instance.controlSocket, '')
    await new Promise((resolve) => setTimeout(resolve, 300))
    const next = await ControlServer.listen(daemon.instance.controlSocket, replacement(), {
      software: 'next/0',
    })
    daemon.server = next
    expect(await asked).toMatchObject({ kind: 'next' })
  })

  test('its socket is replaced at once by the next one', async () => {
    const daemon = await start()
    const path = daemon.instance.controlSocket
    const before = statSync(path).ino
    const next = await ControlServer.listen(path, replacement(), { software: 'next/0' })
    expect(statSync(path).ino).not.toBe(before)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    await daemon.server.close()
    expect(existsSync(path)).toBe(true)
    const client = connect(daemon)
    expect(await client.call('lookup', { path: 'x', cwd: '/' })).toMatchObject({ kind: 'next' })
    client.close()
    await next.close()
    expect(existsSync(path)).toBe(false)
  })
})

function replacement(): Parameters<typeof ControlServer.listen>[1] {
  return {
    ...noHandlers(),
    lookup: async ({ path }) => ({ path, kind: 'next', stages: [] }),
  }
}

describe('a client that breaks the protocol', () => {
  const hello = encodeFrame({ version: 1 })
  test.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['an oversized frame', Buffer.from('ffffffff', 'hex')],
    ['a payload that is no map', Buffer.from('0000000101', 'hex')],
    [
      'a payload that is too deep',
      Buffer.concat([Buffer.from('00010000', 'hex'), Buffer.alloc(65536, 0x91)]),
    ],
    ['another version', encodeFrame({ version: 2 })],
    ['a request before hello', encodeFrame({ id: 1, op: 'status', args: {} })],
    ['a message without an id', Buffer.concat([hello, encodeFrame({ version: 1 })])],
    ['an id of no number', Buffer.concat([hello, encodeFrame({ id: -1, op: 'status', args: {} })])],
  ])('%s: told and closed', async (_name, bytes) => {
    const daemon = await start()
    const raw = new RawConnection(daemon)
    raw.socket.write(bytes)
    await once(raw.socket, 'close')
    expect(raw.received.at(-1)).toMatchObject({ id: 0, error: { code: 'EPROTO' } })
    expect(daemon.log.length).toBe(1)
    expect((await connect(daemon).call('status', {})).frames).toBe(7)
  })

  test('an operation that is not there, arguments of another kind', async () => {
    const raw = new RawConnection(await start())
    raw.socket.write(hello)
    const requests: [string, unknown][] = [
      ['nothing', {}],
      ['constructor', {}],
      ['inspect', {}],
      ['inspect', { path: 7, cwd: '/' }],
      ['list', 'x'],
      ['bind', { kind: 'x', urls: ['a'], path: 'a', cwd: '/' }],
      ['bind', { kind: 'bind', urls: [], path: 'a', cwd: '/' }],
      ['down', { force: 'yes' }],
    ]
    for (const [i, [op, args]] of requests.entries()) raw.socket.write(encodeFrame({ id: i + 1, op, args }))
    await eventually(() => raw.received.length === requests.length + 1)
    const codes = requests.map((_, i) => {
      const answer = raw.received.find((message) => message.id === i + 1)
      return (answer?.error as { code: string } | undefined)?.code
    })
    expect(codes).toEqual(['ENOSYS', 'ENOSYS', ...Array<string>(6).fill('EINVAL')])
  })

  test('more requests than may be open', async () => {
    const raw = new RawConnection(await start({ lookup: () => new Promise(() => {}) }))
    raw.socket.write(hello)
    for (let id = 1; id <= 65; id++)
      raw.socket.write(encodeFrame({ id, op: 'lookup', args: { path: 'x', cwd: '/' } }))
    expect(await raw.until((message) => message.id === 65)).toMatchObject({ error: { code: 'EAGAIN' } })
    raw.socket.write(encodeFrame({ id: 1, cancel: true }))
    expect(await raw.until((message) => message.id === 1)).toMatchObject({ error: { code: 'ECANCELED' } })
    raw.socket.write(encodeFrame({ id: 1, op: 'status', args: {} }))
    expect(await raw.until((message) => message.id === 1 && 'ok' in message)).toBeTruthy()
  })

  test('a frame that never ends', async () => {
    const daemon = await start()
    const raw = new RawConnection(daemon)
    raw.socket.write(Buffer.concat([hello, Buffer.from('000000ff81', 'hex')]))
    raw.socket.end()
    await once(raw.socket, 'close')
    expect((await connect(daemon).call('status', {})).frames).toBe(7)
  })
})

test.skipIf(process.getuid?.() !== 0 || process.platform !== 'linux')('another uid is refused', async () => {
  const daemon = await start()
  const path = daemon.instance.controlSocket
  // The modes alone keep others out …
  expect(await receiveAsNobody(path)).toContain('PermissionError')
  // … and where they do not, the server does.
  for (let at = dirname(path); at !== dirname(daemon.directory); at = dirname(at)) chmodSync(at, 0o755)
  chmodSync(path, 0o666)
  const frame = Buffer.from(await receiveAsNobody(path), 'hex')
  expect(decodePayload(frame.subarray(4))).toMatchObject({ id: 0, error: { code: 'EPERM' } })
  expect(daemon.log.join()).toMatch(/refused: .* uid 0, not 65534/)
})

/** What a process of another user gets from a socket, in hexadecimal; its error if it gets nothing. */
async function receiveAsNobody(path: string): Promise<string> {
  const program = [
    'import os, socket, sys',
    'os.setgid(65534); os.setuid(65534)',
    's = socket.socket(socket.AF_UNIX)',
    's.connect(sys.argv[1])',
    'print(b"".join(iter(lambda: s.recv(4096), b"")).hex())',
  ]
  const { stdout, stderr } = await run('python3', ['-c', program.join('\n'), path])
  return stdout.trim() || stderr
}

test('the Python example prints the status', async () => {
  const daemon = await start()
  const example = join(checkout, 'examples/control-client.py')
  const status = await run('python3', [example], daemon.environment)
  expect(status.stdout).toContain(`daemon ${process.pid}, version 0.0.0`)
  const list = await run('python3', [example, 'list', '/'], daemon.environment)
  expect(list.stdout).toContain('file 18446744073709551615 hello')
  await daemon.server.close()
  expect(await run('python3', [example], daemon.environment)).toMatchObject({ code: 1 })
})
