import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CosmosError } from '../../src/errors.ts'
import { runMapper } from '../../src/form/mapper.ts'
import { MAPPERS } from '../../src/form/mappers/index.ts'
import { TRANSFORMERS } from '../../src/form/transformers/index.ts'
import { writeTree } from '../../src/form/tree.ts'
import { tarOf, zipOf } from './archives.ts'
import { failure, inDirectory, mapped, mapTree, transformed } from './support.ts'

const SMALL = { nodes: 10_000, depth: 100, bytes: 1024 * 1024 }

test('archives that lead outside', async () => {
  const entries = [
    { name: '/etc/x', content: 'x' },
    { name: 'a/../../x', content: 'x' },
    { name: 'ok', content: 'fine' },
    { name: 'up', type: '2', link: '../x' },
    { name: 'abs', type: '2', link: '/etc/passwd' },
    { name: 'd/in', type: '2', link: '../ok' },
    { name: 'd/via', type: '2', link: 'in/../../x' },
    { name: 'hard', type: '1', link: 'ok' },
    { name: 'harder', type: '1', link: '../x' },
    { name: 'null', type: '3' },
    { name: 'd/in/below', content: 'x' },
  ]
  const { files, index } = await mapped('tar', tarOf(entries))
  expect(files).toEqual({ ok: 'fine', 'd/in': '-> ../ok', hard: 'fine' })
  expect(index[0]?.properties?.['left-out']?.split('\n')).toEqual([
    '/etc/x: an absolute path',
    'a/../../x: leads outside',
    'up: a link that leads outside, to ../x',
    'abs: a link that leads outside, to /etc/passwd',
    'd/via: a link that leads outside, to in/../../x',
    'harder: a link to ../x, which is no file before it',
    'null: is a CharacterDevice',
    'd/in: in is no directory',
  ])
  const zipped = zipOf([
    { name: '../x', content: Buffer.from('x') },
    { name: 'a\\..\\..\\x', content: Buffer.from('x') },
    { name: 'link', content: Buffer.from('../../etc'), mode: 0o120777 },
    { name: 'ok', content: Buffer.from('fine') },
  ])
  const inside = await mapped('zip', zipped)
  expect(inside.files).toEqual({ ok: 'fine' })
  expect(inside.index[0]?.properties?.['left-out']?.split('\n')).toHaveLength(3)
})

test('bombs', async () => {
  const zeros = Buffer.alloc(4 * 1024 * 1024)
  const bytes = (form: string, document: Buffer) => failure(() => mapTree(form, document, { limits: SMALL }))
  expect(await bytes('zip', zipOf([{ name: 'a', content: zeros }]))).toBe(
    'EFBIG zip document: more than 1048576 bytes',
  )
  expect(await bytes('zip', zipOf([{ name: 'a', content: zeros, claims: 10 }]))).toMatch(
    /^E(ILSEQ|FBIG) zip document: /,
  )
  expect(await bytes('tar', gzipSync(tarOf([{ name: 'a', content: zeros.toString('latin1') }])))).toMatch(
    /^EFBIG tar/,
  )
  expect(await bytes('tar', gzipSync(gzipSync('x')))).toBe('EILSEQ tar document: is no archive')
  expect(await bytes('tar', tarOf([{ name: 'a', claims: 8 ** 10 }]))).toMatch(/^EILSEQ tar/)
  const laughs = ['a: &a [x,x,x,x,x,x,x,x,x]']
  for (const [name, former] of ['ba', 'cb', 'dc', 'ed', 'fe', 'gf', 'hg', 'ih'])
    laughs.push(`${name}: &${name} [${Array(9).fill(`*${former}`)}]`)
  expect(await bytes('yaml', Buffer.from(laughs.join('\n')))).toBe(
    'EFBIG yaml document: more than 10000 nodes',
  )
  expect(await bytes('yaml', Buffer.from('a: &a [*a]'))).toMatch(/^E(FBIG|ILSEQ) yaml document: /)
  const entities = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><x>&b;</x>'
  expect(await bytes('xml', Buffer.from(entities))).toMatch(/^EILSEQ xml document: line 1.*entity/)
  const outer = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
  expect(await bytes('xml', Buffer.from(outer))).toMatch(/^EILSEQ xml document/)
  const mixins = ['$m0']
  for (let i = 0; i < 30; i++) mixins.push('', `m${i}`, `  $m${i + 1}`, `  $m${i + 1}`)
  mixins.push('', 'm30', '  x')
  expect(await bytes('divine', Buffer.from(mixins.join('\n')))).toMatch(/^EFBIG divine/)
  const inserts = ['$m0', '  x']
  for (let i = 0; i < 30; i++) inserts.push('', `m${i}`, `  $m${i + 1}`, `    $m${i}`, `    $m${i}`)
  inserts.push('', 'm30', '  $m30')
  expect(await bytes('divine', Buffer.from(inserts.join('\n')))).toMatch(/^EFBIG divine/)
})

test('deep nesting', async () => {
  const depth = 100_000
  const lines = Array.from({ length: 3000 }, (_, i) => `${' '.repeat(i)}a:\n`).join('')
  const documents: [string, string][] = [
    ['json', '['.repeat(depth)],
    ['json', '{"a":'.repeat(depth)],
    ['yaml', '['.repeat(depth)],
    ['yaml', '{a: '.repeat(depth)],
    ['yaml', '- '.repeat(3000)],
    ['yaml', lines],
    ['toml', `a = ${'['.repeat(depth)}`],
    ['html', '<div>'.repeat(depth)],
    ['html', '<b>'.repeat(depth)],
    ['xml', '<a>'.repeat(depth)],
    ['ox', lines],
    ['divine', lines],
    ['md', `${'> '.repeat(2000)}# x\n`],
    ['md', '*a '.repeat(20_000)],
    ['md', '['.repeat(20_000)],
    ['mbox', `From x\n${'Content-Type: multipart/mixed; boundary=a\n\n--a\n'.repeat(3000)}`],
  ]
  for (const [form, document] of documents)
    expect(await failure(() => mapTree(form, document)), `${form} ${document.slice(0, 20)}`).toMatch(
      /^(E(FBIG|ILSEQ) \w+ document|no error)/,
    )
  expect(await failure(() => mapTree('json', '['.repeat(depth)))).toBe(
    'EFBIG json document: nested deeper than 200 levels',
  )
})

test('a tree never leaves its directory', () =>
  inDirectory(async (directory) => {
    const names = ['../x', '/etc', '..', 'a/../../b', '\0', '']
    const document = JSON.stringify(Object.fromEntries(names.map((name) => [name, { [name]: name }])))
    writeTree(await mapTree('json', document), join(directory, 'in/tree'.replace('in/', '')))
    expect(Object.keys(await mapped('json', document).then(({ files }) => files)).sort()).toEqual(
      [
        '%/%',
        '%00/%00',
        '%2E%2E/%2E%2E',
        '%2Fetc/%2Fetc',
        '..%2Fx/..%2Fx',
        'a%2F..%2F..%2Fb/a%2F..%2F..%2Fb',
      ].sort(),
    )
  }))

const samples: Record<string, Buffer> = {
  json: Buffer.from('{"a": [1, {"b": "\\u00e9"}, true], "c": null}'),
  yaml: Buffer.from('a: &x [1, 2]\nb: *x\nc: |\n  text\n? [k]\n: "v"\n--- !!str 1\n'),
  toml: Buffer.from('a = 1\n[[b]]\nc = "x"\n[d.e]\nf = {g = [1.5, 1979-05-27]}\n'),
  md: Buffer.from('---\na: b\n---\n# A\n\n* b\n  > c\n\n## D [e](f)\n```\ng\n```\n'),
  csv: Buffer.from('a,b\n"x ""y""",2\n'),
  html: Buffer.from(
    '<!doctype html><p a=1>b<table><tr><td>c</table><template><i>d</template><svg><a xlink:href="e"/></svg>',
  ),
  xml: Buffer.from('<?xml version="1.0"?><!DOCTYPE a><a b="c"><!-- d --><e>f&amp;</e><![CDATA[g]]></a>'),
  ini: Buffer.from('a=b\n[c]\nd: e\\\n f\n'),
  ox: Buffer.from('a\n  b: c\n\t"d\n'),
  divine: Buffer.from('a .b\n  $c\n    "d\n\nc:\n  <e f="g">h\n    $c\n'),
  raymarks: Buffer.from('a\n== B: c ==\nd\n----\n'),
  mbox: Buffer.from(
    'From a\nSubject: b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nd\n--c--\n\nFrom e\n\nf\n',
  ),
  tar: tarOf([
    { name: 'a/b', content: 'c' },
    { name: 'd', type: '2', link: 'a' },
  ]),
  zip: zipOf([{ name: 'a/b', content: Buffer.from('c') }, { name: 'd/' }]),
}

/** Whatever comes: a tree, or an error of cosmos. */
async function survives(act: () => unknown): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (!(error instanceof CosmosError)) throw error
    expect(['EILSEQ', 'EFBIG', 'EINVAL', 'ENOENT']).toContain(error.code)
  }
}

test('every mapper survives what is cut short', async () => {
  for (const mapper of MAPPERS) {
    const sample = samples[mapper.name]!
    await runMapper(mapper, sample)
    for (let size = 0; size < sample.length; size += Math.ceil(sample.length / 150))
      await survives(() => runMapper(mapper, sample.subarray(0, size), { limits: SMALL }))
  }
})

test('every mapper survives what is damaged, and anything', async () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 })
  for (const mapper of MAPPERS)
    await fc.assert(
      fc.asyncProperty(damage, fc.uint8Array({ maxLength: 64 }), async (changes, bytes) => {
        const damaged = Buffer.from(samples[mapper.name]!)
        for (const [at, byte] of changes) damaged[at % damaged.length] = byte
        await survives(() => runMapper(mapper, damaged, { limits: SMALL }))
        await survives(() => runMapper(mapper, Buffer.from(bytes), { limits: SMALL }))
      }),
      { numRuns: 60 },
    )
})

test('every transformer survives every form', async () => {
  const args: Record<string, string[]> = { grep: ['a'], scale: ['50'] }
  for (const { name } of TRANSFORMERS)
    for (const [form, sample] of Object.entries(samples))
      for (const bytes of [sample, sample.subarray(0, sample.length / 2), Buffer.alloc(0)])
        await survives(() =>
          name === 'unzip' ? undefined : transformed(name, bytes, args[name] ?? [], form),
        )
})
