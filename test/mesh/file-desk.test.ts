// What a peer gets at by asking for files: the desk that answers it, over this machine's files.
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FileDesk } from '../../src/mesh/files/server.ts'
import { Grants, parseGrant } from '../../src/mesh/grants.ts'
import type { CallContext } from '../../src/mesh/session/incoming-call.ts'
import { hostService } from '../../src/source/host-service.ts'
import { waitFor, within } from '../support/wait.ts'

const PEER = { id: 'ab'.repeat(32), name: 'me@laptop' }
let base: string
let secret: string

beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), 'cosmos-desk-')))
  secret = join(base, 'home/state')
  mkdirSync(secret, { recursive: true })
  writeFileSync(join(secret, 'identity.key'), 'the key')
  for (const name of ['open', 'closed']) mkdirSync(join(base, name))
  writeFileSync(join(base, 'open/file'), 'hello')
  writeFileSync(join(base, 'closed/secret'), 'not for you')
})
afterEach(() => rmSync(base, { recursive: true }))

/** What a peer with these rules asks. */
class Asker {
  readonly desk: FileDesk
  grants: Grants
  readonly #abort = new AbortController()
  readonly entries: string[] = []

  constructor(...rules: string[]) {
    this.grants = grantsOf(rules)
    this.desk = new FileDesk(hostService({ isTree: () => false, secrets: [secret] }), {
      allows: (operation, path) => this.grants.allows(operation, path),
      moves: (from, to) => this.grants.moves(from, to),
      refused: () => {},
    })
  }

  ask(op: string, args: object, signal = this.#abort.signal): Promise<unknown> {
    const context = {
      peer: PEER.id,
      readers: [],
      writers: [],
      remaining: 1000,
      event: undefined,
      signal,
      notify: (_op: string, batch: [string][]) => this.entries.push(...batch.map(([name]) => name)),
    } as unknown as CallContext
    return this.desk.call(op, args, context)
  }

  /** The errno name that an operation ends with; undefined where it is done. */
  async code(op: string, args: object): Promise<string | undefined> {
    try {
      await within(5000, op, this.ask(op, args))
      return undefined
    } catch (error) {
      return (error as { code?: string }).code ?? String(error)
    }
  }

  async open(path: string | readonly string[], args: object = { read: true }): Promise<number> {
    const { file } = (await this.ask('open', { path: segmentsOf(path), ...args })) as { file: number }
    return file
  }

  async read(path: string | readonly string[]): Promise<string> {
    const file = await this.open(path)
    const bytes = (await this.ask('read', { file, position: 0, length: 1000 })) as Uint8Array
    await this.ask('close', { file })
    return Buffer.from(bytes).toString()
  }
}

function grantsOf(rules: readonly string[]): Grants {
  return new Grants(
    rules.map((rule) => parseGrant(rule)),
    PEER,
  )
}

function segmentsOf(path: string | readonly string[]): readonly string[] {
  return typeof path === 'string' ? path.split('/').filter(Boolean) : path
}

const p = (path: string) => ({ path: segmentsOf(path) })

describe('names', () => {
  test.each([
    ['..', '..'],
    ['..', '\u012e\u012e'],
    ['/', 'x\u012f..\u012f..\u012fclosed'],
    ['NUL', 'file\u0100x'],
    ['NUL', 'file\0x'],
    ['nothing', ''],
    ['.', '.'],
  ])('%s is none, however it is spelt: %j', async (_, name) => {
    const peer = new Asker(`read:${base}/open`, `write:${base}/open`)
    const path = [...segmentsOf(base), 'open', name, 'closed', 'secret']
    await expect(peer.read(path)).rejects.toMatchObject({ code: 'EPROTO' })
    for (const op of ['stat', 'list', 'mkdir', 'unlink', 'rmdir', 'change'])
      expect(await peer.code(op, { path: path.slice(0, -2), mode: 0o755 })).toBe('EPROTO')
    const to = { path: segmentsOf(`${base}/open/file`), to: path.slice(0, -2) }
    for (const op of ['rename', 'link']) expect(await peer.code(op, to)).toBe('EPROTO')
    expect(readFileSync(join(base, 'open/file'), 'utf8')).toBe('hello')
  })

  test('a target that is no text of bytes is refused', async () => {
    const peer = new Asker(`write:${base}/open`)
    for (const target of ['a\u0100b', 'a\0b'])
      expect(await peer.code('symlink', { ...p(`${base}/open/l`), target })).toBe('EPROTO')
    expect(readdirSync(join(base, 'open'))).toEqual(['file'])
  })
})

describe('links', () => {
  test('none is followed, on the way or at its end', async () => {
    const peer = new Asker(`write:${base}/open`)
    symlinkSync(join(base, 'closed'), join(base, 'open/way'))
    symlinkSync(join(base, 'closed/secret'), join(base, 'open/end'))
    await expect(peer.read(`${base}/open/way/secret`)).rejects.toThrow()
    await expect(peer.read(`${base}/open/end`)).rejects.toThrow()
    for (const op of ['list', 'mkdir', 'unlink', 'rmdir', 'create'])
      expect(await peer.code(op, { ...p(`${base}/open/way/secret`), mode: 0o700 })).toBeDefined()
    const { mode } = statSync(join(base, 'closed/secret'))
    await peer.code('change', { ...p(`${base}/open/end`), mode: 0o777 })
    await peer.code('change', { ...p(`${base}/open/end`), size: 0 })
    expect(statSync(join(base, 'closed/secret'))).toMatchObject({ mode, size: 11 })
  })

  test('a hard link or another name gives nothing that the old name has not', async () => {
    mkdirSync(join(base, 'open/in/private'), { recursive: true })
    for (const name of ['in/private/a', 'b']) writeFileSync(join(base, 'open', name), 'private')
    const peer = new Asker(`write:${base}/open`, `deny:${base}/open/in/private`, `deny:read:${base}/open/b`)
    const to = (path: string) => ({ to: segmentsOf(`${base}/open/${path}`) })
    expect(await peer.code('link', { ...p(`${base}/open/b`), ...to('c') })).toBe('EXDEV')
    expect(await peer.code('rename', { ...p(`${base}/open/b`), ...to('c') })).toBe('EXDEV')
    expect(await peer.code('rename', { ...p(`${base}/open/in`), ...to('out') })).toBe('EXDEV')
    expect(await peer.code('rename', { ...p(`${base}/open/file`), ...to('in/private/x') })).toBe('ENOENT')
    expect(await peer.code('rename', { ...p(`${base}/open/file`), ...to('in/file') })).toBeUndefined()
    expect(await peer.code('link', { ...p(`${base}/open/in/file`), ...to('file') })).toBeUndefined()
  })
})

describe("the daemon's own", () => {
  test('is not there for anybody, whatever is granted', async () => {
    const peer = new Asker('write:/')
    const key = `${secret}/identity.key`
    await expect(peer.read(key)).rejects.toMatchObject({ code: 'ENOENT' })
    for (const op of ['stat', 'list', 'unlink', 'rmdir', 'change'])
      for (const path of [key, secret])
        expect(await peer.code(op, { ...p(path), mode: 0o777 })).toBe('ENOENT')
    expect(await peer.code('create', { ...p(`${secret}/new`), mode: 0o600 })).toBe('ENOENT')
    const out = { to: segmentsOf(`${base}/open/out`) }
    for (const op of ['link', 'rename'])
      for (const path of [key, secret]) expect(await peer.code(op, { ...p(path), ...out })).toBe('ENOENT')
    expect(await peer.code('rename', { ...p(`${base}/open/file`), to: segmentsOf(key) })).toBe('ENOENT')
    await peer.ask('list', p(`${base}/home`))
    expect(peer.entries).toEqual([])
    // What it lies in stays where it is: it would not be known by its path any more.
    expect(await peer.code('rename', { ...p(`${base}/home`), ...out })).toBe('EBUSY')
    expect(readFileSync(key, 'utf8')).toBe('the key')
    expect(readdirSync(secret)).toEqual(['identity.key'])
  })

  test('is not there where its directory has another path either', async () => {
    const peer = new Asker('write:/')
    renameSync(join(base, 'home'), join(base, 'elsewhere'))
    await expect(peer.read(`${base}/elsewhere/state/identity.key`)).rejects.toMatchObject({ code: 'ENOENT' })
    expect(await peer.code('list', p(`${base}/elsewhere/state`))).toBe('ENOENT')
    renameSync(join(base, 'elsewhere'), join(base, 'home'))
  })

  test('nor are processes: their memory has it', async () => {
    const peer = new Asker('write:/')
    for (const path of [
      `/proc/${process.pid}/mem`,
      '/proc/self/environ',
      '/proc/self/root/etc/passwd',
      '/proc/version',
    ])
      await expect(peer.read(path)).rejects.toMatchObject({ code: 'ENOENT' })
    expect(await peer.code('list', p('/proc/self/fd'))).toBe('ENOENT')
  })
})

describe('files that are none', () => {
  test('are neither opened nor changed in size: that would wait for ever, or do something', async () => {
    const peer = new Asker('write:/')
    spawnSync('mkfifo', [join(base, 'open/fifo')])
    for (const path of [`${base}/open/fifo`, '/dev/zero', `${base}/open`]) {
      await expect(peer.open(path)).rejects.toThrow()
      await expect(peer.open(path, { write: true })).rejects.toThrow()
      expect(await peer.code('change', { ...p(path), size: 0 })).toBeDefined()
    }
  })
})

describe('open files', () => {
  test('a read that is under way when its file is closed has nothing of the next one', async () => {
    const peer = new Asker(`read:${base}/open`)
    const size = 128 * 1024
    writeFileSync(join(base, 'open/mine'), Buffer.alloc(size, 'm'))
    writeFileSync(join(base, 'closed/secret'), Buffer.alloc(size, 's'))
    for (let round = 0; round < 20; round++) {
      const file = await peer.open(`${base}/open/mine`)
      const reads = Array.from({ length: 64 }, () => peer.ask('read', { file, position: 0, length: size }))
      await Promise.resolve()
      const closing = peer.ask('close', { file })
      const others = [1, 2, 3].map(() => openSync(join(base, 'closed/secret'), 'r'))
      for (const each of await Promise.allSettled(reads))
        if (each.status === 'fulfilled')
          expect(Buffer.from(each.value as Uint8Array).includes('s')).toBe(false)
      await closing
      for (const other of others) closeSync(other)
    }
  })

  test('writes take effect in the order in which they were asked for', async () => {
    const peer = new Asker(`write:${base}/open`)
    const file = await peer.open(`${base}/open/file`, { write: true })
    for (let round = 0; round < 50; round++) {
      const sizes = [1024 * 1024, 1]
      await Promise.all(
        sizes.map((size, index) =>
          peer.ask('write', { file, position: 0, bytes: Buffer.alloc(size, `${index}`) }),
        ),
      )
      expect(readFileSync(join(base, 'open/file'), 'latin1')[0]).toBe('1')
    }
    await peer.ask('close', { file })
  })

  test("a number means nothing in the daemon's next life", async () => {
    const before = new Asker(`read:${base}/open`)
    const after = new Asker(`read:${base}/open`)
    const file = await before.open(`${base}/open/file`)
    const other = await after.open(`${base}/open/file`)
    expect(other).not.toBe(file)
    expect(await after.code('read', { file, position: 0, length: 1 })).toBe('ESTALE')
    for (const each of [before, after]) await each.desk.close()
  })

  test('one that nobody waits for any more is closed', async () => {
    const peer = new Asker(`read:${base}/open`)
    const cancelled = AbortSignal.abort(new Error('cancelled'))
    const isOpen = () =>
      readdirSync('/proc/self/fd').some((fd) => {
        try {
          return realpathSync(`/proc/self/fd/${fd}`) === join(base, 'open/file')
        } catch {
          return false
        }
      })
    await peer.ask('open', { ...p(`${base}/open/file`), read: true }, cancelled).catch(() => {})
    await waitFor('the file to be closed', () => !isOpen())
  })

  test('a right that is gone ends what is open, for reading and for writing', async () => {
    const peer = new Asker(`write:${base}/open`)
    const file = await peer.open(`${base}/open/file`, { read: true, write: true })
    peer.grants = grantsOf([`write:${base}/open`, `deny:read:${base}/open`])
    expect(await peer.code('read', { file, position: 0, length: 1 })).toBe('EACCES')
    peer.grants = grantsOf([`read:${base}/open`])
    expect(await peer.code('write', { file, position: 0, bytes: Buffer.from('x') })).toBe('EACCES')
    peer.grants = grantsOf([])
    expect(await peer.code('read', { file, position: 0, length: 1 })).toBe('ENOENT')
    await peer.desk.close()
    expect(readFileSync(join(base, 'open/file'), 'utf8')).toBe('hello')
  })

  test('more than a peer may read at a time is put off, and is not begun', async () => {
    const peer = new Asker(`read:${base}/open`)
    const size = 1024 * 1024
    writeFileSync(join(base, 'open/large'), Buffer.alloc(size))
    const file = await peer.open(`${base}/open/large`)
    const reads = Array.from({ length: 200 }, () => peer.ask('read', { file, position: 0, length: size }))
    const ended = await Promise.allSettled(reads)
    const put = ended
      .filter((each) => each.status === 'rejected')
      .map((each) => each.reason as { code: string })
    expect(put.length).toBeGreaterThan(100)
    expect(new Set(put.map(({ code }) => code))).toEqual(new Set(['EAGAIN']))
    expect(put[0]).toHaveProperty('retry')
    expect(await peer.read(`${base}/open/file`)).toBe('hello')
    await peer.desk.close()
  })
})
