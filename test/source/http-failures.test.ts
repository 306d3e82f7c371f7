import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as forward } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { describeError } from '../../src/errors.ts'
import type { SourceService } from '../../src/source/service.ts'
import {
  type Certificate,
  closedPort,
  selfSigned,
  sendFile,
  sendPage,
  serve,
  serveRaw,
} from './http-servers.ts'
import { at, calm, fetchAll, makeService, namesOf, pattern, READ } from './http-service.ts'

const failsWith = (code: string, why = /./) =>
  expect.objectContaining({ code, message: expect.stringMatching(why) })

/** What a stat fails with, as text with everything in it. */
async function failureOf(service: SourceService, text: string, scheme = 'http'): Promise<string> {
  const error = await service.stat(at(text, scheme), calm).catch((error) => error)
  return `${error.code} ${describeError(error)} ${JSON.stringify(error)} ${error.cause} ${error.stack}`
}

describe('redirects', () => {
  test('are followed, a few times, also to another host', async () => {
    const other = await serve((request, response) => sendFile(request, response, 'there'))
    const server = await serve((request, response) => {
      const step = Number(request.url?.slice(2).replace('.txt', ''))
      const location = step < 10 ? `s${step + 1}.txt` : `http://${other.authority}/end.txt`
      response
        .writeHead([301, 302, 303, 307, 308][step % 5] ?? 302, { location })
        .end('a body of the redirect')
    })
    const service = makeService()
    expect(String(await fetchAll(service, at(`${server.authority}/s1.txt`)))).toBe('there')
    expect((await service.stat(at(`${server.authority}/s1.txt`), calm)).size).toBe(5)
  })

  test('without end are ELOOP', async () => {
    const server = await serve((_, response) => response.writeHead(302, { location: '/a.txt' }).end())
    await expect(makeService().stat(at(`${server.authority}/a.txt`), calm)).rejects.toThrow(
      failsWith('ELOOP'),
    )
    expect(server.asked).toHaveLength(11)
    expect(server.connections).toBeLessThan(3)
  })

  test('to what is no http are EIO', async () => {
    const server = await serve((_, response) =>
      response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    )
    await expect(makeService().open(at(`${server.authority}/a.txt`), READ, calm)).rejects.toThrow(
      failsWith('EIO'),
    )
  })

  test('from https to http are EACCES', async () => {
    const plain = await serve((request, response) => sendFile(request, response, 'x'))
    const certificate = await selfSigned()
    const server = await serve(
      (_, response) => response.writeHead(302, { location: `http://${plain.authority}/a.txt` }).end(),
      certificate,
    )
    const service = makeService({ ca: fileOf(certificate) })
    await expect(service.stat(at(`${server.authority}/a.txt`, 'https'), calm)).rejects.toThrow(
      failsWith('EACCES', /from https to http/),
    )
    expect(plain.asked).toEqual([])
  })
})

describe('credentials', () => {
  test('go to their origin only, and into no error', async () => {
    const log: string[] = []
    const other = await serve((_, response) => response.writeHead(403).end())
    const server = await serve((request, response) => {
      if (request.url === '/away.txt')
        response.writeHead(302, { location: `http://${other.authority}/x.txt` }).end()
      else if (request.url === '/own.txt') response.writeHead(302, { location: '/here.txt' }).end()
      else if (request.url === '/here.txt')
        sendFile(request, response, request.headers.authorization ?? 'nobody')
      else response.writeHead(401).end()
    })
    const service = makeService({}, {}, log)
    const user = `me:hush%20hush@${server.authority}`
    const basic = `Basic ${Buffer.from('me:hush hush').toString('base64')}`
    expect(String(await fetchAll(service, at(`${user}/own.txt`)))).toBe(basic)
    expect(await service.stat(at(`${user}/here.txt`), calm)).not.toMatchObject({
      generation: expect.stringContaining('hush'),
    })
    const errors = [
      await failureOf(service, `${user}/away.txt`),
      await failureOf(service, `${user}/denied.txt`),
      await failureOf(service, `me:hush%20hush@127.0.0.1:${await closedPort()}/a.txt`),
      await failureOf(service, `me:hush%20hush@no such host/a.txt`),
      await failureOf(service, `me:hush%20hush@${server.authority}/a?b/c`),
    ]
    expect(errors.map((text) => text.split(' ', 1)[0])).toEqual([
      'EACCES',
      'EACCES',
      'EHOSTUNREACH',
      'ENOENT',
      'ENOTDIR',
    ])
    expect([...errors, ...log].join('\n')).not.toMatch(/hush|bWU6/)
    expect(other.asked.map(({ headers }) => headers.authorization)).toEqual([undefined])
  })

  test('see their own answers', async () => {
    const server = await serve((request, response) =>
      sendFile(request, response, request.headers.authorization ?? 'nobody'),
    )
    const service = makeService()
    const [me, you, nobody] = await Promise.all(
      ['me:1@', 'you:1@', ''].map((user) => fetchAll(service, at(`${user}${server.authority}/a.txt`))),
    )
    expect(String(nobody)).toBe('nobody')
    expect(String(me)).not.toBe(String(you))
  })
})

describe('hosts that do not answer', () => {
  test('a closed port is EHOSTUNREACH, refused', async () => {
    const port = await closedPort()
    await expect(makeService().stat(at(`127.0.0.1:${port}/a.txt`), calm)).rejects.toThrow(
      failsWith('EHOSTUNREACH', /refused/),
    )
    await expect(makeService().list(at(`127.0.0.1:${port}`), calm)).rejects.toThrow(failsWith('EHOSTUNREACH'))
  })

  test('a name that nobody has is EHOSTUNREACH', async () => {
    await expect(makeService().list(at('no-such-host.invalid'), calm)).rejects.toThrow(
      failsWith('EHOSTUNREACH'),
    )
  })

  test('a server that accepts and says nothing is ETIMEDOUT', async () => {
    const server = await serveRaw((socket) => socket.resume())
    const service = makeService({ header_timeout: 0.3 })
    await expect(service.stat(at(`${server.authority}/a.txt`), calm)).rejects.toThrow(failsWith('ETIMEDOUT'))
    await expect.poll(() => server.sockets.size).toBe(0)
  })

  test('a server that falls silent amid a body is ETIMEDOUT, small or large', async () => {
    const server = await serve((request, response) => {
      const length = request.url === '/small.bin' ? 1000 : 50_000_000
      response.writeHead(200, { 'content-length': length, etag: '"1"' })
      if (request.method === 'HEAD') response.end()
      else response.write(Buffer.alloc(Math.min(length - 1, 2_000_000)))
    })
    const service = makeService({ idle_timeout: 0.3 })
    await expect(service.open(at(`${server.authority}/small.bin`), READ, calm)).rejects.toThrow(
      failsWith('ETIMEDOUT', /silent/),
    )
    for (const isLong of [false, true]) {
      const path = at(`${server.authority}/large.bin${isLong ? '?directly' : ''}`)
      if (isLong) await service.stat(path, calm)
      await expect(fetchAll(service, path)).rejects.toThrow(failsWith('ETIMEDOUT', /silent/))
    }
    await expect.poll(() => server.answering).toBe(0)
  })

  test('silence counts only while somebody waits', async () => {
    const content = pattern(16 * 1024 * 1024)
    const server = await serve((request, response) => sendFile(request, response, content, { etag: '"1"' }))
    const service = makeService({ idle_timeout: 0.05 })
    const path = at(`${server.authority}/a.bin`)
    await service.stat(path, calm)
    const file = await service.open(path, READ, calm)
    await file.read(0, 1000, calm)
    const late = makeService({ header_timeout: 0.3 })
    const silent = await serveRaw((socket) => socket.resume())
    await late.stat(at(`${silent.authority}/a.txt`), calm).catch(() => {})
    expect(
      Buffer.from(await file.read(8_000_000, 1000, calm)).equals(content.subarray(8_000_000, 8_001_000)),
    ).toBe(true)
    await file.close()
  })

  test('what is no HTTP is EIO', async () => {
    const server = await serveRaw((socket) => socket.end('SSH-2.0-OpenSSH_9.2p1\r\n'))
    await expect(makeService().stat(at(`${server.authority}/a.txt`), calm)).rejects.toThrow(failsWith('EIO'))
    const rude = await serveRaw((socket) => socket.destroy())
    await expect(makeService().stat(at(`${rude.authority}/a.txt`), calm)).rejects.toThrow(failsWith('EIO'))
    expect(rude.connections).toBe(2)
  })
})

describe('lengths that are not true', () => {
  /** Answers every request with these bytes and keeps the connection. */
  const answering = (length: number, body: string, end: boolean) =>
    serveRaw((socket) => {
      socket.on('data', (data) => {
        const head = `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`
        if (data.toString('latin1').startsWith('HEAD')) socket.write(head)
        else if (end) socket.end(head + body)
        else socket.write(head + body)
      })
    })

  test('a small file that is shorter is EIO', async () => {
    const server = await answering(100, 'only this', true)
    await expect(fetchAll(makeService(), at(`${server.authority}/a.txt`))).rejects.toThrow(failsWith('EIO'))
  })

  test('of what is longer the length counts, and the rest is no answer to anything', async () => {
    const server = await answering(4, 'goodHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad', false)
    const service = makeService()
    for (let turn = 0; turn < 3; turn++)
      expect(String(await fetchAll(service, at(`${server.authority}/${turn}.txt`)))).toBe('good')
  })

  test('the same for a large file', async () => {
    const size = 3_000_000
    const server = await answering(size, `${'x'.repeat(size)}and more`, false)
    const service = makeService()
    const path = at(`${server.authority}/a.bin`)
    expect((await service.stat(path, calm)).size).toBe(size)
    const all = await fetchAll(service, path)
    expect(all.length).toBe(size)
    expect(all.includes('and')).toBe(false)
  })
})

test('a connection that the server ended while it waited is no error', async () => {
  const server = await serveRaw((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok')
      // The next request finds it closing.
      socket.once('data', () => socket.destroy())
    })
  })
  const service = makeService()
  for (let turn = 0; turn < 4; turn++)
    expect(String(await fetchAll(service, at(`${server.authority}/${turn}.txt`)))).toBe('ok')
  expect(server.connections).toBeGreaterThan(1)
})

test('a server that sends a body after HEAD too is understood', async () => {
  const server = await serveRaw((socket) => {
    socket.on('data', (data) => {
      const isHead = data.toString('latin1').startsWith('HEAD')
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n')
      if (isHead) setImmediate(() => socket.write('what'))
      else socket.write('good')
    })
  })
  const service = makeService()
  for (let turn = 0; turn < 5; turn++) {
    const path = at(`${server.authority}/${turn}.txt`)
    expect((await service.stat(path, calm)).size).toBe(4)
    expect(String(await fetchAll(service, path))).toBe('good')
  }
})

describe('given up', () => {
  test('a request that waits for its head ends', async () => {
    const server = await serveRaw((socket) => socket.resume())
    const service = makeService()
    const path = at(`${server.authority}/a.txt`)
    for (const begin of [
      (signal: AbortSignal) => service.stat(path, signal),
      (signal: AbortSignal) => service.open(path, READ, signal),
      (signal: AbortSignal) => service.list(at(server.authority), signal),
    ]) {
      const reader = new AbortController()
      const failed = begin(reader.signal).catch((error) => error)
      await expect.poll(() => server.sockets.size).toBe(1)
      reader.abort()
      await failed
      await expect.poll(() => server.sockets.size).toBe(0)
    }
  })

  test('one of several that wait leaves the others their answer', async () => {
    const waiting: (() => void)[] = []
    const server = await serve((request, response) => {
      waiting.push(() => sendFile(request, response, 'late'))
    })
    const service = makeService()
    const path = at(`${server.authority}/a.txt`)
    const reader = new AbortController()
    const first = service.stat(path, reader.signal).catch(() => 'gave up')
    const second = service.stat(path, calm)
    await expect.poll(() => waiting.length).toBe(1)
    reader.abort()
    expect(await first).toBe('gave up')
    waiting[0]?.()
    expect((await second).size).toBe(4)
  })

  test('a read that waits for bytes ends, and its connection; the file can be read on', async () => {
    let isSilent = true
    const content = pattern(8 * 1024 * 1024)
    const server = await serve((request, response) => {
      if (request.method === 'HEAD' || !isSilent) return sendFile(request, response, content, { etag: '"1"' })
      response.writeHead(200, { 'content-length': content.length, etag: '"1"' })
      return response.write(content.subarray(0, 100_000))
    })
    for (const isLong of [true, false]) {
      isSilent = true
      const service = makeService()
      const path = at(`${server.authority}/a.bin`)
      if (isLong) await service.stat(path, calm)
      const file = await service.open(path, READ, calm)
      const reader = new AbortController()
      const failed = file.read(0, 200_000, reader.signal).catch(() => 'gave up')
      await expect.poll(() => server.answering).toBe(1)
      reader.abort()
      expect(await failed).toBe('gave up')
      await expect.poll(() => server.answering).toBe(0)
      isSilent = false
      const part = await file.read(50_000, 200_000, calm)
      expect(Buffer.from(part).equals(content.subarray(50_000, 250_000))).toBe(true)
      await file.close()
      await service.close?.()
    }
  })
})

describe('TLS', () => {
  test('who is not trusted is EACCES, with the reason', async () => {
    const server = await serve(
      (request, response) => sendFile(request, response, 'secret'),
      await selfSigned(),
    )
    expect(await failureOf(makeService(), `${server.authority}/a.txt`, 'https')).toMatch(
      /^EACCES .*signed its certificate itself.*\[source.https\] ca/,
    )
    expect(server.asked).toEqual([])
  })

  test('who is trusted by a setting is read, small and large and listed', async () => {
    const content = pattern(5 * 1024 * 1024)
    const certificate = await selfSigned()
    const server = await serve((request, response) => {
      if (request.url === '/') sendPage(request, response, '<a href=a.bin>')
      else sendFile(request, response, request.url === '/a.bin' ? content : 'small', { etag: '"1"' })
    }, certificate)
    const service = makeService({ ca: fileOf(certificate) })
    expect(await namesOf(service, at(server.authority, 'https'))).toEqual(['a.bin'])
    expect(String(await fetchAll(service, at(`${server.authority}/b.txt`, 'https')))).toBe('small')
    const path = at(`${server.authority}/a.bin`, 'https')
    expect((await service.stat(path, calm)).size).toBe(content.length)
    expect(content.equals(await fetchAll(service, path))).toBe(true)
    const file = await service.open(path, READ, calm)
    expect(
      Buffer.from(await file.read(4_000_000, 1000, calm)).equals(content.subarray(4_000_000, 4_001_000)),
    ).toBe(true)
    await file.close()
  })

  test('a certificate for another name is EACCES', async () => {
    const certificate = await selfSigned('192.0.2.1')
    const server = await serve((request, response) => sendFile(request, response, 'x'), certificate)
    const service = makeService({ ca: fileOf(certificate) })
    expect(await failureOf(service, `${server.authority}/a.txt`, 'https')).toMatch(/^EACCES .*another name/)
  })

  test('what is no TLS is EIO, no PEM file EINVAL', async () => {
    const server = await serve((request, response) => sendFile(request, response, 'x'))
    expect(await failureOf(makeService(), `${server.authority}/a.txt`, 'https')).toMatch(/^EIO .*TLS/)
    const service = makeService({ ca: '/no/such/file.pem' })
    expect(await failureOf(service, `${server.authority}/a.txt`, 'https')).toMatch(
      /^EINVAL .*\/no\/such\/file.pem/,
    )
  })
})

describe('proxies of the environment', () => {
  /** A proxy for http (absolute URLs) and for https (CONNECT). */
  async function makeProxy() {
    const tunnels: string[] = []
    const proxy = await serve((request, response) => {
      const { authorization: _, 'proxy-authorization': __, ...headers } = request.headers
      const through = forward(request.url ?? '', { method: request.method ?? 'GET', headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(response)
      })
      through.on('error', () => response.destroy())
      response.on('close', () => through.destroy())
      through.end()
    })
    const tunnel = await serveRaw((socket) => {
      socket.once('data', (data) => {
        const [, host = '', port = ''] = /^CONNECT ([\d.]+):(\d+)/.exec(data.toString('latin1')) ?? []
        tunnels.push(data.toString('latin1'))
        const through: Socket = connect(Number(port), host, () => socket.write('HTTP/1.1 200 OK\r\n\r\n'))
        through.on('error', () => socket.destroy()).on('close', () => socket.destroy())
        socket.on('close', () => through.destroy())
        socket.pipe(through).pipe(socket)
      })
    })
    return { proxy, tunnel, tunnels }
  }

  test('http and https go through them, but for no_proxy', async () => {
    const content = pattern(3 * 1024 * 1024)
    const certificate = await selfSigned()
    const plain = await serve((request, response) => sendFile(request, response, content, { etag: '"1"' }))
    const secure = await serve((request, response) => sendFile(request, response, content), certificate)
    const { proxy, tunnel, tunnels } = await makeProxy()
    const environment = {
      http_proxy: `http://me:hush@${proxy.authority}`,
      https_proxy: `http://me:hush@${tunnel.authority}`,
    }
    const service = makeService({ ca: fileOf(certificate) }, environment)
    const path = at(`${plain.authority}/a.bin`)
    expect((await service.stat(path, calm)).size).toBe(content.length)
    expect(content.equals(await fetchAll(service, path))).toBe(true)
    expect(proxy.asked.map(({ line }) => line)).toEqual([
      `HEAD http://${plain.authority}/a.bin`,
      `GET http://${plain.authority}/a.bin`,
    ])
    expect(content.equals(await fetchAll(service, at(`${secure.authority}/a.bin`, 'https')))).toBe(true)
    expect(tunnels[0]).toMatch(new RegExp(`^CONNECT ${secure.authority} `))
    expect(tunnels[0]).toContain(Buffer.from('me:hush').toString('base64'))

    const past = makeService({}, { ...environment, no_proxy: 'example.com,127.0.0.1' })
    expect((await past.stat(path, calm)).size).toBe(content.length)
    expect(proxy.asked).toHaveLength(2)
  })

  test('a proxy that is not there is EHOSTUNREACH, and its password is not told', async () => {
    const service = makeService({}, { http_proxy: `http://me:hush@127.0.0.1:${await closedPort()}` })
    for (const scheme of ['http', 'https']) {
      const failure = await failureOf(service, 'example.com/a.txt', scheme)
      expect(failure).toMatch(/^EHOSTUNREACH/)
      expect(failure).not.toMatch(/hush/)
    }
  })

  test('a proxy that refuses or hangs is an error', async () => {
    const refusing = await serveRaw((socket) => {
      socket.once('data', () =>
        socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n'),
      )
    })
    const refused = makeService({}, { http_proxy: `http://${refusing.authority}` })
    expect(await failureOf(refused, 'example.com/a.txt')).toMatch(/^EACCES/)
    expect(await failureOf(refused, 'example.com/a.txt', 'https')).toMatch(/^EACCES .*the proxy answered 407/)
    const hanging = await serveRaw((socket) => socket.resume())
    const hung = makeService({ header_timeout: 0.3 }, { http_proxy: `http://${hanging.authority}` })
    expect(await failureOf(hung, 'example.com/a.txt')).toMatch(/^ETIMEDOUT/)
    expect(await failureOf(hung, 'example.com/a.txt', 'https')).toMatch(/^ETIMEDOUT/)
  })
})

/** The certificate as a file of the test. */
function fileOf({ cert }: Certificate): string {
  const directory = mkdtempSync(join(tmpdir(), 'cosmos-http-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'ca.pem')
  writeFileSync(file, cert)
  return file
}
