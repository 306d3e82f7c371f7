import { expect, test } from 'vitest'
import { canPeel, peel } from '../../src/lookup/fudge/peel.ts'

const whole = (mark: string, text: string) => mark + text

test('the longest name comes first', () => {
  expect([...peel('name.m1-a-b.m2:p', whole)]).toEqual([
    { base: 'name.m1-a-b.m2', suffixes: [':p'] },
    { base: 'name.m1-a-b', suffixes: ['.m2', ':p'] },
    { base: 'name', suffixes: ['.m1-a-b', '.m2', ':p'] },
  ])
})

test('a name that begins with a dot ends in the current set', () => {
  expect([...peel('.a', whole)]).toEqual([{ base: '', suffixes: ['.a'] }])
  expect([...peel('plain', whole)]).toEqual([])
})

test('what is no suffix ends it, and nothing left of it is looked at', () => {
  const seen: string[] = []
  const read = (_: string, text: string) => {
    seen.push(text)
    return text === 'm' ? text : undefined
  }
  expect([...peel('a.m.b.m', read)]).toEqual([{ base: 'a.m.b', suffixes: ['m'] }])
  expect(seen).toEqual(['m', 'b'])
  expect(canPeel('a.m', read)).toBe(true)
  expect(canPeel('a.b', read)).toBe(false)
  expect(canPeel('a', read)).toBe(false)
})
