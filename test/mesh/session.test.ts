import { describe, expect, test } from 'vitest'
import { CosmosError } from '../../src/errors.ts'
import type { OverloadError } from '../../src/mesh/session/errors.ts'
import type { CallContext } from '../../src/mesh/session/incoming-call.ts'
import { Collected, drive, Programs } from './program.ts'
import { NO_LEFTOVERS, Pair } from './world.ts'

async function opened(settings = {}): Promise<{ pair: Pair; programs: Programs }> {
  const pair = new Pair(settings)
  const programs = new Programs()
  pair.b.handler = programs
  await pair.opened()
  return { pair, programs }
}

describe('calls', () => {
  test('are answered with what the handler answers', async () => {
    const { pair } = await opened()
    const args = {
      name: 'x',
      numbers: [0, -1, 127, 128, -33, 65536, 2 ** 40, -(2 ** 40), 0.5, -0],
      big: 2n ** 63n,
      text: 'grüße, 日本',
      bytes: Buffer.from([0, 255]),
      nothing: null,
      yes: true,
      ['__proto__']: { deep: [[[{}]]] },
    }
    expect(await pair.world.outcome(pair.a.call('echo', args))).toStrictEqual({ value: args })
    pair.close()
    await pair.world.pass(0)
    expect(pair.leftovers).toEqual(NO_LEFTOVERS)
  })

  test('go both ways, many at once, and are answered each with its own', async () => {
    const { pair, programs } = await opened()
    pair.a.handler = programs
    const calls = Array.from({ length: 500 }, (_, i) =>
      (i % 2 ? pair.a : pair.b).call('echo', { name: `${i}` }),
    )
    const all = await pair.world.outcome(Promise.all(calls))
    expect(all).toEqual({ value: calls.map((_, i) => ({ name: `${i}` })) })
  })

  test('of one turn go in one message', async () => {
    const { pair } = await opened()
    const before = pair.links!.sent
    const calls = Array.from({ length: 50 }, (_, i) => pair.a.call('echo', { name: `${i}` }))
    await pair.world.outcome(Promise.all(calls))
    expect(pair.links!.sent - before).toBe(2)
  })

  test('carry arguments and answers of megabytes, in pieces', async () => {
    const { pair } = await opened()
    const args = { name: 'large', bytes: Buffer.alloc(3_000_000, 'x') }
    expect(await pair.world.outcome(pair.a.call('echo', args))).toEqual({ value: args })
    const error = await pair.world.outcome(pair.a.call('echo', { bytes: Buffer.alloc(5_000_000) }))
    expect(error).toMatchObject({ error: { code: 'EMSGSIZE' } })
    expect(await pair.world.outcome(pair.a.call('echo', { name: 'after' }))).toEqual({
      value: { name: 'after' },
    })
  })

  test('fail with the error of the handler', async () => {
    const { pair } = await opened()
    pair.b.handler = {
      call: (op) => {
        if (op === 'cosmos') throw new CosmosError('ENOENT', '/x', 'not found', 'make it')
        throw new TypeError('oh')
      },
    }
    expect(await pair.world.outcome(pair.a.call('cosmos', {}))).toMatchObject({
      error: { code: 'ENOENT', subject: '/x', message: '/x: not found', hint: 'make it' },
    })
    expect(await pair.world.outcome(pair.a.call('other', {}))).toMatchObject({
      error: { code: 'EIO', message: 'call: oh' },
    })
    pair.b.handler = { call: () => () => {} }
    expect(await pair.world.outcome(pair.a.call('function', {}))).toMatchObject({ error: { code: 'EINVAL' } })
    pair.b.handler = undefined
    expect(await pair.world.outcome(pair.a.call('nobody', {}))).toMatchObject({ error: { code: 'ENOSYS' } })
  })

  test('end at their deadline, on both sides', async () => {
    const { pair, programs } = await opened()
    let aborted: unknown
    pair.b.handler = {
      call: (_op, _args, context) => {
        context.signal.addEventListener('abort', () => {
          aborted = context.signal.reason
        })
        return programs.call('never', { name: 'n' }, context)
      },
    }
    const start = pair.world.now
    const outcome = await pair.world.outcome(pair.a.call('never', {}, { deadline: 700 }))
    expect(outcome).toMatchObject({ error: { code: 'ETIMEDOUT' } })
    expect(pair.world.now - start).toBeLessThanOrEqual(701)
    await pair.world.pass(10)
    expect(aborted).toBeInstanceOf(CosmosError)
    expect(pair.a.figures).toMatchObject({ outgoing: 0 })
    expect(pair.b.figures).toMatchObject({ incoming: 0 })
  })

  test('are cancelled by their signal, and the handler is told', async () => {
    const { pair, programs } = await opened()
    let context: CallContext | undefined
    pair.b.handler = {
      call: (_op, _args, its) => {
        context = its
        return programs.call('never', { name: 'n' }, its)
      },
    }
    const abort = new AbortController()
    const result = pair.a.call('never', {}, { signal: abort.signal })
    const outcome = pair.world.outcome(result)
    await pair.world.until('begun', () => context !== undefined)
    abort.abort()
    expect(await outcome).toMatchObject({ error: { code: 'ECANCELED' } })
    await pair.world.until('told', () => context!.signal.aborted)
    expect(pair.b.figures.incoming).toBe(0)
    // One that is cancelled before it was sent is never begun.
    const early = new AbortController()
    const cancelled = pair.a.call('echo', { name: 'early' }, { signal: early.signal })
    early.abort()
    expect(await pair.world.outcome(cancelled)).toMatchObject({ error: { code: 'ECANCELED' } })
    await pair.world.pass(100)
    expect(programs.begun.get('early')).toBe(undefined)
  })

  test('beyond the limit are refused with a hint, and nothing grows', async () => {
    const { pair } = await opened({ calls: 4 })
    const calls = Array.from({ length: 4 }, (_, i) =>
      pair.a.call('never', { name: `${i}` }, { deadline: 1000 }),
    )
    for (const each of calls) each.catch(() => {})
    const refused = await pair.world.outcome(pair.a.call('echo', {}))
    expect(refused).toMatchObject({ error: { code: 'EAGAIN' } })
    expect((refused as { error: OverloadError }).error.retry).toBeGreaterThan(0)
    await pair.world.pass(1001)
    expect(await pair.world.outcome(pair.a.call('echo', { name: 'now' }))).toMatchObject({ value: {} })
  })

  test('are refused by a host whose handlers do not end', async () => {
    const { pair } = await opened({ calls: 4 })
    for (let i = 0; i < 8; i++)
      await pair.world.outcome(pair.a.call('never', { name: `${i}` }, { deadline: 10 }))
    const refused = await pair.world.outcome(pair.a.call('echo', { name: 'x' }))
    expect(refused).toMatchObject({ error: { code: 'EAGAIN' } })
    expect((refused as { error: OverloadError }).error.retry).toBeGreaterThan(0)
  })
})

describe('streams', () => {
  test('go both ways, end each for itself, and the answer comes last', async () => {
    const { pair } = await opened()
    const call = pair.a.open('exec', { name: 'p' }, { sends: 1, receives: 2 })
    const { out, err } = drive(call, ['hello, ', 'world'])
    let endsBefore: boolean[] = []
    call.result.then(() => {
      endsBefore = [out.ended, err.ended]
    })
    expect(await pair.world.outcome(call.result)).toEqual({ value: { code: 12 } })
    expect(endsBefore).toEqual([true, true])
    expect([out.text, err.text]).toEqual(['HELLO, WORLD', 'signal SIGUSR1\n'])
    expect([out.why, err.why]).toEqual([undefined, undefined])
  })

  test('of a slow reader wait, and others do not', async () => {
    const { pair } = await opened({ window: 256 * 1024 })
    const wrote: boolean[] = []
    pair.b.handler = {
      call: async (_op, _args, context) => {
        const [slow, fast] = context.writers
        const chunk = Buffer.alloc(64 * 1024, 'x')
        for (let i = 0; i < 40; i++) wrote.push(slow!.write(chunk))
        for (let i = 0; i < 40; i++) fast!.write(chunk)
        return 'done'
      },
    }
    const call = pair.a.open('flood', {}, { receives: 2 })
    let came = 0
    call.readers[0]!.read({
      data: (bytes) => {
        came += bytes.length
      },
      end: () => {},
    })
    const fast = new Collected(call.readers[1]!)
    await pair.world.until('the fast one is through', () => fast.ended)
    await pair.world.pass(3000)
    expect(came).toBe(256 * 1024)
    expect(wrote.slice(0, 6)).toEqual([true, true, true, true, false, false])
    expect(pair.b.figures.queued).toBe(36 * 64 * 1024)
    expect(pair.a.figures.queued).toBe(0)
    // The answer waits for the stream, which goes on when it is read.
    let answered = false
    call.result.then(() => {
      answered = true
    })
    await pair.world.pass(1000)
    expect(answered).toBe(false)
    let consumed = 0
    while (came < 40 * 64 * 1024 || consumed < came) {
      call.readers[0]!.consumed(came - consumed)
      consumed = came
      await pair.world.pass(1)
    }
    expect(await pair.world.outcome(call.result)).toEqual({ value: 'done' })
  })

  test('that come before somebody reads are kept, within the window', async () => {
    const { pair } = await opened()
    pair.b.handler = {
      call: (_op, _args, context) => {
        context.writers[0]!.write(Buffer.from('early'))
        return 1
      },
    }
    const call = pair.a.open('x', {}, { receives: 1 })
    expect(await pair.world.outcome(call.result)).toEqual({ value: 1 })
    const late = new Collected(call.readers[0]!)
    expect([late.text, late.ended, late.why]).toEqual(['early', true, undefined])
  })

  test('are aborted by the writer, and stopped by the reader', async () => {
    const { pair } = await opened()
    let why: CosmosError | undefined
    pair.b.handler = {
      call: async (_op, _args, context) => {
        context.writers[0]!.abort('the disk is full')
        await new Promise<void>((resolve) => {
          context.writers[1]!.stopped = (its) => {
            why = its
            resolve()
          }
        })
        context.writers[1]!.write(Buffer.from('to nobody'))
        return 'done'
      },
    }
    const call = pair.a.open('x', {}, { receives: 2 })
    const failed = new Collected(call.readers[0]!)
    call.readers[1]!.stop('enough')
    expect(await pair.world.outcome(call.result)).toEqual({ value: 'done' })
    expect(failed.why).toMatchObject({ code: 'EIO', message: 'stream: the disk is full' })
    expect(why).toMatchObject({ code: 'EPIPE', message: 'stream: enough' })
  })

  test('of a call that fails end with it', async () => {
    const { pair } = await opened()
    const call = pair.a.open('unheard of', { name: 'x' }, { sends: 1, receives: 1 })
    const got = new Collected(call.readers[0]!)
    let stopped: CosmosError | undefined
    call.writers[0]!.stopped = (why) => {
      stopped = why
    }
    expect(await pair.world.outcome(call.result)).toMatchObject({ error: { code: 'EIO' } })
    expect(got.why).toMatchObject({ code: 'EIO' })
    expect(stopped).toBeInstanceOf(CosmosError)
    expect([pair.a.figures.streams, pair.b.figures.streams]).toEqual([0, 0])
  })

  test('a callback that throws is reported, and the session goes on', async () => {
    const { pair } = await opened()
    const call = pair.a.open('exec', { name: 'p' }, { sends: 1, receives: 2 })
    call.readers[0]!.read({
      data: () => {
        throw new Error('mine')
      },
      end: () => {},
    })
    new Collected(call.readers[1]!)
    call.writers[0]!.write(Buffer.from('x'))
    call.writers[0]!.end()
    expect(await pair.world.outcome(call.result)).toEqual({ value: { code: 1 } })
    expect(pair.reports).toEqual([new Error('mine')])
  })
})

describe('events', () => {
  test('come in order with calls, and with each other', async () => {
    const { pair, programs } = await opened()
    const order: unknown[] = []
    pair.b.handler = {
      call: (op) => {
        order.push(op)
        return null
      },
      event: (op) => {
        order.push(op)
      },
    }
    pair.a.notify('first', 1)
    const call = pair.a.call('second', {})
    pair.a.notify('third', 3)
    await pair.world.outcome(call)
    expect(order).toEqual(['first', 'second', 'third'])
    expect(programs.events).toEqual([])
  })

  test('of a call go both ways, before its answer', async () => {
    const { pair } = await opened()
    pair.b.handler = {
      call: (_op, _args, context) =>
        new Promise((resolve) => {
          context.event = (op, args) => {
            context.notify(`${op}!`, args)
            resolve('done')
          }
        }),
    }
    const seen: unknown[] = []
    const call = pair.a.open('x', {}, { event: (op, args) => seen.push([op, args]) })
    call.notify('window', [80, 24])
    expect(await pair.world.outcome(call.result)).toEqual({ value: 'done' })
    expect(seen).toEqual([['window!', [80, 24]]])
  })
})
