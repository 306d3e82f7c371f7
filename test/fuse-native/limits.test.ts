import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type Limit, limits, plainLimits } from '../../mount/fuse-native/limits.ts'

const row = ({ id, what, why }: Limit): string => `| \`${id}\` | ${what} | ${why} |`

test('the documentation lists the limits as they are', () => {
  const page = readFileSync(new URL('../../docs/fuse-native.md', import.meta.url), 'utf8')
  const rows = page
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.replace(/ +/g, ' '))
  expect(rows).toEqual([...limits, ...plainLimits].map(row))
})

test('each limit has an id of its own', () => {
  const ids = [...limits, ...plainLimits].map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
})
