import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeMessage, encodeMessage } from '../../src/form/codec.ts'
import { decodePayload, encodeFrame, MAX_FRAME_SIZE } from '../../src/form/msgpack.ts'

const memory = Buffer.from(new ArrayBuffer(MAX_FRAME_SIZE + 8))
const view = new DataView(memory.buffer)

const encode = (message: object): Buffer =>
  Buffer.from(memory.subarray(4, encodeMessage(message, memory, view, 4)))
const decode = (payload: Uint8Array): Record<string, unknown> => {
  memory.set(payload, 4)
  return decodeMessage(memory, view, 4, payload.length)
}

const values = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(null, true, false, 0, -0, 127, 128, -32, -33, 2 ** 31, -(2 ** 31), 2 ** 53, Number.NaN),
    fc.integer(),
    fc.double(),
    fc.bigInt({ min: 2n ** 53n + 1n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) - 1n }),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(fc.string({ unit: 'grapheme' }), tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
}))
const messages = fc
  .dictionary(fc.string(), values.value, { noNullPrototype: true })
  .filter(
    (message) =>
      !JSON.stringify(message, (_, value) => (typeof value === 'bigint' ? 0 : value)).includes('__proto__'),
  )

describe('messages in memory that is used again', () => {
  test('are decoded to what was encoded', () => {
    fc.assert(
      fc.property(messages, (message) => {
        expect(decode(encode(message))).toEqual(message)
      }),
    )
  })

  test('are those of the protocol: each side reads the other', () => {
    fc.assert(
      fc.property(messages, (message) => {
        expect(decodePayload(encode(message))).toEqual(message)
        // msgpackr has no negative zero.
        expect(encode(decode(encodeFrame(message).subarray(4)))).toEqual(
          encode(decodePayload(encodeFrame(message).subarray(4))),
        )
      }),
    )
  })

  test('refuse the same bytes', () => {
    const verdict = (read: () => unknown): string => {
      try {
        read()
        return 'taken'
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    fc.assert(
      fc.property(messages, fc.nat(), fc.integer({ min: 0, max: 255 }), (message, place, byte) => {
        const payload = encode(message)
        payload[place % payload.length] = byte
        const [mine, others] = [verdict(() => decode(payload)), verdict(() => decodePayload(payload))]
        expect(mine).toBe(others)
      }),
      { numRuns: 1000 },
    )
  })

  test('long ones, deep ones, large ones', () => {
    const long = { text: 'x'.repeat(70_000), bytes: Buffer.alloc(70_000, 7), list: new Array(70_000).fill(1) }
    expect(decode(encode(long))).toEqual(long)
    let deep: unknown = 1
    for (let i = 0; i < 20; i++) deep = [deep]
    expect(() => decode(encode({ deep }))).toThrow('deeper than 16')
    expect(() => encode({ bytes: Buffer.alloc(MAX_FRAME_SIZE) })).toThrow('more than a frame')
    expect(() => encode({ number: 2n ** 64n })).toThrow('64 bits')
  })

  test('have no prototype set', () => {
    const message = decode(Buffer.from('81a95f5f70726f746f5f5f81a16101', 'hex'))
    expect(message).toEqual({})
    expect('a' in message).toBe(false)
  })
})
