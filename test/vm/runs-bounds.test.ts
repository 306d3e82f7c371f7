// Result frames are bounded: the oldest go, those that still run stay.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type RunStart, Runs } from '../../src/vm/runs.ts'
import { waitFor } from '../support/wait.ts'

const start: RunStart = {
  path: '/p',
  cwd: '/',
  argv: ['/p', 'a b', ''],
  env: ['A=1'],
  vm: 'v',
  payload: '/p',
}
let base: string
let runs: Runs
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'cosmos-runs-'))
  runs = new Runs(join(base, 'run'))
})
afterEach(() => rmSync(base, { recursive: true }))

test('what is begun and ended is read again', () => {
  const id = runs.begin(start, false)
  expect(runs.list()).toMatchObject([{ id, argv: start.argv, vm: 'v', exit: undefined }])
  runs.end(id, { signal: 9 })
  expect(runs.show(id)).toMatchObject({ path: '/p', env: ['A=1'], exit: 'signal 9' })
  expect(readFileSync(join(runs.directory(id), 'trace'), 'utf8')).toMatch(/launched\n.*ended: signal 9\n$/)
})

test('paths come back byte by byte, whatever they end with', () => {
  // à ends with the byte A0, which is a blank in latin1.
  const path = Buffer.from('/voilà').toString('latin1')
  const id = runs.begin({ ...start, path, cwd: '/a blank ' }, false)
  expect(runs.show(id)).toMatchObject({ path, cwd: '/a blank ' })
})

test('one that is recorded is there at once', () => {
  expect(existsSync(join(runs.directory(runs.begin(start, true)), 'argv'))).toBe(true)
})

test('ids sort by time, also after a restart', () => {
  const first = runs.begin(start, true)
  const next = new Runs(join(base, 'run')).begin(start, true)
  expect(next > first).toBe(true)
  expect(next.length).toBe(first.length)
})

test('only the newest thousand stay, and those that still run', async () => {
  const running = runs.begin(start, true)
  for (let i = 0; i < 1200; i++) runs.end(runs.begin(start, false), { code: 0 })
  runs.flush()
  runs.end(runs.begin(start, false), { code: 0 })
  await waitFor('the oldest to go', () => readdirSync(join(base, 'run')).length <= 1064)
  expect(existsSync(runs.directory(running))).toBe(true)
})

test('only so many bytes stay', async () => {
  for (let i = 0; i < 40; i++) {
    const id = runs.begin(start, true)
    writeFileSync(join(runs.directory(id), 'stdout'), Buffer.alloc(8 << 20))
    runs.end(id, { code: 0 })
  }
  runs.flush()
  for (let i = 0; i < 70; i++) runs.begin(start, false)
  await waitFor('the oldest to go', () => {
    const sizes = readdirSync(join(base, 'run')).filter((id) => existsSync(join(base, 'run', id, 'stdout')))
    return sizes.length <= 32
  })
})

test('a disk that takes nothing costs the record only', () => {
  rmSync(join(base, 'run'), { recursive: true })
  const id = runs.begin(start, false)
  runs.end(id, { code: 0 })
  expect(() => runs.flush()).not.toThrow()
})
