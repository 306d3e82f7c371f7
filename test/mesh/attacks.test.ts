// A host whose peers are hostile: what they get at over a link, with what they were granted.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { FileDesk } from '../../src/mesh/files/server.ts'
import type { PeerReport } from '../../src/mesh/mesh.ts'
import type { SessionHandler } from '../../src/mesh/session/incoming-call.ts'
import { hostService } from '../../src/source/host-service.ts'
import { HostilePeer } from '../support/hostile-peer.ts'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { waitFor, within } from '../support/wait.ts'
import { whyNoBubblewrap } from './peer-programs.ts'

const why = whyNoMount()
const whyNoSandbox = why ?? (await whyNoBubblewrap())
if (why) test.skip(`attacks: ${why}`, () => {})

const EXEC = 'exec:/usr'
const sh = (script: string) => ['/usr/bin/sh', '-c', script]

describe.skipIf(why)('a host with hostile peers', () => {
  let cosmos: CosmosInstance
  let address: string
  /** The daemon's own files. */
  let secrets: readonly string[]
  let open: string
  const peers: HostilePeer[] = []

  beforeAll(async () => {
    cosmos = await CosmosInstance.start()
    await cosmos.tell('listen', '127.0.0.1:0')
    const { addresses } = JSON.parse(await cosmos.tell('listen', '127.0.0.1:0', '--json')) as {
      addresses: string[]
    }
    address = addresses[0] ?? ''
    open = join(cosmos.work, 'open')
    mkdirSync(open)
    writeFileSync(join(open, 'file'), 'hello')
    writeFileSync(join(cosmos.work, 'secret'), 'not for peers')
    const [state, runtime] = [join(cosmos.home, '.cosm/var'), join(cosmos.base, 'r/cosmos')]
    secrets = [
      ...['identity.key', 'audit.log', 'cosmos.db', 'listen'].map((name) => join(state, name)),
      ...readdirSync(runtime).flatMap((id) => ['control', ''].map((name) => join(runtime, id, name))),
    ]
  })
  afterAll(() => cosmos?.stop())
  afterEach(async () => {
    for (const peer of peers.splice(0)) {
      peer.stop()
      await cosmos.cosmos(['leave', peer.id])
    }
  })

  async function joined(
    grants: readonly string[],
    handler?: SessionHandler,
    name = 'me@evil',
  ): Promise<HostilePeer> {
    const peer = await HostilePeer.join(cosmos, name, grants, handler)
    peers.push(peer)
    return peer
  }

  /** Names in the root that were made for what peers lend. */
  const lentRoots = () => readdirSync(cosmos.mount).filter((name) => name.startsWith('.lent'))

  test('what nothing was granted of is not there', async () => {
    const peer = await joined([])
    for (const path of ['/', '/etc', '/etc/passwd', open, ...secrets])
      for (const op of ['stat', 'list', 'open', 'unlink', 'mkdir'])
        expect(await peer.code(op, path, { read: true, mode: 0o700 })).toBe('ENOENT')
    await expect(peer.exec(['/usr/bin/true'])).rejects.toMatchObject({ code: 'EACCES' })
  })

  test("the daemon's own is never there, however wide a grant is", async () => {
    const peer = await joined(['write:/'])
    expect(await peer.code('stat', open)).toBeUndefined()
    const to = { to: join(open, 'out').split('/').filter(Boolean) }
    for (const path of secrets) {
      for (const op of ['stat', 'open', 'create', 'change', 'unlink', 'rename', 'link'])
        expect([path, op, await peer.code(op, path, { read: true, mode: 0o777, ...to })]).toEqual([
          path,
          op,
          'ENOENT',
        ])
    }
    for (const path of [`${cosmos.home}/.cosm`, cosmos.home, cosmos.base])
      expect(await peer.code('rename', path, to)).toBe('EBUSY')
    const daemon = await cosmos.daemon()
    for (const path of [
      `/proc/${daemon}/mem`,
      `/proc/${daemon}/fd/0`,
      '/proc/self/environ',
      '/dev/mem',
      '/dev/zero',
    ])
      expect(await peer.code('open', path, { read: true })).toMatch(/^E(NOENT|ACCES)$/)
  })

  test('paths out of what is granted are refused, and refusals are logged', async () => {
    const peer = await joined([`write:${open}`])
    const file = `${open}/file`
    symlinkSync(join(cosmos.work, 'secret'), join(open, 'link'))
    symlinkSync(cosmos.work, join(open, 'way'))
    expect(await peer.code('open', join(open, 'link'), { read: true })).toBeDefined()
    expect(await peer.code('open', join(open, 'way/secret'), { read: true })).toBeDefined()
    for (const name of ['..', '\u012e\u012e', '%2e%2e', '..\0', 'x\u012f..\u012f..', '']) {
      const path = [...open.split('/').filter(Boolean), name, 'secret']
      const asked = peer.session.call('files.open', { path, read: true })
      await expect(asked).rejects.toMatchObject({ code: expect.stringMatching(/^E(NOENT|PROTO)$/) })
    }
    const out = { to: join(cosmos.work, 'out').split('/').filter(Boolean) }
    for (const op of ['rename', 'link']) expect(await peer.code(op, file, out)).toBe('ENOENT')
    expect(await peer.code('change', file, { uid: 0 })).toBe('EPERM')
    expect(await peer.code('change', file, { size: -1 })).toBe('EPROTO')
    expect(await peer.code('change', file, { size: 1e300 })).toBe('EPROTO')
    expect(readFileSync(file, 'utf8')).toBe('hello')
    const audit = readFileSync(join(cosmos.home, '.cosm/var/audit.log'), 'utf8')
    expect(audit).toContain(`"visitor":"${peer.id}"`)
    for (const name of ['link', 'way']) rmSync(join(open, name))
  })

  test('calls that make no sense are refused, and the daemon goes on', async () => {
    const peer = await joined([`write:${open}`, EXEC])
    const odd: unknown[] = [
      null,
      7,
      [],
      {},
      { path: 'x' },
      { path: [7] },
      { path: [], lend: 7 },
      { file: -1 },
      { file: 1e9 },
    ]
    for (const args of odd)
      for (const op of [
        'files.stat',
        'files.open',
        'files.read',
        'files.write',
        'files.nothing',
        'exec',
        'nothing',
      ])
        await expect(peer.session.call(op, args)).rejects.toMatchObject({ code: expect.stringMatching(/^E/) })
    for (let i = 0; i < 1000; i++) peer.session.notify('changed', { i })
    const lent = [{ token: 'x', at: '/home/u\u0100--ro-bind\u0100/\u0100/host', path: '/', writable: true }]
    await expect(peer.exec(sh('cat /host/etc/shadow'), { lent })).rejects.toMatchObject({ code: 'EPROTO' })
    await waitFor('nothing of it to be left', () => lentRoots().length === 0)
    expect(JSON.parse(await cosmos.tell('peers', '--json'))).toHaveLength(1)
  })

  test('a peer that offers nonsense shows nothing', async () => {
    const programs = ['../../evil', '/usr/bin/evil', '.evil', 'a/b', 'x\u012fy', 'evil\0']
    const handler: SessionHandler = { call: (op) => (op === 'offer' ? { programs, grants: [7] } : {}) }
    const peer = await joined([], handler)
    const report = JSON.parse(await cosmos.tell('peers', '--json')) as PeerReport[]
    expect(report.find(({ id }) => id === peer.id)?.programs).toBe(0)
    expect(readdirSync(join(cosmos.mount, '.cosm/bin')).some((name) => name.includes('evil'))).toBe(false)
  })

  test('more open files than a peer may have are refused, and go with its link', async () => {
    const peer = await joined([`read:${open}`])
    const daemon = await cosmos.daemon()
    const descriptors = () =>
      readdirSync(`/proc/${daemon}/fd`).filter((fd) => {
        try {
          return realpathSync(`/proc/${daemon}/fd/${fd}`) === join(open, 'file')
        } catch {
          return false
        }
      }).length
    const codes = new Set<string | undefined>()
    for (let i = 0; i < 50; i++)
      for (const code of await Promise.all(
        Array.from({ length: 100 }, () => peer.code('open', join(open, 'file'), { read: true })),
      ))
        codes.add(code)
    expect([...codes].sort()).toEqual(['EMFILE', undefined])
    expect(descriptors()).toBe(4096)
    peer.session.close()
    await waitFor('its files to be closed', () => descriptors() === 0)
  })

  describe.skipIf(whyNoSandbox)(whyNoSandbox ?? 'programs', () => {
    test('see nothing of the daemon, of other peers, of the network, nor of the caller’s environment', async () => {
      const peer = await joined([EXEC, `read:${open}`])
      const [host, port] = address.split(':')
      const script = [
        `cat ${secrets.join(' ')} ${cosmos.work}/secret`,
        `ls -A ${cosmos.mount} ${cosmos.home} /proc/1/root/home /root`,
        `cat ${open}/file; echo " $LD_PRELOAD$NODE_OPTIONS$BASH_ENV."`,
        `perl -MIO::Socket -e 'print IO::Socket::INET->new(PeerAddr => "${host}", PeerPort => ${port}, Timeout => 2) ? "connected" : "no network"'`,
      ].join('\n')
      const env = ['LD_PRELOAD=/x.so', 'NODE_OPTIONS=--require=/x', 'BASH_ENV=/x', 'LANG=C']
      const { stdout, answer } = await peer.exec(sh(script), { env })
      expect(stdout.replaceAll(/^(?:|\/.*:)\n/gm, '')).toBe('hello .\nno network')
      expect(answer).toMatchObject({ sandboxed: true })
      // Nor with a grant of everything.
      const wide = await joined([EXEC, 'read:/'], undefined, 'me@wide')
      const seen = await wide.exec(
        sh(`cat ${secrets.join(' ')} | head -c 100; ls -A ${cosmos.mount}; cat ${open}/file`),
      )
      expect(seen.stdout).toBe('hello')
    })

    /** What a peer lends: a directory of this process, by any token; `asked` counts what is asked of it. */
    function lender(directory: string, hold?: Promise<void>): SessionHandler & { asked: number } {
      const desk = new FileDesk(hostService({ isTree: () => false, secrets: [] }), {
        allows: (_, path) => path === directory || path.startsWith(`${directory}/`),
        moves: () => true,
        refused: () => {},
      })
      const handler = {
        asked: 0,
        call: async (op: string, args: unknown, context: never) => {
          if (!op.startsWith('files.')) return {}
          handler.asked++
          await hold
          return desk.call(op.slice('files.'.length), args, context)
        },
      }
      return handler
    }
    const lent = (path: string) => [{ token: 'x', at: '/home/u/w', path, writable: true }]

    test('a link out of what is lent leads nowhere, and afterwards it is not lent', async () => {
      const directory = join(cosmos.work, 'lent')
      mkdirSync(directory, { mode: 0o777 })
      writeFileSync(join(directory, 'own'), 'lent')
      symlinkSync('/etc/shadow', join(directory, 'out'))
      symlinkSync('../secret', join(directory, 'up'))
      symlinkSync(`${cosmos.home}/.cosm/var/identity.key`, join(directory, 'key'))
      const pid = await cosmos.daemon()
      const handler = lender(directory)
      const peer = await joined([EXEC], handler)
      const seen = await peer.exec(sh('cat own; cat out up key ../secret; echo; pwd'), {
        cwd: '/home/u/w',
        lent: lent(directory),
      })
      expect(seen.stdout).toBe('lent\n/home/u/w\n')
      expect(lentRoots()).toEqual([])
      // Nobody gets at it by the name that it had.
      const { asked } = handler
      const names = Array.from({ length: 9 }, (_, i) => `.lent-${pid}-${i + 1}`)
      for (const name of names) expect(existsSync(join(cosmos.mount, name, 'own'))).toBe(false)
      expect(handler.asked).toBe(asked)
    })

    test('a grant that is revoked while what is lent is waited for starts nothing', async () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      const handler = lender(open, promise)
      const peer = await joined([EXEC, `write:${open}`], handler)
      const running = peer.exec(sh(`touch ${open}/begun`), { cwd: '/home/u/w', lent: lent(open) }).then(
        () => 'ran',
        (error: { code: string }) => error.code,
      )
      await waitFor('it to be asked', () => handler.asked > 0)
      await cosmos.tell('revoke', peer.id)
      resolve()
      expect(await within(30_000, 'the refusal', running)).toMatch(/^E/)
      expect(existsSync(join(open, 'begun'))).toBe(false)
      await waitFor('nothing to be left', () => lentRoots().length === 0)
    })

    test('more programs than a peer may run at a time are refused, and leave nothing', async () => {
      const handler = lender(open)
      const peer = await joined([EXEC], handler)
      const asked = Array.from({ length: 200 }, () =>
        peer.exec(['/usr/bin/sleep', '7999'], { lent: lent(open) }).then(
          () => 'ran',
          (error: { code: string }) => error.code,
        ),
      )
      const first = await within(60_000, 'a refusal', Promise.race(asked))
      expect(first).toBe('EAGAIN')
      await cosmos.tell('revoke', peer.id)
      const ends = await within(60_000, 'all ends', Promise.all(asked))
      expect(ends.filter((end) => end === 'EAGAIN').length).toBeGreaterThanOrEqual(72)
      await waitFor('nothing to be left', () => lentRoots().length === 0)
    })
  })

  test('what is lent to a peer is its alone, for the length of the call, without the daemon’s own', async () => {
    const tokens = Promise.withResolvers<{ token: string; path: string }[]>()
    const done = Promise.withResolvers<void>()
    const peer = await joined([], {
      call: async (op, args) => {
        if (op !== 'exec') return {}
        tokens.resolve((args as { lent: { token: string; path: string }[] }).lent)
        await done.promise
        return { code: 0 }
      },
    })
    const other = await joined([], undefined, 'me@other')
    const alias = join(cosmos.work, 'alias')
    symlinkSync(open, alias)
    const words = ['exec', '--lend', alias, '--on', 'me@evil', 'anything']
    const running = cosmos.cosmos(words, { cwd: cosmos.home })
    const [lend, more] = await within(15_000, 'the call', tokens.promise)
    expect(lend?.path).toBe(cosmos.home)
    // No link is followed for a peer: what it leads to is lent.
    expect(more?.path).toBe(open)
    expect(await peer.code('stat', open, { lend: more?.token })).toBeUndefined()
    const by = { lend: lend?.token, read: true }
    expect(await peer.code('stat', cosmos.home, by)).toBeUndefined()
    expect(await peer.code('create', `${cosmos.home}/new`, { ...by, mode: 0o600 })).toBeUndefined()
    for (const path of [`${cosmos.home}/.cosm/var/identity.key`, '/etc/passwd', cosmos.base, open])
      expect(await peer.code('open', path, by)).toMatch(/^E(NOENT|ACCES)$/)
    const away = { ...by, to: `${cosmos.home}/x`.split('/').filter(Boolean) }
    expect(await peer.code('rename', `${cosmos.home}/.cosm`, away)).toBe('EBUSY')
    expect(await other.code('stat', cosmos.home, by)).toBe('ENOENT')
    expect(await peer.code('stat', cosmos.home)).toBe('ENOENT')
    const { file } = await peer.files('open', `${cosmos.home}/new`, { ...by, write: true })
    done.resolve()
    expect((await running).code).toBe(0)
    expect(await peer.code('stat', cosmos.home, by)).toBe('ENOENT')
    const write = { file, position: 0, bytes: Buffer.from('x'), lend: lend?.token }
    await expect(peer.session.call('files.write', write)).rejects.toMatchObject({ code: 'ESTALE' })
    expect(readFileSync(join(cosmos.home, 'new'), 'utf8')).toBe('')
  })
})
