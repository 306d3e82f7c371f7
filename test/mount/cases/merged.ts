// A directory whose lower layer has content: reads come from the merge, writes go to the local layer, and the lower
// layer is never written to.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Case, CaseContext, Cases } from '../../support/cases.ts'
import { has, run, shell } from '../../support/run.ts'
import * as sys from '../../support/system.ts'
import { waitFor } from '../../support/wait.ts'

const { codeOf } = sys
const big = randomBytes(3_000_001)
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Everything about a tree but access and change times. */
function snapshot(path: string): string[] {
  const found = lstatSync(path, { bigint: true })
  const content = found.isFile() ? sha(readFileSync(path)) : found.isSymbolicLink() ? readlinkSync(path) : ''
  const line = [path, found.mode, found.uid, found.gid, found.mtimeNs, found.ino, found.nlink, content].join(
    ' ',
  )
  return [
    line,
    ...(found.isDirectory()
      ? readdirSync(path)
          .sort()
          .flatMap((name) => snapshot(join(path, name)))
      : []),
  ]
}

/** A case over a lower layer with content, which must be the same afterwards. */
function over(act: (context: CaseContext) => void | Promise<void>): Case {
  return async (context) => {
    const { lower } = context
    writeFileSync(join(lower, 'f'), 'lower')
    writeFileSync(join(lower, 'g'), 'another')
    writeFileSync(join(lower, 'big'), big)
    utimesSync(join(lower, 'f'), 1_000_000, 1_000_000)
    chmodSync(join(lower, 'f'), 0o640)
    symlinkSync('f', join(lower, 'link'))
    mkdirSync(join(lower, 'd/e'), { recursive: true })
    writeFileSync(join(lower, 'd/e/deep'), 'deep')
    writeFileSync(join(lower, 'd/x'), 'x')
    chmodSync(join(lower, 'd/e'), 0o711)
    const before = snapshot(lower)
    await act(context)
    assert.deepEqual(snapshot(lower), before, 'the lower layer was written to')
  }
}

export const cases: Cases = {
  'reading copies nothing': over(async ({ dir, host }) => {
    assert.deepEqual(readdirSync(dir).sort(), ['big', 'd', 'f', 'g', 'link'])
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'lower')
    assert.equal(readFileSync(join(dir, 'link'), 'utf8'), 'lower')
    assert.equal(readFileSync(join(dir, 'd/e/deep'), 'utf8'), 'deep')
    assert.equal(sha(readFileSync(join(dir, 'big'))), sha(big))
    assert.equal((await run('/bin/ls', ['-lR', dir])).code, 0)
    assert.equal(existsSync(host), false)
  }),
  'the first write copies up, with all attributes and the inode number': over(({ dir, host }) => {
    const before = statSync(join(dir, 'f'), { bigint: true })
    const fd = openSync(join(dir, 'f'), 'r+')
    assert.equal(fstatSync(fd, { bigint: true }).ino, before.ino)
    writeSync(fd, 'LO', 0)
    closeSync(fd)
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'LOwer')
    assert.equal(readFileSync(join(host, 'f'), 'utf8'), 'LOwer')
    const after = statSync(join(dir, 'f'), { bigint: true })
    assert.equal(after.ino, before.ino)
    assert.equal(after.mode, before.mode)
    assert.deepEqual([after.uid, after.gid], [before.uid, before.gid])
    assert.equal(readdirSync(dir).filter((name) => name === 'f').length, 1)
  }),
  'chmod and utimes copy up, and keep the content and each other': over(({ dir, host }) => {
    chmodSync(join(dir, 'f'), 0o600)
    assert.equal(statSync(join(dir, 'f')).mtimeMs, 1_000_000_000)
    utimesSync(join(dir, 'big'), 5, 6)
    assert.equal(statSync(join(dir, 'f')).mode & 0o777, 0o600)
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'lower')
    assert.equal(statSync(join(dir, 'big')).mtimeMs, 6000)
    assert.equal(sha(readFileSync(join(host, 'big'))), sha(big))
  }),
  'a copy-up brings its directories, with their modes': over(({ dir, host }) => {
    writeFileSync(join(dir, 'd/e/new'), 'new')
    assert.equal(readFileSync(join(host, 'd/e/new'), 'utf8'), 'new')
    assert.equal(statSync(join(host, 'd/e')).mode & 0o777, 0o711)
    assert.deepEqual(readdirSync(join(dir, 'd/e')).sort(), ['deep', 'new'])
    assert.deepEqual(readdirSync(join(host, 'd/e')), ['new'])
    assert.deepEqual(readdirSync(join(dir, 'd')).sort(), ['e', 'x'])
  }),
  'appending, truncating, mapping': over(({ dir }) => {
    writeFileSync(join(dir, 'f'), ' and more', { flag: 'a' })
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'lower and more')
    truncateSync(join(dir, 'g'), 3)
    assert.equal(readFileSync(join(dir, 'g'), 'utf8'), 'ano')
    const fd = openSync(join(dir, 'big'), 'r+')
    const mapping = sys.map(fd, big.length, true, true)
    mapping.bytes.write('mapped', 100_000)
    mapping.unmap()
    closeSync(fd)
    const expected = Buffer.from(big)
    expected.write('mapped', 100_000)
    assert.equal(sha(readFileSync(join(dir, 'big'))), sha(expected))
    writeFileSync(join(dir, 'd/x'), '')
    assert.equal(statSync(join(dir, 'd/x')).size, 0)
  }),
  'a descriptor for reading sees a sound file over the copy-up': over(({ dir }) => {
    const fd = openSync(join(dir, 'big'), 'r')
    const writer = openSync(join(dir, 'big'), 'r+')
    ftruncateSync(writer, 5)
    closeSync(writer)
    // As in overlayfs it may be the lower file still, or the new one; nothing between.
    const content = readFileSync(fd)
    assert.ok(content.equals(big) || content.equals(big.subarray(0, 5)), `${content.length} bytes`)
    closeSync(fd)
  }),
  'removing hides, and the name can be used anew': over(({ dir }) => {
    unlinkSync(join(dir, 'f'))
    assert.equal(existsSync(join(dir, 'f')), false)
    assert.deepEqual(readdirSync(dir).sort(), ['big', 'd', 'g', 'link'])
    assert.equal(
      codeOf(() => unlinkSync(join(dir, 'f'))),
      'ENOENT',
    )
    assert.equal(
      codeOf(() => openSync(join(dir, 'f'), 'r+')),
      'ENOENT',
    )
    closeSync(openSync(join(dir, 'f'), 'wx'))
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), '')
    unlinkSync(join(dir, 'f'))
    mkdirSync(join(dir, 'f'))
    assert.deepEqual(readdirSync(join(dir, 'f')), [])
    rmdirSync(join(dir, 'f'))
    assert.equal(existsSync(join(dir, 'f')), false)
  }),
  'a file that was copied up and removed is gone': over(({ dir, host }) => {
    writeFileSync(join(dir, 'f'), 'mine')
    unlinkSync(join(dir, 'f'))
    assert.equal(existsSync(join(dir, 'f')), false)
    assert.equal(existsSync(join(host, 'f')), false)
    assert.equal(readdirSync(dir).includes('f'), false)
  }),
  'a directory made where one was removed is empty': over(async ({ dir }) => {
    assert.equal(
      codeOf(() => rmdirSync(join(dir, 'd'))),
      'ENOTEMPTY',
    )
    assert.equal((await run('rm', ['-rf', join(dir, 'd')])).stderr, '')
    assert.equal(existsSync(join(dir, 'd')), false)
    mkdirSync(join(dir, 'd'))
    assert.deepEqual(readdirSync(join(dir, 'd')), [])
    assert.equal(existsSync(join(dir, 'd/x')), false)
    mkdirSync(join(dir, 'd/e'))
    assert.deepEqual(readdirSync(join(dir, 'd/e')), [])
    writeFileSync(join(dir, 'd/e/deep'), 'new')
    assert.equal(readFileSync(join(dir, 'd/e/deep'), 'utf8'), 'new')
    assert.equal((await run('rm', ['-rf', join(dir, 'd')])).code, 0)
    assert.equal(existsSync(join(dir, 'd')), false)
    writeFileSync(join(dir, 'd'), 'a file now')
    assert.equal(readFileSync(join(dir, 'd'), 'utf8'), 'a file now')
  }),
  'a file is renamed, and keeps its inode number': over(({ dir }) => {
    const { ino } = statSync(join(dir, 'f'))
    renameSync(join(dir, 'f'), join(dir, 'd/moved'))
    assert.equal(existsSync(join(dir, 'f')), false)
    assert.equal(readFileSync(join(dir, 'd/moved'), 'utf8'), 'lower')
    assert.equal(statSync(join(dir, 'd/moved')).ino, ino)
    assert.equal(statSync(join(dir, 'd/moved')).mtimeMs, 1_000_000_000)
    renameSync(join(dir, 'd/moved'), join(dir, 'f'))
    assert.deepEqual(readdirSync(join(dir, 'd')).sort(), ['e', 'x'])
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'lower')
    renameSync(join(dir, 'f'), join(dir, 'g'))
    assert.equal(readFileSync(join(dir, 'g'), 'utf8'), 'lower')
    assert.equal(readdirSync(dir).includes('f'), false)
    unlinkSync(join(dir, 'g'))
    assert.equal(existsSync(join(dir, 'g')), false)
  }),
  'names swap over the layers': over(({ dir }) => {
    writeFileSync(join(dir, 'mine'), 'mine')
    sys.rename2(join(dir, 'mine'), join(dir, 'f'), sys.EXCHANGE)
    assert.equal(readFileSync(join(dir, 'mine'), 'utf8'), 'lower')
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'mine')
    assert.equal(
      codeOf(() => sys.rename2(join(dir, 'mine'), join(dir, 'g'), sys.NOREPLACE)),
      'EEXIST',
    )
  }),
  'a directory of the lower layer: EXDEV, and mv does it': over(async ({ dir }) => {
    assert.equal(
      codeOf(() => renameSync(join(dir, 'd'), join(dir, 'moved'))),
      'EXDEV',
    )
    const moved = await run('mv', [join(dir, 'd'), join(dir, 'moved')])
    assert.deepEqual([moved.code, moved.stderr], [0, ''])
    assert.equal(existsSync(join(dir, 'd')), false)
    assert.equal(readFileSync(join(dir, 'moved/e/deep'), 'utf8'), 'deep')
    assert.equal(statSync(join(dir, 'moved/e')).mode & 0o777, 0o711)
    // It is all local now.
    renameSync(join(dir, 'moved'), join(dir, 'd'))
    assert.deepEqual(readdirSync(join(dir, 'd')).sort(), ['e', 'x'])
    unlinkSync(join(dir, 'd/x'))
    assert.deepEqual(readdirSync(join(dir, 'd')), ['e'])
  }),
  "a local directory that takes a lower one's name shows nothing of it": over(async ({ dir }) => {
    mkdirSync(join(dir, 'mine'))
    writeFileSync(join(dir, 'mine/m'), 'm')
    assert.equal(
      codeOf(() => renameSync(join(dir, 'mine'), join(dir, 'd'))),
      'ENOTEMPTY',
    )
    await run('rm', ['-rf', join(dir, 'd')])
    renameSync(join(dir, 'mine'), join(dir, 'd'))
    assert.deepEqual(readdirSync(join(dir, 'd')), ['m'])
    assert.equal(existsSync(join(dir, 'd/e')), false)
  }),
  'hard links': over(({ dir }) => {
    const { ino, nlink } = statSync(join(dir, 'f'))
    assert.equal(nlink, 1)
    linkSync(join(dir, 'f'), join(dir, 'd/hard'))
    const [one, two] = [statSync(join(dir, 'f')), statSync(join(dir, 'd/hard'))]
    assert.deepEqual([one.nlink, two.nlink, one.ino, two.ino], [2, 2, ino, ino])
    writeFileSync(join(dir, 'd/hard'), 'through the link')
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'through the link')
    unlinkSync(join(dir, 'f'))
    assert.equal(statSync(join(dir, 'd/hard')).nlink, 1)
    assert.equal(existsSync(join(dir, 'f')), false)
  }),
  'links and other kinds': over(({ dir }) => {
    unlinkSync(join(dir, 'link'))
    symlinkSync('g', join(dir, 'link'))
    assert.equal(readFileSync(join(dir, 'link'), 'utf8'), 'another')
    writeFileSync(join(dir, 'link'), 'via')
    assert.equal(readFileSync(join(dir, 'g'), 'utf8'), 'via')
    sys.mknod(join(dir, 'fifo'), 0o010600)
    assert.ok(lstatSync(join(dir, 'fifo')).isFIFO())
  }),
  'extended attributes copy up': over(({ dir, lower, skip }) => {
    const code = codeOf(() => sys.setXattr(join(dir, 'f'), 'user.mine', 'x'))
    if (code === 'ENOTSUP') skip('this file system has no extended attributes')
    assert.equal(code, '0')
    assert.equal(sys.getXattr(join(dir, 'f'), 'user.mine').toString(), 'x')
    assert.equal(
      codeOf(() => sys.getXattr(join(lower, 'f'), 'user.mine')),
      'ENODATA',
    )
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'lower')
  }),
  'an open file of the lower layer lives on when it is removed': over(({ dir }) => {
    const fd = openSync(join(dir, 'f'), 'r')
    unlinkSync(join(dir, 'f'))
    writeFileSync(join(dir, 'f'), 'new')
    assert.equal(readFileSync(fd, 'utf8'), 'lower')
    closeSync(fd)
  }),
  async 'find, du and tar see one sound tree'({ dir, lower, outside }) {
    await shell(
      'cd "$1"; for d in a b c; do mkdir -p $d/x/y; for f in 1 2 3; do echo $d$f > $d/x/y/$f; done; done',
      [lower],
    )
    await shell(
      'cd "$1"; rm a/x/y/1; rm -rf b; echo new > c/x/new; mkdir e; echo e > e/e; echo more >> c/x/y/2',
      [dir],
    )
    const found = await shell('cd "$1"; find . | sort | tr "\\n" " "', [dir])
    assert.equal(
      found,
      '. ./a ./a/x ./a/x/y ./a/x/y/2 ./a/x/y/3 ./c ./c/x ./c/x/new ./c/x/y ./c/x/y/1 ./c/x/y/2 ./c/x/y/3 ./e ./e/e ',
    )
    await shell('tar -C "$1" -cf - . | tar -C "$2" -xf -; diff -r "$1" "$2"', [dir, outside])
  },
  async 'a full directory in both layers lists each name once'({ dir, host, lower }) {
    for (let i = 0; i < 3000; i++) writeFileSync(join(lower, `f${i}`), '')
    writeFileSync(join(dir, 'f0'), 'local')
    for (let i = 2000; i < 5000; i++) writeFileSync(join(host, `f${i}`), '')
    const expected = Array.from({ length: 5000 }, (_, i) => `f${i}`).sort()
    await waitFor('all names', () => readdirSync(dir).length >= 5000, 5000)
    assert.deepEqual(readdirSync(dir).sort(), expected)
    for (let i = 0; i < 5000; i += 2) unlinkSync(join(dir, `f${i}`))
    assert.deepEqual(
      readdirSync(dir).sort(),
      expected.filter((name) => Number(name.slice(1)) % 2 === 1),
    )
    assert.equal((await run('rm', ['-rf', dir])).stderr, '')
    assert.equal(existsSync(dir), false)
    assert.equal(readdirSync(lower).length, 3000)
  },
  async 'changes of the lower layer are seen'({ dir, lower }) {
    writeFileSync(join(lower, 'f'), 'one')
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'one')
    assert.equal(existsSync(join(dir, 'new')), false)
    writeFileSync(join(lower, 'f'), 'two!')
    await waitFor('the content', () => readFileSync(join(dir, 'f'), 'utf8') === 'two!', 5000)
    writeFileSync(join(lower, 'new'), '')
    await waitFor('the new file', () => existsSync(join(dir, 'new')), 5000)
    unlinkSync(join(lower, 'f'))
    await waitFor('its end', () => !existsSync(join(dir, 'f')), 5000)
    assert.deepEqual(readdirSync(dir), ['new'])
    rmSync(join(lower, 'new'))
    await waitFor('an empty directory', () => readdirSync(dir).length === 0, 5000)
  },
  async 'two processes that write one file first both get their write in'({ dir, lower }) {
    for (let i = 0; i < 20; i++) writeFileSync(join(lower, `f${i}`), 'lower\n')
    const script = 'i=0; while [ $i -lt 20 ]; do echo "$2" >> "$1/f$i"; i=$((i+1)); done'
    await Promise.all(['a', 'b', 'c'].map((who) => shell(script, [dir, who])))
    for (let i = 0; i < 20; i++)
      assert.deepEqual(
        readFileSync(join(dir, `f${i}`), 'utf8')
          .trim()
          .split('\n')
          .sort(),
        ['a', 'b', 'c', 'lower'],
      )
  },
  'links of one lower file are parted by a copy-up, under their own names'({ dir, lower }) {
    writeFileSync(join(lower, 'a'), 'lower')
    for (const name of ['b', 'c']) linkSync(join(lower, 'a'), join(lower, name))
    for (const name of ['a', 'b', 'c']) readFileSync(join(dir, name))
    writeFileSync(join(dir, 'a'), 'changed')
    assert.equal(readFileSync(join(dir, 'a'), 'utf8'), 'changed')
    for (const name of ['b', 'c']) assert.equal(readFileSync(join(dir, name), 'utf8'), 'lower')
    assert.notEqual(statSync(join(dir, 'a')).ino, statSync(join(dir, 'b')).ino)
    assert.equal(statSync(join(dir, 'b')).ino, statSync(join(dir, 'c')).ino)
    renameSync(join(dir, 'c'), join(dir, 'd'))
    unlinkSync(join(dir, 'b'))
    assert.deepEqual(readdirSync(dir).sort(), ['a', 'd'])
  },
  async 'a copied pipe and link keep mode, owner and time; no file gets an ACL that it had not'({
    dir,
    lower,
    skip,
  }) {
    await shell('mkfifo -m 666 "$1/pipe"; ln -s to "$1/link"; touch -h -d @1000 "$1/pipe" "$1/link"', [lower])
    await shell('chmod 662 "$1/pipe"', [dir])
    assert.deepEqual(
      [lstatSync(join(dir, 'pipe')).mode & 0o777, lstatSync(join(dir, 'pipe')).mtimeMs],
      [0o662, 1e6],
    )
    await shell('touch -h -a "$1/link"', [dir])
    assert.equal(lstatSync(join(dir, 'link')).mtimeMs, 1e6)
    mkdirSync(join(lower, 'd'))
    if (!(await has('setfacl'))) return skip('this machine has no setfacl')
    if ((await run('setfacl', ['-d', '-m', 'u:1234:rwx', join(lower, 'd')])).code !== 0) return
    await shell('echo x > "$1/d/f"; setfacl -b "$1/d/f"; chmod 660 "$1/d/f"', [lower])
    await shell('echo y >> "$1/d/f"', [dir])
    assert.doesNotMatch((await run('getfacl', ['-n', join(dir, 'd/f')])).stdout, /1234/)
  },
}
