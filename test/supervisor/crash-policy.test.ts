import { expect, test } from 'vitest'
import { CrashPolicy, type Verdict } from '../../src/daemon/crash-policy.ts'

const crash = { ready: false, lifetime: 50, killed: false }
const kill = { ready: true, lifetime: 50, killed: true }

test('kills are answered at once, however many', () => {
  const policy = new CrashPolicy()
  for (let i = 0; i < 1000; i++) expect(policy.died(kill)).toEqual({ act: 'replace', delay: 0 })
})

test('kills before a daemon is ready slow down, and end', () => {
  const policy = new CrashPolicy()
  const verdicts: Verdict[] = []
  do verdicts.push(policy.died({ ...kill, ready: false }))
  while (verdicts.at(-1)?.act === 'replace')
  expect(verdicts.at(-1)?.act).toBe('give up')
  expect(verdicts.slice(0, 50).every(({ delay }) => delay === 0)).toBe(true)
  expect(verdicts.at(-2)?.delay).toBeGreaterThan(0)
})

test('a crash loop is met with a new mount, then slower and slower, then not at all', () => {
  const policy = new CrashPolicy()
  const verdicts = Array.from({ length: 10 }, () => policy.died(crash))
  expect(verdicts.map(({ act }) => act)).toEqual([
    'replace',
    'replace',
    ...Array.from({ length: 7 }, () => 'remount'),
    'give up',
  ])
  expect(verdicts.map(({ delay }) => delay)).toEqual([0, 0, 0, 100, 200, 400, 800, 1600, 3200, 0])
})

test('crashes right after ready are a loop too: a request that is asked again may be the cause', () => {
  const policy = new CrashPolicy()
  for (let i = 0; i < 2; i++) expect(policy.died({ ...crash, ready: true }).act).toBe('replace')
  expect(policy.died({ ...crash, ready: true }).act).toBe('remount')
})

test('a daemon that served for a while ends the loop', () => {
  const policy = new CrashPolicy()
  for (let i = 0; i < 2; i++) policy.died(crash)
  expect(policy.died({ ready: true, lifetime: 60_000, killed: false })).toEqual({ act: 'replace', delay: 0 })
})
