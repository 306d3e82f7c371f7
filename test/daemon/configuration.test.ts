// Where the root's content is: the environment, then the nearest cosmos.conf that says so, then the home.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readConfiguration } from '../../src/daemon/configuration.ts'
import { findInstance } from '../../src/daemon/instance.ts'

let base: string
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'cosmos-conf-'))
  for (const part of ['home/etc/cosmos', 'shipped/etc/cosmos', 'elsewhere'])
    mkdirSync(join(base, part), { recursive: true })
})
afterEach(() => rmSync(base, { recursive: true }))

const read = (environment: NodeJS.ProcessEnv = {}) =>
  readConfiguration(
    findInstance({ COSMOS_HOME: join(base, 'home'), XDG_RUNTIME_DIR: base }),
    join(base, 'shipped'),
    environment,
  )
const write = (layer: string, text: string) =>
  writeFileSync(join(base, layer, 'etc/cosmos/cosmos.conf'), text)

test('by default the root is a directory of the home', () => {
  expect(read().root).toBe(join(base, 'home/root'))
})

test('the nearest file that names a root wins, and an empty name is none', () => {
  write('shipped', `[root]\nurl = "${base}/elsewhere"\n`)
  expect(read().root).toBe(join(base, 'elsewhere'))
  write('home', '[root]\nurl = ""\n')
  expect(read().root).toBe(join(base, 'elsewhere'))
  write('home', `[root]\nurl = "file://${base}/shipped"\n`)
  expect(read().root).toBe(join(base, 'shipped'))
})

test('the environment comes before all files', () => {
  write('home', `[root]\nurl = "${base}/shipped"\n`)
  expect(read({ COSMOS_ROOT_URL: `file://${base}/elsewhere` }).root).toBe(join(base, 'elsewhere'))
})

test('how paths are read, and how long making something may take', () => {
  expect(read()).toMatchObject({ fudge: false, deadline: 60 })
  write('shipped', '[lookup]\nfudge = true\ndeadline = 9.5\n')
  expect(read()).toMatchObject({ fudge: true, deadline: 9.5 })
  write('home', '[lookup]\nfudge = false\n')
  expect(read()).toMatchObject({ fudge: false, deadline: 9.5 })
})

test.each([
  ['a wrong setting', '[lookup]\nfudge = 1\n', 'EINVAL'],
  ['a deadline that is none', '[lookup]\ndeadline = 0\n', 'EINVAL'],
  ['no TOML', '[root\n', 'EINVAL'],
  ['a wrong table', 'root = 1\n', 'EINVAL'],
  ['a wrong value', '[root]\nurl = 1\n', 'EINVAL'],
  ['a relative path', '[root]\nurl = "here"\n', 'EINVAL'],
  ['a directory that is not there', '[root]\nurl = "/nowhere/at/all"\n', 'ENOTDIR'],
])('%s is an error with the file or the directory in it', (_, text, code) => {
  write('home', text)
  expect(() => read()).toThrow(expect.objectContaining({ code }))
})
