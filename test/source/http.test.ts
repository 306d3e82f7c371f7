import { describe, expect, test } from 'vitest'
import { sendFile, sendPage, serve } from './http-servers.ts'
import { at, calm, fetchAll, makeService, namesOf, pattern, READ } from './http-service.ts'

const failsWith = (code: string) => expect.objectContaining({ name: 'CosmosError', code })

describe('what is a file and what a directory', () => {
  test('HEAD decides where the name does not', async () => {
    const server = await serve((request, response) => {
      switch (request.url) {
        case '/page':
        case '/page.html':
          return sendPage(request, response, '<a href="/page/x">x</a>')
        case '/slash':
          return response.writeHead(301, { location: '/slash/' }).end()
        case '/slash/':
        case '/dotted.d/':
          return sendFile(request, response, 'closed', { type: 'text/plain' })
        case '/dotted.d':
          return response.writeHead(301, { location: '/dotted.d/' }).end()
        case '/data':
        case '/a%2Fb':
        case '/q?x=1':
          return sendFile(request, response, 'data')
        default:
          return response.writeHead(404, { 'content-type': 'text/html' }).end()
      }
    })
    const service = makeService()
    const typeOf = async (name: string) => (await service.stat(at(`${server.authority}/${name}`), calm)).type
    expect(await typeOf('page')).toBe('directory')
    expect(await typeOf('page.html')).toBe('file')
    expect(await typeOf('slash')).toBe('directory')
    expect(await typeOf('dotted.d')).toBe('directory')
    expect(await typeOf('nothing')).toBe('directory')
    expect(await typeOf('data')).toBe('file')
    expect(await typeOf('a%2Fb')).toBe('file')
    expect(await typeOf('q?x=1')).toBe('file')
    await expect(typeOf('nothing.txt')).rejects.toThrow(failsWith('ENOENT'))
    await expect(typeOf('nothing?x')).rejects.toThrow(failsWith('ENOENT'))
  })

  test('a host is a directory before anybody has asked it', async () => {
    const service = makeService()
    expect((await service.stat(at('no-such-host.invalid'), calm)).type).toBe('directory')
    await expect(service.open(at('no-such-host.invalid'), READ, calm)).rejects.toThrow(failsWith('EISDIR'))
  })

  test.each([
    [401, 'EACCES'],
    [403, 'EACCES'],
    [410, 'ENOENT'],
    [429, 'EBUSY'],
    [500, 'EIO'],
    [503, 'EIO'],
    [400, 'EIO'],
  ])('%i is %s', async (status, code) => {
    const server = await serve((_, response) => response.writeHead(status).end())
    const service = makeService()
    const path = at(`${server.authority}/a.txt`)
    await expect(service.stat(path, calm)).rejects.toThrow(failsWith(code))
    await expect(service.open(path, READ, calm)).rejects.toThrow(failsWith(code))
  })

  test('a directory that may not be listed leads on to its files', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/shut') response.writeHead(301, { location: '/shut/' }).end()
      else if (request.url === '/shut/') response.writeHead(403).end()
      else sendFile(request, response, 'inside')
    })
    const service = makeService()
    expect((await service.stat(at(`${server.authority}/shut`), calm)).type).toBe('directory')
    await expect(service.list(at(`${server.authority}/shut`), calm)).rejects.toThrow(failsWith('EACCES'))
    expect(String(await fetchAll(service, at(`${server.authority}/shut/x.txt`)))).toBe('inside')
  })

  test('HEAD that is not allowed is asked by GET', async () => {
    const server = await serve((request, response) => {
      if (request.method === 'HEAD')
        response.writeHead(request.url === '/a.txt' ? 405 : 501, { allow: 'GET' }).end()
      else sendFile(request, response, request.url === '/empty.txt' ? '' : 'twelve bytes')
    })
    const service = makeService()
    expect((await service.stat(at(`${server.authority}/a.txt`), calm)).size).toBe(12)
    expect((await service.stat(at(`${server.authority}/b.txt`), calm)).size).toBe(12)
    expect((await service.stat(at(`${server.authority}/empty.txt`), calm)).size).toBe(0)
    expect(server.asked[1]).toMatchObject({ line: 'GET /a.txt', headers: { range: 'bytes=0-0' } })
  })
})

describe('a page is a directory', () => {
  const page = '<meta charset=utf-8><a href="/d/a.txt">a</a><a href="/d/sub/">sub</a><a href="/up">no</a>'

  test('its links are its names, its text its :body', async () => {
    const server = await serve((request, response) => sendPage(request, response, page))
    const service = makeService()
    const entries = await service.list(at(`${server.authority}/d`), calm)
    expect(entries).toMatchObject([{ name: 'a.txt' }, { name: 'sub', node: { type: 'directory' } }])
    const body = await service.property?.(at(`${server.authority}/d`), 'body', calm)
    expect(Buffer.from(body ?? []).toString()).toBe(page)
    expect(await service.property?.(at(`${server.authority}/d`), 'other', calm)).toBeUndefined()
    expect(await service.property?.(at(`${server.authority}/d/a.txt`), 'body', calm)).toBeUndefined()
    expect(server.asked.filter(({ line }) => line === 'GET /d')).toHaveLength(1)
  })

  test('links are relative to where the page came from', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/d') response.writeHead(302, { location: '/d/' }).end()
      else sendPage(request, response, '<a href="x.txt">')
    })
    expect(await namesOf(makeService(), at(`${server.authority}/d`))).toEqual(['x.txt'])
  })

  test('404 has a :body and no names; what is no page has none either', async () => {
    const server = await serve((request, response) => {
      if (request.url === '/')
        return sendFile(request, response, '{"json":true}', { type: 'application/json' })
      if (request.url === '/file') return sendFile(request, response, 'x')
      return response.writeHead(404, { 'content-type': 'text/html' }).end('<a href="/no/x">not here</a>')
    })
    const service = makeService()
    expect(await namesOf(service, at(`${server.authority}/no`))).toEqual([])
    const body = await service.property?.(at(`${server.authority}/no`), 'body', calm)
    expect(Buffer.from(body ?? []).toString()).toContain('not here')
    expect(await namesOf(service, at(server.authority))).toEqual([])
    await expect(service.list(at(`${server.authority}/file`), calm)).rejects.toThrow(failsWith('ENOTDIR'))
  })

  test('in the letters that its head says', async () => {
    const server = await serve((request, response) =>
      sendFile(request, response, Buffer.from('<a href="/ä">', 'latin1'), {
        type: 'text/html; charset=ISO-8859-1',
      }),
    )
    expect(await namesOf(makeService(), at(server.authority))).toEqual([Buffer.from('ä').toString('latin1')])
  })

  test('10,000 links are 10,000 names', async () => {
    const links = Array.from({ length: 10_000 }, (_, i) => `<li><a href="file-${i}.txt">file ${i}</a>`).join(
      '\n',
    )
    const server = await serve((request, response) => sendPage(request, response, links))
    const names = await namesOf(makeService(), at(server.authority))
    expect(names).toHaveLength(10_000)
    expect(names.at(-1)).toBe('file-9999.txt')
  })

  test('a page without end is EFBIG, and its connection ends', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' })
      const more = () => {
        while (response.write('<a href="x">x</a>'.repeat(4096)));
      }
      response.on('drain', more)
      more()
    })
    await expect(makeService().list(at(server.authority), calm)).rejects.toThrow(failsWith('EFBIG'))
    await expect.poll(() => server.answering).toBe(0)
  })
})

describe('what is known of a file', () => {
  test('size, time, generation and how long it is believed', async () => {
    const server = await serve((request, response) =>
      sendFile(request, response, 'hello', {
        ...(request.url === '/tag.txt' ? { etag: '"one"' } : {}),
        lastModified: 'Tue, 01 Jan 2030 00:00:00 GMT',
        headers: { 'cache-control': request.url === '/tag.txt' ? 'max-age=60' : 'no-cache' },
      }),
    )
    const service = makeService()
    const tagged = await service.stat(at(`${server.authority}/tag.txt`), calm)
    expect(tagged).toMatchObject({ type: 'file', size: 5, mtime: Date.UTC(2030, 0, 1), generation: '"one"' })
    expect(tagged.fresh).toBeGreaterThan(50_000)
    expect(tagged.fresh).toBeLessThanOrEqual(60_000)
    const timed = await service.stat(at(`${server.authority}/time.txt`), calm)
    expect(timed.generation).toBe('Tue, 01 Jan 2030 00:00:00 GMT 5')
    expect(timed.fresh).toBe(1000)
    expect(server.asked[0]).toMatchObject({
      line: 'HEAD /tag.txt',
      headers: { 'accept-encoding': 'identity' },
    })
  })

  test('what is believed is not asked again; what is not is asked whether it is another', async () => {
    let etag = '"one"'
    const server = await serve((request, response) =>
      sendFile(request, response, etag, { etag, headers: { 'cache-control': 'max-age=1' } }),
    )
    const service = makeService()
    const path = at(`${server.authority}/a.txt`)
    const { fresh } = await service.stat(path, calm)
    await service.stat(path, calm)
    expect(server.asked).toHaveLength(1)
    expect(String(await fetchAll(service, path))).toBe('"one"')
    // Once it is no more believed, the answer is 304: what was held is right.
    const asksAgain = async () => {
      const before = server.asked.length
      await expect
        .poll(() => service.stat(path, calm).then(() => server.asked.length), { timeout: 10 * fresh })
        .toBeGreaterThan(before)
    }
    await asksAgain()
    expect(server.asked.at(-1)).toMatchObject({ line: 'HEAD /a.txt', headers: { 'if-none-match': '"one"' } })
    const gets = () => server.asked.filter(({ line }) => line.startsWith('GET')).length
    expect(String(await fetchAll(service, path))).toBe('"one"')
    expect(gets()).toBe(1)
    etag = '"two two"'
    await asksAgain()
    expect(await service.stat(path, calm)).toMatchObject({ size: 9, generation: '"two two"' })
    expect(String(await fetchAll(service, path))).toBe('"two two"')
  })

  test('a length that no HEAD tells is found by reading, if that ends', async () => {
    const server = await serve((request, response) =>
      sendFile(request, response, request.url === '/empty.txt' ? '' : 'x'.repeat(100_000), { chunked: true }),
    )
    const service = makeService()
    expect((await service.stat(at(`${server.authority}/a.txt`), calm)).size).toBe(100_000)
    expect((await service.stat(at(`${server.authority}/empty.txt`), calm)).size).toBe(0)
    const before = server.asked.length
    expect((await fetchAll(service, at(`${server.authority}/a.txt`))).length).toBe(100_000)
    expect(server.asked).toHaveLength(before)
  })

  test('what is longer than that has no size and is read as it comes', async () => {
    const content = pattern(6 * 1024 * 1024)
    const server = await serve((request, response) => sendFile(request, response, content, { chunked: true }))
    const service = makeService()
    const path = at(`${server.authority}/a.bin`)
    expect((await service.stat(path, calm)).size).toBeUndefined()
    expect(content.equals(await fetchAll(service, path))).toBe(true)
    const file = await service.open(path, READ, calm)
    await expect(file.read(5 * 1024 * 1024, 10, calm)).rejects.toThrow(failsWith('EINVAL'))
    await file.close()
    await expect.poll(() => server.answering).toBe(0)
  })

  test('many that ask at once cause one request', async () => {
    const server = await serve((request, response) => sendFile(request, response, 'shared', { etag: '"1"' }))
    const service = makeService()
    const path = at(`${server.authority}/a.txt`)
    await Promise.all(Array.from({ length: 50 }, () => service.stat(path, calm)))
    const read = await Promise.all(Array.from({ length: 50 }, () => fetchAll(service, path)))
    expect(new Set(read.map(String))).toEqual(new Set(['shared']))
    expect(server.asked.map(({ line }) => line)).toEqual(['HEAD /a.txt', 'GET /a.txt'])
  })
})

describe('files', () => {
  test('are read-only', async () => {
    const server = await serve((request, response) => sendFile(request, response, 'x'))
    const service = makeService()
    const path = at(`${server.authority}/a.txt`)
    for (const access of [
      { read: true, write: true, truncate: false },
      { read: true, write: false, truncate: true },
    ])
      await expect(service.open(path, access, calm)).rejects.toThrow(failsWith('EROFS'))
    expect(service.unlink).toBeUndefined()
  })

  test('that are sent compressed are read as they are', async () => {
    const text = 'the same again and again\n'.repeat(1000)
    const server = await serve((request, response) =>
      sendFile(request, response, text, { gzip: true, ranges: false }),
    )
    const service = makeService()
    expect((await service.stat(at(`${server.authority}/a.txt`), calm)).size).toBe(text.length)
    expect(String(await fetchAll(service, at(`${server.authority}/a.txt`)))).toBe(text)
    const compressed = await fetchAll(service, at(`${server.authority}/a.txt.gz`))
    expect(compressed.subarray(0, 2)).toEqual(Buffer.from([0x1f, 0x8b]))
  })

  test('that are large and sent compressed are read as they come', async () => {
    const content = pattern(8 * 1024 * 1024)
    const server = await serve((request, response) =>
      sendFile(request, response, content, { gzip: true, ranges: false }),
    )
    const service = makeService()
    expect((await service.stat(at(`${server.authority}/a.bin`), calm)).size).toBeUndefined()
    expect(content.equals(await fetchAll(service, at(`${server.authority}/a.bin`)))).toBe(true)
  })

  test('a broken coding is EIO', async () => {
    const server = await serve((request, response) =>
      sendFile(request, response, 'this is no gzip', { headers: { 'content-encoding': 'gzip' } }),
    )
    await expect(fetchAll(makeService(), at(`${server.authority}/a.txt`))).rejects.toThrow(failsWith('EIO'))
  })

  test('larger than max_size are EFBIG, told or not', async () => {
    const server = await serve((request, response) =>
      sendFile(request, response, Buffer.alloc(6 * 1024 * 1024), { chunked: request.url === '/untold.bin' }),
    )
    const service = makeService({ max_size: 1_000_000 })
    await expect(fetchAll(service, at(`${server.authority}/told.bin`))).rejects.toThrow(failsWith('EFBIG'))
    await expect(fetchAll(service, at(`${server.authority}/untold.bin`))).rejects.toThrow(failsWith('EFBIG'))
    expect((await service.stat(at(`${server.authority}/told.bin`), calm)).size).toBe(6 * 1024 * 1024)
    expect((await service.stat(at(`${server.authority}/untold.bin`), calm)).size).toBeUndefined()
  })

  test.each([
    { max_size: -1 },
    { max_size: '1' },
    { idle_timeout: 0 },
    { connect_timeout: Number.NaN },
    { ca: 7 },
  ])('settings that cannot be are EINVAL: %o', (settings) => {
    expect(() => makeService(settings)).toThrow(failsWith('EINVAL'))
  })
})
