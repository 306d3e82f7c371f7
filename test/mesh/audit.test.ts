// The audit log: a line for each execution, bounded lines for refusals, and digests of what ran.
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { AuditLog, Digests, identityOf } from '../../src/mesh/audit.ts'

let base: string
let path: string
let failures: unknown[]
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'cosmos-audit-'))
  path = join(base, 'state/audit.log')
  failures = []
})
afterEach(() => rmSync(base, { recursive: true }))

const open = (maxBytes?: number) => new AuditLog(path, (error) => failures.push(error), maxBytes)
const lines = (file = path) =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
const execution = {
  visitor: 'a',
  path: '/usr/bin/x',
  digest: 'd',
  vm: 'hostexec',
  sandboxed: true,
  exit: '0',
  duration: 1.5,
}
const refusal = { visitor: 'a', operation: 'exec', path: '/usr/bin/x', why: 'not granted' }

test('an execution is one line, in a file that nobody else can read', async () => {
  const log = open()
  log.executed({ ...execution, path: 'caf\xc3\xa9\n{"what":"forged"}' })
  log.executed({ ...execution, exit: 'signal 9' })
  await log.flush()
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const [first, second] = lines()
  expect(lines()).toHaveLength(2)
  expect(first).toMatchObject({
    what: 'executed',
    visitor: 'a',
    path: 'café\n{"what":"forged"}',
    digest: 'd',
    vm: 'hostexec',
  })
  expect(first).toMatchObject({
    sandboxed: true,
    exit: '0',
    seconds: 1.5,
    time: expect.stringMatching(/^\d{4}-/),
  })
  expect(second).toMatchObject({ exit: 'signal 9' })
  expect(failures).toEqual([])
})

test('a flood of refusals leaves few lines, and the log says that there were more', async () => {
  const log = open()
  for (let i = 0; i < 5000; i++) log.refused({ ...refusal, path: 'x'.repeat(10_000) })
  log.refused({ ...refusal, visitor: 'b' })
  await log.flush()
  const written = lines()
  expect(written.length).toBeGreaterThanOrEqual(21)
  expect(written.length).toBeLessThan(40)
  expect(statSync(path).size).toBeLessThan(64 * 1024)
  expect(written.filter(({ visitor }) => visitor === 'a').some(({ last }) => last === true)).toBe(true)
  expect(written.at(-1)).toMatchObject({
    visitor: 'b',
    what: 'refused',
    operation: 'exec',
    why: 'not granted',
  })
})

test('refusals by visitors without number are bounded too', async () => {
  const log = open()
  for (let i = 0; i < 3000; i++) log.refused({ ...refusal, visitor: `v${i}` })
  await log.flush()
  expect(lines().length).toBeLessThan(1100)
})

test('a full log is put aside, a few are kept, and no line is lost', async () => {
  const log = open(1000)
  for (let i = 0; i < 30; i++) {
    log.executed({ ...execution, exit: String(i) })
    await log.flush()
  }
  for (const each of [path, `${path}.1`, `${path}.4`]) {
    expect(statSync(each).size).toBeLessThanOrEqual(1000)
    expect(statSync(each).mode & 0o777).toBe(0o600)
  }
  expect(existsSync(`${path}.5`)).toBe(false)
  const kept = [4, 3, 2, 1]
    .flatMap((i) => lines(`${path}.${i}`))
    .concat(lines())
    .map(({ exit }) => Number(exit))
  expect(kept.at(-1)).toBe(29)
  expect(kept).toEqual(Array.from({ length: kept.length }, (_, i) => 30 - kept.length + i))
})

test('who keeps the log is told of what could not be written, and later lines are', async () => {
  writeFileSync(join(base, 'state'), 'in the way')
  const log = open()
  log.executed(execution)
  await log.flush()
  expect(failures).toHaveLength(1)
  rmSync(join(base, 'state'))
  log.executed(execution)
  await log.flush()
  expect(lines()).toHaveLength(1)
})

test('a digest is that of the file which ran, or says that it was changed or is gone', async () => {
  const digests = new Digests()
  const file = join(base, 'program')
  writeFileSync(file, 'one')
  const identity = identityOf(statSync(file, { bigint: true }))
  const digest = createHash('sha256').update('one').digest('hex')
  expect(await digests.digest(file, identity)).toBe(digest)
  writeFileSync(file, 'three')
  expect(await digests.digest(file, identity)).toBe(digest)
  const other = new Digests()
  expect(await other.digest(file, identity)).toBe('changed meanwhile')
  rmSync(file)
  expect(await other.digest(file, identity)).toBe('none: ENOENT')
})
