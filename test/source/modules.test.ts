import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, realpathSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { moduleService } from '../../src/source/modules/service.ts'
import type { SourceService } from '../../src/source/service.ts'
import { waitFor, within } from '../support/wait.ts'
import { codeOf, errorOf, never } from './sshd.ts'

const directory = realpathSync(mkdtempSync(join(tmpdir(), 'cosmos-modules-')))
const READ = { read: true, write: false, truncate: false }
const WRITE = { read: true, write: true, truncate: false }

/** A module whose names do what they say. */
const MODULE = `
import { spawn } from 'node:child_process'
const node = { type: 'file', size: 5, fresh: 1000 }
const odd = {
  none: undefined, text: 'file', type: { type: 'pipe' }, size: { ...node, size: -1 }, big: { ...node, size: 1.5 },
  mode: { ...node, mode: 0o10000 }, time: { ...node, mtime: NaN }, target: { type: 'link', size: 1 },
  wide: { type: 'link', target: '\\u0394' }, date: { ...node, generation: new Date(0) },
}
const lists = {
  none: undefined, text: 'abc', slash: [{ name: 'a/b' }], dots: [{ name: '..' }], empty: [{ name: '' }],
  wide: [{ name: '\\u0394' }], twice: [{ name: 'a' }, { name: 'a' }], node: [{ name: 'a', node: { type: 1 } }],
}
let kept = Buffer.from('hello')
export default {
  async open(context) {
    context.log('opened with ' + JSON.stringify(context.settings) + ' at ' + context.home)
    return {
      count: 0,
      async stat({ segments: [name, what] }, signal) {
        if (name === 'pid') return { ...node, size: process.pid }
        if (name === 'count') return { ...node, size: ++this.count }
        if (name === 'odd') return odd[what]
        if (name === 'fails') throw Object.assign(new Error('because'), { code: what, hint: 'do this' })
        if (name === 'exits') process.exit(3)
        if (name === 'later') return setTimeout(() => { throw new Error('nobody catches this') }), new Promise(() => {})
        if (name === 'loops') for (;;);
        if (name === 'waits') return new Promise((_, reject) => signal.addEventListener('abort', () => { console.log('aborted'); reject(new Error('aborted')) }))
        if (name === 'child') return { ...node, size: spawn('sleep', ['1000'], { stdio: 'ignore' }).pid }
        return { type: 'directory', size: undefined, extra: () => {} }
      },
      async list({ segments: [name] }) {
        return lists[name] ?? Array.from({ length: 20000 }, (_, i) => ({ name: 'n' + i, node }))
      },
      async open({ segments: [name] }, access) {
        if (name === 'none') return 'no file'
        const file = { node: { ...node, size: kept.length }, async read(position, length) {
          if (name === 'long') return new Uint8Array(length + 1)
          if (name === 'text') return 'text'
          if (name === 'zeros') return new Uint8Array(length)
          return kept.subarray(position, position + length)
        }, async close() { console.log('closed ' + name) } }
        return access.write ? { ...file, async write(position, bytes) {
          const next = Buffer.alloc(Math.max(kept.length, position + bytes.length))
          kept.copy(next); next.set(bytes, position); kept = next
        } } : file
      },
    }
  },
}
`

describe('modules of users', () => {
  const services: SourceService[] = []
  const lines: string[] = []
  let count = 0

  afterEach(async () => {
    await Promise.all(services.splice(0).map((service) => service.close?.()))
    lines.splice(0)
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  function write(text = MODULE): string {
    const path = join(directory, `module${++count}.mjs`)
    writeFileSync(path, text)
    return path
  }

  function serve(path = write(), settings: Record<string, unknown> = {}): SourceService {
    const environment = { PATH: process.env.PATH, NODE_OPTIONS: '--no-such-option' }
    const context = { home: '/home/me', environment, settings, log: (line: string) => lines.push(line) }
    const service = moduleService('test', path, context)
    services.push(service)
    return service
  }

  const at = (...segments: string[]) => ({ scheme: 'test', segments })
  const stat = (service: SourceService, ...segments: string[]) => service.stat(at(...segments), never)
  const size = async (service: SourceService, name: string) => (await stat(service, name)).size ?? 0

  test('it answers from a process of its own, and what it says is logged', async () => {
    const service = serve(undefined, { depth: 3 })
    expect(await stat(service, 'any')).toEqual({ type: 'directory', size: undefined, fresh: 1000 })
    expect(await size(service, 'pid')).not.toBe(process.pid)
    expect(await size(service, 'count')).toBe(1)
    expect(await size(service, 'count')).toBe(2)
    expect(lines).toContain('source test: opened with {"depth":3} at /home/me')
    expect(await service.list(at('many'), never)).toHaveLength(20_000)
  })

  test('files are read and written', async () => {
    const service = serve()
    const file = await service.open(at('file'), WRITE, never)
    expect(Buffer.from(await file.read(1, 3, never)).toString()).toBe('ell')
    const bytes = Buffer.alloc(3_000_000, 'cosmos')
    await file.write?.(2, bytes)
    await file.sync?.()
    const read = Buffer.from(await file.read(0, 5_000_000, never))
    expect(read.equals(Buffer.concat([Buffer.from('he'), bytes]))).toBe(true)
    await file.close()
    await file.close()
    await waitFor('its close', () => lines.includes('source test: closed file'))
    const other = await service.open(at('file'), READ, never)
    expect(await codeOf(Promise.resolve(other.write?.(0, bytes)))).toBe('EROFS')
    await other.close()
  })

  test('what it has no function for is EROFS, and a property there is none', async () => {
    const service = serve()
    expect(await codeOf(Promise.resolve(service.mkdir?.(at('a'), 0o755)))).toBe('EROFS')
    expect(await codeOf(Promise.resolve(service.rename?.(at('a'), at('b'), false)))).toBe('EROFS')
    expect(await codeOf(Promise.resolve(service.create?.(at('a'), 0o644, WRITE)))).toBe('EROFS')
    expect(await service.property?.(at('a'), 'body', never)).toBeUndefined()
  })

  test('its errors are errno names with a reason', async () => {
    const service = serve()
    expect(await errorOf(stat(service, 'fails', 'ENOENT'))).toMatchObject({
      code: 'ENOENT',
      subject: 'test:/fails/ENOENT',
      message: 'test:/fails/ENOENT: because',
      hint: 'do this',
    })
    expect(await codeOf(stat(service, 'fails', 'nonsense'))).toBe('EIO')
    expect(await codeOf(stat(service, 'fails', 'toString'))).toBe('EIO')
  })

  test('an answer that is none is EIO with the reason', async () => {
    const service = serve()
    for (const what of ['none', 'text', 'type', 'size', 'big', 'mode', 'time', 'target', 'wide', 'date']) {
      const error = await errorOf(stat(service, 'odd', what))
      expect(error, what).toMatchObject({
        code: 'EIO',
        message: expect.stringContaining('interface of sources'),
      })
    }
    for (const what of ['none', 'text', 'slash', 'dots', 'empty', 'wide', 'twice', 'node'])
      if (what !== 'none') expect(await codeOf(service.list(at(what), never)), what).toBe('EIO')
    expect(await codeOf(service.open(at('none'), READ, never))).toBe('EIO')
    for (const what of ['long', 'text']) {
      const file = await service.open(at(what), READ, never)
      expect(await codeOf(file.read(0, 10, never)), what).toBe('EIO')
      await file.close()
    }
    expect(await size(service, 'count')).toBe(1)
  })

  test('a process that ends takes with it what it was asked, and the next call starts another', async () => {
    const service = serve()
    const file = await service.open(at('file'), READ, never)
    const pid = await size(service, 'pid')
    const codes = await Promise.all([codeOf(stat(service, 'waits')), codeOf(stat(service, 'exits'))])
    expect(codes).toEqual(['EIO', 'EIO'])
    expect(await codeOf(file.read(0, 1, never))).toBe('EIO')
    expect(await codeOf(file.close())).toBe('EIO')
    expect(await size(service, 'pid')).not.toBe(pid)

    // The second time it is not started at once again, but after a pause.
    expect((await errorOf(stat(service, 'later'))).message).toMatch(/its process ended \(exit 1\)/)
    expect((await errorOf(stat(service, 'pid'))).message).toMatch(/its process ended \(exit 1\)/)
    expect(lines.join('\n')).toContain('nobody catches this')
    await waitFor('it to be started again', () => size(service, 'pid'))
  })

  test('a loop without end is ended, and what waits too long is cancelled', async () => {
    const service = serve(undefined, { timeout: 0.3 })
    const pid = await size(service, 'pid')
    expect(await codeOf(stat(service, 'waits'))).toBe('ETIMEDOUT')
    await waitFor('its signal', () => lines.includes('source test: aborted'))
    expect(await size(service, 'pid')).toBe(pid)
    expect(await codeOf(within(10_000, 'a loop', stat(service, 'loops')))).toBe('ETIMEDOUT')
    await waitFor('the process to end', () => !isAlive(pid))
    expect(await size(service, 'pid')).not.toBe(pid)
  })

  test('an aborted call rejects at once, and the module is told', async () => {
    const service = serve()
    const controller = new AbortController()
    const waiting = service.stat(at('waits'), controller.signal)
    await stat(service, 'pid')
    const reason = new Error('nobody wants it')
    controller.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    await waitFor('its signal', () => lines.includes('source test: aborted'))
  })

  test('a module that cannot be loaded says why, and is loaded when it is mended', async () => {
    const path = write('export default {')
    const service = serve(path)
    expect((await errorOf(stat(service, 'any'))).message).toMatch(/cannot be loaded: .*(Unexpected|token)/)
    for (const [text, why] of [
      ['export const a = 1', 'default export'],
      ['export default { open: () => ({}) }', 'no function stat'],
      ['export default { open() { throw new Error("not today") } }', 'not today'],
      ['import "no-such-package"', 'no-such-package'],
    ] as const)
      expect((await errorOf(stat(serve(write(text)), 'any'))).message).toContain(why)
    expect((await errorOf(stat(serve(join(directory, 'none.mjs')), 'any'))).message).toContain(
      'cannot be loaded',
    )

    writeFileSync(path, MODULE)
    utimesSync(path, 1, 1)
    expect(await waitFor('it to be loaded', () => size(service, 'pid'))).not.toBe(process.pid)
  })

  test('a service may be the default export itself', async () => {
    const text = `export default { stat: async () => ({ type: 'file', size: 7 }), list: async () => [], open: async () => {} }`
    expect(await size(serve(write(text)), 'any')).toBe(7)
  })

  test('it ends when nobody asks, not while a file is open, and what it started with it', async () => {
    const service = serve(undefined, { idle: 0.1 })
    const file = await service.open(at('file'), READ, never)
    const pid = await size(service, 'pid')
    const child = await size(service, 'child')
    expect(await file.read(0, 5, never)).toHaveLength(5)
    expect(await size(service, 'pid')).toBe(pid)
    await file.close()
    await waitFor('the process to end', () => !isAlive(pid))
    await waitFor('its child to end', () => !isAlive(child))
    expect(await size(service, 'pid')).not.toBe(pid)
  })

  test('it does not outlive a daemon that is killed, even in a loop', async () => {
    const script = `
      import { moduleService } from ${JSON.stringify(new URL('../../src/source/modules/service.ts', import.meta.url).href)}
      const context = { home: '/', environment: process.env, settings: {}, log: () => {} }
      const service = moduleService('test', ${JSON.stringify(write())}, context)
      const signal = new AbortController().signal
      const { size } = await service.stat({ scheme: 'test', segments: ['pid'] }, signal)
      console.log(size)
      await service.stat({ scheme: 'test', segments: ['loops'] }, signal)
    `
    const daemon: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const [bytes] = (await once(daemon.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
      const pid = Number(bytes.toString())
      await waitFor('the loop', () => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[13]) > 20)
      daemon.kill('SIGKILL')
      await waitFor('the module to end', () => !isAlive(pid))
    } finally {
      daemon.kill('SIGKILL')
    }
  })
})

/** Whether a process runs: one that waits for its parent does not. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
