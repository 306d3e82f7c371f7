import fc from 'fast-check'
import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { CosmosError } from '../../src/errors.ts'
import {
  checkMsgpack,
  decodePayload,
  encodeFrame,
  FrameReader,
  MAX_DEPTH,
  MAX_FRAME_SIZE,
} from '../../src/form/msgpack.ts'
import { fromWire, fromWireError, toWire, toWireError } from '../../src/form/wire.ts'

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')

describe('frames', () => {
  test('are what docs/protocol.md shows', () => {
    expect(encodeFrame({ version: 1 })).toEqual(bytes('00 00 00 0a 81 a7 76 65 72 73 69 6f 6e 01'))
    const request = bytes('00 00 00 0f 82 a2 69 64 01 a2 6f 70 a6 73 74 61 74 75 73')
    expect(decodePayload(request.subarray(4))).toEqual({ id: 1, op: 'status' })
    const cancel = bytes('00 00 00 0d 82 a2 69 64 02 a6 63 61 6e 63 65 6c c3')
    expect(encodeFrame({ id: 2, cancel: true })).toEqual(cancel)
    const end = bytes('00 00 00 0a 82 a2 69 64 03 a3 65 6e 64 c3')
    expect(encodeFrame({ id: 3, end: true })).toEqual(end)
    const chunk = bytes('00 00 00 0f 82 a2 69 64 04 a5 63 68 75 6e 6b c4 02 ff 00')
    expect(encodeFrame({ id: 4, chunk: new Uint8Array([255, 0]) })).toEqual(chunk)
  })

  test('come out whole however the stream is cut', () => {
    const value = fc.jsonValue({ maxDepth: MAX_DEPTH - 3 })
    const messages = fc.array(fc.record({ id: fc.nat({ max: 2 ** 31 }), chunk: value }), { maxLength: 5 })
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (sent, cuts) => {
        const stream = Buffer.concat(sent.map((message) => encodeFrame(message)))
        const reader = new FrameReader()
        const received: unknown[] = []
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = cuts[i % cuts.length] ?? 1
          for (const payload of reader.push(stream.subarray(at, at + size)))
            received.push(decodePayload(payload))
          at += size
        }
        expect(received).toEqual(JSON.parse(JSON.stringify(sent).replaceAll('"__proto__"', '"__proto_"')))
      }),
    )
  })

  test('of no size and of too much are refused', () => {
    expect(() => [...new FrameReader().push(bytes('00 00 00 00'))]).toThrow('a frame of 0 bytes')
    expect(() => [...new FrameReader().push(bytes('01 00 00 01'))]).toThrow('a frame of 16777217 bytes')
    const large = { id: 1, chunk: Buffer.alloc(MAX_FRAME_SIZE) }
    expect(() => encodeFrame(large)).toThrow(expect.objectContaining({ code: 'EMSGSIZE' }))
  })
})

describe('payloads', () => {
  test.each([
    ['cut short', '82 a2 69', 'cut short'],
    ['text longer than the frame', '81 a1 61 db ff ff ff ff', 'cut short'],
    ['a list longer than the frame', '81 a1 61 dd ff ff ff ff', 'cut short'],
    ['a map longer than the frame', 'df ff ff ff ff', 'cut short'],
    ['more than one value', '80 80', 'bytes after'],
    ['an extension', '81 a1 61 d6 ff 00 00 00 00', 'type 0xd6'],
    ["msgpackr's undefined", '81 a1 61 d4 00 00', 'type 0xd4'],
    ['a type that is not given', '81 a1 61 c1', 'type 0xc1'],
    ['a key that is a number', '81 01 01', 'key'],
    ['a list', '91 01', 'not a map'],
    ['text', 'a1 61', 'not a map'],
  ])('refuses %s', (_name, hex, why) => {
    expect(() => decodePayload(bytes(hex))).toThrow(why)
    expect(() => decodePayload(bytes(hex))).toThrow(expect.objectContaining({ code: 'EPROTO' }))
  })

  test('refuses what is too deep, without recursing into it', () => {
    const nested = (depth: number): Buffer =>
      Buffer.concat([bytes('81 a1 61'), Buffer.alloc(depth, 0x91), bytes('c0')])
    expect(decodePayload(nested(MAX_DEPTH - 1))).toHaveProperty('a')
    expect(() => decodePayload(nested(MAX_DEPTH))).toThrow('deeper')
    expect(() => decodePayload(nested(1_000_000))).toThrow('deeper')
  })

  test('reads every form of a number', () => {
    const hex = '89 a1 61 7f a1 62 e0 a1 63 cc ff a1 64 cd 01 00 a1 65 ce 00 00 00 01'
    const more =
      'a1 66 cf 00 00 00 01 00 00 00 00 a1 67 d3 ff ff ff ff ff ff ff ff a1 68 ca 3f 80 00 00 a1 69 d0 80'
    expect(decodePayload(bytes(hex + more))).toEqual({
      a: 127,
      b: -32,
      c: 255,
      d: 256,
      e: 1,
      f: 2 ** 32,
      g: -1,
      h: 1,
      i: -128,
    })
  })

  test('accepts what msgpackr writes, and never crashes on garbage', () => {
    const packr = new Packr({ useRecords: false })
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: MAX_DEPTH - 2 }), (value) => checkMsgpack(packr.pack({ value }))),
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (garbage) => {
        try {
          decodePayload(Buffer.from(garbage))
        } catch (error) {
          expect(error).toMatchObject({ name: 'CosmosError', code: 'EPROTO' })
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('values', () => {
  test('names survive whatever their bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 255 }), (name) => {
        const text = Buffer.from(name).toString('latin1')
        expect(fromWire(toWire(text))).toBe(text)
      }),
    )
    expect(toWire('caf\xc3\xa9')).toBe('café')
    expect(toWire('\xff')).toEqual(Buffer.from([255]))
  })

  test('errors survive', () => {
    const sent = new CosmosError('ENOENT', '/a', 'not there', 'cosmos up')
    const received = fromWireError(toWireError(sent))
    expect(received).toMatchObject({
      code: 'ENOENT',
      subject: '/a',
      message: '/a: not there',
      hint: 'cosmos up',
    })
    expect(toWireError(new TypeError('oops'))).toMatchObject({ code: 'EIO', subject: 'daemon' })
    expect(fromWireError(7)).toMatchObject({ code: 'EIO', subject: 'daemon' })
  })
})
