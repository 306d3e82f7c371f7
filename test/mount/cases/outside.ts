// What changes on the host beside the mount is seen in it, also where the kernel had it cached.
import assert from 'node:assert/strict'
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Case, Cases } from '../../support/cases.ts'
import * as sys from '../../support/system.ts'
import { waitFor } from '../../support/wait.ts'

/** The news travels by inotify and an invalidation; what never comes is what fails. */
const seen = (what: string, condition: () => boolean) => waitFor(what, condition, 5000)

/** A case about one file of content `before`, whose caches are warm. */
function withWarm(act: (mounted: string, raw: string) => Promise<void>): Case {
  return async ({ dir, host }) => {
    const [mounted, raw] = [join(dir, 'f'), join(host, 'f')]
    writeFileSync(raw, 'before')
    await seen('the file', () => existsSync(mounted))
    warm(dir, mounted)
    await act(mounted, raw)
  }
}

function warm(dir: string, file: string): void {
  for (let i = 0; i < 3; i++) {
    assert.equal(readFileSync(file, 'utf8'), 'before')
    assert.equal(statSync(file).size, 6)
    assert.ok(readdirSync(dir).includes('f'))
  }
}

export const cases: Cases = {
  'content of another size': withWarm(async (mounted, raw) => {
    writeFileSync(raw, 'after, and longer')
    await seen('the new size', () => statSync(mounted).size === 17)
    assert.equal(readFileSync(mounted, 'utf8'), 'after, and longer')
  }),
  'content of the same size': withWarm(async (mounted, raw) => {
    writeFileSync(raw, 'AFTER!')
    await seen('the new content', () => readFileSync(mounted, 'utf8') === 'AFTER!')
  }),
  'content, through a descriptor that is open': withWarm(async (mounted, raw) => {
    const fd = openSync(mounted, 'r')
    const buffer = Buffer.alloc(100)
    assert.equal(readSync(fd, buffer, 0, 100, 0), 6)
    writeFileSync(raw, 'changed under it')
    await seen('the new content', () => {
      const length = readSync(fd, buffer, 0, 100, 0)
      return buffer.toString('utf8', 0, length) === 'changed under it'
    })
    assert.equal(fstatSync(fd).size, 16)
    closeSync(fd)
  }),
  'content, through a mapping': withWarm(async (mounted, raw) => {
    const fd = openSync(mounted, 'r')
    const mapping = sys.map(fd, 6, true, false)
    assert.equal(mapping.bytes.toString(), 'before')
    const writer = openSync(raw, 'r+')
    writeFileSync(writer, 'MAPPED')
    closeSync(writer)
    await seen('the new content', () => mapping.bytes.toString() === 'MAPPED')
    mapping.unmap()
    closeSync(fd)
  }),
  'mode, times and links': withWarm(async (mounted, raw) => {
    chmodSync(raw, 0o600)
    await seen('the mode', () => (statSync(mounted).mode & 0o777) === 0o600)
    utimesSync(raw, 1000, 2000)
    await seen('the time', () => statSync(mounted).mtimeMs === 2_000_000)
    linkSync(raw, `${raw}2`)
    await seen('the link', () => statSync(mounted).nlink === 2)
    unlinkSync(`${raw}2`)
    await seen('its end', () => statSync(mounted).nlink === 1)
  }),
  async 'content that came through another link, in a directory that the mount never saw'({
    dir,
    host,
    outside,
  }) {
    writeFileSync(join(outside, 'other'), 'before')
    linkSync(join(outside, 'other'), join(host, 'f'))
    await seen('the file', () => existsSync(join(dir, 'f')))
    warm(dir, join(dir, 'f'))
    writeFileSync(join(outside, 'other'), 'after, and longer')
    await seen('the new size', () => statSync(join(dir, 'f')).size === 17)
    assert.equal(readFileSync(join(dir, 'f'), 'utf8'), 'after, and longer')
  },
  removed: withWarm(async (mounted, raw) => {
    unlinkSync(raw)
    await seen('that it is gone', () => !existsSync(mounted))
    assert.deepEqual(readdirSync(join(mounted, '..')), [])
  }),
  renamed: withWarm(async (mounted, raw) => {
    const { ino } = statSync(mounted)
    renameSync(raw, `${raw}2`)
    await seen('the new name', () => existsSync(`${mounted}2`))
    await seen("the old one's end", () => !existsSync(mounted))
    assert.equal(readFileSync(`${mounted}2`, 'utf8'), 'before')
    assert.equal(statSync(`${mounted}2`).ino, ino)
  }),
  'replaced by a rename': withWarm(async (mounted, raw) => {
    const fd = openSync(mounted, 'r')
    writeFileSync(`${raw}2`, 'replacement')
    renameSync(`${raw}2`, raw)
    await seen('the new content', () => readFileSync(mounted, 'utf8') === 'replacement')
    assert.equal(readFileSync(fd, 'utf8'), 'before')
    closeSync(fd)
  }),
  'removed and made anew, perhaps with the same inode': withWarm(async (mounted, raw) => {
    for (let i = 0; i < 20; i++) {
      unlinkSync(raw)
      writeFileSync(raw, `life ${i}`)
      await seen(`life ${i}`, () => readFileSync(mounted, 'utf8') === `life ${i}`)
    }
  }),
  'a file becomes a directory, a link, a file': withWarm(async (mounted, raw) => {
    unlinkSync(raw)
    mkdirSync(raw)
    writeFileSync(join(raw, 'in'), '')
    await seen('the directory', () => statSync(mounted).isDirectory() && readdirSync(mounted)[0] === 'in')
    rmSync(raw, { recursive: true })
    symlinkSync('elsewhere', raw)
    await seen('the link', () => sys.codeOf(() => statSync(mounted)) === 'ENOENT')
    unlinkSync(raw)
    writeFileSync(raw, 'again')
    await seen('the file', () => readFileSync(mounted, 'utf8') === 'again')
  }),
  async 'what was not there, and was asked for'({ dir, host }) {
    for (let i = 0; i < 20; i++) {
      const name = `n${i}`
      for (let ask = 0; ask < 3; ask++) assert.equal(existsSync(join(dir, name)), false)
      if (i % 2 === 0) writeFileSync(join(host, name), 'made')
      else mkdirSync(join(host, name))
      await seen(name, () => existsSync(join(dir, name)))
    }
    await seen('all of them', () => readdirSync(dir).length === 20)
  },
  async listings({ dir, host }) {
    assert.deepEqual(readdirSync(dir), [])
    for (let i = 0; i < 300; i++) writeFileSync(join(host, `f${i}`), '')
    await seen('all that were made', () => readdirSync(dir).length === 300)
    for (let i = 0; i < 300; i += 2) unlinkSync(join(host, `f${i}`))
    await seen('the rest', () => readdirSync(dir).length === 150)
    for (let i = 0; i < 300; i += 2) await seen(`the end of ${i}`, () => !existsSync(join(dir, `f${i}`)))
  },
  async 'a directory that is renamed takes its tree along'({ dir, host }) {
    mkdirSync(join(host, 'a/b/c'), { recursive: true })
    writeFileSync(join(host, 'a/b/c/f'), 'deep')
    await seen('the tree', () => readFileSync(join(dir, 'a/b/c/f'), 'utf8') === 'deep')
    const fd = openSync(join(dir, 'a/b/c/f'), 'r')
    renameSync(join(host, 'a/b'), join(host, 'moved'))
    await seen('the new place', () => existsSync(join(dir, 'moved/c/f')))
    await seen("the old one's end", () => !existsSync(join(dir, 'a/b')))
    assert.equal(readFileSync(join(dir, 'moved/c/f'), 'utf8'), 'deep')
    assert.equal(readFileSync(fd, 'utf8'), 'deep')
    closeSync(fd)
    rmSync(join(host, 'moved'), { recursive: true })
    await seen('the end', () => !existsSync(join(dir, 'moved')))
  },
  async 'what is written in the mount is there on the host at once'({ dir, host }) {
    for (let i = 0; i < 50; i++) {
      writeFileSync(join(dir, `f${i}`), String(i))
      assert.equal(readFileSync(join(host, `f${i}`), 'utf8'), String(i))
      renameSync(join(dir, `f${i}`), join(dir, `g${i}`))
      assert.equal(existsSync(join(host, `f${i}`)), false)
      unlinkSync(join(dir, `g${i}`))
      assert.equal(existsSync(join(host, `g${i}`)), false)
    }
  },
  async 'changes from both sides in turn'({ dir, host }) {
    const [mounted, raw] = [join(dir, 'f'), join(host, 'f')]
    writeFileSync(mounted, '')
    let text = ''
    for (let i = 0; i < 30; i++) {
      const add = `${i} `
      text += add
      writeFileSync(i % 2 === 0 ? raw : mounted, add, { flag: 'a' })
      const expected = text
      await seen(`line ${i}`, () => readFileSync(mounted, 'utf8') === expected)
      assert.equal(readFileSync(raw, 'utf8'), text)
    }
  },
}
