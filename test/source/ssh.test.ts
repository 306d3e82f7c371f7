import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { SourceService } from '../../src/source/service.ts'
import { sshService } from '../../src/source/ssh/service.ts'
import { isRoot } from '../support/instance.ts'
import { succeed } from '../support/run.ts'
import { codeOf, never, Sshd, whyNoSshd } from './sshd.ts'

const missing = await whyNoSshd()
const READ = { read: true, write: false, truncate: false }
const WRITE = { read: true, write: true, truncate: false }

describe.skipIf(missing !== undefined)('the files of a host', () => {
  let sshd: Sshd
  let service: SourceService
  let count = 0
  let base: string

  beforeAll(async () => {
    sshd = await Sshd.start()
    service = sshService(sshd.context())
  })
  afterAll(async () => {
    await service?.close?.()
    await sshd?.stop()
  })
  beforeEach(() => {
    base = `case${++count}`
    mkdirSync(join(sshd.files, base))
  })

  const real = (name: string) => join(sshd.files, base, name)
  const at = (name: string) => sshd.path(`${base}/${name}`)
  const bytesText = (text: string) => Buffer.from(text).toString('latin1')

  async function contents(name: string): Promise<Buffer> {
    const file = await service.open(at(name), READ, never)
    try {
      return Buffer.from(await file.read(0, (file.node.size ?? 0) + 10, never))
    } finally {
      await file.close()
    }
  }

  test('a file is what lstat says of it', async () => {
    writeFileSync(real('file'), 'twelve bytes')
    chmodSync(real('file'), 0o640)
    utimesSync(real('file'), 1000, 1_700_000_000)
    const { uid, gid } = lstatSync(real('file'))
    expect(await service.stat(at('file'), never)).toEqual({
      type: 'file',
      size: 12,
      mode: 0o640,
      uid,
      gid,
      mtime: 1_700_000_000_000,
      generation: '12-1700000000',
      fresh: 1000,
    })
  })

  test('kinds of files, and links that are not followed', async () => {
    mkdirSync(real('directory'))
    symlinkSync('directory/nowhere', real('link'))
    await succeed('mkfifo', [real('fifo')])
    expect((await service.stat(at('directory'), never)).type).toBe('directory')
    expect(await service.stat(at('link'), never)).toMatchObject({
      type: 'link',
      target: 'directory/nowhere',
      size: 17,
    })
    expect((await service.stat(at('fifo'), never)).type).toBe('fifo')
    expect(await codeOf(service.open(at('fifo'), READ, never))).toBe('ENXIO')
    expect((await service.stat({ scheme: 'ssh', segments: [at('').segments[0] ?? ''] }, never)).type).toBe(
      'directory',
    )
  })

  test('a listing has every name with its node', async () => {
    writeFileSync(real('a b'), '1')
    writeFileSync(real('100%2Fé'), '22')
    mkdirSync(real('sub'))
    symlinkSync('sub', real('link'))
    const entries = await service.list(at(''), never)
    expect(entries.map(({ name }) => name).sort()).toEqual([bytesText('100%2Fé'), 'a b', 'link', 'sub'])
    const nodes = Object.fromEntries(entries.map(({ name, node }) => [name, node]))
    expect(nodes.link).toMatchObject({ type: 'link', target: 'sub' })
    expect(nodes.sub).toMatchObject({ type: 'directory' })
    for (const { name, node } of entries) expect(node).toEqual(await service.stat(at(name), never))
  })

  test('names that are no UTF-8 keep their bytes', async () => {
    const name = Buffer.from([0x66, 0xff, 0xfe, 0x80])
    const text = name.toString('latin1')
    writeFileSync(Buffer.concat([Buffer.from(`${real('')}/`), name]), 'bytes')
    expect((await service.list(at(''), never)).map((entry) => entry.name)).toEqual([text])
    expect((await contents(text)).toString()).toBe('bytes')
    await service.rename?.(at(text), at(`${text}\xe9`), false)
    expect(readdirSync(real(''), { encoding: 'buffer' })).toEqual([
      Buffer.concat([name, Buffer.from([0xe9])]),
    ])
    await service.symlink?.(at('link'), text)
    expect(readlinkSync(real('link'), { encoding: 'buffer' })).toEqual(name)
    expect((await service.stat(at('link'), never)).target).toBe(text)
  })

  test('ten thousand names', async () => {
    for (let i = 0; i < 10_000; i++) writeFileSync(real(`file ${i}`), '')
    const entries = await service.list(at(''), never)
    expect(entries).toHaveLength(10_000)
    expect(new Set(entries.map(({ name }) => name)).size).toBe(10_000)
    expect(entries.every(({ node }) => node?.type === 'file' && node.size === 0)).toBe(true)
  })

  test('reads in order, at random, and at the end', async () => {
    const bytes = randomBytes(6_000_001)
    writeFileSync(real('big'), bytes)
    const file = await service.open(at('big'), READ, never)
    const parts: Uint8Array[] = []
    for (let position = 0; position < bytes.length; position += 131_072)
      parts.push(await file.read(position, 131_072, never))
    expect(Buffer.concat(parts).equals(bytes)).toBe(true)
    for (const position of [5_999_000, 17, 3_000_000, 2_999_000, 5_000_000, 0]) {
      const part = await file.read(position, 300_000, never)
      expect(Buffer.from(part).equals(bytes.subarray(position, position + 300_000))).toBe(true)
    }
    expect(await file.read(bytes.length, 100, never)).toHaveLength(0)
    expect(await file.read(bytes.length + 5000, 100, never)).toHaveLength(0)
    await file.close()
  })

  test('reads that are asked for side by side and out of order', async () => {
    const bytes = randomBytes(3_000_000)
    writeFileSync(real('big'), bytes)
    const file = await service.open(at('big'), READ, never)
    const step = 100_000
    const order = Array.from({ length: 30 }, (_, i) => (i ^ 1) * step)
    const parts = await Promise.all(order.map((position) => file.read(position, step, never)))
    for (const [i, position] of order.entries())
      expect(Buffer.from(parts[i] ?? []).equals(bytes.subarray(position, position + step))).toBe(true)
    await file.close()
  })

  test('a file that grows is read on, one that shrinks ends', async () => {
    writeFileSync(real('log'), 'one')
    const file = await service.open(at('log'), READ, never)
    expect(Buffer.from(await file.read(0, 100, never)).toString()).toBe('one')
    writeFileSync(real('log'), ' two', { flag: 'a' })
    expect(Buffer.from(await file.read(3, 100, never)).toString()).toBe(' two')
    truncateSync(real('log'), 2)
    expect(await file.read(2, 100, never)).toHaveLength(0)
    await file.close()
  })

  test('files of /proc are read to their end, whatever their size says', async () => {
    const path = { scheme: 'ssh', segments: [at('').segments[0] ?? '', 'proc', 'cpuinfo'] }
    const file = await service.open(path, READ, never)
    expect(file.node.size).toBeUndefined()
    const text = Buffer.from(await file.read(0, 1_000_000, never)).toString()
    const processors = (all: string) => all.match(/^processor\b/gm)?.length
    expect(processors(text)).toBe(processors(readFileSync('/proc/cpuinfo', 'utf8')))
    await file.close()
  })

  test('create, write, sync, read back; the mode is the caller’s', async () => {
    const file = await service.create?.(at('new'), 0o666, WRITE)
    const bytes = randomBytes(1_000_000)
    await file?.write?.(0, bytes)
    await file?.write?.(2_000_000, Buffer.from('end'))
    await file?.sync?.()
    expect(Buffer.from((await file?.read(999_990, 20, never)) ?? []).subarray(0, 10)).toEqual(
      bytes.subarray(999_990),
    )
    await file?.close()
    expect(statSync(real('new')).mode & 0o7777).toBe(0o666)
    const written = readFileSync(real('new'))
    expect(written.length).toBe(2_000_003)
    expect(written.subarray(0, 1_000_000).equals(bytes)).toBe(true)
    expect(await codeOf(Promise.resolve(service.create?.(at('new'), 0o666, WRITE)))).toBe('EEXIST')
  })

  test('opened to be truncated; a second text of the same length and second is another generation', async () => {
    writeFileSync(real('file'), 'old text')
    const generations = new Set<string | undefined>()
    for (const text of ['first', 'other']) {
      const file = await service.open(at('file'), { ...WRITE, truncate: true }, never)
      expect(file.node.size).toBe(0)
      await file.write?.(0, Buffer.from(text))
      await file.close()
      expect(readFileSync(real('file'), 'utf8')).toBe(text)
      generations.add((await service.stat(at('file'), never)).generation)
    }
    expect(generations.size).toBe(2)
  })

  test('directories are made and removed', async () => {
    expect(await service.mkdir?.(at('sub'), 0o777)).toMatchObject({ type: 'directory', mode: 0o777 })
    expect(await codeOf(Promise.resolve(service.mkdir?.(at('sub'), 0o777)))).toBe('EEXIST')
    writeFileSync(real('sub/file'), '')
    expect(await codeOf(Promise.resolve(service.rmdir?.(at('sub'))))).toBe('ENOTEMPTY')
    expect(await codeOf(Promise.resolve(service.rmdir?.(at('sub/file'))))).toBe('ENOTDIR')
    expect(await codeOf(Promise.resolve(service.unlink?.(at('sub'))))).toBe('EISDIR')
    await service.unlink?.(at('sub/file'))
    await service.rmdir?.(at('sub'))
    expect(existsSync(real('sub'))).toBe(false)
  })

  test('links, soft and hard', async () => {
    writeFileSync(real('file'), 'text')
    expect(await service.symlink?.(at('soft'), 'file')).toMatchObject({ type: 'link', target: 'file' })
    expect(readlinkSync(real('soft'))).toBe('file')
    expect(await codeOf(Promise.resolve(service.symlink?.(at('soft'), 'file')))).toBe('EEXIST')
    expect(await service.link?.(at('hard'), at('file'))).toMatchObject({ type: 'file', size: 4 })
    expect(statSync(real('hard')).ino).toBe(statSync(real('file')).ino)
    expect(await codeOf(Promise.resolve(service.link?.(at('hard'), at('file'))))).toBe('EEXIST')
    expect(await codeOf(Promise.resolve(service.link?.(at('other'), at('missing'))))).toBe('ENOENT')
    const elsewhere = { scheme: 'ssh', segments: ['elsewhere', 'file'] }
    expect(await codeOf(Promise.resolve().then(() => service.link?.(at('other'), elsewhere)))).toBe('EXDEV')
  })

  test('rename takes the place of what is there, or keeps it', async () => {
    writeFileSync(real('a'), 'a')
    writeFileSync(real('b'), 'b')
    expect(await codeOf(Promise.resolve(service.rename?.(at('a'), at('b'), true)))).toBe('EEXIST')
    expect(readFileSync(real('b'), 'utf8')).toBe('b')
    symlinkSync('nowhere', real('dangling'))
    expect(await codeOf(Promise.resolve(service.rename?.(at('a'), at('dangling'), true)))).toBe('EEXIST')
    await service.rename?.(at('a'), at('b'), false)
    expect(readFileSync(real('b'), 'utf8')).toBe('a')
    await service.rename?.(at('b'), at('c'), true)
    expect(readdirSync(real('')).sort()).toEqual(['c', 'dangling'])
    mkdirSync(real('full'))
    linkSync(real('c'), real('full/c'))
    mkdirSync(real('empty'))
    expect(await codeOf(Promise.resolve(service.rename?.(at('empty'), at('full'), false)))).toBe('ENOTEMPTY')
    expect(await codeOf(Promise.resolve(service.rename?.(at('c'), at('full'), false)))).toBe('EISDIR')
    expect(await codeOf(Promise.resolve(service.rename?.(at('full'), at('c'), false)))).toBe('ENOTDIR')
    expect(await codeOf(Promise.resolve(service.rename?.(at('full'), at('full/in'), false)))).toBe('EINVAL')
    expect(await codeOf(Promise.resolve(service.rename?.(at('missing'), at('d'), false)))).toBe('ENOENT')
  })

  test('changes: mode, size, times, and of a link itself', async () => {
    writeFileSync(real('file'), 'twelve bytes')
    symlinkSync('file', real('link'))
    expect(await service.change?.(at('file'), { mode: 0o4711 })).toMatchObject({ mode: 0o4711 })
    expect(await service.change?.(at('file'), { size: 6 })).toMatchObject({ size: 6 })
    const times = { mtime: 1_500_000_000_999 }
    expect(await service.change?.(at('file'), times)).toMatchObject({ mtime: 1_500_000_000_000 })
    await service.change?.(at('link'), { mtime: 1_400_000_000_000 })
    expect(lstatSync(real('link')).mtimeMs).toBe(1_400_000_000_000)
    expect(statSync(real('file')).mtimeMs).toBe(1_500_000_000_000)
    expect(await codeOf(Promise.resolve(service.change?.(at('link'), { mode: 0o600 })))).toBe('EOPNOTSUPP')
    expect(await codeOf(Promise.resolve(service.change?.(at('file'), { mtime: -5000 })))).toBe('EINVAL')
  })

  test.skipIf(!isRoot)('owners', async () => {
    writeFileSync(real('file'), '')
    chownSync(real('file'), 5, 6)
    expect(await service.change?.(at('file'), { gid: 7 })).toMatchObject({ uid: 5, gid: 7 })
  })

  test('what is not there, is no directory, or has a name that is too long', async () => {
    writeFileSync(real('file'), '')
    mkdirSync(real('sub'))
    expect(await codeOf(service.stat(at('missing'), never))).toBe('ENOENT')
    expect(await codeOf(service.stat(at('file/below'), never))).toBe('ENOTDIR')
    expect(await codeOf(service.list(at('missing'), never))).toBe('ENOENT')
    expect(await codeOf(service.list(at('file'), never))).toBe('ENOTDIR')
    expect(await codeOf(service.open(at('sub'), READ, never))).toBe('EISDIR')
    expect(await codeOf(service.open(at('sub'), WRITE, never))).toBe('EISDIR')
    expect(await codeOf(service.stat(at('x'.repeat(300)), never))).toBe('ENAMETOOLONG')
    expect(await codeOf(Promise.resolve(service.mkdir?.(at('missing/sub'), 0o755)))).toBe('ENOENT')
    for (const name of ['..', 'a/b', 'nul\0'])
      expect(await codeOf(service.stat({ scheme: 'ssh', segments: [...at('').segments, name] }, never))).toBe(
        'ENOENT',
      )
  })

  test('what the user may not do', async () => {
    // Root may all: on its machine the server is asked for somebody else.
    const authority = isRoot ? `nobody@127.0.0.1:${sshd.port}` : undefined
    const theirs = (name: string) => sshd.path(`${base}/${name}`, authority)
    chmodSync(sshd.directory, 0o755)
    chmodSync(sshd.at('authorized_keys'), 0o644)
    writeFileSync(real('secret'), 'text', { mode: 0 })
    mkdirSync(real('closed'), { mode: 0 })
    chmodSync(real(''), 0o555)
    const all = [
      service.open(theirs('secret'), READ, never),
      service.open(theirs('secret'), WRITE, never),
      service.list(theirs('closed'), never),
      service.create?.(theirs('new'), 0o644, WRITE),
      service.mkdir?.(theirs('new'), 0o755),
      service.unlink?.(theirs('secret')),
      service.rename?.(theirs('secret'), theirs('new'), false),
    ]
    expect(await Promise.all(all.map((each) => codeOf(Promise.resolve(each))))).toEqual(
      all.map(() => 'EACCES'),
    )
    expect(await service.stat(theirs('secret'), never)).toMatchObject({ size: 4, mode: 0 })
    if (isRoot)
      expect(await codeOf(Promise.resolve(service.change?.(theirs('secret'), { mode: 0o777 })))).toBe('EPERM')
  })

  test.skipIf(!isRoot)('a disk that is full', async () => {
    mkdirSync(real('small'))
    await succeed('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', real('small')])
    try {
      const file = await service.create?.(at('small/file'), 0o644, WRITE)
      await file?.write?.(0, new Uint8Array(500_000))
      expect(await codeOf(Promise.resolve(file?.write?.(500_000, new Uint8Array(1_000_000))))).toBe('ENOSPC')
      await file?.close()
    } finally {
      await succeed('umount', [real('small')])
    }
  })

  test('an aborted request ends at once, and its file is closed', async () => {
    writeFileSync(real('file'), 'text')
    const reason = new Error('nobody wants it')
    const aborted = AbortSignal.abort(reason)
    await expect(service.stat(at('file'), aborted)).rejects.toBe(reason)
    await expect(service.open(at('file'), READ, aborted)).rejects.toBe(reason)
    expect((await contents('file')).toString()).toBe('text')
  })
})
