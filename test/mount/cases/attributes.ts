// What programs do with modes, owners, times and inode numbers.
import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  closeSync,
  fchmodSync,
  fstatSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  statfsSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Cases } from '../../support/cases.ts'
import { run, shell } from '../../support/run.ts'
import * as sys from '../../support/system.ts'

const uid = process.getuid?.() ?? 0
const gid = process.getgid?.() ?? 0
const { codeOf } = sys
/** Unsigned, as stat(2) has it. */
const inode = (path: string) => BigInt.asUintN(64, statSync(path, { bigint: true }).ino)
const mode = (path: string) => statSync(path).mode & 0o7777

export const cases: Cases = {
  'chmod, all bits'({ dir, host }) {
    const path = join(dir, 'f')
    writeFileSync(path, '')
    for (const bits of [0o600, 0o4755, 0o2755, 0o1777, 0o000, 0o644]) {
      chmodSync(path, bits)
      assert.equal(mode(path), bits)
      assert.equal(mode(join(host, 'f')), bits)
    }
    const fd = openSync(path, 'r+')
    fchmodSync(fd, 0o400)
    assert.equal(fstatSync(fd).mode & 0o7777, 0o400)
    assert.equal(mode(path), 0o400)
    closeSync(fd)
  },
  'who makes a file owns it'({ dir, host }) {
    writeFileSync(join(dir, 'f'), '')
    mkdirSync(join(dir, 'd'))
    symlinkSync('x', join(dir, 'l'))
    for (const path of ['f', 'd', 'l'])
      for (const at of [dir, host]) {
        const found = lstatSync(join(at, path))
        assert.deepEqual([found.uid, found.gid], [uid, gid], join(at, path))
      }
  },
  'chown, as far as the caller may'({ dir }) {
    const path = join(dir, 'f')
    writeFileSync(path, '')
    symlinkSync('f', join(dir, 'l'))
    chownSync(path, uid, gid)
    if (uid !== 0) {
      assert.equal(
        codeOf(() => chownSync(path, 0, 0)),
        'EPERM',
      )
      return
    }
    chmodSync(path, 0o4755)
    chownSync(path, 1234, 5678)
    const changed = statSync(path)
    assert.deepEqual([changed.uid, changed.gid], [1234, 5678])
    // chown(2) takes the set-user-id bit away.
    assert.equal(changed.mode & 0o4000, 0)
    lchownSync(join(dir, 'l'), 99, 98)
    const link = lstatSync(join(dir, 'l'))
    assert.deepEqual([link.uid, link.gid], [99, 98])
    assert.equal(statSync(path).uid, 1234)
  },
  async 'another user owns what he makes, and is kept out where he must be'({ dir, skip }) {
    if (uid !== 0) return skip('needs root')
    chmodSync(dir, 0o777)
    writeFileSync(join(dir, 'secret'), 'x', { mode: 0o600 })
    mkdirSync(join(dir, 'closed'), { mode: 0o700 })
    const as = (script: string) => run('/bin/sh', ['-c', script, 'sh', dir], { uid: 1234 })
    assert.equal((await as('echo y > "$1/his"; mkdir "$1/hisdir"')).code, 0)
    for (const name of ['his', 'hisdir']) {
      const { uid: owner, gid: group } = statSync(join(dir, name))
      assert.deepEqual([owner, group], [1234, 1234])
    }
    assert.match((await as('cat "$1/secret"')).stderr, /Permission denied/)
    assert.match((await as('ls "$1/closed"')).stderr, /Permission denied/)
    assert.match((await as('echo > "$1/closed/x"')).stderr, /ermission denied/)
    assert.match((await as('chmod 777 "$1/secret"')).stderr, /not permitted/)
    chmodSync(dir, 0o1777)
    assert.match((await as('rm -f "$1/secret"')).stderr, /not permitted/)
  },
  async 'supplementary groups count'({ dir, skip }) {
    if (uid !== 0) return skip('needs root')
    writeFileSync(join(dir, 'f'), 'for the group', { mode: 0o640 })
    chownSync(join(dir, 'f'), 0, 4321)
    const as = (groups: string[]) =>
      run('setpriv', ['--reuid', '1234', '--regid', '1234', ...groups, 'cat', join(dir, 'f')])
    assert.equal((await as(['--groups', '4321'])).stdout, 'for the group')
    assert.notEqual((await as(['--clear-groups'])).code, 0)
  },
  umask({ dir }) {
    process.umask(0o027)
    writeFileSync(join(dir, 'f'), '')
    mkdirSync(join(dir, 'd'))
    sys.mknod(join(dir, 'p'), 0o010666)
    assert.deepEqual(
      ['f', 'd', 'p'].map((name) => mode(join(dir, name))),
      [0o640, 0o750, 0o640],
    )
  },
  'a setgid directory gives its group, and the bit to directories'({ dir, skip }) {
    if (uid !== 0) return skip('needs root')
    chownSync(dir, 0, 777)
    chmodSync(dir, 0o2775)
    writeFileSync(join(dir, 'f'), '')
    mkdirSync(join(dir, 'd'))
    assert.equal(statSync(join(dir, 'f')).gid, 777)
    assert.equal(statSync(join(dir, 'd')).gid, 777)
    assert.equal(mode(join(dir, 'd')) & 0o2000, 0o2000)
  },
  async 'writing takes set-user-id away'({ dir, skip }) {
    if (uid !== 0) return skip('needs root')
    const path = join(dir, 'f')
    chmodSync(dir, 0o777)
    writeFileSync(path, 'x')
    chmodSync(path, 0o6777)
    await shell('echo y >> "$1"', [path], { uid: 1234 })
    assert.equal(mode(path), 0o777)
  },
  async 'times to the nanosecond'({ dir, host }) {
    const path = join(dir, 'f')
    writeFileSync(path, '')
    await shell(
      'touch -a -d "2001-02-03 04:05:06.123456789 UTC" "$1"; touch -m -d "2011-12-13 14:15:16.987654321 UTC" "$1"',
      [path],
    )
    for (const at of [dir, host]) {
      const { atimeNs, mtimeNs } = statSync(join(at, 'f'), { bigint: true })
      assert.equal(atimeNs, 981_173_106_123_456_789n)
      assert.equal(mtimeNs, 1_323_785_716_987_654_321n)
    }
    symlinkSync('f', join(dir, 'l'))
    lutimesSync(join(dir, 'l'), 1000, 2000)
    assert.equal(lstatSync(join(dir, 'l')).mtimeMs, 2_000_000)
    assert.equal(statSync(path, { bigint: true }).mtimeNs, 1_323_785_716_987_654_321n)
    await shell(`touch -d @-5 "$1"`, [path])
    assert.equal(statSync(path).mtimeMs, -5000)
  },
  'mtime and ctime change with the content, at once'({ dir }) {
    const path = join(dir, 'f')
    writeFileSync(path, 'x')
    utimesSync(path, 1000, 1000)
    const before = statSync(path, { bigint: true })
    const fd = openSync(path, 'a')
    writeSync(fd, 'y')
    const after = statSync(path, { bigint: true })
    assert.ok(after.mtimeNs > before.mtimeNs && after.mtimeNs > 10n ** 18n)
    assert.ok(after.ctimeNs >= before.ctimeNs)
    assert.equal(after.size, 2n)
    closeSync(fd)
    utimesSync(dir, 1000, 1000)
    writeFileSync(join(dir, 'g'), '')
    assert.ok(statSync(dir).mtimeMs > 1_000_000_000)
  },
  'inode numbers stay, are unique, and listings tell the same'({ dir }) {
    const numbers = new Map<string, bigint>()
    for (let i = 0; i < 200; i++) {
      writeFileSync(join(dir, `f${i}`), '')
      numbers.set(`f${i}`, inode(join(dir, `f${i}`)))
    }
    assert.equal(new Set(numbers.values()).size, 200)
    const fd = openSync(dir, 'r')
    const listed = new Map<string, bigint>()
    for (;;) {
      const some = sys.readEntries(fd)
      if (some.length === 0) break
      for (const entry of some) if (entry.name.startsWith('f')) listed.set(entry.name, entry.inode)
    }
    closeSync(fd)
    assert.deepEqual([...listed].sort(), [...numbers].sort())
    renameSync(join(dir, 'f0'), join(dir, 'g'))
    linkSync(join(dir, 'g'), join(dir, 'h'))
    for (const name of ['g', 'h']) assert.equal(inode(join(dir, name)), numbers.get('f0'))
  },
  "every file has the directory's st_dev"({ dir }) {
    mkdirSync(join(dir, 'd'))
    writeFileSync(join(dir, 'd/f'), '')
    assert.equal(statSync(join(dir, 'd/f')).dev, statSync(dir).dev)
    assert.equal(statSync(join(dir, 'd')).dev, statSync(dir).dev)
  },
  'directories count their links, blocks count what is stored'({ dir }) {
    const empty = statSync(dir).nlink
    mkdirSync(join(dir, 'a'))
    mkdirSync(join(dir, 'b'))
    // 1 where directories do not count (btrfs); never wrong otherwise: find(1) leans on it.
    assert.equal(statSync(dir).nlink, empty === 1 ? 1 : empty + 2)
    writeFileSync(join(dir, 'f'), Buffer.alloc(100_000))
    assert.ok(statSync(join(dir, 'f')).blocks * 512 >= 100_000)
    assert.equal(readdirSync(dir).length, 3)
  },
  'statfs is honest'({ dir, host }) {
    const [seen, real] = [statfsSync(dir), statfsSync(host)]
    assert.equal(seen.blocks * seen.bsize, real.blocks * real.bsize)
    assert.ok(seen.bavail > 0 && seen.bavail <= seen.bfree && seen.bfree <= seen.blocks)
    assert.equal(seen.files, real.files)
  },
}
