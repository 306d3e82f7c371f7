// A peer's files as the daemon asks for them, of a peer that lies, is slow, or has too much to do.
import { describe, expect, test } from 'vitest'
import { CosmosError } from '../../src/errors.ts'
import { type CallPeer, peerFiles } from '../../src/mesh/files/client.ts'
import { OverloadError } from '../../src/mesh/session/errors.ts'
import type { CallOptions } from '../../src/mesh/session/outgoing-call.ts'
import type { SourceFile } from '../../src/source/service.ts'
import { Sources } from '../../src/source/sources.ts'
import { waitFor, within } from '../support/wait.ts'

const signal = new AbortController().signal
const path = (...segments: string[]) => ({ scheme: 'me@b', segments })
const node = (changes: Readonly<Record<number, unknown>> = {}) =>
  Object.assign([0, 5, 0o644, 0, 0, 0, 1, null, 'g', 'i', 1000], changes)
const READ = { read: true, write: false, truncate: false }
const WRITE = { read: false, write: true, truncate: false }

type Answers = Record<string, (args: Record<string, unknown>, options: CallOptions) => unknown>

/** A peer that answers so, and the names of what it was asked. */
function peerOf(answers: Answers): { service: ReturnType<typeof peerFiles>; asked: string[] } {
  const asked: string[] = []
  const call: CallPeer = async (op, args, options = {}) => {
    const name = op.slice('files.'.length)
    asked.push(name)
    return answers[name]?.(args as Record<string, unknown>, options) ?? null
  }
  return { service: peerFiles({ call }), asked }
}

describe('a peer that lies', () => {
  test.each([
    ['a type that is none', { 0: 7 }],
    ['a size below nothing', { 1: -1 }],
    ['a mode with a type', { 2: 0o120777 }],
    ['a time that no date holds', { 3: 1e300 }],
    ['an owner of more than 32 bits', { 4: 2 ** 32 }],
    ['a target with a NUL', { 0: 2, 7: 'a\0b' }],
    ['a target that is no bytes', { 0: 2, 7: 'a\u012fb' }],
    ['a target that is too long', { 0: 2, 7: 'a'.repeat(5000) }],
    ['a generation that fills memory', { 8: 'x'.repeat(100_000) }],
    ['a time of belief that is none', { 10: -1 }],
  ])('is not believed: %s', async (_, changes) => {
    const { service } = peerOf({ stat: () => node(changes) })
    await expect(service.stat(path('f'), signal)).rejects.toMatchObject({ code: 'EPROTO' })
  })

  test('is not believed for long', async () => {
    const { service } = peerOf({ stat: () => node({ 10: 2 ** 50 }) })
    expect((await service.stat(path('f'), signal)).fresh).toBeLessThanOrEqual(60_000)
  })

  test.each([['a/b'], ['..'], ['.'], [''], ['a\0'], ['\u012e\u012e'], ['a\u012fb'], [7]])(
    'a directory with the name %j is none, and no more of it is wanted',
    async (name) => {
      let wanted: AbortSignal | undefined
      const { service } = peerOf({
        list: (_args, { event, signal: stop }) => {
          event?.('entries', [['good', node()]])
          event?.('entries', [[name, node()]])
          wanted = stop
        },
      })
      await service.list(path('d'), signal).then(
        (entries) => expect(entries).toEqual([]),
        (error) => expect(error).toMatchObject({ code: 'EPROTO' }),
      )
      expect(wanted?.aborted).toBe(true)
    },
  )

  test('a directory without an end is given up', async () => {
    const { service } = peerOf({
      list: async (_args, { event, signal: stop }) => {
        const batch = Array.from({ length: 100_000 }, (_, i) => [`n${i}`, node()])
        for (let i = 0; i < 100 && !stop?.aborted; i++) event?.('entries', batch)
        stop?.throwIfAborted()
      },
    })
    await expect(service.list(path('d'), signal)).rejects.toMatchObject({ code: 'EPROTO' })
  })

  test('more than was asked for is nothing', async () => {
    const { service } = peerOf({
      open: () => ({ file: 1, node: node() }),
      read: () => new Uint8Array(100),
    })
    const file = await service.open(path('f'), READ, signal)
    await expect(file.read(0, 5, signal)).rejects.toMatchObject({ code: 'EPROTO' })
  })
})

describe('a peer that has too much to do', () => {
  test('is asked again, and nothing is lost of what is written', async () => {
    let refusals = 3
    const written: number[] = []
    const { service } = peerOf({
      create: () => ({ file: 1, node: node() }),
      write: ({ position }) => {
        if (refusals-- > 0) throw new OverloadError('me@b', 'too much', 1)
        written.push(position as number)
      },
    })
    const file = await service.create!(path('f'), 0o600, WRITE)
    await file.write!(0, new Uint8Array(3_000_000))
    await file.close()
    expect(written.sort((a, b) => a - b)).toEqual([0, 1048576, 2097152])
  })

  test('what it refuses otherwise is told by close', async () => {
    const { service } = peerOf({
      create: () => ({ file: 1, node: node() }),
      write: () => {
        throw Object.assign(new Error('full'), { code: 'ENOSPC' })
      },
    })
    const file = await service.create!(path('f'), 0o600, WRITE)
    await file.write!(0, new Uint8Array(1))
    await expect(file.close()).rejects.toMatchObject({ code: 'ENOSPC' })
  })
})

describe('what is on its way', () => {
  /** A peer whose writes are done when `release` is called. */
  function slow() {
    const { promise, resolve } = Promise.withResolvers<void>()
    const order: string[] = []
    const { service } = peerOf({
      create: () => ({ file: 1, node: node() }),
      write: async ({ bytes }) => {
        const name = `${(bytes as Uint8Array)[0]}`
        order.push(`begin ${name}`)
        await promise
        order.push(`end ${name}`)
      },
      stat: () => {
        order.push('stat')
        return node()
      },
      change: () => {
        order.push('change')
        return node()
      },
      list: () => {
        order.push('list')
      },
    })
    return { service, order, release: resolve }
  }

  test('is not overtaken by what is written over it', async () => {
    const { service, order, release } = slow()
    const file = await service.create!(path('d', 'f'), 0o600, WRITE)
    await file.write!(0, Uint8Array.of(1, 1))
    await file.write!(2, Uint8Array.of(2))
    const third = file.write!(1, Uint8Array.of(3))
    expect(order).toEqual(['begin 1', 'begin 2'])
    release()
    await third
    await file.close()
    expect(order.indexOf('begin 3')).toBeGreaterThan(order.indexOf('end 1'))
  })

  test.each(['stat', 'change', 'list'])('is there before %s answers', async (op) => {
    const { service, order, release } = slow()
    const file = await service.create!(path('d', 'f'), 0o600, WRITE)
    await file.write!(0, Uint8Array.of(1))
    const asked =
      op === 'stat'
        ? service.stat(path('d', 'f'), signal)
        : op === 'list'
          ? service.list(path('d'), signal)
          : service.change!(path('d', 'f'), { size: 0 })
    await service.stat(path('d', 'other'), signal)
    expect(order).toEqual(['begin 1', 'stat'])
    release()
    await asked
    expect(order).toEqual(['begin 1', 'stat', 'end 1', op])
    await file.close()
  })
})

describe('open files', () => {
  test('of a peer that was started anew are opened once more, and once', async () => {
    let life = 1
    let generation = 'g'
    const open = new Set<number>()
    const { service, asked } = peerOf({
      open: () => {
        open.add(life)
        return { file: life, node: node({ 1: 500_000, 8: generation }) }
      },
      read: ({ file }) => {
        if (file !== life) throw new CosmosError('ESTALE', 'f', 'is not open here')
        return new Uint8Array(5)
      },
      close: ({ file }) => void open.delete(file as number),
    })
    const file = await service.open(path('f'), READ, signal)
    life++
    open.clear()
    const reads = await Promise.all([0, 1, 2].map((at) => file.read(at, 5, signal)))
    expect(reads.map(({ length }) => length)).toEqual([5, 5, 5])
    expect(asked.filter((op) => op === 'open')).toHaveLength(2)
    await file.close()
    expect(open.size).toBe(0)
    // It is another file by now: it is not kept open.
    const other = await service.open(path('f'), READ, signal)
    open.clear()
    life++
    generation = 'other'
    await expect(other.read(0, 5, signal)).rejects.toMatchObject({ code: 'ESTALE' })
    expect(open.size).toBe(0)
  })

  test('that nobody waits for any more are closed, whenever they come', async () => {
    for (const isMade of [true, false]) {
      const opening = Promise.withResolvers<SourceFile>()
      const made = Promise.withResolvers<void>()
      let closed = 0
      let asked = 0
      const file = {
        node: { type: 'file', size: 0, fresh: 0 },
        read: async () => new Uint8Array(),
        close: async () => void closed++,
      }
      const service = {
        stat: async () => file.node,
        list: async () => [],
        open: () => {
          asked++
          return opening.promise
        },
      }
      const answers: unknown[] = []
      const reply = { bytes() {}, written() {}, done() {}, failed() {} }
      const sources = new Sources(reply, (_key, answer) => answers.push(answer))
      sources.add('me@b', async () => {
        if (!isMade) await made.promise
        return service as never
      })
      const question = { op: 'open', path: path('f'), file: 1, access: READ } as const
      sources.take({ type: 'question', key: 'k', question })
      if (isMade) await waitFor('it to be asked for', () => asked === 1)
      sources.take({ type: 'abandoned', key: 'k' })
      await waitFor('an answer', () => answers.length === 1)
      made.resolve()
      opening.resolve(file as never)
      await within(5000, 'the end', Promise.all([made.promise, opening.promise]))
      await waitFor('it to be closed, or not opened', () => closed === asked)
    }
  })
})
