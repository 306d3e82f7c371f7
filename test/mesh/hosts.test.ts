import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { PeerReport } from '../../src/mesh/mesh.ts'
import { Hosts, whyNoHosts } from '../support/hosts.ts'
import { waitFor, within } from '../support/wait.ts'

const why = whyNoHosts()
if (why) test.skip(`hosts: ${why}`, () => {})

/** Peers of a host, by name. */
async function peersOf(hosts: Hosts, name: string): Promise<Record<string, PeerReport>> {
  const all = JSON.parse(await hosts.get(name).cosmos.tell('peers', '--json')) as PeerReport[]
  return Object.fromEntries(all.map((peer) => [peer.name, peer]))
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

describe.skipIf(why)('two hosts', () => {
  let hosts: Hosts
  /** A directory of b's that a may read, one that it may write, and one that it may not have. */
  let readable: string
  let writable: string
  let closed: string
  /** The same on a, through its mount. */
  const onA = (path: string): string => join(hosts.get('a').cosmos.mount, 'me@b', path)

  beforeAll(async () => {
    hosts = await Hosts.start(['a', 'b'])
    const { work } = hosts.get('b').cosmos
    readable = join(work, 'readable')
    writable = join(work, 'writable')
    closed = join(work, 'closed')
    for (const directory of [readable, writable, closed]) mkdirSync(directory)
    writeFileSync(join(readable, 'greeting'), 'hello\n')
    writeFileSync(join(closed, 'secret'), 'not for a\n')
    await hosts.join('b', 'a', [`read:${readable}`, `write:${writable}`])
  })
  afterAll(() => hosts?.stop())

  test('a joined host is there within a second, with what it grants', async () => {
    const started = performance.now()
    expect(await waitFor('the directory of b', () => readdirSync(onA(readable)))).toEqual(['greeting'])
    expect(performance.now() - started).toBeLessThan(5000)
    expect(readFileSync(onA(join(readable, 'greeting')), 'utf8')).toBe('hello\n')
    expect(readdirSync(hosts.get('a').cosmos.mount)).toContain('me@b')
    const [a, b] = [await peersOf(hosts, 'a'), await peersOf(hosts, 'b')]
    expect(a['me@b']).toMatchObject({ state: 'open', address: `${hosts.get('b').address}:4711` })
    expect(a['me@b']?.granted).toEqual([`read:${readable}`, `write:${writable}`])
    expect(b['me@a']?.grants).toEqual(a['me@b']?.granted)
    expect(a['me@b']?.grants).toEqual([])
  })

  test('nothing is seen of what is not granted', () => {
    expect(readdirSync(onA(hosts.get('b').cosmos.work)).sort()).toEqual(['readable', 'writable'])
    expect(codeOf(() => readdirSync(onA(closed)))).toBe('ENOENT')
    expect(codeOf(() => readFileSync(onA(join(closed, 'secret'))))).toBe('ENOENT')
    expect(codeOf(() => readFileSync(onA('/etc/passwd')))).toBe('ENOENT')
    expect(codeOf(() => writeFileSync(onA(join(readable, 'new')), 'x'))).toBe('EACCES')
    expect(codeOf(() => truncateSync(onA(join(readable, 'greeting'))))).toBe('EACCES')
    // Links are followed where they are read, and lead to what a has there.
    symlinkSync(join(closed, 'secret'), join(readable, 'link'))
    expect(codeOf(() => readFileSync(onA(join(readable, 'link'))))).toBe('ENOENT')
    symlinkSync(closed, join(readable, 'directory'))
    expect(codeOf(() => readFileSync(onA(join(readable, 'directory/secret'))))).toBe('ENOENT')
    expect(readlinkSync(onA(join(readable, 'link')))).toBe(onA(join(closed, 'secret')))
    unlinkSync(join(readable, 'link'))
    unlinkSync(join(readable, 'directory'))
  })

  test('files are made, changed, renamed and removed there', async () => {
    const file = join(writable, 'file')
    writeFileSync(onA(file), 'one\n')
    expect(readFileSync(file, 'utf8')).toBe('one\n')
    writeFileSync(onA(file), 'two\n', { flag: 'a' })
    expect(readFileSync(file, 'utf8')).toBe('one\ntwo\n')
    chmodSync(onA(file), 0o4600)
    // A peer makes nothing setuid.
    expect(statSync(file).mode & 0o7777).toBe(0o600)
    truncateSync(onA(file), 4)
    expect(readFileSync(onA(file), 'utf8')).toBe('one\n')
    mkdirSync(onA(join(writable, 'directory')))
    renameSync(onA(file), onA(join(writable, 'directory/moved')))
    expect(readdirSync(join(writable, 'directory'))).toEqual(['moved'])
    symlinkSync('moved', onA(join(writable, 'directory/link')))
    expect(readFileSync(onA(join(writable, 'directory/link')), 'utf8')).toBe('one\n')
    expect(codeOf(() => rmdirSync(onA(join(writable, 'directory'))))).toBe('ENOTEMPTY')
    unlinkSync(onA(join(writable, 'directory/link')))
    unlinkSync(onA(join(writable, 'directory/moved')))
    rmdirSync(onA(join(writable, 'directory')))
    expect(readdirSync(writable)).toEqual([])
  })

  test('large files arrive whole, both ways', async () => {
    const { cosmos } = hosts.get('a')
    const big = join(cosmos.work, 'big')
    const made = await cosmos.run('sh', [
      '-c',
      `head -c 20000000 /dev/urandom > ${big} && cp ${big} ${onA(writable)}/big && cmp ${big} ${join(writable, 'big')} && cmp ${onA(writable)}/big ${big}`,
    ])
    expect(made).toMatchObject({ code: 0, stderr: '' })
    unlinkSync(join(writable, 'big'))
  })

  test('ordinary tools work there: tar, git, sed -i', async () => {
    const { cosmos } = hosts.get('a')
    const script = [
      'set -e',
      `cd ${onA(writable)}`,
      'mkdir t; printf "a\\nb\\n" > t/x; sed -i s/a/c/ t/x; tar cf t.tar t; tar tf t.tar; cat t/x',
      'git init -q g; cd g; echo 1 > f; git add f',
      'git -c user.email=a@b -c user.name=a commit -qm one; git log --format=%s',
      'cd ..; rm -r t t.tar g; ls',
    ].join('\n')
    expect(await cosmos.run('sh', ['-c', script])).toMatchObject({
      code: 0,
      stdout: 't/\nt/x\nc\nb\none\n',
      stderr: '',
    })
  })

  test('a grant holds at once, and a revoked one ends what is open', async () => {
    await hosts.get('b').cosmos.tell('grant', 'me@a', `read:${closed}`)
    const secret = onA(join(closed, 'secret'))
    expect(await waitFor('the grant', () => readFileSync(secret, 'utf8'))).toBe('not for a\n')
    writeFileSync(join(closed, 'large'), Buffer.alloc(3_000_000, 1))
    const descriptor = await waitFor('a file', () => openSync(onA(join(closed, 'large')), 'r'))
    await hosts.get('b').cosmos.tell('revoke', 'me@a', `read:${closed}`)
    const buffer = Buffer.alloc(4096)
    expect(codeOf(() => readSync(descriptor, buffer, 0, 4096, 2_500_000))).toMatch(
      /ENOENT|EACCES|ESTALE|-116/,
    )
    closeSync(descriptor)
    const refused = readFileSync(join(hosts.get('b').cosmos.home, '.cosm/var/audit.log'), 'utf8')
    expect(refused).toContain('"refused"')
  })

  test('a peer whose daemon is killed is back soon, and nothing hangs meanwhile', async () => {
    await hosts.get('b').cosmos.killDaemon()
    const text = await waitFor('the file', () =>
      within(20_000, 'a read', readFile(onA(join(readable, 'greeting')), 'utf8')),
    )
    expect(text).toBe('hello\n')
  })

  test('a peer that is down answers at once that it is', async () => {
    await hosts.get('b').cosmos.tell('down', '--force')
    const asked = (): Promise<unknown> => within(5000, 'a stat', stat(onA(join(readable, 'other'))))
    await waitFor('EHOSTDOWN', async () => {
      try {
        await asked()
        return false
      } catch (error) {
        return (error as { code?: string; errno?: number }).errno === -112
      }
    })
    expect(existsSync(join(hosts.get('a').cosmos.mount, 'me@b'))).toBe(false)
    const started = await hosts.get('b').cosmos.up()
    expect(started.code).toBe(0)
    expect(await waitFor('its file', () => readFileSync(onA(join(readable, 'greeting')), 'utf8'))).toBe(
      'hello\n',
    )
  })

  test('who leaves is forgotten on both sides', async () => {
    await hosts.get('a').cosmos.tell('leave', 'me@b')
    await waitFor('b to forget a', async () => Object.keys(await peersOf(hosts, 'b')).length === 0)
    expect(await peersOf(hosts, 'a')).toEqual({})
    await waitFor('the directory to go', () => !readdirSync(hosts.get('a').cosmos.mount).includes('me@b'))
  })
})

describe.skipIf(why)('joining', () => {
  let hosts: Hosts
  /** Whether somebody listens at the usual port. */
  const isOpen = async (address: string): Promise<boolean> => {
    const probe = 'timeout 2 bash -c "exec 3<>/dev/tcp/$0/4711"'
    return (await hosts.on('one', 'sh', ['-c', probe, address])).code === 0
  }
  beforeAll(async () => {
    hosts = await Hosts.start(['one', 'one', 'two'])
  })
  afterAll(() => hosts?.stop())

  test('nobody is listened for before somebody may come', async () => {
    const { cosmos, address } = hosts.get('two')
    expect((await cosmos.cosmos(['invite'])).stderr).toContain('cosmos listen')
    expect(await cosmos.tell('listen', `${address}:4711`)).toContain('as soon as somebody may come')
    expect(await isOpen(address)).toBe(false)
    await cosmos.tell('invite')
    expect(await isOpen(address)).toBe(true)
    expect(await cosmos.tell('listen')).toBe(`listening at ${address}:4711\n`)
    expect((await cosmos.cosmos(['join', 'cosmos://nonsense'])).stderr).toContain('invite')
    expect((await cosmos.cosmos(['grant', 'me@nobody', 'read:/'])).stderr).toContain('cosmos peers')
    expect((await cosmos.cosmos(['listen', '127.0.0.1:0', '--json'])).code).toBe(0)
    expect((await cosmos.cosmos(['invite', '--grant', 'fly:/'])).stderr).toContain('fly')
  })
})
