// The socket where launchers have programs of peers run: who may connect, and what becomes of what is no launcher.
import { once } from 'node:events'
import { chmodSync, existsSync, statSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { decodePayload, encodeFrame, FrameReader } from '../../src/form/msgpack.ts'
import { Netrun } from '../../src/mesh/netrun/netrun.ts'
import { RemoteWorld } from '../support/remote.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

let world: RemoteWorld
const sockets: Socket[] = []

beforeEach(async () => {
  world = await RemoteWorld.start()
})
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await world.stop()
})

const launch = {
  run: 'run',
  peer: { id: 'b'.repeat(64), name: 'me@B' },
  program: '/bin/sh',
  argv: ['sh', '-c', 'cat'],
  cwd: '/',
  lend: [],
}
const path = () => join(world.directory, 'netrun')

/** A connection that has said this, and what comes on it. */
class Connection {
  readonly socket: Socket
  readonly parts: Buffer[] = []
  over = false

  constructor(...said: (object | Buffer)[]) {
    this.socket = createConnection({ path: path(), allowHalfOpen: true })
    sockets.push(this.socket)
    this.socket.on('error', () => {})
    this.socket.on('data', (bytes: Buffer) => this.parts.push(bytes))
    this.socket.on('end', () => {
      this.over = true
    })
    this.socket.on('close', () => {
      this.over = true
    })
    for (const each of said) this.send(each)
  }

  send(said: object | Buffer): void {
    this.socket.write(said instanceof Buffer ? said : encodeFrame(said))
  }

  get text(): string {
    return Buffer.concat(this.parts).toString()
  }

  get messages(): Record<string, unknown>[] {
    return [...new FrameReader().push(Buffer.concat(this.parts))].map(decodePayload)
  }

  async ended(): Promise<void> {
    await waitFor('the connection to end', () => this.over)
  }
}

const greeting = (token: string, stream: string, more: object = {}) => ({
  version: 1,
  token,
  stream,
  ...more,
})

test('the socket is the user’s alone, and takes the place of a former one', async () => {
  expect(statSync(path()).mode & 0o777).toBe(0o600)
  const next = await Netrun.listen({ path: path(), open: () => world.calls[0]! })
  const { answer } = next.offer(launch)
  await world.netrun.close()
  expect(existsSync(path())).toBe(true)
  const control = new Connection(greeting(answer.remote.token, 'stdin'))
  await waitFor('it to be taken', () => next.running === 1)
  await next.close()
  expect(existsSync(path())).toBe(false)
  await control.ended()
})

test.runIf(process.getuid?.() === 0)('another user is refused, and logged', async () => {
  chmodSync(dirname(path()), 0o755)
  const script = `import socket, sys
s = socket.socket(socket.AF_UNIX)
try: s.connect(sys.argv[1])
except PermissionError: print('no'); sys.exit()
print(s.recv(1000))`
  const connect = () => run('/usr/bin/python3', ['-c', script, path()], { uid: 65534, cwd: '/' })
  expect((await connect()).stdout).toBe('no\n')
  // Even where the mode would let it.
  chmodSync(path(), 0o666)
  expect((await connect()).stdout).toContain('EPERM')
  expect(world.logged).toEqual(['netrun: netrun: belongs to uid 0, not 65534'])
})

test('what is no greeting is refused, and logged', async () => {
  const { token } = world.netrun.offer(launch).answer.remote
  for (const said of [
    Buffer.alloc(4),
    Buffer.from([0xff, 0xff, 0xff, 0xff]),
    encodeFrame([1]),
    {},
    greeting(token, 'control', { version: 2 }),
    greeting(token, 'stdlog'),
    { version: 1, stream: 'control' },
    greeting(token, 'control', { env: 'A=B' }),
    greeting(token, 'control', { env: [1] }),
    greeting(token, 'control', { terminal: { rows: -1, columns: 80 } }),
    greeting(token, 'control', { terminal: 'yes' }),
  ]) {
    const before = world.logged.length
    const connection = new Connection(said)
    await connection.ended()
    expect(connection.messages, JSON.stringify(said)).toMatchObject([{ error: { code: 'EPROTO' } }])
    expect(world.logged.length).toBe(before + 1)
  }
  expect(world.asked).toEqual([])
})

test('a token is good once, until it is withdrawn, and for nothing else', async () => {
  const offer = world.netrun.offer(launch)
  const { token } = offer.answer.remote
  const unknown = new Connection(greeting('0'.repeat(32), 'control'))
  await unknown.ended()
  expect(unknown.messages).toMatchObject([{ error: { code: 'EPERM' } }])
  // What a stream carries is the program's: nothing else is said on it.
  const stream = new Connection(greeting('0'.repeat(32), 'stdout'))
  await stream.ended()
  expect(stream.text).toBe('')

  const first = new Connection(greeting(token, 'control'))
  await waitFor('the call', () => world.asked.length === 1)
  const second = new Connection(greeting(token, 'control'))
  await second.ended()
  expect(second.messages).toMatchObject([{ error: { code: 'EPERM' } }])
  // One that runs is not withdrawn.
  offer.withdraw()
  expect(world.netrun.running).toBe(1)
  first.socket.destroy()
  await waitFor('the end', () => world.netrun.running === 0)

  const other = world.netrun.offer(launch)
  other.withdraw()
  const late = new Connection(greeting(other.answer.remote.token, 'control'))
  await late.ended()
  expect(late.messages).toMatchObject([{ error: { code: 'EPERM' } }])
  expect(world.asked).toHaveLength(1)
})

test('connections come in any order, and a greeting in pieces, with bytes after it', async () => {
  const { token } = world.netrun.offer(launch).answer.remote
  const stdin = new Connection(Buffer.concat([encodeFrame(greeting(token, 'stdin')), Buffer.from('early ')]))
  const stdout = new Connection(greeting(token, 'stdout'))
  const stderr = new Connection(greeting(token, 'stderr'))
  const control = new Connection()
  for (const byte of encodeFrame(greeting(token, 'control', { env: ['A=B'] }))) {
    control.send(Buffer.from([byte]))
    await new Promise(setImmediate)
  }
  await waitFor('the hello', () => control.messages.length > 0)
  stdin.send(Buffer.from('late'))
  await waitFor('both', () => stdout.text === 'early late')
  expect(world.asked).toMatchObject([{ ...launch, env: ['A=B'], terminal: undefined }])
  // The end of the connection alone is not the end of the input.
  stdin.socket.end()
  control.send({ signal: 23, group: true })
  await waitFor('the signal', () => world.peer.events.length === 1)
  expect(world.peer.children.size).toBe(1)
  control.send({ end: 'stdin' })
  await control.ended()
  expect(control.messages).toMatchObject([{ version: 1 }, { ended: true }, { exit: { code: 0 } }])
  expect(stdout.over && stderr.over).toBe(true)
  control.socket.destroy()
  await waitFor('the end', () => world.netrun.running === 0)
})

test('what is no message ends the run, one of a later version does not', async () => {
  const { token } = world.netrun.offer(launch).answer.remote
  const control = new Connection(greeting(token, 'control'), { unknown: 1 }, { resize: null })
  await waitFor('the call', () => world.asked.length === 1)
  await waitFor('the program', () => world.peer.children.size === 1)
  control.send({ signal: 65, group: false })
  await control.ended()
  await waitFor('the program to end', () => world.peer.children.size === 0)
  expect(world.logged).toEqual([expect.stringContaining('a signal 65')])
  expect(world.netrun.running).toBe(0)
})

test('the end is told after the output is taken, however slowly', async () => {
  // Less than a session keeps, more than a socket does.
  const size = 900_000
  const { token } = world.netrun.offer({ ...launch, argv: ['sh', '-c', `head -c ${size} /dev/zero`] }).answer
    .remote
  const stdout = new Connection(greeting(token, 'stdout'))
  stdout.socket.pause()
  new Connection(greeting(token, 'stderr'))
  const control = new Connection(greeting(token, 'control'))
  await waitFor('the program to end', () => control.messages.some(({ ended }) => ended))
  // A turn of the peer's and of this side's, in which it would come.
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  expect(control.messages.some(({ exit }) => exit)).toBe(false)
  stdout.socket.resume()
  await control.ended()
  expect(control.messages.at(-1)).toMatchObject({ exit: { code: 0 } })
  await stdout.ended()
  expect(Buffer.concat(stdout.parts).length).toBe(size)
})

test('an output that nobody takes ends, and the rest goes on', async () => {
  const { token } = world.netrun.offer({
    ...launch,
    argv: ['sh', '-c', 'trap "" PIPE; read x; echo out; echo err >&2; exit 9'],
  }).answer.remote
  const control = new Connection(greeting(token, 'control'))
  const stderr = new Connection(greeting(token, 'stderr'))
  const stdin = new Connection(greeting(token, 'stdin'))
  const stdout = new Connection(greeting(token, 'stdout'))
  await once(stdout.socket, 'connect')
  stdout.socket.destroy()
  stdin.send(Buffer.from('\n'))
  await control.ended()
  expect(stderr.text).toMatch(/err\n$/)
  expect(control.messages.at(-1)).toMatchObject({ exit: { code: 9 } })
})

test('launchers that go leave nothing', async () => {
  for (let i = 0; i < 200; i++) {
    const { token } = world.netrun.offer({ ...launch, program: '/bin/none' }).answer.remote
    const all = ['stdin', 'control', 'stdout', 'stderr'].map((name) => new Connection(greeting(token, name)))
    // Some go before the daemon has seen them, some after.
    if (i % 2 === 0) await Promise.all(all.slice(i % 4).map(({ socket }) => once(socket, 'connect')))
    if (i % 8 === 0) await waitFor('the answer', () => all[1]!.messages.length > 1)
    for (const { socket } of all) socket.destroy()
    await Promise.all(all.map((each) => each.ended()))
    sockets.length = 0
  }
  await waitFor('all connections to end', () => world.netrun.connections === 0)
}, 60_000)
