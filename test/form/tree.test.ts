import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { entryNames, originalName } from '../../src/form/entry-names.ts'
import { type MappedNode, nodeAt, readTree, writeIndex, writeTree } from '../../src/form/tree.ts'
import { failure, inDirectory, listing } from './support.ts'

const named = (...names: string[]) => names.map((name) => ({ name }))

test('names of entries', () => {
  expect(entryNames(named('key', 'key', 'key~2', 'key'))).toEqual(['key', 'key~2', 'key~2~2', 'key~3'])
  expect(entryNames(named('', '.', '..', 'a/b', 'a\0b', '%', '50%', '%2F', '%%2f'))).toEqual([
    '%',
    '%2E',
    '%2E%2E',
    'a%2Fb',
    'a%00b',
    '%25',
    '50%',
    '%252F',
    '%%252f',
  ])
  const [long, again] = entryNames(named('é'.repeat(200), 'é'.repeat(200)))
  expect(Buffer.byteLength(long!)).toBeLessThanOrEqual(255)
  expect(Buffer.byteLength(again!)).toBeLessThanOrEqual(255)
  expect(long).toMatch(/^é+%~[0-9a-f]{12}$/)
  expect(again).toMatch(/^é+%~[0-9a-f]{12}~2$/)
})

test('names are those of files, each another, and come back', () => {
  const text = fc.string({ unit: 'binary', maxLength: 40 })
  fc.assert(
    fc.property(
      fc.array(fc.oneof(text, fc.constantFrom('', '.', '..', '%', '%2F', '/', 'a', 'a~2'))),
      (names) => {
        const entries = entryNames(names.map((name) => ({ name })))
        expect(new Set(entries).size).toBe(names.length)
        for (const [i, entry] of entries.entries()) {
          expect(entry).not.toMatch(/[/\0]/)
          expect(['', '.', '..']).not.toContain(entry)
          expect(Buffer.byteLength(entry)).toBeLessThanOrEqual(255)
          const isFirst = names.indexOf(names[i]!) === i && !names.some((name) => name.includes('~'))
          if (isFirst && !entry.includes('%~')) expect(originalName(entry)).toBe(names[i])
        }
      },
    ),
  )
})

const tree: MappedNode = {
  name: '',
  type: 'object',
  properties: new Map([['title', 'T']]),
  children: [
    { name: 'text', text: 'a line' },
    { name: 'bytes', text: new Uint8Array([0, 255]) },
    { name: 'none' },
    { name: 'a/b', text: '1', type: 'number' },
    { name: 'list', type: 'array', text: 'own', children: [{ name: '0', text: 'x\n' }] },
    { name: 'empty', type: 'array', children: [] },
    { name: 'link', link: 'list/0' },
  ],
}

test('a tree is written and read', () =>
  inDirectory((directory) => {
    const place = join(directory, 'tree')
    const written = writeTree(tree, place)
    writeIndex(place, written.index)
    expect(written).toMatchObject({ entries: 9, left: 0 })
    expect(listing(place)).toEqual({
      text: 'a line\n',
      bytes: '\0\xff',
      none: '',
      'a%2Fb': '1\n',
      'list/#text': 'own\n',
      'list/0': 'x\n\n',
      'empty/': '',
      link: '-> list/0',
    })
    expect(written.index).toEqual([
      { path: '', type: 'object', properties: { title: 'T' } },
      { path: 'a%2Fb', name: 'a/b', type: 'number' },
      { path: 'list', type: 'array' },
      { path: 'empty', type: 'array' },
    ])
    const back = readTree(place)
    expect(back).toMatchObject({ type: 'object', properties: new Map([['title', 'T']]) })
    expect(nodeAt(back, ['a%2Fb'])).toEqual({ name: 'a/b', text: '1', type: 'number' })
    expect(nodeAt(back, ['list', '0'])).toEqual({ name: '0', text: 'x\n' })
  }))

test('so many levels', () =>
  inDirectory((directory) => {
    const written = writeTree(tree, join(directory, 'tree'), 1)
    expect(written).toMatchObject({ entries: 7, left: 1 })
    expect(written.index).toContainEqual({ path: 'list', type: 'array', left: true })
    expect([...written.leftNames]).toEqual([['', ['list']]])
    expect(existsSync(join(directory, 'tree/list'))).toBe(false)
    // What is below is the result that is asked for by its path.
    expect(writeTree(nodeAt(tree, ['list']), join(directory, 'list'), 1)).toMatchObject({
      entries: 2,
      left: 0,
    })
  }))

test('a text alone is a directory too', () =>
  inDirectory((directory) => {
    writeTree({ name: '', text: '42', type: 'number' }, join(directory, 'tree'))
    expect(listing(join(directory, 'tree'))).toEqual({ '#text': '42\n' })
  }))

test('bounds and errors', () =>
  inDirectory(async (directory) => {
    const many = {
      name: '',
      children: Array.from({ length: 11 }, (_, i) => ({ name: String(i), text: 'abc' })),
    }
    let deep: MappedNode = { name: 'x', text: '' }
    for (let i = 0; i < 30; i++) deep = { name: 'd'.repeat(200), children: [deep] }
    const write = (node: MappedNode, nodes = 10, bytes = 20, depth = 100) =>
      failure(() =>
        writeTree(node, join(directory, `${Math.random()}`), undefined, 0, { nodes, bytes, depth }),
      )
    expect(await write(many)).toBe('EFBIG tree: more than 20 bytes')
    expect(await write(many, 10, 100)).toBe('EFBIG tree: more than 10 nodes')
    expect(await write(deep, 100, 100, 5)).toBe('EFBIG tree: nested deeper than 5 levels')
    expect(await write(deep, 100, 100)).toBe('EFBIG tree: a path is longer than a file system takes')
    mkdirSync(join(directory, 'there'))
    expect(await failure(() => writeTree(many, join(directory, 'there')))).toMatch(
      /^EEXIST .*exists already$/,
    )
    expect(await failure(() => writeTree(many, join(directory, 'no/where')))).toMatch(/^ENOENT /)
    writeFileSync(join(directory, 'there/x'), 'y')
    expect(await failure(() => nodeAt(many, ['0', 'x']))).toBe('ENOENT 0/x: is not in the tree')
  }))
