import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { SourceService } from '../../src/source/service.ts'
import { sshService } from '../../src/source/ssh/service.ts'
import { waitFor, within } from '../support/wait.ts'
import { codeOf, errorOf, freePort, never, Sshd, signal, whyNoSshd } from './sshd.ts'

const missing = await whyNoSshd()
const READ = { read: true, write: false, truncate: false }
const SIZE = 64 * 1024 * 1024

describe.skipIf(missing !== undefined)('a host that goes away', () => {
  let sshd: Sshd
  let service: SourceService
  const bytes = randomBytes(SIZE)

  beforeEach(async () => {
    sshd = await Sshd.start()
    service = sshService(sshd.context({ keepalive: 0.5, connect: 1, silence: 5 }))
    writeFileSync(`${sshd.files}/big`, bytes)
  })
  afterEach(async () => {
    await service.close?.()
    await sshd.stop()
  })

  test('reads under way fail, and the file is read on when the host is back', async () => {
    const file = await service.open(sshd.path('big'), READ, never)
    expect(await file.read(0, 100_000, never)).toHaveLength(100_000)
    const step = 1024 * 1024
    const reads = Array.from({ length: SIZE / step }, (_, i) => file.read(i * step, step, never))
    const outcomes = Promise.allSettled(reads)
    await reads[0]
    await sshd.kill()
    const codes = new Set(
      (await within(10_000, 'the reads', outcomes)).map((outcome) =>
        outcome.status === 'fulfilled' ? 'read' : String(Reflect.get(outcome.reason, 'code')),
      ),
    )
    expect([...codes].filter((code) => code !== 'read')).toEqual(['EHOSTDOWN'])

    // The host is away: known at once for a while, and tried again then.
    expect(await codeOf(service.stat(sshd.path('big'), never))).toBe('EHOSTUNREACH')
    const first = await errorOf(service.stat(sshd.path('big'), never))
    expect(await errorOf(service.stat(sshd.path('big'), never))).toBe(first)
    await sshd.run()
    const part = await waitFor('the host to be back', () => file.read(5_000_000, 100_000, never))
    expect(Buffer.from(part).equals(bytes.subarray(5_000_000, 5_100_000))).toBe(true)
    await file.close()
  })

  test('a file that became another while the host was away is not read on', async () => {
    const file = await service.open(sshd.path('big'), READ, never)
    await file.read(0, 100_000, never)
    await sshd.kill()
    writeFileSync(`${sshd.files}/big`, 'another')
    await sshd.run()
    await waitFor('the host to be back', () => service.stat(sshd.path('big'), never))
    expect(await codeOf(file.read(100_000, 100, never))).toBe('ESTALE')
  })

  test('a file that is written does not come back', async () => {
    const file = await service.create?.(sshd.path('new'), 0o644, { ...READ, write: true })
    await file?.write?.(0, Buffer.from('first'))
    await sshd.kill()
    expect(await codeOf(Promise.resolve(file?.write?.(5, Buffer.from('second'))))).toBe('EHOSTDOWN')
    expect(await codeOf(Promise.resolve(file?.close()))).toBe('EHOSTDOWN')
  })

  test('a host that stops is lost after three questions', async () => {
    await service.stat(sshd.path('big'), never)
    const stopped = sshd.sessions()
    expect(stopped.length).toBeGreaterThan(0)
    try {
      for (const pid of stopped) signal(pid, 'SIGSTOP')
      const asked = [service.stat(sshd.path('big'), never), service.list(sshd.path(''), never)]
      const codes = await within(20_000, 'a stopped host', Promise.all(asked.map(codeOf)))
      expect(codes).toEqual(['ETIMEDOUT', 'ETIMEDOUT'])
      expect(await service.stat(sshd.path('big'), never)).toMatchObject({ size: SIZE })
    } finally {
      for (const pid of stopped) signal(pid, 'SIGCONT')
    }
  })

  test('nobody listens; and one who does says nothing', async () => {
    const port = await freePort()
    expect(await codeOf(service.stat(sshd.path('big', `127.0.0.1:${port}`), never))).toBe('EHOSTUNREACH')
    const sockets: Socket[] = []
    const silent = createServer((socket) => sockets.push(socket)).listen(port, '127.0.0.1')
    await once(silent, 'listening')
    try {
      const asked = sshService(sshd.context({ connect: 0.3 }))
      const code = codeOf(asked.stat(sshd.path('big', `127.0.0.1:${port}`), never))
      expect(await within(10_000, 'a silent host', code)).toBe('ETIMEDOUT')
      await asked.close?.()
    } finally {
      for (const socket of sockets) socket.destroy()
      silent.close()
    }
  })

  test('a name that leads nowhere', async () => {
    expect(await codeOf(service.stat(sshd.path('big', 'no-such-host.invalid'), never))).toMatch(
      /^(EHOSTUNREACH|ETIMEDOUT)$/,
    )
  })

  test('a connection that nobody uses ends; an open file keeps it', async () => {
    const short = sshService(sshd.context({ idle: 0.2 }))
    try {
      const file = await short.open(sshd.path('big'), READ, never)
      const asked = sshd.sessions()
      await short.stat(sshd.path('big'), never)
      expect(sshd.sessions()).toEqual(asked)
      expect(await file.read(0, 10, never)).toHaveLength(10)
      await file.close()
      await waitFor('the connection to end', () => sshd.sessions().length === 0)
      expect(await short.stat(sshd.path('big'), never)).toMatchObject({ size: SIZE })
    } finally {
      await short.close?.()
    }
  })
})
