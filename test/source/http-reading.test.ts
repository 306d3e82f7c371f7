import { expect, test } from 'vitest'
import type { HeldFile, StreamedFile } from '../../src/source/http/file.ts'
import type { SourceFile } from '../../src/source/service.ts'
import { type FileOptions, sendFile, serve, serveRaw } from './http-servers.ts'
import { at, calm, fetchAll, makeService, pattern, READ, readAll } from './http-service.ts'

const MiB = 1024 * 1024
const content = pattern(12 * MiB)
const failsWith = (code: string) => expect.objectContaining({ name: 'CosmosError', code })

async function openBig(options: FileOptions = {}) {
  const server = await serve((request, response) =>
    sendFile(request, response, content, { etag: '"1"', ...options }),
  )
  const service = makeService()
  const path = at(`${server.authority}/big.bin`)
  // The size is known before, as it is in a mount.
  await service.stat(path, calm)
  return { server, file: await service.open(path, READ, calm) }
}

async function expectPart(file: SourceFile, position: number, length: number) {
  const part = await file.read(position, length, calm)
  expect(Buffer.from(part).equals(content.subarray(position, position + length))).toBe(true)
}

const gets = (server: { asked: readonly { line: string }[] }) =>
  server.asked.filter(({ line }) => line.startsWith('GET')).length

test('a file is read from start to end by one request', async () => {
  const { server, file } = await openBig()
  expect(content.equals(await readAll(file))).toBe(true)
  expect(await file.read(content.length + 5, 100, calm)).toHaveLength(0)
  expect(gets(server)).toBe(1)
  await file.close()
})

test('the same without a HEAD before, where undici reads the body', async () => {
  const server = await serve((request, response) => sendFile(request, response, content))
  expect(content.equals(await fetchAll(makeService(), at(`${server.authority}/big.bin`)))).toBe(true)
  expect(server.asked.map(({ line }) => line)).toEqual(['GET /big.bin'])
})

test('into memory of the caller’s, small and large', async () => {
  const { file } = await openBig()
  const target = new Uint8Array(MiB)
  for (let position = 0; position <= content.length; position += MiB) {
    const count = await (file as StreamedFile).readInto(position, target, calm)
    expect(content.subarray(position, position + MiB).equals(target.subarray(0, count))).toBe(true)
  }
  await file.close()
  const server = await serve((request, response) => sendFile(request, response, 'small'))
  const small = await makeService().open(at(`${server.authority}/a.txt`), READ, calm)
  expect(await (small as HeldFile).readInto(1, target)).toBe(4)
  expect(Buffer.from(target).toString('latin1', 0, 4)).toBe('mall')
})

test('reads that arrive out of order are one request', async () => {
  const { server, file } = await openBig()
  const size = 128 * 1024
  for (let group = 0; group < content.length; group += 8 * size) {
    const order = [3, 1, 0, 2, 7, 4, 6, 5].map((index) => group + index * size)
    await Promise.all(order.map((position) => expectPart(file, position, size)))
  }
  expect(gets(server)).toBe(1)
  await file.close()
})

test('a jump asks for a range, and what follows it goes on', async () => {
  const { server, file } = await openBig()
  await expectPart(file, 8 * MiB, 4096)
  await expectPart(file, 8 * MiB + 4096, 3 * MiB)
  await expectPart(file, content.length - 10, 10)
  await expectPart(file, 0, 100)
  const ranges = server.asked.map(({ headers }) => headers.range).filter(Boolean)
  expect(ranges[0]).toMatch(/^bytes=8388608-/)
  expect(server.asked.find(({ headers }) => headers.range)?.headers['if-range']).toBe('"1"')
  expect(ranges.length).toBeLessThanOrEqual(2)
  await file.close()
})

test('readers at several places do not disturb each other', async () => {
  const { file } = await openBig()
  const walk = async (from: number) => {
    for (let position = from; position < from + 2 * MiB; position += 96 * 1024)
      await expectPart(file, position, 96 * 1024)
  }
  await Promise.all([0, 3, 6, 9].map((place) => walk(place * MiB)))
  await file.close()
})

test('jumps to and fro keep few connections', async () => {
  const { server, file } = await openBig()
  for (let turn = 0; turn < 30; turn++) await expectPart(file, ((turn * 7919) % 11) * MiB + turn, 5000)
  await expect.poll(() => server.sockets.size).toBeLessThan(8)
  await file.close()
  await expect.poll(() => server.answering).toBe(0)
})

test('a server without ranges is read from the start again', async () => {
  const { server, file } = await openBig({ ranges: false })
  await expectPart(file, 9 * MiB, 1000)
  await expectPart(file, 10 * MiB, 1000)
  await expectPart(file, 100, 1000)
  expect(gets(server)).toBeLessThanOrEqual(3)
  await file.close()
})

test('a file that is changed while it is read is EIO', async () => {
  const options = { etag: '"1"' }
  const server = await serve((request, response) => sendFile(request, response, content, options))
  const file = await makeService().open(at(`${server.authority}/big.bin`), READ, calm)
  await expectPart(file, 0, 1000)
  options.etag = '"2"'
  await expect(file.read(9 * MiB, 1000, calm)).rejects.toThrow(failsWith('EIO'))
  await file.close()
})

test('a slow reader costs bounded memory: the server has to wait', async () => {
  const total = 512 * MiB
  let sent = 0
  const server = await serve((request, response) => {
    response.writeHead(200, { 'content-length': total, etag: '"1"', 'accept-ranges': 'bytes' })
    if (request.method === 'HEAD') {
      response.end()
      return
    }
    const piece = Buffer.alloc(256 * 1024)
    const more = () => {
      let isRoom = true
      while (isRoom && sent < total) {
        isRoom = response.write(piece)
        sent += piece.length
      }
    }
    response.on('drain', more)
    more()
  })
  for (const isLong of [true, false]) {
    sent = 0
    const service = makeService()
    const path = at(`${server.authority}/big.bin`)
    if (isLong) await service.stat(path, calm)
    const before = process.memoryUsage().arrayBuffers
    const file = await service.open(path, READ, calm)
    for (let position = 0; position < 4 * MiB; position += 64 * 1024)
      await file.read(position, 64 * 1024, calm)
    // The server has sent what fits into the window and the kernel's buffers, and nothing more comes.
    let last = -1
    await expect
      .poll(
        () => {
          const isStill = sent === last
          last = sent
          return isStill
        },
        { interval: 200 },
      )
      .toBe(true)
    expect(sent).toBeLessThan(64 * MiB)
    // The server's own pieces count too.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(48 * MiB)
    await file.close()
    await expect.poll(() => server.answering).toBe(0)
    await service.close?.()
    await expect.poll(() => server.sockets.size).toBe(0)
  }
})

/** A server that ends its connections after so many bytes of a body. */
async function cutting(bytes: number, options: { etag?: string; ranges: boolean }) {
  const ranges: (string | undefined)[] = []
  const server = await serveRaw((socket) => {
    socket.on('data', (data) => {
      const head = data.toString('latin1')
      const start = Number(/^range: bytes=(\d+)-/im.exec(head)?.[1] ?? 0)
      const tag = options.etag ? `ETag: ${options.etag}\r\n` : ''
      const isPart = options.ranges && start > 0
      const from = isPart ? start : 0
      const status = isPart
        ? `206 Partial\r\nContent-Range: bytes ${from}-${content.length - 1}/${content.length}`
        : '200 OK'
      socket.write(`HTTP/1.1 ${status}\r\n${tag}Content-Length: ${content.length - from}\r\n\r\n`)
      if (head.startsWith('HEAD')) return
      ranges.push(/^range: (.*)$/im.exec(head)?.[1])
      const part = content.subarray(from, from + bytes)
      if (part.length < content.length - from) socket.end(part)
      else socket.write(part)
    })
  })
  return { server, ranges }
}

for (const isLong of [true, false]) {
  const way = isLong ? 'directly' : 'by undici'
  const begin = async (server: { authority: string }) => {
    const service = makeService()
    const path = at(`${server.authority}/big.bin`)
    if (isLong) await service.stat(path, calm)
    return service.open(path, READ, calm)
  }

  test(`a connection that is lost amid a body is taken up where it broke (${way})`, async () => {
    const { server, ranges } = await cutting(7 * MiB, { etag: '"1"', ranges: true })
    const file = await begin(server)
    expect(content.equals(await readAll(file))).toBe(true)
    expect(ranges).toEqual([undefined, `bytes=${7 * MiB}-${content.length - 1}`])
    await file.close()
  })

  test(`without a validator that is EIO, after what came (${way})`, async () => {
    const { server } = await cutting(7 * MiB, { ranges: true })
    const file = await begin(server)
    await expectPart(file, 0, 1000)
    await expect(readAll(file)).rejects.toThrow(failsWith('EIO'))
    await file.close()
  })

  test(`a body that is always shorter than it says is EIO (${way})`, async () => {
    const { server, ranges } = await cutting(7 * MiB, { etag: '"1"', ranges: false })
    const file = await begin(server)
    await expect(readAll(file)).rejects.toThrow(failsWith('EIO'))
    expect(ranges).toHaveLength(2)
    await file.close()
  })
}
