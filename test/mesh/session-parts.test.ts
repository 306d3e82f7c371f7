import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { Packr, Unpackr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { type Timed, Timers } from '../../src/mesh/session/clock.ts'
import { HEADER_SIZE } from '../../src/mesh/session/frames.ts'
import { MsgpackReader } from '../../src/mesh/session/msgpack-reader.ts'
import { MsgpackWriter } from '../../src/mesh/session/msgpack-writer.ts'
import { Outbox } from '../../src/mesh/session/outbox.ts'
import { RoundTrip, Transit } from '../../src/mesh/session/transit.ts'
import { World } from './world.ts'

/** Values that the protocol has. */
const values = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(
      null,
      true,
      false,
      2 ** 53 - 1,
      -(2 ** 53) + 1,
      2 ** 32,
      -(2 ** 31) - 1,
      2n ** 64n - 1n,
      -(2n ** 63n),
    ),
    fc.integer(),
    // msgpackr makes 0 of -0.
    fc.double({ noNaN: true }).map((each) => each + 0),
    fc.string({ unit: 'binary', maxLength: 70 }),
    fc.uint8Array({ maxLength: 300 }).map((each) => Buffer.from(each)),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(fc.string({ maxLength: 40 }), tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
})).value

describe('msgpack', () => {
  test('what is written is what is read', () => {
    fc.assert(
      fc.property(fc.array(values, { maxLength: 5 }), (all) => {
        const writer = new MsgpackWriter(16)
        for (const each of all) writer.value(each)
        const reader = new MsgpackReader(writer.take())
        for (const each of all) expect(reader.value()).toStrictEqual(each)
        expect(reader.done).toBe(true)
      }),
      { seed: 1, numRuns: 500 },
    )
  })

  test('is that of others: msgpackr reads what is written, and the other way round', () => {
    const int64: { int64AsType: 'number' } = { int64AsType: 'auto' as 'number' }
    const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, ...int64 })
    const packr = new Packr({ useRecords: false, variableMapSize: true })
    fc.assert(
      fc.property(values, (value) => {
        // msgpackr renames this key.
        fc.pre(
          !JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? 0 : each)).includes('__proto__'),
        )
        const writer = new MsgpackWriter()
        writer.value(value)
        expect(unpackr.unpack(writer.take())).toStrictEqual(value)
        expect(new MsgpackReader(packr.pack(value)).value()).toStrictEqual(value)
      }),
      { seed: 2, numRuns: 500 },
    )
  })

  test('leaves out of a map what is undefined, and refuses what it has no form for', () => {
    const writer = new MsgpackWriter()
    writer.value({ a: undefined, b: 1 })
    expect(new MsgpackReader(writer.take()).value()).toEqual({ b: 1 })
    expect(() => writer.value(Symbol('x'))).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(() => writer.value(2n ** 64n)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    const circle: unknown[] = []
    circle.push(circle)
    expect(() => writer.value(circle)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})

describe('timers', () => {
  test('ring in order, at their time, whatever is put in and taken out', async () => {
    const command = fc.record({ key: fc.nat(15), due: fc.nat(500), remove: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 60 }), async (commands) => {
        const world = new World()
        const timers = new Timers(world.clock())
        const rung: [number, number][] = []
        const expected = new Map<number, number>()
        const entries: Timed[] = Array.from({ length: 16 }, (_, key) => ({
          due: 0,
          place: -1,
          lapse: () => rung.push([key, world.now]),
        }))
        for (const { key, due, remove } of commands) {
          if (remove) timers.remove(entries[key]!)
          else timers.set(entries[key]!, due)
          if (remove) expected.delete(key)
          else expected.set(key, due)
        }
        expect(timers.size).toBe(expected.size)
        expect(world.pending).toBe(expected.size === 0 ? 0 : 1)
        await world.pass(1000)
        const byTime = ([a]: [number, number], [b]: [number, number]) => a - b
        expect([...rung].sort(byTime)).toEqual([...expected].sort(byTime))
        expect(rung.map(([, at]) => at)).toEqual(rung.map(([, at]) => at).sort((a, b) => a - b))
        expect([timers.size, world.pending]).toEqual([0, 0])
      }),
      { seed: 3, numRuns: 200 },
    )
  })
})

describe('an outbox', () => {
  const put = (text: string) => (writer: MsgpackWriter) => writer.str(text)

  test('keeps messages until they are acknowledged, and gives them to the next link', () => {
    const outbox = new Outbox(1_000_000, 1000)
    outbox.add(put('one'))
    const [first] = [outbox.next(0, 0)!]
    outbox.add(put('two'))
    expect(outbox.next(0, 0)).toBeDefined()
    expect(outbox.next(0, 0)).toBe(undefined)
    outbox.acknowledge(1, 5)
    outbox.rewind()
    const again = outbox.next(7, 0)!
    const reader = new MsgpackReader(again)
    expect([reader.value(), reader.value(), reader.done]).toEqual([[2, 7, 0], 'two', true])
    expect(outbox.next(0, 0)).toBe(undefined)
    outbox.acknowledge(2, 5)
    expect(outbox.size).toBe(HEADER_SIZE)
    expect(() => outbox.acknowledge(3, 5)).toThrow('was not sent')
    expect(first.length).toBe(HEADER_SIZE + 4)
  })

  test('says lifetimes as of when it sends, and writes to nothing that a link has', () => {
    const outbox = new Outbox(1_000_000, 1000)
    const stamped = (writer: MsgpackWriter) => {
      writer.str('before')
      const at = writer.length
      writer.uint32(0)
      writer.uint32(0)
      return at
    }
    outbox.addStamped(stamped, 1000, 5000)
    const first = outbox.next(0, 250)!
    const copy = Buffer.from(first)
    outbox.rewind()
    const second = outbox.next(0, 2000)!
    const lifetimes = (bytes: Buffer) => {
      const reader = new MsgpackReader(bytes)
      return [reader.value(), reader.value(), reader.value(), reader.value()].slice(2)
    }
    expect(lifetimes(first)).toEqual([750, 4750])
    expect(lifetimes(second)).toEqual([0, 3000])
    expect(first).toEqual(copy)
  })

  test('lets a frame expire that was not sent, and not one that was', () => {
    const outbox = new Outbox(1_000_000, 1000)
    const stamped = (writer: MsgpackWriter) => {
      const at = writer.length
      writer.uint32(0)
      return at
    }
    const one = outbox.addStamped(stamped, 1000)
    const two = outbox.addStamped(stamped, 1000)
    expect(outbox.expire(two)).toBe(true)
    const reader = new MsgpackReader(outbox.next(0, 0)!)
    expect([reader.value(), reader.value(), reader.value()]).toEqual([[1, 0, 0], 1000, 0])
    expect(outbox.expire(one)).toBe(false)
  })

  test('has nothing of a frame that could not be written', () => {
    const outbox = new Outbox(100_000, 1000)
    outbox.add(put('one'))
    expect(() =>
      outbox.add((writer) => {
        writer.str('half')
        throw new Error('oh')
      }),
    ).toThrow('oh')
    expect(() => outbox.add(put('x'.repeat(200_000)))).toThrow(expect.objectContaining({ code: 'EMSGSIZE' }))
    outbox.add(put('two'))
    const reader = new MsgpackReader(outbox.next(0, 0)!)
    reader.value()
    expect([reader.value(), reader.value(), reader.done]).toEqual(['one', 'two', true])
  })
})

describe('transit', () => {
  test('knows how long a message waited, whatever the clocks say', () => {
    for (const offset of [0, 86_400_000, -86_400_000, 2 ** 31 + 5, 2 ** 32 - 50]) {
      const transit = new Transit()
      const sent = (now: number) => (now + offset) >>> 0
      expect(transit.delay(sent(0), 10)).toBe(0)
      expect(transit.delay(sent(100), 160)).toBe(50)
      expect(transit.delay(sent(200), 205)).toBe(0)
      expect(transit.delay(sent(300), 1305)).toBe(1000)
      expect(transit.delay(sent(20_000), 80_005)).toBe(60_000)
    }
  })

  test('forgets after a while: a clock that was stopped is believed again', () => {
    const transit = new Transit()
    transit.delay(0, 0)
    const delays = []
    for (let now = 1000; now < 60_000; now += 1000) delays.push(transit.delay(now - 500, now))
    expect(delays[0]).toBe(500)
    expect(delays.at(-1)).toBe(0)
  })

  test('round trips are smoothed', () => {
    const trip = new RoundTrip()
    expect(trip.smoothed).toBe(undefined)
    trip.measured(100)
    trip.measured(20)
    expect([trip.smoothed, trip.least]).toEqual([90, 20])
  })
})

test('the example of the documentation is of this protocol', () => {
  const page = readFileSync(new URL('../../docs/mesh-protocol.md', import.meta.url), 'utf8')
  const lines = page
    .split('\n')
    .flatMap((line) => /^ {4}((?:[0-9a-f]{2} +){5,}[0-9a-f]{2})\b/.exec(line)?.[1] ?? [])
  const decoded = lines.map((line) => {
    const bytes = Buffer.from(line.replaceAll(' ', ''), 'hex')
    const reader = new MsgpackReader(bytes)
    const value = reader.value()
    expect(reader.done).toBe(true)
    return value
  })
  expect(decoded).toEqual([
    [0, 0, 1234],
    [1, 0, 1239],
    [1, 1, 5000, 2 ** 32 - 1, 0, 0, 'stat', { path: '/x' }],
    [1, 1, 1_000_000],
    [2, 1, { size: 42 }],
  ])
})
