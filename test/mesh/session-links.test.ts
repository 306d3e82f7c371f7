import { describe, expect, test } from 'vitest'
import { memoryLinks } from '../../src/mesh/memory-link.ts'
import { Collected, drive, Programs } from './program.ts'
import { A, B, NO_LEFTOVERS, Pair } from './world.ts'

async function opened(settings = {}, clockB?: { offset: number; rate: number }) {
  const pair = new Pair(settings, clockB)
  const programs = new Programs()
  pair.b.handler = programs
  const links = await pair.opened()
  return { pair, programs, links, world: pair.world }
}

describe('a lost link', () => {
  test('is known within two heartbeats where nobody tells, on both sides', async () => {
    const pair = new Pair()
    const links = await pair.opened({ silent: true })
    await pair.world.pass(10_000)
    expect([pair.a.state, pair.b.state]).toEqual(['open', 'open'])
    links.cut()
    await pair.world.pass(2001)
    expect([pair.a.state, pair.b.state]).toEqual(['lost', 'lost'])
    expect(pair.a.why).toContain('silent for 2000 ms')
  })

  test('is awaited by calls, for as long as they may', async () => {
    const { pair, programs, links, world } = await opened()
    links.cut()
    await world.until('lost', () => pair.a.state === 'lost')
    const waiting = pair.a.call('echo', { name: 'waiting' })
    const short = pair.a.call('echo', { name: 'short' }, { deadline: 500 })
    pair.a.notify('late', 1, 500)
    pair.a.notify('in time', 2)
    expect(await world.outcome(short)).toMatchObject({ error: { code: 'ETIMEDOUT' } })
    await world.pass(1000)
    pair.connect()
    expect(await world.outcome(waiting)).toEqual({ value: { name: 'waiting' } })
    // What had expired while it waited was never begun.
    expect(programs.begun.get('short')).toBe(undefined)
    expect(programs.events).toEqual([['in time', 2]])
  })

  test('that stays lost ends what was asked, and later calls at once', async () => {
    const { pair, links, world } = await opened()
    const sent = pair.a.call('never', { name: 'n' })
    const repeatable = pair.a.call('never', { name: 'm' }, { idempotent: true })
    await world.pass(10)
    links.cut()
    await world.until('lost', () => pair.a.state === 'lost')
    const unsent = pair.a.call('echo', {})
    const start = world.now
    const outcomes = await Promise.all([sent, repeatable, unsent].map((each) => world.outcome(each)))
    expect(outcomes).toMatchObject([
      { error: { code: 'ECOMM', message: expect.stringContaining('outcome unknown') } },
      { error: { code: 'EHOSTDOWN' } },
      { error: { code: 'EHOSTDOWN' } },
    ])
    expect(world.now - start).toBeLessThanOrEqual(10_000)
    const now = world.now
    expect(await world.outcome(pair.a.call('echo', {}))).toMatchObject({ error: { code: 'EHOSTDOWN' } })
    expect(() => pair.a.notify('x', 1)).toThrow(expect.objectContaining({ code: 'EHOSTDOWN' }))
    expect(world.now).toBe(now)
  })

  test('aborts the peer’s calls only when it stays lost', async () => {
    const { pair, links, world } = await opened()
    let signal: AbortSignal | undefined
    pair.b.handler = {
      call: (_op, _args, context) => {
        signal = context.signal
        return new Promise(() => {})
      },
    }
    pair.a.call('x', {}).catch(() => {})
    await world.until('begun', () => signal !== undefined)
    links.cut()
    await world.pass(9000)
    expect(signal!.aborted).toBe(false)
    await world.pass(2000)
    expect(signal!.aborted).toBe(true)
    expect(signal!.reason).toMatchObject({ code: 'EHOSTDOWN' })
  })

  test('bounds what waits: further calls are refused with a hint, streams wait', async () => {
    const { pair, links, world } = await opened({ queue: 256 * 1024 })
    const call = pair.a.open('exec', { name: 'p' }, { sends: 1, receives: 2 })
    new Collected(call.readers[0]!)
    new Collected(call.readers[1]!)
    call.result.catch(() => {})
    await world.pass(10)
    links.cut()
    await world.until('lost', () => pair.a.state === 'lost')
    expect(call.writers[0]!.write(Buffer.alloc(100))).toBe(false)
    const refused = []
    for (let i = 0; i < 100; i++) {
      const waiting = pair.a.call('echo', { name: `${i}`, bytes: Buffer.alloc(10_000) })
      refused.push(waiting.then(() => 'answered').catch((error) => error.code))
      if (i === 50)
        expect(() => pair.a.notify('x', Buffer.alloc(10))).toThrow(
          expect.objectContaining({ code: 'EAGAIN' }),
        )
    }
    expect(pair.a.figures.queued).toBeLessThan(300 * 1024)
    pair.connect()
    const outcome = (await world.outcome(Promise.all(refused))) as { value: string[] }
    expect(outcome.value.filter((each) => each === 'answered').length).toBeGreaterThan(20)
    expect(outcome.value.filter((each) => each === 'EAGAIN').length).toBeGreaterThan(50)
  })
})

describe('a peer that was restarted', () => {
  test('fails what it was asked, and gets again what it had not been sent or may do twice', async () => {
    const { pair, programs, world } = await opened()
    const sent = pair.a.call('never', { name: 'sent' })
    const repeatable = pair.a.call('never', { name: 'repeatable' }, { idempotent: true })
    await world.pass(10)
    const after = new Programs()
    pair.restartB(after)
    await world.until('lost', () => pair.a.state === 'lost')
    const unsent = pair.a.call('echo', { name: 'unsent' })
    pair.connect()
    expect(await world.outcome(sent)).toMatchObject({
      error: { code: 'ECOMM', message: expect.stringContaining('outcome unknown') },
    })
    expect(await world.outcome(unsent)).toEqual({ value: { name: 'unsent' } })
    expect([...programs.begun.keys()]).toEqual(['sent', 'repeatable'])
    expect([...after.begun.keys()].sort()).toEqual(['repeatable', 'unsent'])
    repeatable.catch(() => {})
    pair.close()
  })

  test('is told from one that gave up waiting', async () => {
    const { pair, links, world } = await opened()
    const sent = pair.a.call('never', { name: 'sent' })
    await world.pass(10)
    pair.restartB(new Programs())
    await world.until('over', () => links.over)
    pair.connect()
    expect(await world.outcome(sent)).toMatchObject({
      error: { message: expect.stringContaining('the peer was restarted') },
    })
  })
})

describe('several links', () => {
  test('the later one is used, and nothing is lost', async () => {
    const { pair, programs, world } = await opened()
    const call = pair.a.open('exec', { name: 'p' }, { sends: 1, receives: 2 })
    const { out } = drive(call, ['x'.repeat(300_000)])
    const echoes = []
    for (let i = 0; i < 20; i++) {
      echoes.push(pair.a.call('echo', { name: `${i}` }))
      pair.connect({ seed: i, delay: [0, 3] })
      await world.pass(2)
    }
    expect(await world.outcome(Promise.all(echoes))).toMatchObject({ value: { length: 20 } })
    expect(await world.outcome(call.result)).toMatchObject({ value: {} })
    expect(out.text.length).toBe(300_000)
    for (const [, count] of programs.begun) expect(count).toBe(1)
  })

  test('that both sides make at once end in one', async () => {
    for (let seed = 0; seed < 30; seed++) {
      const pair = new Pair()
      pair.b.handler = new Programs()
      const clock = pair.world.clock()
      const links = [0, 1].map((i) => memoryLinks(A, B, { seed: seed * 2 + i, delay: [1, 30] }, clock))
      pair.a.attach(links[0]!.a)
      pair.b.attach(links[1]!.b)
      pair.a.attach(links[1]!.a)
      pair.b.attach(links[0]!.b)
      expect(await pair.world.outcome(settled(pair))).toEqual({ value: { name: 'x' } })
      await pair.world.pass(5000)
      expect([pair.a.state, pair.b.state]).toEqual(['open', 'open'])
      expect(links.filter((each) => !each.over).length).toBe(1)
      pair.close()
    }
    async function settled(pair: Pair): Promise<unknown> {
      await pair.world.until('open', () => pair.a.state === 'open')
      return pair.a.call('echo', { name: 'x' })
    }
  })

  test('of another peer are refused', () => {
    const pair = new Pair()
    const links = memoryLinks(A, 'c'.repeat(64), {}, pair.world.clock())
    expect(() => pair.a.attach(links.a)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })
})

describe('a slow link', () => {
  /** What a program gives back that gets so many bytes. */
  async function through(pair: Pair, size: number): Promise<string> {
    const call = pair.a.open('exec', { name: 'p' }, { sends: 1, receives: 2 })
    const { out } = drive(call, ['x'.repeat(size)])
    await pair.world.outcome(call.result)
    return out.text
  }

  test.each([1000, 100, 40])('of %i KiB a second is not taken for a lost one', async (rate) => {
    const pair = new Pair()
    pair.b.handler = new Programs()
    await pair.opened({ rate: rate * 1024, delay: [5, 5] })
    const former = pair.a.why
    expect(await through(pair, 2_000_000)).toHaveLength(2_000_000)
    expect(pair.a.why).toBe(former)
    expect(pair.world.now).toBeGreaterThan(2_000_000 / rate / 1.024)
    // Two ways of as many bytes, side by side, and little more.
    expect(pair.world.now).toBeLessThan((2 * 2_000_000) / rate + 3000)
    expect(pair.reports).toEqual([])
    pair.close()
  })

  test('gets what was made for a fast one, in parts', async () => {
    const { pair, world, links } = await opened()
    await through(pair, 4_000_000)
    const call = pair.a.open('exec', { name: 'q' }, { sends: 1, receives: 2 })
    const { out } = drive(call, ['y'.repeat(1_000_000)])
    links.cut()
    const slow = pair.connect({ rate: 60 * 1024 })
    expect(await world.outcome(call.result)).toMatchObject({ value: {} })
    expect(out.text).toHaveLength(1_000_000)
    expect(slow.over).toBe(false)
    expect(pair.reports).toEqual([])
  })
})

describe('clocks', () => {
  test.each([
    { offset: 86_400_000, rate: 1 },
    { offset: -86_400_000, rate: 1.0005 },
    { offset: 2 ** 32 - 500, rate: 0.9995 },
    { offset: 0.25, rate: 1 },
  ])('that differ (%o) change nothing', async (clockB) => {
    const { pair, programs, world } = await opened({}, clockB)
    let remaining = 0
    pair.b.handler = {
      call: (op, args, context) => {
        remaining = context.remaining
        return programs.call(op, args, context)
      },
    }
    for (let i = 0; i < 20; i++) {
      const answer = await world.outcome(pair.a.call('echo', { name: `${i}` }, { deadline: 1000 }))
      expect(answer).toEqual({ value: { name: `${i}` } })
      expect(remaining).toBeGreaterThan(980)
      expect(remaining).toBeLessThanOrEqual(1000)
      await world.pass(7000)
    }
    const start = world.now
    const late = pair.b.call('never', { name: 'never' }, { deadline: 1000 })
    expect(await world.outcome(late)).toMatchObject({ error: { code: 'ENOSYS' } })
    expect(await world.outcome(pair.a.call('never', { name: 'n' }, { deadline: 1000 }))).toMatchObject({
      error: { code: 'ETIMEDOUT' },
    })
    expect(world.now - start).toBeLessThan(1100)
  })

  test('what waited for a process that was stopped is not begun after its time', async () => {
    const { pair, programs, links, world } = await opened()
    await world.pass(5000)
    const receiver = links.b.receiver!
    const held: Buffer[] = []
    links.b.receiver = { ...QUIET, message: (message) => held.push(Buffer.from(message)) }
    const expiring = pair.a.call('echo', { name: 'expiring' }, { deadline: 1000 })
    const lasting = pair.a.call('echo', { name: 'lasting' }, { deadline: 10_000 })
    pair.a.notify('gone', 1, 1000)
    pair.a.notify('there', 2)
    expect(await world.outcome(expiring)).toMatchObject({ error: { code: 'ETIMEDOUT' } })
    await world.pass(500)
    links.b.receiver = receiver
    for (const each of held) receiver.message(each)
    expect(await world.outcome(lasting)).toEqual({ value: { name: 'lasting' } })
    expect([...programs.begun.keys()]).toEqual(['lasting'])
    expect(programs.events).toEqual([['there', 2]])
  })

  test('a process that was stopped itself does not blame its peer', async () => {
    const { pair, world, links } = await opened()
    // The world's timers come late, all at once, as after a stop.
    const receiver = links.a.receiver!
    const held: Buffer[] = []
    links.a.receiver = { ...QUIET, message: (message) => held.push(Buffer.from(message)) }
    await world.pass(900)
    world.now += 5000
    await world.pass(1)
    expect(pair.a.state).toBe('open')
    links.a.receiver = receiver
    for (const each of held) receiver.message(each)
    await world.pass(100)
    expect(pair.a.state).toBe('open')
  })

  test('the round trip is measured', async () => {
    const pair = new Pair()
    await pair.opened({ delay: [20, 20] })
    await pair.world.pass(5000)
    expect(pair.a.figures.roundTrip).toBeGreaterThanOrEqual(39)
    expect(pair.a.figures.roundTrip).toBeLessThanOrEqual(43)
  })
})

test('goodbye ends the session at once, on both sides', async () => {
  const { pair, world } = await opened()
  const call = pair.a.call('never', { name: 'n' })
  await world.pass(10)
  const start = world.now
  pair.b.close('the daemon goes down')
  expect(await world.outcome(call)).toMatchObject({
    error: { code: 'ECOMM', message: expect.stringContaining('the daemon goes down') },
  })
  expect(world.now - start).toBeLessThan(10)
  expect([pair.a.state, pair.b.state]).toEqual(['down', 'closed'])
  pair.close()
  await world.pass(0)
  expect({ ...pair.leftovers }).toEqual({ ...NO_LEFTOVERS, b: { ...NO_LEFTOVERS.b, running: 1 } })
})

const QUIET = { drained: () => {}, ended: () => {} }
