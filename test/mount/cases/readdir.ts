// Listings: complete, without doubles, whatever happens meanwhile.
import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Cases } from '../../support/cases.ts'
import { run, shell } from '../../support/run.ts'
import * as sys from '../../support/system.ts'

const COUNT = 10_000

/** Makes many files fast: links of one. */
function fill(dir: string, count: number, prefix = 'f'): string[] {
  writeFileSync(join(dir, `${prefix}0`), '')
  const names = [`${prefix}0`]
  for (let i = 1; i < count; i++) {
    linkSync(join(dir, `${prefix}0`), join(dir, `${prefix}${i}`))
    names.push(`${prefix}${i}`)
  }
  return names
}

function listed(dir: string, bufferSize?: number): string[] {
  const fd = openSync(dir, 'r')
  try {
    return sys.readNames(fd, bufferSize)
  } finally {
    closeSync(fd)
  }
}

export const cases: Cases = {
  '10,000 files, by buffers of every size'({ dir, host }) {
    const names = fill(host, COUNT).sort()
    for (const size of [32_768, 512, 1 << 20]) assert.deepEqual(listed(dir, size).sort(), names)
  },
  'dot and dot-dot are there once'({ dir }) {
    writeFileSync(join(dir, 'f'), '')
    const fd = openSync(dir, 'r')
    const names = sys.readEntries(fd).map(({ name }) => name)
    closeSync(fd)
    assert.deepEqual(names.sort(), ['.', '..', 'f'])
  },
  'types are told'({ dir }) {
    writeFileSync(join(dir, 'f'), '')
    mkdirSync(join(dir, 'd'))
    sys.mknod(join(dir, 'p'), 0o010600)
    const fd = openSync(dir, 'r')
    const types = new Map(sys.readEntries(fd).map(({ name, type }) => [name, type]))
    closeSync(fd)
    assert.deepEqual([types.get('f'), types.get('d'), types.get('p')], [8, 4, 1])
  },
  'seekdir goes back to where telldir was'({ dir, host }) {
    fill(host, 500)
    const fd = openSync(dir, 'r')
    const all: sys.RawEntry[] = []
    for (;;) {
      const some = sys.readEntries(fd, 1024)
      if (some.length === 0) break
      all.push(...some)
    }
    for (const at of [0, 1, 250, 400, all.length - 2]) {
      sys.seekDirectory(fd, all[at]?.cookie ?? 0n)
      const rest: string[] = []
      for (;;) {
        const some = sys.readEntries(fd, 1024)
        if (some.length === 0) break
        rest.push(...some.map(({ name }) => name))
      }
      assert.deepEqual(
        rest,
        all.slice(at + 1).map(({ name }) => name),
        `after entry ${at}`,
      )
    }
    sys.seekDirectory(fd, 0n)
    assert.equal(sys.readEntries(fd, 1024)[0]?.name, all[0]?.name)
    closeSync(fd)
  },
  'rewinding shows what was made meanwhile'({ dir }) {
    const fd = openSync(dir, 'r')
    assert.deepEqual(sys.readNames(fd), [])
    writeFileSync(join(dir, 'new'), '')
    sys.seekDirectory(fd, 0n)
    assert.deepEqual(sys.readNames(fd), ['new'])
    closeSync(fd)
  },
  'removing while listing loses nothing'({ dir, host }) {
    fill(host, 3000)
    const fd = openSync(dir, 'r')
    const seen: string[] = []
    for (;;) {
      const some = sys.readEntries(fd, 2048)
      if (some.length === 0) break
      for (const { name } of some) {
        if (name === '.' || name === '..') continue
        seen.push(name)
        unlinkSync(join(dir, name))
      }
    }
    closeSync(fd)
    assert.equal(seen.length, 3000)
    assert.equal(new Set(seen).size, 3000)
    assert.deepEqual(readdirSync(host), [])
  },
  'entries that stay are told once while others come and go'({ dir, host }) {
    const stay = fill(host, 2000, 'stay')
    const fd = openSync(dir, 'r')
    const seen: string[] = []
    for (let i = 0; ; i++) {
      const some = sys.readEntries(fd, 2048)
      if (some.length === 0) break
      seen.push(...some.map(({ name }) => name))
      writeFileSync(join(i % 2 === 0 ? dir : host, `come${i}`), '')
      if (i > 4) unlinkSync(join(dir, `come${i - 4}`))
    }
    closeSync(fd)
    assert.deepEqual(seen.filter((name) => name.startsWith('stay')).sort(), stay.sort())
    assert.equal(new Set(seen).size, seen.length)
  },
  async 'rm -rf of a full tree'({ dir }) {
    await shell(
      'mkdir "$1/t"; cd "$1/t"; for d in 1 2 3; do mkdir $d; (cd $d; for f in $(seq 700); do : > $f; done); done',
      [dir],
    )
    assert.deepEqual(await run('rm', ['-rf', join(dir, 't')]), {
      code: 0,
      signal: null,
      stdout: '',
      stderr: '',
    })
    assert.equal(existsSync(join(dir, 't')), false)
  },
  'two listings of one directory do not disturb each other'({ dir, host }) {
    const names = fill(host, 1000).sort()
    const fds = [openSync(dir, 'r'), openSync(dir, 'r')]
    const seen: string[][] = [[], []]
    const ended = [false, false]
    for (let turn = 0; !(ended[0] && ended[1]); turn++) {
      const which = turn % 3 === 0 ? 0 : 1
      const some = sys.readEntries(fds[which] ?? -1, 1024)
      if (some.length === 0) ended[which] = true
      for (const { name } of some) if (name.startsWith('f')) seen[which]?.push(name)
    }
    for (const fd of fds) closeSync(fd)
    assert.deepEqual(seen[0]?.sort(), names)
    assert.deepEqual(seen[1]?.sort(), names)
  },
}
