import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CosmosError } from '../../src/errors.ts'
import { memoryLinks } from '../../src/mesh/memory-link.ts'
import * as frames from '../../src/mesh/session/frames.ts'
import { Session } from '../../src/mesh/session/session.ts'
import type { SessionSettings } from '../../src/mesh/session/settings.ts'
import { HONEST, Liar, message } from './liar.ts'
import { Programs } from './program.ts'
import { A, B, World } from './world.ts'

/** B, who answers, and A, who lies and leads. */
class Scene {
  readonly world = new World()
  readonly programs = new Programs()
  readonly reports: unknown[] = []
  readonly session: Session
  liar: Liar
  /** What the session has said in its last hello. */
  nonce = Buffer.alloc(0)

  constructor(settings: Partial<SessionSettings> = {}) {
    this.session = new Session({
      self: B,
      peer: A,
      software: 'honest',
      clock: this.world.clock(),
      handler: this.programs,
      settings,
      report: (error) => this.reports.push(error),
    })
    this.liar = this.link()
  }

  link(): Liar {
    const { a, b } = memoryLinks(A, B, {}, this.world.clock())
    this.session.attach(b)
    this.liar = new Liar(a)
    return this.liar
  }

  async opened(): Promise<this> {
    this.liar.hello()
    await this.world.until('open', () => this.session.state === 'open')
    await this.world.pass(0)
    const [hello] = this.liar.frames.splice(0)
    this.nonce = (hello![1] as typeof HONEST).nonce
    return this
  }
}

const echo = (id: number, name: string, lifetime = 1000, deadline = frames.FOREVER) => [
  frames.CALL,
  id,
  lifetime,
  deadline,
  0,
  0,
  'echo',
  { name },
]
const exec = (id: number, sends = 1, receives = 2) => [
  frames.CALL,
  id,
  1000,
  frames.FOREVER,
  sends,
  receives,
  'exec',
  { name: `${id}` },
]

test('an honest call is answered: the liar can speak', async () => {
  const scene = await new Scene().opened()
  scene.liar.say(echo(1, 'x'), [...echo(3, 'y'), 'of a later version'])
  await scene.world.pass(0)
  expect(scene.liar.frames).toEqual([
    [frames.ANSWER, 1, { name: 'x' }],
    [frames.ANSWER, 3, { name: 'y' }],
  ])
})

describe('what comes twice or late', () => {
  test('is not done twice', async () => {
    const scene = await new Scene().opened()
    for (let i = 0; i < 5; i++) scene.liar.link.send(message(1, [echo(1, 'once')]))
    scene.liar.link.send(message(2, [echo(3, 'second')]))
    for (let i = 0; i < 5; i++) scene.liar.link.send(message(1 + (i % 2), [echo(5, 'again')]))
    await scene.world.pass(0)
    expect([...scene.programs.begun]).toEqual([
      ['once', 1],
      ['second', 1],
    ])
    expect(scene.session.state).toBe('open')
  })

  test('nor over another link', async () => {
    const scene = await new Scene().opened()
    scene.liar.say(echo(1, 'once'))
    await scene.world.pass(0)
    scene.link().hello({ resume: Buffer.concat([HONEST.nonce, scene.nonce]) })
    scene.liar.link.send(message(1, [echo(1, 'once')]))
    await scene.world.pass(0)
    expect([...scene.programs.begun]).toEqual([['once', 1]])
  })

  test('is not begun when its lifetime is over', async () => {
    const scene = await new Scene().opened()
    scene.liar.say(echo(1, 'expired', 0), echo(3, 'late', 500, 0), [frames.EVENT, 0, 0, 'expired', 1])
    await scene.world.pass(0)
    expect([...scene.programs.begun]).toEqual([])
    expect(scene.programs.events).toEqual([])
    expect(scene.liar.frames).toMatchObject([
      [frames.FAILURE, 1, { code: 'ETIMEDOUT' }],
      [frames.FAILURE, 3, { code: 'ETIMEDOUT' }],
    ])
  })
})

describe('a gap', () => {
  test('ends the link and not the session', async () => {
    const scene = await new Scene().opened()
    scene.liar.link.send(message(2, [echo(3, 'second')]))
    await scene.world.pass(0)
    expect(scene.liar.why).toContain('number 1 is missing, this is 2')
    expect(scene.session.state).toBe('lost')
    expect([...scene.programs.begun]).toEqual([])
  })
})

describe('a lie ends the link with its name', () => {
  const many = (count: number, make: (i: number) => unknown) =>
    Array.from({ length: count }, (_, i) => make(i))
  /** A frame of these bytes behind `[CALL, 1, 1000, FOREVER, 0, 0, "echo"`. */
  const bomb = (...bytes: number[]) => {
    const start = message(1, [[...echo(1, 'x').slice(0, 7)]])
    start[frames.HEADER_SIZE] = 0x98
    return Buffer.concat([start, Buffer.from(bytes)])
  }
  const lies: [string, unknown[] | Buffer, string][] = [
    ['an unknown frame type', [[99, 1]], 'frame type 99 cannot be here'],
    ['a frame that is no array', [{ type: 1 }], 'no array'],
    ['an empty frame', [[]], 'short one'],
    ['a frame with too few elements', [[frames.CALL, 1]], 'too few elements'],
    ['a control frame with a number', [[frames.PING, 1]], 'cannot be here'],
    [
      'a second hello',
      message(0, [[frames.HELLO, { ...HONEST, nonce: Buffer.alloc(16, 9) }]]),
      'a second hello',
    ],
    ['a call id of this side', [echo(2, 'x')], 'is not a new one'],
    ['a call id twice', [echo(1, 'x'), echo(1, 'x')], 'is not a new one'],
    ['call ids that fall', [echo(3, 'x'), echo(1, 'x')], 'is not a new one'],
    ['call id 0', [echo(0, 'x')], 'is not a new one'],
    ['an answer to no call', [[frames.ANSWER, 4, 1]], 'call 4 was never made'],
    ['an answer to its own call', [echo(1, 'x'), [frames.ANSWER, 1, 1]], 'not of this side'],
    ['a failure that tells nothing', [[frames.FAILURE, 2, 1]], 'a failure without'],
    ['bytes of no call', [[frames.DATA, 1, 0, Buffer.from('x')]], 'call 1 was never made'],
    ['bytes of a foreign stream', [exec(1), [frames.DATA, 1, 1, Buffer.from('x')]], 'call 1 has no stream 1'],
    ['an end of a foreign stream', [exec(1), [frames.END, 1, 7]], 'no stream 7'],
    ['credit for a foreign stream', [exec(1), [frames.CREDIT, 1, 2, 5]], 'no stream 2'],
    ['credit without end', [exec(1), ...many(3, () => [frames.CREDIT, 1, 0, 0xffffffff])], 'credit above'],
    [
      'more bytes than credit',
      [slow(1), ...many(5, () => [frames.DATA, 1, 0, Buffer.alloc(60_000)])],
      'credit',
    ],
    ['an empty fragment', [exec(1), [frames.DATA, 1, 0, Buffer.alloc(0)]], 'a fragment of 0 bytes'],
    [
      'a fragment that is too large',
      [slow(1), [frames.DATA, 1, 0, Buffer.alloc(70_000)]],
      'a fragment of 70000',
    ],
    ['two ends', [slow(1), [frames.END, 1, 0], [frames.END, 1, 0]], 'a second end'],
    [
      'bytes after the end',
      [slow(1), [frames.END, 1, 0], [frames.DATA, 1, 0, Buffer.from('x')]],
      'has ended',
    ],
    ['too many calls', many(9, (i) => never(2 * i + 1)), 'more than 8 calls'],
    ['too many streams', [exec(1, 9, 9)], 'more than 16 streams'],
    ['too many streams of a call', [exec(1, 300, 0)], 'more than 256 streams'],
    ['a cancel of no call', [[frames.CANCEL, 5]], 'never made'],
    ['a negative number', [[frames.CANCEL, -5]], 'no whole number'],
    ['a huge number', [[frames.CANCEL, 2n ** 60n]], 'above 2^53'],
    ['pieces larger than a frame', [[frames.PIECE, 10_000_000, Buffer.from('x')]], 'more than 131072'],
    [
      'pieces that do not fit',
      [
        [frames.PIECE, 9, Buffer.from('x')],
        [frames.PIECE, 9, Buffer.from('x')],
      ],
      'not fit',
    ],
    ['an empty piece', [[frames.PIECE, 9, Buffer.alloc(0)]], 'an empty piece'],
    ['a frame among pieces', [[frames.PIECE, 9, Buffer.from('x')], echo(1, 'x')], 'among the pieces'],
    ['a message larger than any', [echo(1, 'x'.repeat(600_000))], 'a message of'],
    ['arguments deeper than 16', bomb(...(many(17, () => 0x91) as number[]), 0xc0), 'deeper than 16'],
    ['a list of 4 billion', bomb(0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0), 'cut short'],
    ['a map of 4 billion', bomb(0xdf, 0xff, 0xff, 0xff, 0xff, 0xc0), 'cut short'],
    ['a text that is longer than the message', bomb(0xdb, 0, 0, 1, 0, 0x41), 'cut short'],
    ['a map with a number as key', bomb(0x81, 0x01, 0x01), 'no text'],
    ['an extension type', bomb(0xd4, 0x01, 0x01), 'not of this protocol'],
    ['the type that does not exist', bomb(0xc1), 'not of this protocol'],
    [
      'too many values',
      Buffer.concat([bomb(0xdd, 0, 4, 0, 1), Buffer.alloc(0x40001, 0xc0)]),
      'more than 262144',
    ],
    ['an acknowledgement of what was not sent', message(1, [], 77), 'was not sent'],
    ['nothing at all', Buffer.alloc(0), 'cut short'],
  ]
  function slow(id: number): unknown[] {
    return [frames.CALL, id, 1000, frames.FOREVER, 1, 0, 'never', { name: `${id}` }]
  }
  function never(id: number): unknown[] {
    return [frames.CALL, id, 1000, frames.FOREVER, 0, 0, 'never', { name: `${id}` }]
  }

  test.each(lies)('%s', async (_, lie, why) => {
    const scene = await new Scene({ calls: 8, streams: 16, window: 128 * 1024, frame: 131_072 }).opened()
    const asked = scene.world.outcome(scene.session.call('something', {}, { deadline: 60_000 }))
    if (Buffer.isBuffer(lie)) scene.liar.link.send(lie)
    else scene.liar.say(...lie)
    await scene.world.pass(0)
    expect(scene.liar.why).toContain(why)
    expect(scene.reports).toHaveLength(1)
    expect((scene.reports[0] as CosmosError).message).toContain(why)
    expect(scene.session.state).toBe('down')
    expect(await asked).toMatchObject({ error: { code: expect.stringMatching('^(ECOMM|EHOSTDOWN)$') } })
    // The next link is a new beginning.
    scene.link()
    await scene.opened()
    scene.liar.say(echo(1, 'after'))
    await scene.world.pass(0)
    expect(scene.liar.frames).toEqual([[frames.ANSWER, 1, { name: 'after' }]])
  })

  test('an answer before the ends of its streams', async () => {
    const scene = await new Scene().opened()
    const call = scene.session.open('x', {}, { receives: 1 })
    const outcome = scene.world.outcome(call.result)
    await scene.world.pass(0)
    scene.liar.say([frames.ANSWER, 2, null])
    await scene.world.pass(0)
    expect(await outcome).toMatchObject({ error: { code: 'ECOMM' } })
    expect(scene.liar.why).toContain('before its streams have ended')
  })
})

describe('hello', () => {
  test.each([
    ['nothing', null],
    ['text', 'hello'],
    ['no version', { version: undefined }],
    ['a short epoch', { epoch: Buffer.alloc(3) }],
    ['a nonce that is text', { nonce: 'x'.repeat(16) }],
    ['a negative limit', { calls: -1 }],
    ['a tiny window', { window: 1 }],
    ['a huge window', { window: 2 ** 40 }],
    ['a conversation of the wrong length', { resume: Buffer.alloc(31) }],
  ])('with %s is refused', async (_, changes) => {
    const scene = new Scene()
    if (changes === null || typeof changes === 'string')
      scene.liar.link.send(message(0, [[frames.HELLO, changes]]))
    else scene.liar.hello(changes)
    await scene.world.pass(0)
    expect(scene.liar.why).toContain('a hello with')
    expect(scene.session.state).toBe('down')
  })

  test('of another major version is refused on both sides, in words', async () => {
    const scene = new Scene()
    scene.liar.link.send(
      message(0, [[frames.HELLO, { version: [2, 0], software: 'cosmos 9', shape: 'unknown' }]]),
    )
    await scene.world.pass(0)
    expect(scene.liar.frames).toMatchObject([[frames.HELLO, { version: [1, 0] }]])
    expect(scene.liar.why).toContain(
      'it speaks version 2 of the mesh protocol (cosmos 9), and this is version 1',
    )
    const outcome = await scene.world.outcome(scene.session.call('x', {}))
    expect(outcome).toMatchObject({ error: { code: 'EHOSTDOWN' } })
    expect((outcome as { error: CosmosError }).error.message).toContain('speaks version 2')
  })

  test('of a later minor version is taken', async () => {
    const scene = new Scene()
    scene.liar.hello({ version: [1, 7], more: { than: 'known' } })
    await scene.world.pass(0)
    expect(scene.session.state).toBe('open')
  })

  test('that does not come ends the link after two heartbeats', async () => {
    const scene = new Scene()
    await scene.world.pass(2001)
    expect(scene.liar.why).toContain('silent for')
    expect(scene.session.figures.timers).toBe(0)
  })

  test('that many links do not say costs no more than a few of them', async () => {
    const scene = new Scene()
    const liars = Array.from({ length: 100 }, () => scene.link())
    await scene.world.pass(0)
    expect(liars.filter((each) => each.why === undefined)).toHaveLength(4)
    expect(scene.session.figures.timers).toBe(4)
  })

  test('that resumes what was never begun begins anew', async () => {
    const scene = new Scene()
    scene.liar.hello({ resume: Buffer.alloc(32, 7), received: 1000 })
    await scene.world.pass(0)
    expect(scene.session.state).toBe('open')
    scene.liar.say(echo(1, 'x'))
    await scene.world.pass(0)
    expect(scene.programs.begun.get('x')).toBe(1)
  })

  test.each([[1000], [0]])(
    'that has received %i of what was sent and acknowledged is a lie',
    async (received) => {
      const scene = await new Scene().opened()
      scene.session.notify('x', 1)
      await scene.world.pass(0)
      scene.liar.link.send(message(1, [], 1))
      await scene.world.pass(0)
      scene.link().hello({ resume: Buffer.concat([HONEST.nonce, scene.nonce]), received })
      await scene.world.pass(0)
      expect(scene.liar.why).toMatch(/was not sent|had acknowledged/)
      expect(scene.session.state).toBe('down')
    },
  )
})

test('a peer that asks and never fetches is refused, then left', async () => {
  const scene = await new Scene({ queue: 64 * 1024, calls: 100_000 }).opened()
  const most: number[] = []
  for (let i = 0; i < 3000 && scene.liar.why === undefined; i++) {
    scene.liar.say(echo(2 * i + 1, `${i} ${'x'.repeat(10_000)}`))
    await scene.world.pass(0)
    most.push(scene.session.figures.queued)
  }
  expect(scene.liar.why).toContain('more waits for the peer than may')
  expect(scene.liar.frames.slice(0, 20)).toContainEqual([
    frames.FAILURE,
    expect.any(Number),
    expect.objectContaining({ code: 'EAGAIN', retry: expect.any(Number) }),
  ])
  expect(Math.max(...most)).toBeLessThan(2 * 64 * 1024 + 20_000)
  expect(scene.session.state).toBe('down')
})

test('an error of any length is told, cut', async () => {
  const scene = await new Scene().opened()
  scene.session.handler = {
    call: () => {
      throw new Error('x'.repeat(10_000_000))
    },
  }
  scene.liar.say(echo(1, 'x'))
  await scene.world.pass(0)
  const [failure] = scene.liar.frames
  expect(failure).toMatchObject([frames.FAILURE, 1, { code: 'EIO' }])
  expect((failure![2] as { message: string }).message.length).toBeLessThan(5000)
})

test('whatever comes, the process lives and every call is answered', async () => {
  const valid = [
    message(1, [
      echo(1, 'x'),
      exec(3),
      [frames.DATA, 3, 0, Buffer.from('abc')],
      [frames.EVENT, 3, 100, 's', 1],
    ]),
    message(1, [
      [frames.PIECE, 3, Buffer.from('abc')],
      [frames.PIECE, 0, Buffer.from('abc')],
    ]),
    message(1, [exec(1), [frames.CREDIT, 1, 0, 9], [frames.STOP, 1, 1, 'x'], [frames.CANCEL, 1]]),
    message(1, [
      [frames.ANSWER, 2, { a: [1, 2.5, 'x', null, true] }],
      [frames.FAILURE, 4, { code: 'EIO' }],
    ]),
    message(0, [[frames.HELLO, HONEST]]),
    message(0, [
      [frames.PING, 7],
      [frames.BYE, 'x'],
    ]),
  ]
  const damage = fc.array(
    fc.tuple(fc.nat(400), fc.oneof(fc.constantFrom(0, 0x7f, 0x93, 0xc6, 0xdd, 0xff), fc.nat(255))),
    {
      maxLength: 4,
    },
  )
  const bytes = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.tuple(fc.constantFrom(...valid), damage).map(([whole, changes]) => {
        const copy = Buffer.from(whole)
        for (const [at, byte] of changes) copy[at % copy.length] = byte
        return copy
      }),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((each) => Buffer.from(each)) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom(...valid), fc.nat(400))
        .map(([whole, size]) => whole.subarray(0, size)),
    },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(bytes, { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (messages, greeted) => {
        const scene = new Scene()
        if (greeted) await scene.opened()
        const asked = ['a', 'b'].map((op) =>
          scene.world.outcome(scene.session.call(op, {}, { deadline: 1000 })),
        )
        for (const each of messages) scene.liar.link.send(each)
        await scene.world.pass(20_000)
        for (const each of asked) {
          const outcome = await each
          if ('error' in outcome) expect(outcome.error).toBeInstanceOf(CosmosError)
        }
        for (const each of scene.reports) expect(each).toBeInstanceOf(CosmosError)
        scene.session.close()
        expect(scene.session.figures).toMatchObject({ timers: 0, outgoing: 0, incoming: 0, streams: 0 })
      },
    ),
    { numRuns: 1000, seed: 11 },
  )
})
