// The sources http and https through a real mount: what ordinary tools see of a server's files.
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, isRoot, whyNoMount } from '../support/instance.ts'
import { whyNotInstalled } from '../support/packages.ts'
import { has, run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'
import {
  type Certificate,
  closedPort,
  type FileOptions,
  selfSigned,
  sendFile,
  sendPage,
  serve,
  serveRaw,
} from './http-servers.ts'

const skip = whyNoMount()
const noZip = await whyNotInstalled(['zip'], () => has('zip'))
const TEXT = 'one\ntwo\nthree\n'
const YAML = 'name: cosmos\nlist: [1, 2]\n'
const JSON_TEXT = '{\n  "name": "cosmos",\n  "list": [\n    1,\n    2\n  ]\n}\n'
/** Larger than what is fetched in one go. */
const LARGE = Buffer.alloc(12 * 1024 * 1024, 'the quick brown fox\n')

type Answer = (request: IncomingMessage, response: ServerResponse) => void
const file =
  (content: Buffer | string, options: FileOptions = {}): Answer =>
  (request, response) =>
    sendFile(request, response, content, options)
const page =
  (html: string): Answer =>
  (request, response) =>
    sendPage(request, response, html)

describe.skipIf(skip)(`http as files${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  let certificate: Certificate
  beforeAll(async () => {
    instance = new CosmosInstance({ env: { NO_PROXY: '127.0.0.1' } })
    const etc = join(instance.home, '.cosm/etc/cosmos')
    mkdirSync(etc, { recursive: true })
    certificate = await selfSigned()
    writeFileSync(join(etc, 'trusted.pem'), certificate.cert)
    writeFileSync(
      join(etc, 'cosmos.conf'),
      `[source.http]\nheader_timeout = 1\nidle_timeout = 1\n[source.https]\nca = "${etc}/trusted.pem"\n`,
    )
    if ((await instance.up()).code !== 0) throw new Error(instance.log())
  })
  afterAll(() => instance?.stop())

  /** A server that has these and nothing else: its directory in the mount. */
  async function site(answers: Record<string, Answer>) {
    const server = await serve((request, response) => {
      const answer = answers[request.url ?? '']
      if (answer) answer(request, response)
      else response.writeHead(404).end()
    })
    const url = `http://${server.authority}`
    return { server, url, at: join(instance.mount, 'http:', server.authority) }
  }
  const sh = (script: string, ...args: string[]) =>
    run('sh', ['-c', script, 'sh', ...args], { env: instance.env, timeout: 20_000 })

  test('cat, ls -l, wc, cp, tar, Python: all tools see the same bytes', async () => {
    const { at } = await site({
      '/text.txt': file(TEXT),
      '/large.bin': file(LARGE, { lastModified: 'Wed, 21 Oct 2015 07:28:00 GMT' }),
    })
    expect((await sh('cat "$1"', `${at}/text.txt`)).stdout).toBe(TEXT)
    expect((await sh('wc -c < "$1"', `${at}/large.bin`)).stdout.trim()).toBe(`${LARGE.length}`)
    expect((await sh('ls -l --time-style=+%s "$1"', `${at}/large.bin`)).stdout).toMatch(
      new RegExp(` ${LARGE.length} 1445412480 `),
    )
    const copied = await sh('cp "$1"/large.bin "$2" && cmp "$1"/large.bin "$2"', at, `${instance.work}/copy`)
    expect(copied).toMatchObject({ code: 0, stderr: '' })
    expect(LARGE.equals(readFileSync(`${instance.work}/copy`))).toBe(true)
    expect((await sh('tar c -C "$1" text.txt | tar xO', at)).stdout).toBe(TEXT)
    const python = `
import mmap, sys
with open(sys.argv[1], 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    a = f.read()
    print(len(m), len(a), m[:] == a, m[-4:].decode())`
    expect((await run('/usr/bin/python3', ['-c', python, `${at}/large.bin`])).stdout).toBe(
      `${LARGE.length} ${LARGE.length} True ${LARGE.subarray(-4).toString()}\n`,
    )
    expect(
      (await sh('tail -c 6 "$1"; dd if="$1" bs=1 skip=4 count=3 status=none', `${at}/text.txt`)).stdout,
    ).toBe('three\ntwo')
  })

  test('a page is a directory: its links are its names, :body its text; grep -r ends', async () => {
    const { at, server } = await site({
      '/': page('<a href="a.txt">a</a> <a href="sub/">s</a> <a href="https://example.org/x">elsewhere</a>'),
      '/a.txt': file(TEXT),
      '/sub': (_, response) => response.writeHead(301, { location: '/sub/' }).end(),
      '/sub/': page('<p>in sub <a href="b.txt">b</a> <a href="../">up</a></p>'),
      '/sub/b.txt': file('two too\n'),
    })
    expect((await readdir(at)).sort()).toEqual(['a.txt', 'sub'])
    expect((await sh('ls -F "$1"', at)).stdout).toBe('a.txt\nsub/\n')
    expect(await readFile(`${at}/sub:body`, 'utf8')).toContain('in sub')
    expect(await readFile(`${at}/sub/:body`, 'utf8')).toContain('in sub')
    expect(await readFile(`${at}:body`, 'utf8')).toContain('elsewhere')
    expect(await readFile(`${at}/:body`, 'utf8')).toContain('elsewhere')
    expect((await sh('cd "$1" && grep -r two . | sort', at)).stdout).toBe(
      './a.txt:two\n./sub/b.txt:two too\n',
    )
    expect((await sh('find "$1" -type f | wc -l', at)).stdout.trim()).toBe('2')
    expect(server.asked.some(({ line }) => line.includes('example.org'))).toBe(false)
  })

  test('redirects are followed; one that leads to itself is an error that says why', async () => {
    const other = await site({ '/there.txt': file(TEXT) })
    const { at } = await site({
      '/here.txt': (_, response) => response.writeHead(302, { location: `${other.url}/there.txt` }).end(),
      '/loop.txt': (_, response) => response.writeHead(302, { location: '/loop.txt' }).end(),
    })
    expect(await readFile(`${at}/here.txt`, 'utf8')).toBe(TEXT)
    expect((await sh('cat "$1"', `${at}/loop.txt`)).stderr).toMatch(/Too many levels of symbolic links/)
    expect(await readFile(`${at}/loop.txt:error`, 'utf8')).toMatch(/redirect/)
  })

  test('what is not there, and nobody who answers', async () => {
    const { at } = await site({ '/closed.txt': (_, response) => response.writeHead(403).end() })
    expect((await sh('cat "$1"', `${at}/none.txt`)).stderr).toMatch(/No such file/)
    expect((await sh('cat "$1"', `${at}/closed.txt`)).stderr).toMatch(/Permission denied/)
    expect(await readFile(`${at}/closed.txt:error`, 'utf8')).toMatch(/403/)
    const port = await closedPort()
    const closed = join(instance.mount, 'http:', `127.0.0.1:${port}`)
    expect((await sh('cat "$1"', `${closed}/a.txt`)).stderr).toMatch(/No route to host/)
    expect(await readFile(`${closed}/a.txt:error`, 'utf8')).toMatch(/nothing listens there/)
    const told = await instance.cosmos(['cat', `http://127.0.0.1:${port}/a.txt`])
    expect(told.code).not.toBe(0)
    expect(told.stderr).toMatch(/nothing listens there/)
    expect((await sh('cat "$1"', join(instance.mount, 'http:/no host/a.txt'))).stderr).toMatch(/No such file/)
  })

  test('a server that never answers is waited for so long and no longer; Ctrl-C ends its reader at once', async () => {
    const { at, server } = await site({ '/hangs.txt': () => {} })
    expect((await sh('cat "$1"', `${at}/hangs.txt`)).stderr).toMatch(/timed out/)
    const silent = await serveRaw(() => {})
    const reader = spawn('cat', [join(instance.mount, 'http:', silent.authority, 'a.txt')], {
      stdio: 'ignore',
    })
    await waitFor('a connection', () => silent.sockets.size > 0)
    await interrupted(reader)
    expect(server.answering).toBe(0)
  })

  test('a reader amid a slow body is ended by Ctrl-C, and its connection too', async () => {
    const { at, server } = await site({ '/slow.bin': trickle(8 * 1024 * 1024) })
    const reader = spawn('cat', [`${at}/slow.bin`], { stdio: 'ignore' })
    await waitFor('the body', () => server.answering > 0)
    await interrupted(reader)
    await waitFor('the end of the answer', () => server.answering === 0)
  })

  test('a server that lies about its length is EIO', async () => {
    const { at } = await site({
      '/short.bin': (request, response) => {
        response.writeHead(200, { 'content-length': 1000 })
        if (request.method === 'HEAD') response.end()
        else response.write('not so much', () => response.destroy())
      },
    })
    const { code, stderr } = await sh('cat "$1"', `${at}/short.bin`)
    expect(code).not.toBe(0)
    expect(stderr).toMatch(/Input\/output error/)
  })

  test('https, and a server that nobody vouches for', async () => {
    const answer: Answer = (request, response) =>
      request.url === '/data.yaml' ? sendFile(request, response, YAML) : response.writeHead(404).end()
    const trusted = await serve(answer, certificate)
    const stranger = await serve(answer, await selfSigned())
    const at = (authority: string) => join(instance.mount, 'https:', authority, 'data.yaml')
    expect(await readFile(`${at(trusted.authority)}.to-json`, 'utf8')).toBe(JSON_TEXT)
    expect((await sh('cat "$1"', at(stranger.authority))).stderr).toMatch(/Permission denied/)
    expect(await readFile(`${at(stranger.authority)}:error`, 'utf8')).toMatch(/is not trusted/)
  })

  test('a file whose size nobody tells, and one that is compressed', async () => {
    const { at } = await site({
      '/chunked.txt': file(TEXT, { chunked: true, ranges: false }),
      '/packed.txt': file(TEXT.repeat(1000), { gzip: true }),
    })
    for (const [name, length] of [
      ['chunked.txt', TEXT.length],
      ['packed.txt', TEXT.length * 1000],
    ] as const) {
      expect((await readFile(join(at, name))).length).toBe(length)
      expect((await stat(join(at, name))).size).toBe(length)
    }
  })

  test('many readers at once, and a slow one', async () => {
    const { at } = await site({ '/large.bin': file(LARGE) })
    const slow = sh('(head -c 100000; sleep 0.3; cat) < "$1" | md5sum', `${at}/large.bin`)
    const all = await Promise.all(Array.from({ length: 6 }, () => sh('md5sum < "$1"', `${at}/large.bin`)))
    expect(new Set([...all, await slow].map(({ stdout }) => stdout))).toHaveProperty('size', 1)
  })

  test('a query is a file, its escapes as they are', async () => {
    const { at, url } = await site({
      '/api?q=a%26b&page=2': file('{"answer": [42]}', { type: 'application/json' }),
    })
    const path = `${at}/api?q=a%26b&page=2`
    expect((await sh('jq .answer[0] "$1"', path)).stdout).toBe('42\n')
    expect(await instance.tell('cat', `${url}/api?q=a%26b&page=2`)).toBe('{"answer": [42]}')
  })

  test('transformations, chains and insides of what is far; names that connectors complete', async () => {
    const { at, url } = await site({
      '/': page('<a href="data.yaml">data</a>'),
      '/data.yaml': file(YAML, { etag: '"1"' }),
      '/text.txt': file('b\na\nb\n'),
    })
    expect(await readFile(`${at}/data.yaml.to-json`, 'utf8')).toBe(JSON_TEXT)
    expect((await stat(`${at}/data.yaml.to-json`)).size).toBe(JSON_TEXT.length)
    expect((await readdir(`${at}/data.yaml.d`)).sort()).toEqual(['list', 'name'])
    expect((await sh('cd "$1" && grep -r . | sort', `${at}/data.yaml.d`)).stdout).toBe(
      'list/0:1\nlist/1:2\nname:cosmos\n',
    )
    expect(await readFile(`${at}/data.yaml.to-json.d/list/1`, 'utf8')).toBe('2\n')
    expect(await readFile(`${at}/data.json`, 'utf8')).toBe(JSON_TEXT)
    expect(await readFile(`${at}/text.txt.sort.tac`, 'utf8')).toBe('b\nb\na\n')
    expect(await instance.tell('cat', `${url}/data.yaml.to-json`)).toBe(JSON_TEXT)
    expect(JSON.parse(await instance.tell('ls', '--json', `${url}/data.yaml.d`))).toHaveLength(2)
    expect((await sh('echo 3 > "$1"', `${at}/data.yaml.d/list/0`)).stderr).toMatch(/Read-only/)
    expect((await sh('echo 3 > "$1"', `${at}/data.yaml`)).stderr).toMatch(/Read-only/)
  })

  test('another ETag is another result; the same one is not made again', async () => {
    let version = 1
    let gets = 0
    const { at } = await site({
      '/data.yaml': (request, response) => {
        if (request.method === 'GET' && request.headers['if-none-match'] === undefined) gets++
        sendFile(request, response, `version: ${version}\n`, {
          etag: `"${version}"`,
          headers: { 'cache-control': 'no-cache' },
        })
      },
    })
    const path = `${at}/data.yaml.to-json`
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ version: 1 })
    const made = async () =>
      (await readFile(`${path}:prod`, 'utf8')).split('\n').filter((line) => line.startsWith('made'))
    const before = await made()
    expect(before).toHaveLength(2)
    await waitFor('a revalidation', async () => {
      await readFile(path, 'utf8')
      return gets === 1
    })
    expect(await made()).toEqual(before)
    version = 2
    await waitFor('the new version', async () => JSON.parse(await readFile(path, 'utf8')).version === 2)
    expect(await readFile(`${at}/data.yaml.d/version`, 'utf8')).toBe('2\n')
  })

  test('what cannot be made says why', async () => {
    const { at } = await site({ '/bad.yaml': file('a: [1\n'), '/data.yaml': file(YAML) })
    expect((await sh('cat "$1"', `${at}/bad.yaml.to-json`)).stderr).toMatch(/Input\/output error/)
    expect(await readFile(`${at}/bad.yaml.to-json:error`, 'utf8')).toMatch(/line 2, column 1/)
    expect((await sh('cat "$1"', `${at}/data.yaml:error`)).stderr).toMatch(/No such file/)
  })

  test('name: lists the properties', async () => {
    const { at, url } = await site({ '/data.yaml': file(YAML, { etag: '"1"' }) })
    expect((await readdir(`${at}/data.yaml:`)).sort()).toEqual(['dcel', 'inode', 'layers', 'mtime', 'prod'])
    expect(await readFile(`${at}/data.yaml:prod`, 'utf8')).toBe(`source ${url}/data.yaml\n`)
    expect(await readFile(`${at}/data.yaml:/prod`, 'utf8')).toBe(`source ${url}/data.yaml\n`)
    const { ino } = await stat(`${at}/data.yaml`, { bigint: true })
    expect(await readFile(`${at}/data.yaml:inode`, 'utf8')).toBe(`${ino}\n`)
    await readFile(`${at}/data.yaml.to-json`)
    expect(await readFile(`${at}/data.yaml.to-json:prod`, 'utf8')).toMatch(
      `transform to-json of copy of source ${url}/data.yaml\n`,
    )
  })

  test.skipIf(noZip)('a zip inside a tar', async () => {
    const packed = await sh(
      'cd "$1" && mkdir -p in && echo deep > in/file.txt && zip -q in.zip in/file.txt && tar cf out.tar in.zip',
      instance.work,
    )
    expect(packed).toMatchObject({ code: 0, stderr: '' })
    const { at } = await site({ '/out.tar': file(readFileSync(join(instance.work, 'out.tar'))) })
    expect(await readdir(`${at}/out.tar.d`)).toEqual(['in.zip'])
    expect(await readFile(`${at}/out.tar.d/in.zip.d/in/file.txt`, 'utf8')).toBe('deep\n')
    expect((await sh('cd "$1" && grep -r deep', `${at}/out.tar.d/in.zip.d`)).stdout).toBe(
      'in/file.txt:deep\n',
    )
  })

  test('a daemon that is killed amid a read: the reader goes on', async () => {
    const { at } = await site({ '/large.bin': file(LARGE) })
    const before = await stat(`${at}/large.bin`)
    const reading = run('/usr/bin/python3', [
      '-c',
      `
import hashlib, os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
h = hashlib.md5(os.read(f, 100000))
print('begun', flush=True)
open(sys.argv[2], 'w').close()
while not os.path.exists(sys.argv[3]): pass
while b := os.read(f, 100000): h.update(b)
print(h.hexdigest(), os.fstat(f).st_size)`,
      `${at}/large.bin`,
      `${instance.work}/begun`,
      `${instance.work}/killed`,
    ])
    await waitFor('the reader', async () => (await stat(`${instance.work}/begun`)).isFile())
    const former = await instance.daemon()
    process.kill(former, 'SIGKILL')
    writeFileSync(`${instance.work}/killed`, '')
    expect((await reading).stdout).toBe(
      `begun\n${createHash('md5').update(LARGE).digest('hex')} ${before.size}\n`,
    )
    await waitFor('another daemon', async () => (await instance.daemon()) !== former)
  })

  test('cosmos cat, ls, lookup and inspect; a password is used and never told', async () => {
    const { authority } = await serve((request, response) => {
      const isLetIn = request.headers.authorization === `Basic ${Buffer.from('me:s3cret').toString('base64')}`
      if (!isLetIn) response.writeHead(401).end()
      else if (request.url === '/data.yaml') sendFile(request, response, YAML, { etag: '"1"' })
      else if (request.url === '/') sendPage(request, response, '<a href="data.yaml">d</a>')
      else response.writeHead(404).end()
    })
    const url = `http://me:s3cret@${authority}`
    expect(await instance.tell('cat', `${url}/data.yaml`)).toBe(YAML)
    expect(await instance.tell('ls', url)).toBe('data.yaml\n')
    const told = await Promise.all([
      instance.tell('lookup', '--trace', `${url}/data.yaml.to-json`),
      instance.tell('lookup', '--json', '--trace', `${url}/data.yaml.d/list`),
      instance.tell('inspect', `${url}/data.yaml`),
      instance.tell('inspect', '--json', `${url}/data.yaml.to-json`),
      instance.tell('ls', '-ld', `${url}/data.yaml`),
      instance.tell('produce', `${url}/data.yaml.to-json`),
      instance.cosmos(['cat', `${url}/none.txt`]).then(({ stderr }) => stderr),
      instance.cosmos(['ls', `${url}/none.txt`, `${url}/`]).then(({ stdout, stderr }) => stdout + stderr),
      instance.cosmos(['inspect', `${url}/data.yaml.to-nothing`]).then(({ stderr }) => stderr),
      instance.cosmos(['cat', `${url.replace('s3', 'wrong-s3')}/data.yaml`]).then(({ stderr }) => stderr),
    ])
    for (const text of told) {
      expect(text).toContain(`me@${authority}`)
      expect(text).not.toContain('s3cret')
    }
    const titled = await instance.cosmos(['ls', url, `${url}/`])
    expect(titled.stdout).toBe(`http://me@${authority}:\ndata.yaml\n\nhttp://me@${authority}/:\ndata.yaml\n`)
    const state = await sh('grep -rl s3cret "$1"/.cosm/var', instance.home)
    expect(state.stdout).toBe('')
  })

  test('lookup --trace: who resolved each name, and each step by which it was made', async () => {
    const { url } = await site({ '/': page(''), '/data.yaml': file(YAML, { etag: '"1"' }) })
    const trace = async (path: string) => {
      const told = JSON.parse(await instance.tell('lookup', '--json', '--trace', `${url}${path}`)) as {
        stages: { stage: string; by: string; answer: string; microseconds: number }[]
      }
      return told.stages.slice(1)
    }
    const host = { stage: url.slice(7), by: 'source http', answer: url }
    const stages = await trace('/data.yaml.to-json')
    expect(stages).toMatchObject([
      host,
      {
        stage: 'data.yaml.to-json',
        by: 'fudge',
        answer: `transform to-json of copy of source ${url}/data.yaml`,
      },
      { stage: '  module fudge', by: 'built in', microseconds: 0 },
      { stage: '  copy', by: 'source http', answer: '26 bytes, made now' },
      { stage: '  transform to-json', by: 'transformer', answer: '53 bytes, made now' },
    ])
    const [, whole = { microseconds: 0 }, , copy = { microseconds: 0 }, made = { microseconds: 0 }] = stages
    expect(whole.microseconds).toBeGreaterThanOrEqual(Math.max(copy.microseconds, made.microseconds, 1))
    expect(await trace('/data.yaml.d/list')).toMatchObject([
      host,
      { stage: 'data.yaml.d', by: 'fudge' },
      { stage: '  module fudge', by: 'built in', microseconds: 0 },
      { stage: '  copy', answer: expect.stringMatching(/^26 bytes, kept since 20/), microseconds: 0 },
      { stage: '  map yaml', by: 'mapper', answer: '4 entries, made now' },
      { stage: 'list', by: 'store' },
    ])
    for (const path of ['/data.yaml:prod', '/data.yaml:/prod'])
      expect((await trace(path)).at(-1)).toMatchObject({ by: 'property', answer: 'prod of data.yaml' })
  })

  test.skipIf(!isRoot)('other users of this machine are refused', async () => {
    const { at } = await site({ '/text.txt': file(TEXT) })
    expect((await sh('stat -c %a "$1"', join(instance.mount, 'http:'))).stdout).toBe('700\n')
    for (const path of [`${at}/text.txt`, at, join(instance.mount, 'http:'), join(instance.mount, 'ssh:')]) {
      const { code, stderr } = await run('ls', ['-l', `${path}/`], { uid: 65_534, cwd: '/' })
      expect(code).not.toBe(0)
      expect(stderr).toMatch(/Permission denied/)
    }
  })
})

/** Sends Ctrl-C to a process, which ends by it. */
async function interrupted(child: ChildProcess): Promise<void> {
  child.kill('SIGINT')
  const [, signal] = await once(child, 'exit', { signal: AbortSignal.timeout(10_000) })
  expect(signal).toBe('SIGINT')
}

/** An answer that begins and does not go on, as long as its size may be. */
function trickle(size: number): Answer {
  return (request, response) => {
    response.writeHead(200, { 'content-length': size })
    if (request.method === 'HEAD') response.end()
    else response.write(Buffer.alloc(1000))
  }
}
