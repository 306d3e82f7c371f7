import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MAPPERS, mapperFor } from '../../src/form/mappers/index.ts'
import { nodeAt } from '../../src/form/tree.ts'
import { zipOf } from './archives.ts'
import { failure, inDirectory, mapped, mapTree } from './support.ts'

test('mappers by the names of files', () => {
  expect(MAPPERS.map(({ name }) => name).sort()).toEqual(
    'csv divine html ini json mbox md ox raymarks tar toml xml yaml zip'.split(' '),
  )
  expect(
    ['a.JSON', 'b.yml', 'src.tar.gz', 'x.tgz', 'letter.docx'].map((name) => mapperFor(name)?.name),
  ).toEqual(['json', 'yaml', 'tar', 'tar', 'zip'])
  expect([mapperFor('none'), mapperFor('.json/x'), mapperFor('a.unknown')]).toEqual([
    undefined,
    undefined,
    undefined,
  ])
})

test('json', async () => {
  const { files, index } = await mapped(
    'json',
    '{"b": [1.50, true, null, "x\\u00e9"], "a": {}, "a": "y", "10": 1e999}',
  )
  expect(files).toEqual({
    'b/0': '1.50\n',
    'b/1': 'true\n',
    'b/2': 'null\n',
    'b/3': 'x\xc3\xa9\n',
    'a/': '',
    'a~2': 'y\n',
    10: '1e999\n',
  })
  expect(index).toContainEqual({ path: 'b/0', type: 'number' })
  expect(index).toContainEqual({ path: 'a~2', name: 'a' })
  expect(await failure(() => mapTree('json', '{"a": 1,\n "b": tru}'))).toBe(
    'EILSEQ json document: line 2, column 7: no value',
  )
  expect(await failure(() => mapTree('json', '[1, 2'))).toBe(
    'EILSEQ json document: line 1, column 6: ends too early',
  )
  expect(await failure(() => mapTree('json', Buffer.from('["\xe9"]', 'latin1')))).toBe(
    'EILSEQ json document: line 1, column 3: is not UTF-8',
  )
})

test('json: what lies deeper is left, and checked', async () => {
  const document = '{"a": {"b": {"c": 1}}, "d": 2}'
  const { files, left, index } = await mapped('json', document, { depth: 1 })
  expect(files).toEqual({ d: '2\n' })
  expect(left).toBe(1)
  expect(index).toContainEqual({ path: 'a', type: 'object', left: true })
  expect(await failure(() => mapTree('json', document.replace('1', 'x'), { depth: 1 }))).toMatch(
    /^EILSEQ .*column 19/,
  )
})

test('json: of what lies aside only the names', async () => {
  const document = '{"a": {"x": {}}, "b/c": [{"d": {"e": 1}}, {"f": 2}], "b/c": 3}'
  const tree = await mapTree('json', document, { at: ['b%2Fc', '0'] })
  expect(nodeAt(tree, ['b%2Fc', '0'])).toMatchObject({ children: [{ name: 'd', children: [{ name: 'e' }] }] })
  expect(tree.children?.[0]).toEqual({ name: 'a', type: 'object', left: true })
  expect(nodeAt(tree, ['b%2Fc~2'])).toMatchObject({ text: '3' })
})

test('yaml', async () => {
  const { files } = await mapped('yaml', 'a: &x [1, 0x1F, 3.0, yes]\nb: *x\nc: |\n  hi\n  there\nd:\n')
  expect(files).toEqual({
    'a/0': '1\n',
    'a/1': '31\n',
    'a/2': '3.0\n',
    'a/3': 'yes\n',
    'b/0': '1\n',
    'b/1': '31\n',
    'b/2': '3.0\n',
    'b/3': 'yes\n',
    c: 'hi\nthere\n\n',
    d: 'null\n',
  })
  expect((await mapped('yaml', '--- 1\n--- {a: b}\n')).files).toEqual({ 0: '1\n', '1/a': 'b\n' })
  expect(await failure(() => mapTree('yaml', 'a: b\nc: [1, 2\n'))).toMatch(
    /^EILSEQ yaml document: line 3, column 1: /,
  )
})

test('toml', async () => {
  const { files, index } = await mapped(
    'toml',
    'a = 1\n[b]\nc = 1979-05-27\nd = [1.5, "x"]\ne = 9007199254740993\n',
  )
  expect(files).toEqual({
    a: '1\n',
    'b/c': '1979-05-27\n',
    'b/d/0': '1.5\n',
    'b/d/1': 'x\n',
    'b/e': '9007199254740993\n',
  })
  expect(index).toContainEqual({ path: 'b/c', type: 'date' })
  expect(await failure(() => mapTree('toml', 'a = 1\nb = \n'))).toMatch(
    /^EILSEQ toml document: line 2, column 5: /,
  )
})

test('md', async () => {
  const document =
    '---\ntitle: T\n---\nintro\n\n# One\n\ntext `x`\n\n```\n# none\n```\n\n## Sub *em* 1/2\nbody\n\nTwo\n===\n\n# One\n'
  const { files, index } = await mapped('md', document)
  expect(files).toEqual({
    '#text': 'intro\n',
    'One/#text': 'text `x`\n\n```\n# none\n```\n',
    'One/Sub em 1%2F2': 'body\n',
    Two: '\n',
    'One~2': '\n',
  })
  expect(index[0]).toEqual({ path: '', properties: { title: 'T' } })
  expect(index).toContainEqual({ path: 'Two', properties: { level: '1', line: '17' } })
})

test('csv', async () => {
  expect((await mapped('csv', 'a;b\n1;"x;""y"\n2;z;more\n')).files).toEqual({
    '0/a': '1\n',
    '0/b': 'x;"y\n',
    '1/a': '2\n',
    '1/b': 'z\n',
    '1/2': 'more\n',
  })
  expect((await mapped('csv', 'a\tb\n1,5\t2\n')).files).toEqual({ '0/a': '1,5\n', '0/b': '2\n' })
  expect((await mapped('csv', 'a,b\n1,2\n', { depth: 1 })).left).toBe(1)
  expect(await failure(() => mapTree('csv', 'a,b\n1,"x\n'))).toMatch(/^EILSEQ csv document: line \d/)
})

test('html', async () => {
  const { files, index } = await mapped(
    'html',
    '<title>x</title><p class=a>Hello <b>w</b> bye<br><p>&eacute;',
  )
  expect(files).toEqual({
    'html/head/title': 'x\n',
    'html/body/p/#text': 'Hello \n',
    'html/body/p/b': 'w\n',
    'html/body/p/#text~2': ' bye\n',
    'html/body/p/br': '',
    'html/body/p~2': '\xc3\xa9\n',
  })
  expect(index).toContainEqual({ path: 'html/body/p', properties: { class: 'a' } })
  const latin = Buffer.from('<meta charset=iso-8859-1><p>\xe9', 'latin1')
  expect((await mapped('html', latin)).files['html/body/p']).toBe('\xc3\xa9\n')
})

test('xml', async () => {
  const { files, index } = await mapped(
    'xml',
    '<?xml version="1.0"?>\n<r a="1">\n<i>x &amp; y</i><i><![CDATA[<]]></i>\n<e b="2"/></r>',
  )
  expect(files).toEqual({ 'r/i': 'x & y\n', 'r/i~2': '<\n', 'r/e': '' })
  expect(index).toContainEqual({ path: 'r/e', properties: { b: '2' } })
  expect(await failure(() => mapTree('xml', '<a>\n<b></a>'))).toMatch(
    /^EILSEQ xml document: line 2, column 8: /,
  )
})

test('raymarks', async () => {
  const document = 'top\n== DEFINITION: ox language ==\n\nhello\n\n--------\nbetween\n== two ==\nx\n'
  const { files, index } = await mapped('raymarks', document)
  expect(files).toEqual({ '#text': 'top\nbetween\n', 'ox language': 'hello\n', two: 'x\n' })
  expect(index).toContainEqual({ path: 'ox language', properties: { line: '2', kind: 'definition' } })
})

test('ox', async () => {
  const document =
    'groceries\n\tmilk\n\n\teggs\ntitle: Hello: x\n  sub\nnote\n  "two\n  "lines\nurl http://x\n'
  const { files, index } = await mapped('ox', document)
  expect(files).toEqual({
    'groceries/milk': 'milk\n',
    'groceries/eggs': 'eggs\n',
    'title/#text': 'Hello: x\n',
    'title/sub': 'sub\n',
    note: 'two\nlines\n',
    'url http:%2F%2Fx': 'url http://x\n',
  })
  expect(index).toContainEqual({ path: 'groceries/milk', type: 'line' })
})

test('divine', async () => {
  const document =
    'page .wide .dark\n  $nav\n    "inside\n  "text\n\nnav:\n  <a href="x">link\n    $nav\n  .end\n\n    floating\n'
  const { files, index } = await mapped('divine', document)
  expect(files).toEqual({ 'page/#text': 'text\n', 'page/a': 'link\ninside\n', 'page/end': '' })
  expect(index).toContainEqual({ path: 'page', properties: { id: 'page', class: 'wide dark' } })
  expect(index).toContainEqual({ path: 'page/a', properties: { href: 'x', tag: 'a' } })
})

test('ini', async () => {
  const { files } = await mapped('ini', '; no\nx=1\n[s "t"]\nk = v ; w\nk: 2\\\n  3\nflag\n')
  expect(files).toEqual({ x: '1\n', 's "t"/k': 'v ; w\n', 's "t"/k~2': '23\n', 's "t"/flag': '\n' })
  expect(await failure(() => mapTree('ini', '\n[open\n'))).toBe(
    'EILSEQ ini document: line 2, column 5: "]" is missing',
  )
})

test('mbox', async () => {
  const attached =
    'Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/plain\n\nsee\n--B\n' +
    'Content-Type: application/x; name=f.bin\nContent-Disposition: attachment; filename=f.bin\n' +
    'Content-Transfer-Encoding: base64\n\nAP8=\n--B--\n'
  const document = `From a@b Mon\nSubject: =?utf-8?q?H=C3=AF?=\n\nbody\n>From x\n\nFrom c@d Tue\nSubject: Yo\n${attached}`
  const { files, index } = await mapped('mbox', document)
  expect(files).toEqual({ '0/text': 'body\nFrom x\n\n', '1/text': 'see\n', '1/attachments/f.bin': '\0\xff' })
  expect(index).toContainEqual({ path: '0', properties: { subject: 'Hï' } })
  expect(await failure(() => mapTree('mbox', 'Subject: x\n'))).toMatch(/^EILSEQ .*line 1, column 1/)
})

test('tar, of tar(1), plain and gzipped', () =>
  inDirectory(async (directory) => {
    mkdirSync(join(directory, 'src/sub'), { recursive: true })
    writeFileSync(join(directory, 'src/a'), Buffer.from([0, 255]), { mode: 0o640 })
    writeFileSync(join(directory, `src/sub/${'n'.repeat(90)}`), 'long')
    symlinkSync('../a', join(directory, 'src/sub/link'))
    for (const flags of [['-cf'], ['-czf'], ['--format=pax', '-cf'], ['--format=ustar', '-cf']]) {
      const archive = execFileSync('tar', [...flags, '-', 'src'], { cwd: directory })
      const { files, index } = await mapped('tar', archive)
      expect(files).toEqual({
        'src/a': '\0\xff',
        [`src/sub/${'n'.repeat(90)}`]: 'long',
        'src/sub/link': '-> ../a',
      })
      expect(index.find(({ path }) => path === 'src/a')?.properties).toMatchObject({ mode: '0640' })
      expect((await mapped('tar', archive, { depth: 1 })).index).toMatchObject([{ path: 'src', left: true }])
    }
    expect(await failure(() => mapTree('tar', Buffer.alloc(2048, 'x')))).toMatch(/^EILSEQ tar document: /)
  }))

test('zip', async () => {
  const archive = zipOf([
    { name: 'dir/' },
    { name: 'dir/a', content: Buffer.from([0, 255]) },
    { name: 'b', content: Buffer.alloc(5000, 'x') },
  ])
  const { files } = await mapped('zip', archive)
  expect(files).toEqual({ 'dir/a': '\0\xff', b: 'x'.repeat(5000) })
  expect((await mapped('zip', archive, { depth: 1 })).left).toBe(1)
  expect(await failure(() => mapTree('zip', 'no archive at all, but long enough'))).toMatch(
    /^EILSEQ zip document: /,
  )
})
