// The source ssh through a real mount: shell tools, an editor and rsync on another machine's files.

import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CosmosInstance, isRoot, whyNoMount } from '../support/instance.ts'
import { whyNotInstalled } from '../support/packages.ts'
import { has, run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'
import { Sshd, whyNoSshd } from './sshd.ts'

const skip = whyNoMount() ?? (await whyNoSshd())
const noRsync = await whyNotInstalled(['rsync'], () => has('rsync'))
const noVim = await whyNotInstalled(['vim'], () => has('vim'))
const LARGE = Buffer.alloc(9 * 1024 * 1024, 'jumps over the lazy dog\n')

describe.skipIf(skip)(`ssh as files${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  let sshd: Sshd
  /** The server's files, there and in the mount. */
  let there: string
  let at: string
  beforeAll(async () => {
    sshd = await Sshd.start()
    instance = await CosmosInstance.start({
      env: { HOME: sshd.home, USER: sshd.user, SSH_AUTH_SOCK: '' },
    })
  })
  afterAll(async () => {
    await instance?.stop()
    await sshd?.stop()
  })
  beforeEach(() => {
    rmSync(sshd.files, { recursive: true })
    mkdirSync(sshd.files)
    there = sshd.files
    at = join(instance.mount, 'ssh:', `127.0.0.1:${sshd.port}`, sshd.files)
  })

  const sh = (script: string, ...args: string[]) =>
    run('sh', ['-c', script, 'sh', ...args], { env: instance.env, timeout: 30_000 })
  const succeeds = async (script: string, ...args: string[]) => {
    const result = await sh(`set -e; ${script}`, ...args)
    expect(result).toMatchObject({ code: 0, stderr: '' })
    return result.stdout
  }

  test('reading: cat, ls -l, cp, tar, grep -r, find, Python', async () => {
    mkdirSync(join(there, 'dir'))
    writeFileSync(join(there, 'dir/text'), 'one\ntwo\n', { mode: 0o640 })
    writeFileSync(join(there, 'large'), LARGE)
    symlinkSync('dir/text', join(there, 'link'))
    symlinkSync(join(there, 'dir'), join(there, 'absolute'))
    expect(await succeeds('cat "$1"/dir/text "$1"/link "$1"/absolute/text', at)).toBe('one\ntwo\n'.repeat(3))
    expect(await succeeds('ls -l "$1"/dir', at)).toMatch(/-rw-r----- 1 .* 8 .* text\n/)
    expect(
      await succeeds(
        'cp "$1"/large "$2" && cmp "$1"/large "$2" && stat -c %s "$1"/large',
        at,
        `${instance.work}/c`,
      ),
    ).toBe(`${LARGE.length}\n`)
    expect(await succeeds('tar c -C "$1" dir link | tar t', at)).toBe('dir/\ndir/text\nlink\n')
    expect(await succeeds('grep -rl two "$1"/dir; find "$1" -type f | wc -l', at)).toBe(`${at}/dir/text\n2\n`)
    const python = `
import mmap, sys
with open(sys.argv[1], 'rb') as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    print(len(m), m[:] == f.read())`
    expect((await run('/usr/bin/python3', ['-c', python, `${at}/large`])).stdout).toBe(
      `${LARGE.length} True\n`,
    )
  })

  test('writing: new files, append, truncate, overwrite', async () => {
    await succeeds('echo first > "$1"/a; echo second >> "$1"/a', at)
    expect(readFileSync(join(there, 'a'), 'utf8')).toBe('first\nsecond\n')
    expect(await succeeds('truncate -s 5 "$1"/a; cat "$1"/a', at)).toBe('first')
    await succeeds('printf X | dd of="$1"/a bs=1 seek=1 conv=notrunc status=none; : > "$1"/empty', at)
    expect(readFileSync(join(there, 'a'), 'utf8')).toBe('fXrst')
    expect(statSync(join(there, 'empty')).size).toBe(0)
    writeFileSync(`${instance.work}/large`, LARGE)
    await succeeds('cp "$1" "$2"/large; cmp "$1" "$2"/large', `${instance.work}/large`, at)
    expect(LARGE.equals(readFileSync(join(there, 'large')))).toBe(true)
    expect((await sh('set -C; echo 1 > "$1"/a', at)).code).not.toBe(0)
  })

  test('names: mkdir, rename, unlink, rmdir, symlink, chmod, touch', async () => {
    await succeeds('mkdir -p "$1"/d/e; echo x > "$1"/d/x; mv "$1"/d/x "$1"/d/e/y; mv "$1"/d "$1"/f', at)
    expect(readFileSync(join(there, 'f/e/y'), 'utf8')).toBe('x\n')
    await succeeds(
      'ln -s f/e/y "$1"/l; cat "$1"/l; readlink "$1"/l; chmod 600 "$1"/f/e/y; touch -d @1000000000 "$1"/f/e/y',
      at,
    )
    expect(readlinkSync(join(there, 'l'))).toBe('f/e/y')
    expect(statSync(join(there, 'f/e/y'))).toMatchObject({ mode: 0o100600, mtimeMs: 1e12 })
    expect((await sh('rmdir "$1"/f', at)).stderr).toMatch(/not empty/i)
    await succeeds('rm -r "$1"/f "$1"/l', at)
    expect(existsSync(join(there, 'f'))).toBe(false)
    expect(lstatSync(there).isDirectory()).toBe(true)
    expect((await sh('mv "$1" "$2"', `${instance.mount}/ssh:`, at)).code).not.toBe(0)
    expect(
      await succeeds('echo over > "$1"/new; mv "$1"/new "$2"; cat "$2"', at, instance.inMount('moved')),
    ).toBe('over\n')
  })

  test('what changes on the other machine shows', async () => {
    writeFileSync(join(there, 'a'), 'one')
    expect(await succeeds('cat "$1"/a', at)).toBe('one')
    writeFileSync(join(there, 'a'), 'something longer')
    await waitFor('the change', async () => (await sh('cat "$1"/a', at)).stdout === 'something longer')
    writeFileSync(join(there, 'b'), '')
    await waitFor('the new name', async () => (await sh('ls "$1"', at)).stdout === 'a\nb\n')
  })

  test('what is gone there since a moment can be made anew, and is not there', async () => {
    for (const [i, script] of [
      'cp "$2" "$1"',
      'mv -f "$2" "$1"',
      'echo new > "$1"',
      'chmod 600 "$1"; test ! -e "$1" && cp "$2" "$1"',
      'cat "$1"; cp "$2" "$1"',
    ].entries()) {
      const name = `file${i}`
      writeFileSync(join(there, name), 'old\n')
      writeFileSync(`${instance.work}/new`, 'new\n')
      expect(await succeeds('cat "$1"; stat -c %s "$1"', `${at}/${name}`)).toBe('old\n4\n')
      rmSync(join(there, name))
      const { code, stderr } = await sh(script, `${at}/${name}`, `${instance.work}/new`)
      expect([script, code, stderr.replace(/.*: No such file or directory\n/, '')]).toEqual([script, 0, ''])
      expect(readFileSync(join(there, name), 'utf8')).toBe('new\n')
    }
  })

  test('transformations of remote files, and of what is written', async () => {
    await succeeds('echo "a: [1, 2]" > "$1"/data.yaml', at)
    expect(JSON.parse(await succeeds('cat "$1"/data.yaml.to-json', at))).toEqual({ a: [1, 2] })
    expect(await succeeds('cat "$1"/data.yaml.d/a/1', at)).toBe('2\n')
    await succeeds('echo "b: something else" > "$1"/data.yaml', at)
    await waitFor('the new result', async () =>
      (await sh('cat "$1"/data.yaml.to-json', at)).stdout.includes('something'),
    )
    const url = `ssh://127.0.0.1:${sshd.port}${there}`
    expect(JSON.parse(await instance.tell('cat', `${url}/data.yaml.to-json`))).toEqual({
      b: 'something else',
    })
    expect(await instance.tell('ls', url)).toBe('data.yaml\n')
    expect(await instance.tell('lookup', '--trace', `${url}/data.yaml`)).toMatch(
      new RegExp(`data.yaml +\\d+ +source ssh +${url}/data.yaml\n`),
    )
    expect(await instance.tell('inspect', `${url}/data.yaml`)).toContain(`source ${url}/data.yaml\n`)
  })

  test.skipIf(noVim)('vim', async () => {
    writeFileSync(join(there, 'note.txt'), 'teh end\n', { mode: 0o640 })
    const edited = await run(
      'vim',
      ['-es', '-u', 'NONE', '-c', '%s/teh/the/', '-c', 'wq', `${at}/note.txt`],
      {
        env: { ...instance.env, TERM: 'dumb' },
      },
    )
    expect(edited.code).toBe(0)
    expect(readFileSync(join(there, 'note.txt'), 'utf8')).toBe('the end\n')
    expect(statSync(join(there, 'note.txt')).mode & 0o777).toBe(0o640)
    expect(await succeeds('ls -A "$1"', at)).toBe('note.txt\n')
  })

  test.skipIf(noRsync)('rsync -a from there and to there', async () => {
    mkdirSync(join(there, 'tree/sub'), { recursive: true })
    writeFileSync(join(there, 'tree/sub/file'), 'content\n', { mode: 0o751 })
    symlinkSync('sub/file', join(there, 'tree/link'))
    writeFileSync(join(there, 'tree/large'), LARGE)
    await succeeds('rsync -a "$1"/tree/ "$2"/copy/', at, instance.work)
    expect(
      await succeeds(
        'diff -r "$1" "$2"; rsync -ain "$3"/tree/ "$2"/',
        join(there, 'tree'),
        `${instance.work}/copy`,
        at,
      ),
    ).toBe('')
    await succeeds('rsync -a "$2"/copy/ "$1"/back/', at, instance.work)
    expect(await succeeds('diff -r "$1" "$2"', `${instance.work}/copy`, join(there, 'back'))).toBe('')
    expect(statSync(join(there, 'back/sub/file')).mode & 0o777).toBe(0o751)
    expect(readlinkSync(join(there, 'back/link'))).toBe('sub/file')
  })

  test('a daemon that is killed amid a read and a write: both go on', async () => {
    writeFileSync(join(there, 'large'), LARGE)
    const python = `
import hashlib, os, sys, time
source, target, begun, killed = sys.argv[1:]
r, w = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT)
h = hashlib.md5()
def copy():
    b = os.read(r, 65536)
    h.update(b)
    os.write(w, b)
    return b
copy()
open(begun, 'w').close()
while not os.path.exists(killed): time.sleep(0.001)
while copy(): pass
os.close(w)
print(h.hexdigest())`
    const [begun, killed] = [`${instance.work}/begun`, `${instance.work}/killed`]
    const copying = run('/usr/bin/python3', ['-c', python, `${at}/large`, `${at}/copy`, begun, killed])
    await waitFor('the first bytes', () => existsSync(begun))
    const former = await instance.daemon()
    process.kill(former, 'SIGKILL')
    writeFileSync(killed, '')
    expect(await copying).toMatchObject({
      stdout: `${createHash('md5').update(LARGE).digest('hex')}\n`,
      stderr: '',
    })
    expect(LARGE.equals(readFileSync(join(there, 'copy')))).toBe(true)
    await waitFor('another daemon', async () => (await instance.daemon()) !== former)
  })

  test('a host that nobody knows, a password, a machine that is down: errors that say why', async () => {
    const stranger = join(instance.mount, 'ssh:', `localhost:${sshd.port}`)
    expect((await sh('ls "$1"/', stranger)).stderr).toMatch(/Permission denied/)
    expect((await sh('cat "$1":error', stranger)).stdout).toMatch(/not known .*ssh -p/)
    const told = await instance.cosmos(['ls', `ssh://me:s3cret@127.0.0.1:${sshd.port}/`])
    expect(told.code).not.toBe(0)
    expect(told.stderr).toMatch(/password/)
    expect(told.stderr).not.toContain('s3cret')
    expect((await sh('ls "$1"', join(instance.mount, 'ssh:', '127.0.0.1:1/tmp'))).stderr).toMatch(
      /No route to host/,
    )
    expect((await sh('grep -rl s3cret "$1"/.cosm/var', instance.home)).stdout).toBe('')
  })

  test.skipIf(!isRoot)('what the host shows to its user is refused to others here', async () => {
    writeFileSync(join(there, 'open'), 'x')
    chmodSync(there, 0o777)
    for (const path of [`${at}/open`, at, join(instance.mount, 'ssh:')]) {
      const { stderr } = await run('ls', [`${path}/`], { uid: 65_534, cwd: '/' })
      expect(stderr).toMatch(/Permission denied/)
    }
  })
})
