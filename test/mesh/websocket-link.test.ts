import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { LINK_PATH, MAX_MESSAGE_BYTES, SOCKET_OPTIONS } from '../../src/mesh/websocket-link.ts'
import { waitFor } from '../support/wait.ts'
import { cuttingProxy, newIdentity, tcp, tls, untilClosed, WireHost } from './websocket-support.ts'

/** Two hosts that know each other; b listens. */
async function pair(hosts?: string[]): Promise<{ a: WireHost; b: WireHost }> {
  const a = new WireHost()
  const b = new WireHost()
  b.peers.add(a.identity.id)
  await b.listen(hosts ? { hosts } : {})
  return { a, b }
}

/** A WebSocket of a peer that does not keep to the rules of links. */
function rudeSocket(a: WireHost, b: WireHost): WebSocket {
  const { key, cert } = a.identity.pem
  const socket = tls(b.port, { key, cert })
  return new WebSocket(`ws://cosmos${LINK_PATH}`, { createConnection: () => socket, ...SOCKET_OPTIONS })
}

describe('a link', () => {
  test.each(['127.0.0.1', '::1'])(
    'carries messages of every size, whole and in order, over %s',
    async (host) => {
      const { a, b } = await pair([host])
      const { link, received } = await a.dial(b)
      expect(link.peer).toBe(b.identity.id)
      expect(b.accepted[0]?.peer).toBe(a.identity.id)
      const sizes = [0, 1, 125, 126, 65_535, 65_536, 1 << 20, MAX_MESSAGE_BYTES, 7]
      const sent = sizes.map((size, index) => Buffer.alloc(size, index + 1))
      for (const message of sent) link.send(message)
      await waitFor('the echoes', () => received.messages.length === sent.length)
      expect(received.messages.map((message, index) => message.equals(sent[index] as Buffer))).toEqual(
        sent.map(() => true),
      )
      expect(b.events).toEqual([])
      expect(a.events).toEqual([])
    },
  )

  test('reads nothing before it has a receiver', async () => {
    const a = new WireHost()
    const b = new WireHost()
    b.peers.add(a.identity.id)
    // The listening end sends in the turn in which it has the link, together with the upgrade's answer.
    await b.listen({
      link: (link) => {
        for (const byte of [1, 2, 3]) link.send(Buffer.of(byte))
      },
    })
    const { received } = await a.dial(b)
    await waitFor('the messages', () => received.messages.length === 3)
    expect(Buffer.concat(received.messages)).toEqual(Buffer.of(1, 2, 3))
  })

  test('says how much waits when the other end does not read, and when there is room again', async () => {
    const a = new WireHost()
    const b = new WireHost()
    b.peers.add(a.identity.id)
    const stalled: { start(): void }[] = []
    await b.listen({
      link: (link) => {
        b.accepted.push(link)
        let bytes = 0
        stalled.push({
          start() {
            link.receiver = {
              message(message) {
                bytes += message.length
                if (bytes === total) link.send(Buffer.of(1))
              },
              drained() {},
              ended() {},
            }
          },
        })
      },
    })
    const { link, received } = await a.dial(b)
    await waitFor('the other end', () => stalled.length === 1)
    const message = Buffer.alloc(1 << 20)
    const total = 64 * message.length
    for (let sent = 0; sent < total; sent += message.length) link.send(message)
    // The kernel's buffers hold a few MiB at most; the rest waits here, and is told.
    expect(link.buffered).toBeGreaterThan(total / 2)
    expect(received.drains).toBe(0)
    stalled[0]?.start()
    await waitFor('all to have arrived', () => received.messages.length === 1)
    expect(received.drains).toBe(1)
    expect(link.buffered).toBe(0)
  })

  test('tells both ends once why it ended, and does nothing after', async () => {
    const { a, b } = await pair()
    const { link, received } = await a.dial(b)
    link.close('that was all, and the ü of a very long reason '.repeat(5))
    link.close('again')
    link.send(Buffer.of(1))
    await waitFor('both ends to know', () => received.ends.length && b.received[0]?.ends.length)
    expect(b.received[0]?.ends).toEqual([expect.stringMatching(/^that was all/)])
    expect(b.received[0]?.ends[0]).not.toContain('\ufffd')
    expect(received.ends).toHaveLength(1)
    expect(b.received[0]?.messages).toEqual([])
    expect(await link.gone).toMatch(/^that was all/)
    link.send(Buffer.of(1))
    expect(b.events).toEqual([])
  })

  test('ends for a peer that does not answer the close', async () => {
    const { a, b } = await pair()
    const socket = rudeSocket(a, b)
    await waitFor('the link', () => b.accepted.length === 1)
    socket.pause()
    b.accepted[0]?.close('bye')
    await waitFor('the end', () => b.received[0]?.ends.length === 1)
    socket.terminate()
  })

  test('tells of addresses where the other end can be dialled', async () => {
    const { a, b } = await pair(['127.0.0.1', '::1'])
    await a.listen()
    const { link } = await a.dial(b)
    expect(link.listens).toEqual(b.addresses)
    expect(b.accepted[0]?.listens).toEqual(a.addresses)
  })

  test('is had whole or not at all, wherever the connection is cut, and leaves nothing behind', async () => {
    const { a, b } = await pair()
    const descriptors = (): number => readdirSync('/proc/self/fd').length
    let [whole, failed] = [0, 0]
    const before = descriptors()
    for (let round = 0; round < 100; round++) {
      const address = await cuttingProxy(b.port, round % 20)
      try {
        const { link, received } = await a.dial(b, [address])
        whole++
        for (let sent = 0; sent < 20; sent++) link.send(Buffer.of(sent))
        while (received.ends.length === 0) {
          await waitFor('an echo or the end', () => received.messages.length || received.ends.length)
          received.messages.length = 0
          link.send(Buffer.alloc(10))
        }
        expect(received.ends).toEqual(['the connection was lost'])
      } catch (error) {
        failed++
        expect(error).toMatchObject({ code: expect.stringMatching(/^(EHOSTUNREACH|EACCES)$/) })
      }
    }
    expect([whole > 10, failed > 10]).toEqual([true, true])
    await waitFor('all ends at the other host', () => b.received.every(({ ends }) => ends.length === 1))
    // The proxies listen until the test is over.
    await waitFor('the descriptors', () => descriptors() <= before + 100)
  })

  test('is found behind addresses that do not answer', async () => {
    const { a, b } = await pair()
    const [address = ''] = b.addresses
    // Nothing listens at the first, a host that answers no handshake at the second.
    const deaf = new WireHost()
    const [silent = ''] = await deaf.listen()
    const { link } = await a.dial(b, ['127.0.0.1:1', silent, address])
    expect(link.address).toBe(address)
    expect(b.accepted).toHaveLength(1)
  })
})

describe('whoever is no peer is refused, and told of once', () => {
  test('with a certificate that nobody knows', async () => {
    const { b } = await pair()
    const stranger = new WireHost()
    await expect(stranger.dial(b)).rejects.toMatchObject({ code: 'EACCES' })
    expect(b.events).toEqual([
      {
        kind: 'refused',
        reason: 'not-a-peer',
        address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        peer: stranger.identity.id,
        detail: expect.any(String),
        times: 1,
      },
    ])
    expect(b.accepted).toEqual([])
  })

  test('with the right certificate of another peer: the dialled one must be who it is', async () => {
    const { a, b } = await pair()
    const c = new WireHost()
    c.peers.add(a.identity.id)
    await c.listen()
    // c answers where b is looked for.
    await expect(a.dial(b, c.addresses)).rejects.toMatchObject({ code: 'EACCES' })
    expect(a.events).toMatchObject([{ reason: 'wrong-peer', peer: c.identity.id, times: 1 }])
    expect(c.accepted).toEqual([])
  })

  test('with the certificate of a peer and not its key', async () => {
    const { a, b } = await pair()
    const { cert } = a.identity.pem
    const other = newIdentity()
    // OpenSSL would not pair them; whoever writes its own TLS fails at CertificateVerify.
    expect(() => tls(b.port, { cert, key: other.pem.key })).toThrow(/mismatch/)
  })

  test('without a certificate', async () => {
    const { b } = await pair()
    const socket = tls(b.port)
    expect(await untilClosed(socket)).toEqual(Buffer.alloc(0))
    await waitFor('the report', () => b.events.length === 1)
    expect(b.reasons).toEqual(['no-certificate'])
  })

  test('with TLS 1.2', async () => {
    const { a, b } = await pair()
    const { key, cert } = a.identity.pem
    const ciphers = 'DEFAULT'
    await untilClosed(
      tls(b.port, { key, cert, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers, sigalgs: undefined }),
    )
    await waitFor('the report', () => b.events.length === 1)
    expect(b.reasons).toEqual(['handshake'])
  })

  test.each([{ ALPNProtocols: [] }, { ALPNProtocols: ['h2', 'http/1.1'] }])(
    'with another protocol: %o',
    async (options) => {
      const { a, b } = await pair()
      const { key, cert } = a.identity.pem
      await untilClosed(tls(b.port, { key, cert, ...options }))
      await waitFor('the report', () => b.events.length === 1)
      expect(b.reasons).toEqual(['handshake'])
    },
  )

  test('with a session that goes on', async () => {
    const { a, b } = await pair()
    const { key, cert } = a.identity.pem
    const first = tls(b.port, { key, cert })
    const session = await new Promise<Buffer>((resolve) => first.once('session', resolve))
    first.destroy()
    await untilClosed(tls(b.port, { session }))
    await waitFor('the report', () => b.events.length === 1)
    expect(b.reasons).toEqual(['handshake'])
  })

  test.each([
    ['garbage', Buffer.from('\x00\xff cosmos, are you there?\r\n\r\n', 'latin1')],
    ['plain HTTP', Buffer.from(`GET ${LINK_PATH} HTTP/1.1\r\nUpgrade: websocket\r\n\r\n`)],
    ['a TLS record that is too long', Buffer.from([0x16, 3, 1, 0xff, 0xff, 1, 2, 3])],
  ])('with %s', async (_, bytes) => {
    const { b } = await pair()
    const socket = tcp(b.port)
    socket.write(bytes)
    await untilClosed(socket)
    await waitFor('the report', () => b.events.length === 1)
    expect(b.reasons).toEqual(['handshake'])
  })

  test.each([
    ['no byte', (): Buffer => Buffer.alloc(0)],
    ['the beginning of a handshake', (): Buffer => Buffer.from([0x16, 3, 1, 2, 0, 1])],
  ])('when it sends %s and waits', async (_, bytes) => {
    const b = new WireHost()
    await b.listen({ patience: 100 })
    const socket = tcp(b.port)
    socket.write(bytes())
    await untilClosed(socket)
    expect(b.reasons).toEqual(['too-slow'])
  })

  test('when it had been one, and its handshake was under way', async () => {
    const a = new WireHost()
    const b = new WireHost()
    let asked = 0
    await b.listen({ isPeer: () => ++asked === 1 })
    await expect(a.dial(b)).rejects.toMatchObject({ code: 'EACCES' })
    expect(b.reasons).toEqual(['not-a-peer'])
    expect(b.accepted).toEqual([])
  })
})

describe('a peer that does not keep to the protocol is cut off, and told of once', () => {
  const cases: [string, string][] = [
    ['frames before the upgrade', '\x82\x01x'],
    ['another path', 'GET /other HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n'],
    ['no upgrade', `GET ${LINK_PATH} HTTP/1.1\r\nHost: x\r\n\r\n`],
    [
      'another upgrade',
      `GET ${LINK_PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n`,
    ],
    ['a request without end', `GET ${LINK_PATH} HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`],
  ]
  test.each(cases)('%s', async (_, text) => {
    const { a, b } = await pair()
    const { key, cert } = a.identity.pem
    const socket = tls(b.port, { key, cert })
    socket.write(text, 'latin1')
    await untilClosed(socket)
    await waitFor('the report', () => b.events.length === 1)
    expect(b.events).toMatchObject([{ reason: 'upgrade', peer: a.identity.id, times: 1 }])
    expect(b.accepted).toEqual([])
  })

  test('a request that comes one byte at a time', async () => {
    const a = new WireHost()
    const b = new WireHost()
    b.peers.add(a.identity.id)
    await b.listen({ patience: 300 })
    const { key, cert } = a.identity.pem
    const socket = tls(b.port, { key, cert })
    const drip = setInterval(() => socket.write('G'), 20)
    await untilClosed(socket).finally(() => clearInterval(drip))
    await waitFor('the report', () => b.events.length === 1)
    // The parser may see that no method begins so, or the time may be over first.
    expect(['too-slow', 'upgrade']).toContain(b.reasons[0])
  })

  test.each([
    ['too large a message', (socket: WebSocket) => socket.send(Buffer.alloc(MAX_MESSAGE_BYTES + 1)), 1009],
    ['text', (socket: WebSocket) => socket.send('hello'), 1003],
  ])('%s', async (_, send, code) => {
    const { a, b } = await pair()
    const socket = rudeSocket(a, b)
    socket.on('error', () => {})
    socket.once('open', () => send(socket))
    const closed = await new Promise<number>((resolve) => socket.once('close', resolve))
    expect(closed).toBe(code)
    await waitFor('the end', () => b.received[0]?.ends.length === 1)
    expect(b.received[0]?.messages).toEqual([])
    expect(b.events).toMatchObject([{ reason: 'message', peer: a.identity.id, times: 1 }])
  })

  test('a frame that is announced larger than any may be is refused before it comes', async () => {
    const { a, b } = await pair()
    const { key, cert } = a.identity.pem
    const socket = tls(b.port, { key, cert })
    socket.write(
      `GET ${LINK_PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    )
    await waitFor('the link', () => b.accepted.length === 1)
    // FIN and binary, masked, 2^40 bytes.
    socket.write(Buffer.from([0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
    await untilClosed(socket)
    await waitFor('the end', () => b.received[0]?.ends.length === 1)
    expect(b.reasons).toEqual(['message'])
  })
})

describe('half-open connections', () => {
  test('10,000 of them keep nobody else out, and end no link', { timeout: 120_000 }, async () => {
    const { a, b } = await pair()
    const { link, received } = await a.dial(b)
    const held = new Set<ReturnType<typeof tcp>>()
    for (let opened = 0; opened < 10_000; opened += 250) {
      const wave = Array.from({ length: 250 }, () => tcp(b.port, '127.0.0.1', '127.0.0.9'))
      // Each is either refused, or one of the few that may wait.
      await Promise.all(
        wave.map(
          (socket) =>
            new Promise<void>((resolve) => {
              socket.once('close', () => {
                held.delete(socket)
                resolve()
              })
              socket.once('connect', () => {
                held.add(socket)
                resolve()
              })
            }),
        ),
      )
      await waitFor('the refusals', () => held.size <= 32)
    }
    // Another address still gets in, and the link that was there still works.
    const c = new WireHost()
    b.peers.add(c.identity.id)
    const other = await c.dial(b)
    other.link.send(Buffer.of(2))
    link.send(Buffer.of(1))
    await waitFor('both echoes', () => received.messages.length && other.received.messages.length)
    // Told at the first, counted from then on.
    const told = b.events.filter((event) => event.kind === 'refused' && event.reason === 'too-many')
    expect(told[0]).toMatchObject({ times: 1, address: expect.stringMatching(/^127\.0\.0\.9:\d+$/) })
    b.refusals.close()
    const counted = b.events.filter((event) => event.kind === 'refused' && event.reason === 'too-many')
    const times = counted.map((event) => (event.kind === 'refused' ? event.times : 0))
    expect(times.reduce((sum, more) => sum + more)).toBeGreaterThan(9_900)
    expect(counted.length).toBeLessThan(20)
  })

  test('are bounded in all, and give their places back', async () => {
    const a = new WireHost()
    const b = new WireHost()
    b.peers.add(a.identity.id)
    await b.listen({ limits: { total: 4, perNetwork: 2 } })
    const first = [tcp(b.port, '127.0.0.1', '127.0.0.2'), tcp(b.port, '127.0.0.1', '127.0.0.3')]
    const second = [tcp(b.port, '127.0.0.1', '127.0.0.2'), tcp(b.port, '127.0.0.1', '127.0.0.3')]
    const connected = (socket: ReturnType<typeof tcp>): Promise<unknown> =>
      new Promise((resolve) => socket.once('connect', resolve))
    await Promise.all([...first, ...second].map(connected))
    // Connections are accepted in order: once a fifth is refused the four have their places.
    await untilClosed(tcp(b.port, '127.0.0.1', '127.0.0.4'))
    await expect(a.dial(b)).rejects.toMatchObject({ code: 'EHOSTUNREACH' })
    for (const socket of first) socket.destroy()
    const { link } = await waitFor('a place', () => a.dial(b))
    expect(link.peer).toBe(b.identity.id)
  })
})
