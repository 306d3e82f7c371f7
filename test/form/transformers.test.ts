import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import sharp from 'sharp'
import { parse as parseToml } from 'smol-toml'
import { expect, test } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { zipOf } from './archives.ts'
import { failure, mapTree, transformed } from './support.ts'

const text = async (...args: Parameters<typeof transformed>) => (await transformed(...args)).toString()

test('to-json', async () => {
  const document = '{"b": [1.50, {"c": null}], "10": 12345678901234567890, "a": [], "a": {}}'
  expect(await text('to-json', document)).toBe(
    '{\n  "b": [\n    1.50,\n    {\n      "c": null\n    }\n  ],\n  "10": 12345678901234567890,\n  "a": [],\n  "a": {}\n}\n',
  )
  expect(await text('to-json', '<r a="1"><i>x</i><i b="2">y</i><e/>z</r>', [], 'xml')).toBe(
    `${JSON.stringify({ r: { '@a': '1', i: ['x', { '@b': '2', '#text': 'y' }], e: null, '#text': 'z' } }, null, 2)}\n`,
  )
  expect(await text('to-json', 'a,b\n1,x\n', [], 'csv')).toBe('[\n  {\n    "a": "1",\n    "b": "x"\n  }\n]\n')
  expect(await text('to-json', 'food\n  milk\n  eggs\nname: x\n', [], 'ox')).toBe(
    '{\n  "food": [\n    "milk",\n    "eggs"\n  ],\n  "name": "x"\n}\n',
  )
  expect(await failure(() => text('to-json', '{}', ['x']))).toBe('EINVAL to-json: takes no argument "x"')
})

/** Values as JSON has them, without what JavaScript does to `__proto__` and -0. */
const values = fc.jsonValue({ maxDepth: 4 }).filter((value) => !JSON.stringify(value).includes('__proto__'))

test('what JSON says stays, by way of JSON, YAML, TOML and ox', async () => {
  await fc.assert(
    fc.asyncProperty(values, async (value) => {
      const document = JSON.stringify(value)
      const plain = JSON.parse(document)
      expect(JSON.parse(await text('to-json', document))).toEqual(plain)
      expect(parseYaml(await text('to-yaml', document))).toEqual(plain)
      const again = await text('to-json', await transformed('to-yaml', document), [], 'yaml')
      expect(JSON.parse(again)).toEqual(plain)
    }),
    { numRuns: 150 },
  )
})

const texts = fc.string({ unit: fc.constantFrom(...'ab :"\'%\n\t\\#é'), maxLength: 12 })

test('texts by way of ox', async () => {
  const names = fc.stringMatching(/^[a-z][a-z ,-]{0,8}[a-z]$/)
  await fc.assert(
    fc.asyncProperty(fc.dictionary(names, fc.dictionary(names, texts, { minKeys: 1 })), async (value) => {
      const document = await text('to-ox', JSON.stringify(value))
      expect(JSON.parse(await text('to-json', document, [], 'ox'))).toEqual(
        Object.keys(value).length === 0 ? {} : value,
      )
    }),
    { numRuns: 150 },
  )
})

test('to-yaml, to-toml', async () => {
  const document = '{"b": [1.5, {"c": "x"}], "yes": "no", "n": 12345678901234567890, "z": null}'
  expect(await text('to-yaml', document)).toBe(
    'b:\n  - 1.5\n  - c: x\nyes: no\nn: 12345678901234567890\nz: null\n',
  )
  const toml = await text('to-toml', '{"a": 1, "t": {"u": ["x"]}, "z": null}')
  expect(parseToml(toml)).toEqual({ a: 1, t: { u: ['x'] } })
  expect(await text('to-toml', 'd = 1979-05-27\n', [], 'toml')).toBe('d = 1979-05-27\n')
  expect(await failure(() => text('to-toml', '[1]'))).toBe(
    'EINVAL to-toml: the document is no set of members',
  )
})

test('to-csv', async () => {
  expect(await text('to-csv', '[{"a": 1, "b": "x,\\"y"}, {"c": [1, 2]}]')).toBe(
    'a,b,c\n1,"x,""y",\n,,"[ 1, 2 ]"\n',
  )
  expect(await text('to-csv', '{"a": 1, "b": null}')).toBe('name,value\na,1\nb,\n')
})

test('to-html', async () => {
  const page = (body: string) =>
    `<!DOCTYPE html>\n<html>\n<head><meta charset="utf-8"></head>\n<body>\n${body}</body>\n</html>\n`
  expect(await text('to-html', '# A\n\n*b* `c`\n', [], 'md')).toBe(
    page('<h1>A</h1>\n<p><em>b</em> <code>c</code></p>\n'),
  )
  expect(await text('to-html', 'a,b\n1,<x>\n', [], 'csv')).toBe(
    page('<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>&lt;x&gt;</td></tr>\n</table>\n'),
  )
  expect(await text('to-html', '{"a": [1]}', [], 'json')).toBe(
    page('<dl>\n  <dt>a</dt>\n  <dd><ol start="0">\n    <li>1</li>\n  </ol></dd>\n</dl>\n'),
  )
  expect(await text('to-html', 'red .brick .old\n  green\n    "text\n  <br>\n', [], 'divine')).toBe(
    '<div id="red" class="brick old">\n  <div id="green">\n    text\n  </div>\n  <br>\n</div>\n',
  )
})

test('to-text', async () => {
  const document =
    '<title>no</title><h1>A</h1><p>b <b>c</b>\n<i>d</i><br>e<script>no</script><ul><li>f<li>g</ul><pre>h\n  i</pre>'
  expect(await text('to-text', document, [], 'html')).toBe('A\nb c d\ne\nf\ng\nh\n  i\n')
  expect(await text('to-text', '<r><i>x</i>y</r>', [], 'xml')).toBe('x\ny\n')
  expect(await text('to-text', Buffer.from('\xe9\n', 'latin1'))).toBe('é\n')
})

test('to-ox, to-divine', async () => {
  expect(await text('to-ox', '{"a": "x", "b": {"c": "two\\nlines", "d": ""}, "e": [true]}')).toBe(
    'a: x\nb\n  c\n    "two\n    "lines\n  d\n    "\ne\n  0: true\n',
  )
  expect(await text('to-divine', 'page\n  hello & you\n  b c: x\n', [], 'ox')).toBe(
    'page\n  "hello &amp; you\n  b-c\n    "x\n',
  )
  expect(await text('to-divine', 'page .x\n  <a href="y">z\n', [], 'divine')).toBe(
    'page .x\n  <a href="y">\n    "z\n',
  )
})

test('grep, head, sort', async () => {
  const lines = 'NOTE one\nnone\nnote two'
  expect(await text('grep', lines, ['NOTE'])).toBe('NOTE one\n')
  expect(await text('grep', lines, ['-i', 'note'])).toBe('NOTE one\nnote two\n')
  expect(await text('grep', lines, ['NOTE', 'i', 'c'])).toBe('2\n')
  expect(await text('grep', lines, ['o$', '-n'])).toBe('3:note two\n')
  expect(await text('grep', lines, ['o', 'v'])).toBe('')
  expect(await text('grep', 'a.b\naxb\n', ['a.b', 'F'])).toBe('a.b\n')
  expect(await transformed('grep', Buffer.from('\xe9x\ny\n', 'latin1'), ['^.x'])).toEqual(
    Buffer.from('\xe9x\n', 'latin1'),
  )
  expect(await failure(() => text('grep', lines, []))).toBe('EINVAL grep: no pattern')
  expect(await failure(() => text('grep', lines, ['(']))).toMatch(/^EINVAL grep \(: /)
  expect(await failure(() => text('grep', lines, ['x', 'z']))).toBe('EINVAL grep: knows no "z"')
  expect(await text('head', '1\n2\n3', ['2'])).toBe('1\n2\n')
  expect(await text('head', '1\n2\n3', [])).toBe('1\n2\n3')
  expect(await text('head', 'abc', ['2', 'c'])).toBe('ab')
  expect(await failure(() => text('head', 'abc', ['-1']))).toMatch(/^EINVAL /)
  expect(await text('sort', 'b\na\nb\n10\n9', [])).toBe('10\n9\na\nb\nb\n')
  expect(await text('sort', 'b\na\nb\n10\n9', ['nru'])).toBe('10\n9\nb\na\n')
})

test('unzip, gunzip, sha256', async () => {
  const archive = zipOf([{ name: 'd/a', content: Buffer.from('x') }])
  expect(await text('unzip', archive, ['d/a'])).toBe('x')
  expect(await failure(() => text('unzip', archive, ['no']))).toBe('ENOENT no: is not in the archive')
  expect(await mapTree('zip', archive)).toMatchObject({
    children: [{ name: 'd', children: [{ name: 'a' }] }],
  })
  expect(await text('gunzip', gzipSync('hello'))).toBe('hello')
  expect(await failure(() => text('gunzip', 'hello'))).toMatch(/^EILSEQ gunzip: /)
  expect(await text('sha256', 'x')).toBe(`${createHash('sha256').update('x').digest('hex')}\n`)
})

test('scale', async () => {
  const image = await sharp({ create: { width: 80, height: 40, channels: 3, background: 'red' } })
    .png()
    .toBuffer()
  const size = async (argument: string) => {
    const { width, height, format } = await sharp(await transformed('scale', image, [argument])).metadata()
    return `${width}x${height} ${format}`
  }
  expect(await size('50')).toBe('40x20 png')
  expect(await size('20x')).toBe('20x10 png')
  expect(await size('x20')).toBe('40x20 png')
  expect(await size('10x10')).toBe('10x5 png')
  expect(await failure(() => transformed('scale', image, ['0']))).toMatch(/^EINVAL scale 0: is no size/)
  expect(await failure(() => transformed('scale', 'no image', ['50']))).toMatch(/^EILSEQ scale: /)
})
