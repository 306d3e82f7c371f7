import { expect, test } from 'vitest'
import { toBytesText } from '../../src/frame/paths.ts'
import { parseAliases } from '../../src/lookup/aliases.ts'

test('an alias is a modifier and arguments', () => {
  const text = `
    thumb = "scale 128"
    to-pdf = " print  pdf "
    open = ["grep", "not yet"]
    "größe" = "wc ß"
  `
  expect([...parseAliases(text, 'a')]).toEqual([
    ['thumb', { name: 'scale', args: ['128'] }],
    ['to-pdf', { name: 'print', args: ['pdf'] }],
    ['open', { name: 'grep', args: ['not yet'] }],
    [toBytesText('größe'), { name: 'wc', args: [toBytesText('ß')] }],
  ])
})

test.each([
  ['a = 1', 'f: `a` is not text'],
  ['a = ""', 'f: `a` is not text'],
  ['a = " "', 'f: `a` names no modifier'],
  ['a = []', 'f: `a` names no modifier'],
  ['a = ["x", 1]', 'f: `a` is not a list of texts'],
  ['a.b = "x"', 'f: `a` is not text'],
  ['"a.b" = "x"', 'f: `a.b` cannot be written as a modifier'],
  ['"" = "x"', 'f: `` cannot be written as a modifier'],
  ['d = "x"', 'f: `d` is taken: .d is the inside of a file'],
  ['call = "x"', 'f: `call` is taken: it calls a function of a library'],
  ['a = "call libx.so"', 'f: `a` calls no function: call LIBRARY FUNCTION'],
  ['a = "x"\nb = ', 'f:2: '],
])('%j is an error', (text, message) => {
  expect(() => parseAliases(text, 'f')).toThrow(
    expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(message) }),
  )
})
