import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Reading, Stage } from '../../src/lookup/fudge/reading.ts'
import { reread, resolve } from '../../src/lookup/fudge/resolve.ts'
import { texts } from './lookups.ts'
import { directory } from './namespace.ts'

const map = (mapper: string, ...args: string[]): Stage => ({ kind: 'map', mapper, args })
const transform = (transformer: string, ...args: string[]): Stage => ({
  kind: 'transform',
  transformer,
  args,
})
const run = (program: string, ...args: string[]): Stage => ({ kind: 'run', program, args })
const property = (name: string): Stage => ({ kind: 'property', name })
const inside: Stage = { kind: 'directory' }
const chain = (base: string, ...stages: Stage[]): Reading => ({ kind: 'chain', base, stages })
const set = (...stages: Stage[]): Reading => ({ kind: 'set', stages })
const literal = (name: string): Reading => ({ kind: 'literal', name })

const children = [
  'photo.png',
  'report.txt',
  'data.json',
  'data.yaml',
  'deep.yml',
  'foo',
  'main.o',
  'a.b',
  'a b',
  '100%',
  '50%25',
  '12:30.txt',
  'odd.json.txt',
  'my-file.txt',
  '.profile',
  'k.ox',
  'k.ox.d',
  'dir/',
]

describe('on a plain path', () => {
  test.each<[string, Reading | undefined]>([
    // Names.
    ['foo', literal('foo')],
    ['k.ox.d', literal('k.ox.d')],
    ['100%', literal('100%')],
    ['100%25', literal('100%')],
    ['50%25', literal('50%25')],
    ['a%20b', literal('a b')],
    ['a%2Eb', literal('a.b')],
    ['nothing', undefined],
    ['no%zz', undefined],
    ['%2E%2E', undefined],
    ['dir%2Fx', undefined],
    // Modifiers.
    ['photo.png.scale-50', chain('photo.png', transform('scale', '50'))],
    ['report.txt.ox', chain('report.txt', map('ox'))],
    ['report.txt.ox.d', chain('report.txt', map('ox'), inside)],
    ['report.txt.ox-1-2.d', chain('report.txt', map('ox', '1', '2'), inside)],
    ['data.json.d', chain('data.json', map('json'), inside)],
    ['deep.yml.d', chain('deep.yml', map('yaml'), inside)],
    ['data.yaml.to-json', chain('data.yaml', transform('to-json'))],
    ['data.yaml.to-json.d', chain('data.yaml', transform('to-json'), map('json'), inside)],
    ['foo.unzip.d', chain('foo', transform('unzip'), inside)],
    ['foo.to-html-x', chain('foo', transform('to-html', 'x'))],
    ['foo.a-b-c', chain('foo', transform('a-b', 'c'))],
    ['foo.grep-a%2Db', chain('foo', transform('grep', 'a-b'))],
    ['my-file.txt.grep-x', chain('my-file.txt', transform('grep', 'x'))],
    ['a%20b.grep-x', chain('a b', transform('grep', 'x'))],
    ['100%.grep-x', chain('100%', transform('grep', 'x'))],
    ['odd.json.txt.ox', chain('odd.json.txt', map('ox'))],
    ['.profile.ox', chain('.profile', map('ox'))],
    ['foo.json.d', chain('foo', map('json'), inside)],
    // Forms that are asked for by name are made over connectors; others are not.
    ['data.json.to-divine', chain('data.json', transform('to-divine'))],
    ['dir.to-ox', chain('dir', map('ox'))],
    ['dir.html', chain('dir', transform('html'))],
    ['foo.to-yaml', undefined],
    // What compilers and tools probe.
    ['foo.c', undefined],
    ['foo.cc', undefined],
    ['foo.json', undefined],
    ['foo.zip', undefined],
    ['foo.d', undefined],
    ['main.o.d', undefined],
    ['data.json.d.d', undefined],
    ['.env', undefined],
    ['.json', undefined],
    ['foo.', undefined],
    ['none.ox', undefined],
    ['foo.d-1', undefined],
    // Properties.
    ['foo:mtime', chain('foo', property('mtime'))],
    ['foo:', chain('foo', property(''))],
    ['report.txt.ox:error', chain('report.txt', map('ox'), property('error'))],
    ['dir:body.grep-x', chain('dir', property('body'), transform('grep', 'x'))],
    ['12:30.txt.ox', chain('12:30.txt', map('ox'))],
    ['foo:other', undefined],
    ['none:mtime', undefined],
    ['foo:.grep-x', undefined],
    // The current set.
    ['.unzip', set(transform('unzip'))],
    ['.grep-NOTE-c', set(transform('grep', 'NOTE', 'c'))],
    ['.unzip.grep-x', set(transform('unzip'), transform('grep', 'x'))],
    [':body', set(property('body'))],
    // Aliases.
    ['photo.png.thumb', chain('photo.png', transform('scale', '128'))],
    ['photo.png.thumb-9', chain('photo.png', transform('scale', '128', '9'))],
    ['photo.png.tiny', chain('photo.png', transform('scale', '128', '9'))],
    ['foo.lines', chain('foo', run('wc', '-l'))],
    ['foo.open', chain('foo', transform('grep', 'NOT YET'))],
    ['foo.lost', undefined],
    // URLs and binds.
    ['https:', undefined],
    [
      'https:%2F%2Fh%2Fp%252Fq%2Fx.to-json',
      { kind: 'url', scheme: 'https', authority: 'h', path: ['p%2Fq', 'x.to-json'] },
    ],
    ['file:%2F%2F%2Fp', { kind: 'url', scheme: 'file', authority: undefined, path: ['p'] }],
    ['foo.->a.b', { kind: 'bind', left: literal('foo'), binds: [{ operator: '.->', right: 'a.b' }] }],
    [
      'report.txt.ox.+>https:%2F%2Fh%2Fp.==x%2Dy',
      {
        kind: 'bind',
        left: chain('report.txt', map('ox')),
        binds: [
          { operator: '.+>', right: 'https://h/p' },
          { operator: '.==', right: 'x%2Dy' },
        ],
      },
    ],
    ['.=foo', { kind: 'bind', left: set(), binds: [{ operator: '.=', right: 'foo' }] }],
    ['none.->foo', undefined],
    ['foo.->', undefined],
    ['..->foo', undefined],
  ])('%s', (segment, expected) => {
    expect(resolve(directory(children), segment)).toEqual(expected)
  })

  test('a name that exists asks one question', () => {
    const here = directory(children)
    resolve(here, 'k.ox.d')
    expect(here.asked).toEqual(['k.ox.d'])
  })

  test('a name that cannot be modified asks no question behind a miss', () => {
    const here = directory(children)
    expect(reread(here, 'foo.c')).toBeUndefined()
    expect(here.asked).toEqual([])
  })

  test('aliases in a circle are ELOOP', () => {
    expect(() => resolve(directory(children), 'foo.round')).toThrow(
      expect.objectContaining({ code: 'ELOOP', message: expect.stringContaining('round → about → round') }),
    )
  })

  test('the root has sources', () => {
    expect(resolve(directory([], true), 'https:')).toEqual({ kind: 'source', scheme: 'https' })
  })
})

describe('in a URL', () => {
  const pacman = ['dir/', 'foo', 'pacman.csv', 'pacman.yaml', 'pacman.png', 'a/b', 'table.csv']
  test.each<[string, Reading | undefined]>([
    ['dir.html', chain('dir', map('ox'), map('divine'), transform('html'))],
    ['dir.ox.html', chain('dir', map('ox'), map('divine'), transform('html'))],
    ['dir.divine.d', chain('dir', map('ox'), map('divine'), inside)],
    ['table.csv.json', chain('table.csv', map('yaml'), transform('to-json'))],
    [
      'pacman.json',
      {
        kind: 'match',
        chains: [
          { kind: 'chain', base: 'pacman.yaml', stages: [transform('to-json')] },
          { kind: 'chain', base: 'pacman.csv', stages: [map('yaml'), transform('to-json')] },
        ],
      },
    ],
    [
      'pacman.json.d',
      {
        kind: 'match',
        chains: [
          { kind: 'chain', base: 'pacman.yaml', stages: [transform('to-json'), map('json'), inside] },
          {
            kind: 'chain',
            base: 'pacman.csv',
            stages: [map('yaml'), transform('to-json'), map('json'), inside],
          },
        ],
      },
    ],
    ['foo.cc', chain('foo', run('cc'))],
    ['foo.json', chain('foo', map('json'))],
    ['a%2Fb', literal('a/b')],
    ['a%2Fb.ox', chain('a/b', map('ox'))],
    ['other.json', undefined],
    ['foo.rs', undefined],
  ])('%s', (segment, expected) => {
    expect(resolve(directory(pacman), segment, { fudge: true })).toEqual(expected)
  })
})

test('any text has a reading or none, and no question leads out of the directory', () => {
  fc.assert(
    fc.property(texts, fc.boolean(), (text, fudge) => {
      const here = directory(['a', 'b'])
      const segment = text.replaceAll('/', '') || 'a'
      fc.pre(segment !== '.' && segment !== '..')
      resolve(here, segment, { fudge })
      for (const name of here.asked) {
        expect(['.', '..', '']).not.toContain(name)
        if (!fudge) expect(name).not.toContain('/')
      }
    }),
    { numRuns: 2000 },
  )
})
