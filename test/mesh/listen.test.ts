import { networkInterfaces } from 'node:os'
import { describe, expect, test } from 'vitest'
import {
  advertised,
  checkListen,
  formatAddress,
  isLoopback,
  parseAddress,
  understood,
} from '../../src/mesh/listen-address.ts'
import { type MeshEvent, RefusalLog } from '../../src/mesh/listen-audit.ts'
import { HalfOpen, networkOf } from '../../src/mesh/listen-limits.ts'
import { TestClock, WireHost } from './websocket-support.ts'

describe('addresses', () => {
  test.each([
    ['192.0.2.7:80', { host: '192.0.2.7', port: 80 }],
    ['192.0.2.7', { host: '192.0.2.7', port: 4711 }],
    ['[2001:db8::7]:80', { host: '2001:db8::7', port: 80 }],
    ['[::1]', { host: '::1', port: 4711 }],
    ['::1', { host: '::1', port: 4711 }],
    ['gpubox.example:0', { host: 'gpubox.example', port: 0 }],
    ['*:4711', { host: '*', port: 4711 }],
  ])('%s is read', (text, address) => {
    expect(parseAddress(text)).toEqual(address)
    expect(parseAddress(formatAddress(address))).toEqual(address)
  })

  test.each(['', ':80', 'a:b', 'a:99999', '[gpubox]:80', '[::1', 'a b:1', 'http://a:1', '::1:99999:x'])(
    '%j is none',
    (text) => {
      expect(() => parseAddress(text)).toThrow(/is not an address/)
    },
  )

  test('beyond loopback nobody listens before somebody may come', () => {
    const nobody = { peers: 0, invites: 0 }
    const loopback = ['127.0.0.1:1', '127.9.9.9:1', '[::1]:1', 'localhost:1'].map(parseAddress)
    expect(() => checkListen(loopback, nobody)).not.toThrow()
    for (const text of [
      '0.0.0.0:1',
      '[::]:1',
      '*:1',
      '192.0.2.7:1',
      '[2001:db8::7]:1',
      'gpubox:1',
      '128.0.0.1:1',
    ]) {
      const addresses = [...loopback, parseAddress(text)]
      expect(() => checkListen(addresses, nobody)).toThrow(`${text}: other machines could reach it`)
      expect(() => checkListen(addresses, { peers: 1, invites: 0 })).not.toThrow()
      expect(() => checkListen(addresses, { peers: 0, invites: 1 })).not.toThrow()
    }
    expect(isLoopback('::ffff:127.0.0.1')).toBe(true)
    expect(isLoopback('127.evil.example')).toBe(false)
  })

  test('a wildcard is told as the addresses that the host has', () => {
    const own = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ internal, address }) => !internal && !address.startsWith('fe80'))
    const all = own.map(({ address }) => formatAddress({ host: address, port: 5 }))
    const four = own.filter(({ family }) => family === 'IPv4').map(({ address }) => `${address}:5`)
    expect(advertised([{ host: '*', port: 5 }])).toEqual([...new Set(['*:5', ...all])])
    expect(advertised([{ host: '0.0.0.0', port: 5 }])).toEqual([...new Set(['*:5', ...four])])
    expect(advertised([{ host: '192.0.2.7', port: 6 }])).toEqual(['192.0.2.7:6'])
  })

  test('what a peer tells is read from where it is seen', () => {
    expect(understood(['*:5', '10.0.0.1:5', '127.0.0.1:5', '[::1]:5', 'what?', 'a:0'], '192.0.2.7')).toEqual([
      '192.0.2.7:5',
      '10.0.0.1:5',
    ])
    expect(understood(['*:5'], '2001:db8::7')).toEqual(['[2001:db8::7]:5'])
    expect(understood(['*:5', '127.0.0.1:6'], '::ffff:127.0.0.1')).toEqual(['127.0.0.1:5', '127.0.0.1:6'])
    expect(
      understood(
        Array.from({ length: 100 }, (_, i) => `10.0.0.${i}:1`),
        '192.0.2.7',
      ),
    ).toHaveLength(8)
  })
})

describe('listening', () => {
  test('at an address that is taken, or not this host’s, says so and leaves nothing open', async () => {
    const first = new WireHost()
    await first.listen()
    const second = new WireHost()
    const taken = { host: '127.0.0.1', port: first.port }
    const free = { host: '127.0.0.2', port: 0 }
    await expect(second.listen({ addresses: [free, taken] })).rejects.toMatchObject({
      code: 'EADDRINUSE',
      subject: formatAddress(taken),
    })
    await expect(second.listen({ addresses: [{ host: '192.0.2.7', port: 0 }] })).rejects.toMatchObject({
      code: 'EADDRNOTAVAIL',
    })
    await expect(second.listen({ addresses: [{ host: 'no.such.host.invalid', port: 0 }] })).rejects.toThrow(
      'no.such.host.invalid:0',
    )
  })

  test('everywhere takes both families, and links live on when it stops', async () => {
    const a = new WireHost()
    const b = new WireHost()
    b.peers.add(a.identity.id)
    await b.listen({ hosts: ['*'] })
    const { port } = b
    const four = await a.dial(b, [`127.0.0.1:${port}`])
    const six = await a.dial(b, [`[::1]:${port}`])
    await b.listeners[0]?.close()
    await expect(a.dial(b, [`127.0.0.1:${port}`])).rejects.toMatchObject({ code: 'EHOSTUNREACH' })
    for (const { link, received } of [four, six]) {
      const echo = new Promise((resolve) => {
        link.receiver = { ...received, message: resolve, drained() {}, ended() {} }
      })
      link.send(Buffer.of(1))
      expect(await echo).toEqual(Buffer.of(1))
    }
  })
})

describe('places of half-open connections', () => {
  test('are counted by network and in all', () => {
    const places = new HalfOpen({ total: 4, perNetwork: 2 })
    const first = places.enter('192.0.2.7')
    expect(places.enter('::ffff:192.0.2.7')).toBeTypeOf('function')
    expect(places.enter('192.0.2.7')).toBeUndefined()
    first?.()
    first?.()
    expect(places.enter('192.0.2.7')).toBeTypeOf('function')
    expect(places.enter('192.0.2.7')).toBeUndefined()
    expect(places.enter('2001:db8::1')).toBeTypeOf('function')
    expect(places.enter('2001:db8::ffff:2')).toBeTypeOf('function')
    expect(places.enter('2001:db8:1::1')).toBeUndefined()
  })

  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8::7', '2001:db8:0:0'],
    ['2001:0db8:0001:0002:3:4:5:6', '2001:db8:1:2'],
    ['::1', '0:0:0:0'],
    ['1::', '1:0:0:0'],
    ['1:2:3::', '1:2:3:0'],
  ])('%s counts as %s', (ip, network) => {
    expect(networkOf(ip)).toBe(network)
  })
})

describe('refusals', () => {
  test('are told at once, and what repeats them is counted', () => {
    const events: MeshEvent[] = []
    const clock = new TestClock()
    const log = new RefusalLog((event) => events.push(event), clock)
    const report = (reason: 'too-many' | 'handshake', address: string, peer?: string): void =>
      log.report({ reason, address, peer, detail: 'x' })
    for (let i = 0; i < 100; i++) report('too-many', `192.0.2.7:${i}`)
    report('handshake', '192.0.2.7:1')
    report('too-many', '[2001:db8::7]:1', 'ab')
    expect(events).toEqual([
      { kind: 'refused', reason: 'too-many', address: '192.0.2.7:0', detail: 'x', times: 1 },
      { kind: 'refused', reason: 'handshake', address: '192.0.2.7:1', detail: 'x', times: 1 },
      { kind: 'refused', reason: 'too-many', address: '[2001:db8::7]:1', peer: 'ab', detail: 'x', times: 1 },
    ])
    events.length = 0
    clock.pass(10_000)
    expect(events).toEqual([
      { kind: 'refused', reason: 'too-many', address: '192.0.2.7', detail: 'x', times: 99 },
    ])
    events.length = 0
    report('too-many', '192.0.2.7:1')
    expect(events).toEqual([])
    log.close()
    expect(events).toMatchObject([{ times: 1 }])
    expect(clock.timers).toBe(0)
  })

  test('from very many addresses are told as one', () => {
    const events: MeshEvent[] = []
    const clock = new TestClock()
    const log = new RefusalLog((event) => events.push(event), clock)
    for (let i = 0; i < 5_000; i++)
      log.report({ reason: 'handshake', address: `10.0.${i >> 8}.${i & 255}:1`, detail: 'x' })
    expect(events).toHaveLength(1_001)
    expect(clock.timers).toBe(1_001)
    clock.pass(10_000)
    expect(events.at(-1)).toMatchObject({ address: 'many addresses', times: 3_999 })
    log.close()
  })
})
