// A daemon or a VM that answers nonsense: the launcher says one line and ends with 125; it never crashes or hangs.
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { encodeFrame } from '../../src/form/msgpack.ts'
import { type Result, run } from '../support/run.ts'
import { forBoth } from './launchers.ts'

const directory = mkdtempSync(join(tmpdir(), 'cg-'))
const servers = new Set<Server>()
afterAll(() => {
  for (const server of servers) server.close()
  rmSync(directory, { recursive: true })
})

let last = 0

/** A socket that sends these bytes to its first client, and ends: the next finds nobody. */
function answering(bytes: Buffer): Promise<string> {
  const path = join(directory, `s${last++}`)
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.resume()
      socket.end(bytes)
      server.close()
    })
    servers.add(server)
    server.on('close', () => servers.delete(server))
    server.listen(path, () => resolve(path))
  })
}

const hello = encodeFrame({ version: 1 })
const route = { path: '/bin/true', payload: '/bin/true', kind: 'native' }
const framed = (payload: Buffer): Buffer => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(payload.length)
  return Buffer.concat([length, payload])
}

const nonsense: Record<string, Buffer> = {
  nothing: Buffer.alloc(0),
  'a part of a length': Buffer.from([0, 0]),
  'a length of nothing': Buffer.alloc(4),
  'a length that no frame has': Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
  'a frame that is cut short': framed(Buffer.from([0x81, 0xa2])),
  'a list': encodeFrame([1, 2]),
  'a map with a number as key': framed(Buffer.from([0x81, 1, 1])),
  'a list of 4 billion': framed(Buffer.from([0x81, 0xa1, 0x61, 0xdd, 0xff, 0xff, 0xff, 0xff])),
  'a text of 4 billion': framed(Buffer.from([0x81, 0xa1, 0x61, 0xdb, 0xff, 0xff, 0xff, 0xff])),
  'a depth without end': framed(Buffer.from([0x81, 0xa1, 0x61, ...Array(60_000).fill(0x91)])),
  'an extension type': framed(Buffer.from([0x81, 0xa1, 0x61, 0xd4, 1, 1])),
  'another version': encodeFrame({ version: 2 }),
  'a version that is none': encodeFrame({ version: 'one' }),
  'an error at once': encodeFrame({ id: 0, error: { code: 'ENOENT', message: 'no\nway\x1b[31m' } }),
  'an error of the wrong kind': Buffer.concat([hello, encodeFrame({ id: 1, error: 'no' })]),
  'an answer without an id': Buffer.concat([hello, encodeFrame({ ok: {} })]),
  'an id beyond all numbers': Buffer.concat([
    hello,
    framed(Buffer.from([0x81, 0xa2, 0x69, 0x64, 0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0])),
  ]),
  'an empty answer': Buffer.concat([hello, encodeFrame({ id: 1, ok: {} })]),
  'an answer of the wrong kinds': Buffer.concat([
    hello,
    encodeFrame({ id: 1, ok: { vm: 1, socket: 2, run: [], route: 'x' } }),
  ]),
  'a socket where nobody listens': Buffer.concat([
    hello,
    encodeFrame({ id: 1, ok: { vm: 'v', socket: '/nowhere', run: 'r', route } }),
  ]),
  'a socket whose path is too long': Buffer.concat([
    hello,
    encodeFrame({ id: 1, ok: { vm: 'v', socket: '/'.repeat(5000), run: 'r', route } }),
  ]),
  'a large frame of nothing': encodeFrame({ text: 'x'.repeat(8_000_000) }),
}

/** Bytes, frames of random values, and good frames with random changes. */
const anything = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => framed(Buffer.from(bytes))),
  fc
    .dictionary(fc.string({ unit: 'binary' }), fc.jsonValue())
    .map((value) => Buffer.concat([hello, encodeFrame({ id: 1, ...value })])),
  fc
    .tuple(
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 }),
      fc.boolean(),
    )
    .map(([changes, cut]) => {
      const bytes = Buffer.concat([
        hello,
        encodeFrame({ id: 1, error: { code: 'EIO', subject: 's', message: 'm', hint: 'h' } }),
        encodeFrame({ id: 1, started: { pid: 1 } }),
      ])
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte
      return cut ? bytes.subarray(0, (changes[0]?.[0] ?? 0) % bytes.length) : bytes
    }),
)

const samples = fc.sample(anything, { numRuns: 160, seed: 7 })

/** Runs in groups, since each that is not answered is patient for two seconds. */
async function inGroups<T>(
  items: readonly T[],
  size: number,
  each: (item: T) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < items.length; at += size) await Promise.all(items.slice(at, at + size).map(each))
}

function expectFailure({ code, signal, stdout, stderr }: Result): void {
  expect({ signal, stdout }).toEqual({ signal: null, stdout: '' })
  expect(stderr).toMatch(/^cosmos: [^\n]*\n$/)
  expect(stderr).not.toContain('\x1b')
  expect(code).toBe(125)
}

forBoth('nonsense', (subject) => {
  const size = subject.name === 'C' ? 40 : 6
  const some = subject.name === 'C' ? samples : samples.slice(0, 24)
  const launch = async (daemon: Buffer): Promise<Result> =>
    run(subject.file, [await answering(daemon), '/bin/true'], { timeout: 20_000 })
  /** As a good daemon, with this for a VM. */
  const launchAt = async (vm: Buffer): Promise<Result> => {
    const socket = await answering(vm)
    return launch(Buffer.concat([hello, encodeFrame({ id: 1, ok: { vm: 'v', socket, run: 'r', route } })]))
  }

  test(
    'of a daemon',
    () => inGroups(Object.values(nonsense), size, async (bytes) => expectFailure(await launch(bytes))),
    120_000,
  )

  test(
    'of a VM',
    () => inGroups(Object.values(nonsense), size, async (bytes) => expectFailure(await launchAt(bytes))),
    120_000,
  )

  test(
    'of either, at random',
    () =>
      inGroups(some, size, async (bytes) => {
        for (const result of await Promise.all([launch(bytes), launchAt(bytes)])) {
          // A change may make it another error, which another code stands for.
          expect([125, 126, 127]).toContain(result.code)
          expect(result.stderr).toMatch(/^cosmos: [^\n]*\n$/)
        }
      }),
    240_000,
  )

  test('of a VM about how the program ended', async () => {
    const ends = [
      {},
      { code: 256 },
      { code: -1 },
      { code: 'x' },
      { signal: 0 },
      { signal: 65 },
      { signal: {} },
    ]
    await inGroups(ends, size, async (exit) =>
      expectFailure(await launchAt(Buffer.concat([hello, encodeFrame({ id: 1, exit })]))),
    )
  })

  test('frames in pieces, and others’ answers, are taken', async () => {
    const bytes = Buffer.concat([
      hello,
      encodeFrame({ id: 9, exit: { code: 1 } }),
      encodeFrame({ id: 1, unknown: true }),
      encodeFrame({ id: 1, exit: { code: 42, more: null } }),
    ])
    const path = join(directory, `s${last++}`)
    const server = createServer(async (socket) => {
      socket.on('error', () => {})
      for (const byte of bytes) {
        socket.write(Buffer.from([byte]))
        await new Promise(setImmediate)
      }
    })
    servers.add(server)
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const answer = encodeFrame({ id: 1, ok: { vm: 'v', socket: path, run: 'r', route } })
    expect((await launch(Buffer.concat([hello, answer]))).code).toBe(42)
    server.close()
  })
})
