// What cannot be done fails with the errno that programs expect.
import assert from 'node:assert/strict'
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Cases } from '../../support/cases.ts'
import * as sys from '../../support/system.ts'

const { codeOf } = sys

export const cases: Cases = {
  'links that go round: ELOOP'({ dir }) {
    symlinkSync('b', join(dir, 'a'))
    symlinkSync('a', join(dir, 'b'))
    for (const act of [statSync, readFileSync, readdirSync])
      assert.equal(
        codeOf(() => act(join(dir, 'a'))),
        'ELOOP',
      )
    assert.ok(lstatSync(join(dir, 'a')).isSymbolicLink())
    assert.equal(
      codeOf(() => openSync(join(dir, 'a'), constants.O_RDONLY | constants.O_NOFOLLOW)),
      'ELOOP',
    )
  },
  'a broken link: ENOENT, and O_CREAT makes its target'({ dir }) {
    symlinkSync('target', join(dir, 'l'))
    assert.equal(
      codeOf(() => statSync(join(dir, 'l'))),
      'ENOENT',
    )
    assert.equal(
      codeOf(() => readFileSync(join(dir, 'l'))),
      'ENOENT',
    )
    assert.equal(readlinkSync(join(dir, 'l')), 'target')
    writeFileSync(join(dir, 'l'), 'x')
    assert.equal(readFileSync(join(dir, 'target'), 'utf8'), 'x')
  },
  'a file is no directory: ENOTDIR'({ dir }) {
    writeFileSync(join(dir, 'f'), '')
    for (const act of [
      () => statSync(join(dir, 'f/x')),
      () => readdirSync(join(dir, 'f')),
      () => mkdirSync(join(dir, 'f/x')),
      () => openSync(join(dir, 'f'), constants.O_RDONLY | constants.O_DIRECTORY),
      () => unlinkSync(join(dir, 'f/x')),
    ])
      assert.equal(codeOf(act), 'ENOTDIR')
  },
  'what is not there: ENOENT'({ dir }) {
    for (const act of [
      () => statSync(join(dir, 'x')),
      () => openSync(join(dir, 'x'), 'r'),
      () => mkdirSync(join(dir, 'x/y')),
      () => truncateSync(join(dir, 'x')),
      () => chmodSync(join(dir, 'x'), 0o700),
      () => statSync(join(dir, '')) && statSync(`${dir}/x/..`),
    ])
      assert.equal(codeOf(act), 'ENOENT')
  },
  'arguments that make no sense: EINVAL'({ dir }) {
    writeFileSync(join(dir, 'f'), 'x')
    assert.equal(
      codeOf(() => readlinkSync(join(dir, 'f'))),
      'EINVAL',
    )
    const fd = openSync(join(dir, 'f'), 'r+')
    assert.equal(
      codeOf(() => sys.seek(fd, -1, 0)),
      'EINVAL',
    )
    assert.equal(
      codeOf(() => sys.fallocate(fd, 0, 0, 0)),
      'EINVAL',
    )
    assert.equal(
      codeOf(() => sys.rename2(join(dir, 'f'), join(dir, 'g'), sys.NOREPLACE | sys.EXCHANGE)),
      'EINVAL',
    )
    closeSync(fd)
  },
  'a file too big: EFBIG or EINVAL, as the raw file system'({ dir, outside }) {
    const grow = (path: string) => {
      writeFileSync(path, '')
      return codeOf(() => truncateSync(path, 2 ** 62))
    }
    assert.equal(grow(join(dir, 'f')), grow(join(outside, 'f')))
  },
  'access(2) says what the caller may'({ dir }) {
    writeFileSync(join(dir, 'f'), '', { mode: 0o644 })
    accessSync(join(dir, 'f'), constants.R_OK | constants.W_OK)
    assert.equal(
      codeOf(() => accessSync(join(dir, 'f'), constants.X_OK)),
      'EACCES',
    )
    chmodSync(join(dir, 'f'), 0o444)
    assert.equal(
      codeOf(() => accessSync(join(dir, 'f'), constants.W_OK)),
      process.getuid?.() === 0 ? '0' : 'EACCES',
    )
  },
  'a directory that may not be entered: EACCES'({ dir, skip }) {
    if (process.getuid?.() === 0) skip('root may enter all')
    mkdirSync(join(dir, 'd'))
    writeFileSync(join(dir, 'd/f'), '')
    chmodSync(join(dir, 'd'), 0o600)
    assert.equal(
      codeOf(() => statSync(join(dir, 'd/f'))),
      'EACCES',
    )
    assert.deepEqual(readdirSync(join(dir, 'd')), ['f'])
    chmodSync(join(dir, 'd'), 0o300)
    assert.equal(
      codeOf(() => readdirSync(join(dir, 'd'))),
      'EACCES',
    )
    assert.ok(statSync(join(dir, 'd/f')).isFile())
    chmodSync(join(dir, 'd'), 0o500)
    assert.equal(
      codeOf(() => writeFileSync(join(dir, 'd/g'), '')),
      'EACCES',
    )
    chmodSync(join(dir, 'd'), 0o700)
  },
}
