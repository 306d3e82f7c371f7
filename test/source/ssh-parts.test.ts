import { createHmac, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseAddress } from '../../src/source/ssh/address.ts'
import { judgeKey, knownKeys, knownName, preferKnown } from '../../src/source/ssh/known-hosts.ts'
import { encodePacket, PacketReader } from '../../src/source/ssh/packets.ts'
import { ReadAhead } from '../../src/source/ssh/reading.ts'

describe('addresses', () => {
  test.each([
    ['host', undefined, 'host', undefined],
    ['me@host', 'me', 'host', undefined],
    ['me@corp@host:2222', 'me@corp', 'host', 2222],
    ['a%3Ab@host', 'a:b', 'host', undefined],
    ['[::1]:22', undefined, '::1', 22],
    ['::1', undefined, '::1', undefined],
    ['[fe80::1%eth0]', undefined, 'fe80::1%eth0', undefined],
    ['me@192.0.2.7:4711', 'me', '192.0.2.7', 4711],
  ])('%s', (authority, user, host, port) => {
    expect(parseAddress(authority)).toEqual({ user, host, port })
  })

  test.each([
    '',
    '@host',
    'me@',
    'host:',
    'host:0',
    'host:65536',
    'host:ssh',
    '-oProxyCommand=x',
    'a b',
    'a/b',
    '[::1',
    'me:pw@host',
    'me:@host',
    '%zz@host',
  ])('%s is none', (authority) => {
    expect(() => parseAddress(authority)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})

describe('known hosts', () => {
  const key = (text: string) => Buffer.from(text).toString('base64')
  const of = (text: string, host = 'host', port = 22) =>
    knownKeys([text], knownName(host, port)).map((known) => known.key.toString())

  test('names, patterns and ports', () => {
    const lines = [
      `host,other ssh-ed25519 ${key('a')} a comment`,
      `# host ssh-ed25519 ${key('b')}`,
      `h?st,!host ssh-rsa ${key('c')}`,
      `*.example.org,!bad.example.org ssh-rsa ${key('d')}`,
      `[host]:2222 ssh-rsa ${key('e')}`,
      `@cert-authority host ssh-rsa ${key('f')}`,
      'host ssh-rsa',
      `HOST ssh-rsa ${key('g')}\r`,
    ].join('\n')
    expect(of(lines)).toEqual(['a', 'g'])
    expect(of(lines, 'hxst')).toEqual(['c'])
    expect(of(lines, 'a.example.org')).toEqual(['d'])
    expect(of(lines, 'bad.example.org')).toEqual([])
    expect(of(lines, 'aXexample.org')).toEqual([])
    expect(of(lines, 'host', 2222)).toEqual(['e'])
  })

  test('hashed names', () => {
    const salt = randomBytes(20)
    const hash = createHmac('sha1', salt).update('[host]:2222').digest('base64')
    const line = `|1|${salt.toString('base64')}|${hash} ssh-rsa ${key('a')}`
    expect(of(line, 'host', 2222)).toEqual(['a'])
    expect(of(line)).toEqual([])
    expect(of('|1|nonsense ssh-rsa AAAA')).toEqual([])
  })

  test('judgements', () => {
    const known = knownKeys([`host ssh-rsa ${key('a')}`, `@revoked * ssh-rsa ${key('b')}`], 'host')
    expect(judgeKey(known, Buffer.from('a'))).toBe('known')
    expect(judgeKey(known, Buffer.from('b'))).toBe('revoked')
    expect(judgeKey(known, Buffer.from('c'))).toBe('changed')
    expect(judgeKey(known.slice(1), Buffer.from('c'))).toBe('unknown')
    expect(preferKnown(['ssh-ed25519', 'rsa-sha2-256'], known)).toEqual(['rsa-sha2-256', 'ssh-ed25519'])
  })

  test('no text is too odd', () => {
    fc.assert(fc.property(fc.string(), fc.string(), (text, host) => knownKeys([text], host).length >= 0))
  })
})

describe('packets', () => {
  test('attributes come back as they went', () => {
    const time = fc.nat({ max: 0xffffffff })
    const attributes = fc.record(
      {
        size: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
        owner: fc.record({ uid: time, gid: time }),
        mode: time,
        times: fc.record({ atime: time, mtime: time }),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(attributes, (sent) => {
        const reader = new PacketReader(encodePacket(105, 7, [sent]).subarray(4))
        expect([reader.byte(), reader.uint32()]).toEqual([105, 7])
        expect(reader.attributes()).toEqual(sent)
        expect(reader.left).toBe(0)
      }),
    )
  })

  test('what is cut short is EPROTO', () => {
    const packet = encodePacket(104, 7, ['name', { size: 4, mode: 1 }]).subarray(4)
    for (let length = 0; length < packet.length; length++) {
      const reader = new PacketReader(packet.subarray(0, length))
      expect(() => [reader.byte(), reader.uint32(), reader.text(), reader.attributes()]).toThrow(
        expect.objectContaining({ code: 'EPROTO' }),
      )
    }
  })
})

describe('reading ahead', () => {
  const CHUNK = 1000

  /** A reader of a file, and the requests that it makes; the server gives at most `most` bytes at once. */
  function readerOf(bytes: Uint8Array, size = bytes.length, most = Number.POSITIVE_INFINITY) {
    const requests: [number, number][] = []
    const reader = new ReadAhead(
      async (position, length) => {
        requests.push([position, length])
        return bytes.slice(position, position + Math.min(length, most))
      },
      CHUNK,
      size,
    )
    return { reader, requests }
  }

  test('any reads give what the file has', async () => {
    const bytes = randomBytes(20_000)
    const reads = fc.array(fc.tuple(fc.nat(21_000), fc.integer({ min: 1, max: 5000 })), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(reads, fc.constantFrom(1, 300, 1e9), fc.boolean(), async (all, most, isSizeKnown) => {
        const { reader } = readerOf(bytes, isSizeKnown ? bytes.length : Number.POSITIVE_INFINITY, most * 300)
        const answers = all.map(([position, length]) => reader.read(position, length))
        for (const [i, [position, length]] of all.entries())
          expect(Buffer.from((await answers[i]) ?? [])).toEqual(bytes.subarray(position, position + length))
      }),
    )
  })

  test('the first read asks for no more than it needs, a step on for more', async () => {
    const { reader, requests } = readerOf(randomBytes(100_000))
    await reader.read(0, 100)
    expect(requests).toEqual([[0, 100]])
    await reader.read(50_000, 100)
    expect(requests).toEqual([
      [0, 100],
      [50_000, 100],
    ])
    for (let position = 50_100; position < 60_000; position += 1000) await reader.read(position, 1000)
    const ahead = Math.max(...requests.map(([position, length]) => position + length))
    expect(ahead).toBeGreaterThan(65_000)
    expect(ahead).toBeLessThanOrEqual(100_000)
  })

  test('what has come is not asked for twice', async () => {
    const bytes = randomBytes(50_000)
    const { reader, requests } = readerOf(bytes)
    for (let position = 0; position < 50_000; position += 500) await reader.read(position, 500)
    expect(requests.reduce((sum, [, length]) => sum + length, 0)).toBe(50_000)
  })

  test('a request that fails does not stay failed', async () => {
    let fails = true
    const reader = new ReadAhead(
      async (_, length) => {
        if (fails) throw new Error('lost')
        return new Uint8Array(length)
      },
      CHUNK,
      10_000,
    )
    await expect(reader.read(0, 100)).rejects.toThrow('lost')
    fails = false
    expect(await reader.read(0, 100)).toHaveLength(100)
  })
})
