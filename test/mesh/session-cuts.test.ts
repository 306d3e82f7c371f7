import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CosmosError } from '../../src/errors.ts'
import type { MemoryFaults } from '../../src/mesh/memory-link.ts'
import type { SessionSettings } from '../../src/mesh/session/settings.ts'
import { drive, Programs } from './program.ts'
import { NO_LEFTOVERS, Pair } from './world.ts'

const INPUT = ['hello, ', 'x'.repeat(100_000), 'world']
const CAPITALS = INPUT.join('').toUpperCase()
const CODE = CAPITALS.length % 256
/** Small windows, so that a call has many messages. */
const SETTINGS: Partial<SessionSettings> = { window: 64 * 1024 }

interface Run {
  readonly pair: Pair
  readonly programs: Programs
  readonly outcome: { value: unknown } | { error: CosmosError }
  readonly out: string
  readonly err: string
  readonly messages: number
}

/** One program on B for A, over a link with these faults from the call on; when it is lost, `then` is done. */
async function run(faults: MemoryFaults, then: (pair: Pair, programs: Programs) => void): Promise<Run> {
  const pair = new Pair(SETTINGS)
  const programs = new Programs()
  pair.b.handler = programs
  const links = pair.connect(faults)
  const lost = setsOff(pair, () => then(pair, programs))
  await pair.world.until('it is open, or cut', () => pair.a.state === 'open' || links.over)
  if (pair.a.state !== 'open') await pair.world.until('it is open', () => pair.a.state === 'open')
  const call = pair.a.open('exec', { name: 'p' }, { sends: 1, receives: 2, deadline: 60_000 })
  const { out, err } = drive(call, INPUT)
  const outcome = await pair.world.outcome(call.result)
  lost()
  return { pair, programs, outcome, out: out.text, err: err.text, messages: links.sent }
}

/** Does it once, when the pair's first link has ended. */
function setsOff(pair: Pair, act: () => void): () => void {
  const first = pair.links
  let over = false
  const look = () => {
    if (over) return
    if (first!.over) {
      over = true
      act()
    } else pair.clockA.after(1, look)
  }
  look()
  return () => {
    over = true
  }
}

async function ended({ pair }: Run): Promise<void> {
  pair.close()
  await pair.world.pass(20_000)
  expect(pair.leftovers).toEqual(NO_LEFTOVERS)
  expect(pair.world.pending).toBe(0)
}

describe('the link is cut at every message of a program with streams', async () => {
  const whole = await run({}, () => {})
  const cuts = Array.from({ length: whole.messages }, (_, i) => [
    { cutBefore: i + 1 },
    { cutAfter: i + 1 },
    { cutBefore: i + 1, silent: true },
  ]).flat()

  test('without a cut it works', () => {
    expect(whole.outcome).toEqual({ value: { code: CODE } })
    expect(whole.messages).toBeGreaterThan(8)
  })

  test.each(cuts)('%o, and another comes: it goes on as if nothing had been', async (cut) => {
    const result = await run(cut, (pair) => pair.connect())
    expect(result.outcome).toEqual({ value: { code: CODE } })
    expect(result.out).toBe(CAPITALS)
    expect(result.err).toBe('signal SIGUSR1\n')
    expect(result.programs.begun.get('p')).toBe(1)
    await ended(result)
  })

  test.each(cuts)('%o, and none comes: a named error, in time', async (cut) => {
    const pair = new Pair(SETTINGS)
    const programs = new Programs()
    pair.b.handler = programs
    pair.connect(cut)
    await pair.world.pass(0)
    if (pair.a.state !== 'open') await pair.world.pass(3000)
    if (pair.a.state === 'down') {
      const call = pair.a.call('exec', { name: 'p' }, { sends: 1, receives: 2 })
      expect(await pair.world.outcome(call)).toMatchObject({ error: { code: 'EHOSTDOWN' } })
    } else {
      const start = pair.world.now
      const call = pair.a.open('exec', { name: 'p' }, { sends: 1, receives: 2 })
      const { out, err } = drive(call, INPUT)
      const outcome = await pair.world.outcome(call.result)
      if ('error' in outcome) {
        expect(['ECOMM', 'EHOSTDOWN']).toContain(outcome.error.code)
        if (outcome.error.code === 'ECOMM') expect(outcome.error.message).toContain('outcome unknown')
        else expect(programs.begun.get('p')).toBe(undefined)
        // Two heartbeats until it is known, and the resume window.
        expect(pair.world.now - start).toBeLessThanOrEqual(12_001)
        expect([out.ended, err.ended]).toEqual([true, true])
      } else expect(outcome.value).toEqual({ code: CODE })
    }
    pair.close()
    await pair.world.pass(20_000)
    expect(pair.leftovers).toEqual(NO_LEFTOVERS)
  })

  test.each(cuts)('%o, and the peer is restarted: never twice, and never in doubt', async (cut) => {
    const result = await run(cut, (pair, programs) => {
      pair.restartB(programs)
      pair.connect()
    })
    const begun = result.programs.begun.get('p') ?? 0
    expect(begun).toBeLessThanOrEqual(1)
    if ('error' in result.outcome) {
      expect(result.outcome.error.code).toBe(begun === 0 ? result.outcome.error.code : 'ECOMM')
      expect(['ECOMM', 'EHOSTDOWN']).toContain(result.outcome.error.code)
    } else {
      expect(result.outcome.value).toEqual({ code: CODE })
      expect(begun).toBe(1)
    }
    result.pair.close()
  })
})

describe('a link that loses, repeats and mixes up', () => {
  const fault = fc.record({
    seed: fc.integer(),
    delay: fc.constantFrom([0, 0] as const, [0, 5] as const, [20, 60] as const),
    reorder: fc.constantFrom(0, 0.05, 0.3),
    duplicate: fc.constantFrom(0, 0.1, 0.5),
    drop: fc.constantFrom(0, 0.02, 0.2),
    cutAfter: fc.integer({ min: 3, max: 60 }),
  })

  test('never makes a call happen twice, nor an answer be another one’s', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fault, { minLength: 1, maxLength: 8 }), async (faults) => {
        const pair = new Pair({ ...SETTINGS, resumeWindow: 60_000 })
        const programs = new Programs()
        pair.b.handler = programs
        // When one link is over the next comes, at last one without faults.
        const next = () => {
          const links = pair.connect(faults.shift() ?? {})
          setsOff(pair, next)
          return links
        }
        next()
        await pair.world.until('it is open', () => pair.a.state === 'open')
        const calls = Array.from({ length: 20 }, (_, i) =>
          pair.a.call('echo', { name: `${i}` }, { deadline: 60_000 }),
        )
        const exec = pair.a.open('exec', { name: 'p' }, { sends: 1, receives: 2 })
        const { out } = drive(exec, INPUT)
        const echoed = await pair.world.outcome(Promise.all(calls))
        expect(echoed).toEqual({ value: calls.map((_, i) => ({ name: `${i}` })) })
        expect(await pair.world.outcome(exec.result)).toEqual({ value: { code: CODE } })
        expect(out.text).toBe(CAPITALS)
        for (const [, count] of programs.begun) expect(count).toBe(1)
        pair.close()
      }),
      { numRuns: 60, seed: 5 },
    )
  })
})

test('no call happens twice when the peer is restarted time and again, and each is answered', async () => {
  const step = fc.record({
    seed: fc.integer(),
    delay: fc.constantFrom([0, 0] as const, [1, 30] as const),
    cutAfter: fc.integer({ min: 3, max: 40 }),
    restart: fc.boolean(),
    silent: fc.boolean(),
    calls: fc.array(fc.record({ idempotent: fc.boolean(), wait: fc.nat(40) }), { maxLength: 12 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      const pair = new Pair({ ...SETTINGS, resumeWindow: 5000 })
      const programs = new Programs()
      pair.b.handler = programs
      const asked: Promise<{ value: unknown } | { error: CosmosError }>[] = []
      const once = new Set<string>()
      for (const { restart, calls, ...faults } of steps) {
        if (restart) pair.restartB(programs)
        pair.connect(faults)
        for (const { idempotent, wait } of calls) {
          await pair.world.pass(wait)
          const name = `${asked.length}`
          if (!idempotent) once.add(name)
          asked.push(settled(pair.a.call('echo', { name }, { idempotent, deadline: 20_000 })))
        }
      }
      await pair.world.pass(25_000)
      const outcomes = await Promise.all(asked)
      for (const [i, outcome] of outcomes.entries()) {
        const begun = programs.begun.get(`${i}`) ?? 0
        if (once.has(`${i}`)) expect(begun).toBeLessThanOrEqual(1)
        if ('value' in outcome) expect(outcome.value).toEqual({ name: `${i}` })
        else {
          expect(['ECOMM', 'EHOSTDOWN', 'ETIMEDOUT']).toContain(outcome.error.code)
          // Where it is said that it was not sent, it was not begun.
          if (outcome.error.code === 'EHOSTDOWN' && once.has(`${i}`)) expect(begun).toBe(0)
        }
      }
      pair.close()
    }),
    { numRuns: 150, seed: 23 },
  )
})

async function settled(promise: Promise<unknown>): Promise<{ value: unknown } | { error: CosmosError }> {
  try {
    return { value: await promise }
  } catch (error) {
    return { error: error as CosmosError }
  }
}

test('a thousand cuts leave nothing', async () => {
  const pair = new Pair(SETTINGS)
  const programs = new Programs()
  pair.b.handler = programs
  let failures = 0
  for (let i = 0; i < 1000; i++) {
    pair.connect(i % 3 === 0 ? { cutAfter: 4 + (i % 17) } : i % 3 === 1 ? { cutBefore: 4 + (i % 13) } : {})
    await pair.world.until('open, or cut', () => pair.a.state === 'open' || pair.links!.over)
    const call = pair.a.open('exec', { name: `${i}` }, { sends: 1, receives: 2, deadline: 500 })
    drive(call, ['a', 'b'])
    call.result.catch(() => failures++)
    if (i % 50 === 0) await pair.world.pass(15_000)
    else
      await pair.world.until(
        'one is through, or cut',
        () => pair.links!.over || pair.a.figures.outgoing === 0,
      )
    pair.links!.cut()
  }
  expect(failures).toBeGreaterThan(0)
  await pair.world.pass(15_000)
  expect([pair.a.state, pair.b.state]).toEqual(['down', 'down'])
  expect(pair.leftovers).toEqual(NO_LEFTOVERS)
  expect(pair.world.pending).toBe(0)
  for (const [, count] of programs.begun) expect(count).toBe(1)
})
