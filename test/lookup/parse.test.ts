import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CosmosError } from '../../src/errors.ts'
import { toBytesText } from '../../src/frame/paths.ts'
import type { Lookup, Node, Origin, Suffix } from '../../src/lookup/fudge/grammar.ts'
import { parse, split } from '../../src/lookup/fudge/parse.ts'
import { print } from '../../src/lookup/fudge/print.ts'
import { lookups, texts } from './lookups.ts'

const here: Origin = { kind: 'here' }
const root: Origin = { kind: 'root' }
const m = (first: string, ...rest: string[]): Suffix => ({ kind: 'modifier', words: [first, ...rest] })
const p = (name: string): Suffix => ({ kind: 'property', name })
const node = (name: string, ...suffixes: Suffix[]): Node => ({ kind: 'node', name, suffixes })

describe('a lookup', () => {
  const url = (scheme: string, authority?: string): Origin => ({
    kind: 'url',
    scheme,
    ...(authority !== undefined && { authority }),
  })
  test.each<[string, Origin, Lookup['steps']]>([
    ['a/b', here, [node('a'), node('b')]],
    ['/a/../b', root, [node('a'), { kind: 'up' }, node('b')]],
    ['.', here, []],
    ['/', root, []],
    ['photo.png.scale-50', here, [node('photo', m('png'), m('scale', '50'))]],
    ['name.ox.d/x', here, [node('name', m('ox'), m('d')), node('x')]],
    ['name:mtime', here, [node('name', p('mtime'))]],
    ['name:', here, [node('name', p(''))]],
    ['page:body.grep-x', here, [node('page', p('body'), m('grep', 'x'))]],
    [
      'docx/.unzip/.grep-NOTE-c',
      here,
      [node('docx'), node('', m('unzip')), node('', m('grep', 'NOTE', 'c'))],
    ],
    ['a.grep-x%2Dy', here, [node('a', m('grep', 'x-y'))]],
    ['my-file', here, [node('my-file')]],
    ['a%2Eb', here, [node('a.b')]],
    ['a..b.', here, [node('a', m(''), m('b'), m(''))]],
    ['100%25', here, [node('100%')]],
    ['https://h/p', url('https', 'h'), [node('p')]],
    ['https://me@h:8443/a%2Fb', url('https', 'me@h:8443'), [node('a/b')]],
    [
      'https://h/p?q=a%26b.to-json',
      url('https', 'h'),
      [node('p', { kind: 'query', text: 'q=a%26b' }, m('to', 'json'))],
    ],
    ['file:///p/q', url('file'), [node('p'), node('q')]],
    ['ssh://h', url('ssh', 'h'), []],
    ['cosmos://user@host/context/path', url('cosmos', 'user@host'), [node('context'), node('path')]],
    ['./https:', here, [node('https', p(''))]],
    ['/./file:/x', root, [node('file', p('')), node('x')]],
    ['gopher:/x', here, [node('gopher', p('')), node('x')]],
    [
      'bind://a,..%2Fb,https:%2F%2Fh%2Fp%252Fq/x',
      {
        kind: 'merge',
        scheme: 'bind',
        operands: [
          { origin: here, steps: [node('a')] },
          { origin: here, steps: [{ kind: 'up' }, node('b')] },
          { origin: { kind: 'url', scheme: 'https', authority: 'h' }, steps: [node('p/q')] },
        ],
      },
      [node('x')],
    ],
  ])('%s', (text, origin, steps) => {
    expect(parse(text)).toEqual({ origin, steps })
    expect(print(parse(text))).toBe(text)
  })

  test.each(['.==', '.->', '.<-', '.+>', '.<+', '.='] as const)('has the bind operator %s', (operator) => {
    const right = { origin: here, steps: [node('c', m('ox'))] }
    expect(parse(`a.json${operator}c.ox/x`).steps).toEqual([
      { kind: 'bind', left: node('a', m('json')), binds: [{ operator, right }] },
      node('x'),
    ])
  })

  test.each([
    ['https:/h/p', 'https://h/p'],
    ['/https:/h//p/', 'https://h/p'],
    ['file:/p', 'file:///p'],
    ['https:', 'https:///'],
    ['', '.'],
    ['./a/./b//', 'a/b'],
    ['%61%2f', 'a%2F'],
    ['a.+>b,c', 'a.+>b%2Cc'],
    ['a.+x-y.%2D>z', 'a.+x-y.%2D>z'],
    ['a.=%3Db', 'a.=%3Db'],
  ])('%j is written %s', (text, normal) => {
    expect(print(parse(text))).toBe(normal)
  })

  test('reads as what was printed', () => {
    fc.assert(
      fc.property(lookups, (lookup) => {
        expect(parse(print(lookup))).toEqual(lookup)
      }),
      { numRuns: 2000 },
    )
  })

  test('in its normal form stays as it is', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const normal = normalize(text)
        if (normal !== undefined) expect(normalize(normal)).toBe(normal)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('an error', () => {
  test.each([
    ['a/b%zz', 'column 4: % is not followed by a byte in hexadecimal'],
    ['100%', 'column 4: % is not followed by a byte in hexadecimal'],
    ['a%00', 'column 2: % is not followed by a byte in hexadecimal'],
    ['ä/100%', 'column 6: % is not followed by a byte in hexadecimal'],
    ['a\0b', 'column 2: a NUL character is in no name'],
    ['x/%2E%2E/y', 'column 3: .. is no name'],
    ['x/a.+>', 'column 7: an operand is missing'],
    ['a.+>.->b', 'column 5: an operand is missing'],
    ['bind://a,,b', 'column 10: an operand is missing'],
    ['a.->bind:%2Fb', 'column 5: bind: cannot be an operand'],
    ['bind:/a,b.->c', 'column 9: a bind cannot be an operand'],
  ])('of %j names the column', (text, message) => {
    try {
      parse(toBytesText(text))
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ code: 'EINVAL', subject: text, message: `${text}: ${message}` })
    }
  })
})

test('is cut into segments as they are written', () => {
  expect(split('/a%/./100%//..')).toEqual({
    rooted: true,
    scheme: undefined,
    form: undefined,
    authority: undefined,
    segments: [
      { text: 'a%', at: 1 },
      { text: '100%', at: 6 },
      { text: '..', at: 12 },
    ],
  })
})

function normalize(text: string): string | undefined {
  try {
    return print(parse(text))
  } catch (error) {
    if (error instanceof CosmosError && error.code === 'EINVAL') return undefined
    throw error
  }
}

test('the page has the normal forms that it says', () => {
  const page = readFileSync(new URL('../../docs/fudge.md', import.meta.url), 'utf8')
  const [, table = ''] = page.split('| written | normal form |')
  const rows = [...table.matchAll(/^\| `([^`]+)` \| `([^`]+)` \|$/gm)]
  expect(rows.length).toBeGreaterThan(5)
  for (const [, written, normal] of rows) expect(print(parse(written!))).toBe(normal)
})
