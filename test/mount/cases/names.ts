// Names and paths that are long, odd, or no text at all.
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Cases } from '../../support/cases.ts'
import { codeOf } from '../../support/system.ts'

const bytes = (path: string, name: number[]) => Buffer.concat([Buffer.from(`${path}/`), Buffer.from(name)])

export const cases: Cases = {
  'names of 255 bytes work, of 256 do not'({ dir, host }) {
    for (const name of ['n'.repeat(255), 'é'.repeat(127), '漢'.repeat(85)]) {
      writeFileSync(join(dir, name), name)
      assert.equal(readFileSync(join(dir, name), 'utf8'), name)
      assert.equal(readFileSync(join(host, name), 'utf8'), name)
      assert.ok(readdirSync(dir).includes(name))
      renameSync(join(dir, name), join(dir, `${name.slice(0, -1)}z`))
      unlinkSync(join(dir, `${name.slice(0, -1)}z`))
    }
    const long = join(dir, 'n'.repeat(256))
    assert.equal(
      codeOf(() => writeFileSync(long, '')),
      'ENAMETOOLONG',
    )
    assert.equal(
      codeOf(() => statSync(long)),
      'ENAMETOOLONG',
    )
    assert.equal(
      codeOf(() => mkdirSync(long)),
      'ENAMETOOLONG',
    )
    assert.equal(
      codeOf(() => renameSync(dir, long)),
      'ENAMETOOLONG',
    )
    assert.equal(
      codeOf(() => symlinkSync('x', long)),
      'ENAMETOOLONG',
    )
  },
  'bytes that are no UTF-8 stay as they are'({ dir, host }) {
    const names = [
      [0xff, 0xfe, 0x41],
      [0xc3],
      [0x80, 0xed, 0xa0, 0x80],
      [0xe4, 0xf6, 0xfc],
      ...Array.from({ length: 255 }, (_, i) => [i + 1, 0x21]).filter(([byte]) => byte !== 0x2f),
    ]
    for (const name of names) writeFileSync(bytes(dir, name), Buffer.from(name))
    const expected = names.map((name) => Buffer.from(name).toString('hex')).sort()
    for (const at of [dir, host])
      assert.deepEqual(
        readdirSync(at, { encoding: 'buffer' })
          .map((name) => name.toString('hex'))
          .sort(),
        expected,
      )
    for (const name of names) assert.deepEqual(readFileSync(bytes(dir, name)), Buffer.from(name))
    renameSync(bytes(dir, [0xff, 0xfe, 0x41]), bytes(dir, [0xff, 0xfe]))
    assert.ok(existsSync(bytes(host, [0xff, 0xfe])))
    for (const name of readdirSync(dir, { encoding: 'buffer' })) unlinkSync(bytes(dir, [...name]))
    assert.deepEqual(readdirSync(dir), [])
  },
  'names that mean something elsewhere are names'({ dir, host }) {
    const names = [
      'a\nb',
      ' ',
      '-rf',
      '*',
      'a:b',
      ':mtime',
      '.d',
      'x.json.d',
      '%2F',
      '.==',
      '.hidden',
      'u\u0308',
      '\u00fc',
      '~',
      '\\',
      '"\'',
    ]
    for (const name of names) writeFileSync(join(dir, name), name)
    for (const at of [dir, host]) assert.deepEqual(readdirSync(at).sort(), [...names].sort())
    for (const name of names) {
      assert.equal(readFileSync(join(dir, name), 'utf8'), name)
      unlinkSync(join(dir, name))
      assert.equal(existsSync(join(dir, name)), false)
    }
  },
  'what only looks like a lookup is not there'({ dir }) {
    writeFileSync(join(dir, 'foo.c'), '')
    for (const name of ['foo', 'foo.o', 'foo.c.h', 'foo.h', 'foo.c.zst'])
      assert.equal(
        codeOf(() => statSync(join(dir, name))),
        'ENOENT',
        name,
      )
  },
  'upper and lower case differ'({ dir }) {
    writeFileSync(join(dir, 'Name'), 'upper')
    writeFileSync(join(dir, 'name'), 'lower')
    assert.equal(readFileSync(join(dir, 'Name'), 'utf8'), 'upper')
    assert.equal(readdirSync(dir).length, 2)
  },
  'paths of 4,095 bytes work, of 4,096 do not'({ dir }) {
    let at = dir
    while (at.length < 3800) {
      at = join(at, 'p'.repeat(200))
      mkdirSync(at)
    }
    while (at.length < 4095 - 256) {
      at = join(at, 'p'.repeat(40))
      mkdirSync(at)
    }
    const path = join(at, 'q'.repeat(4095 - at.length - 1))
    assert.equal(path.length, 4095)
    writeFileSync(path, 'deep')
    assert.equal(readFileSync(path, 'utf8'), 'deep')
    assert.equal(
      codeOf(() => statSync(`${path}q`)),
      'ENAMETOOLONG',
    )
  },
  'deeper than a path can say, by relative steps'({ dir }) {
    process.chdir(dir)
    for (let i = 0; i < 60; i++) {
      mkdirSync('d'.repeat(100))
      process.chdir('d'.repeat(100))
    }
    writeFileSync('bottom', 'reached')
    assert.equal(readFileSync('bottom', 'utf8'), 'reached')
    assert.ok(statSync('..').isDirectory())
    unlinkSync('bottom')
    assert.deepEqual(readdirSync('.'), [])
  },
}
