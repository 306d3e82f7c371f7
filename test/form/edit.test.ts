// Documents after a change of one entry: everything else stays as it was.
import { expect, test } from 'vitest'
import { type Change, edited } from '../../src/form/edit/index.ts'

const edit = async (form: string, text: string, path: string, change: Change | string) => {
  const what: Change = typeof change === 'string' ? { action: 'set', text: change } : change
  return (await edited(form, Buffer.from(text), path.split('/'), what)).toString()
}
const remove: Change = { action: 'remove' }
const mkdir: Change = { action: 'mkdir' }

test.each<[string, string, string, Change | string, string]>([
  ['json', '{"a": 1,  "b": "x"}\n', 'a', '22', '{"a": 22,  "b": "x"}\n'],
  ['json', '{"a": 1}', 'a', 'text "quoted"', '{"a": "text \\"quoted\\""}'],
  ['json', '{"b": "1"}', 'b', '2', '{"b": "2"}'],
  ['json', '{"a": null, "c": true}', 'c', 'false', '{"a": null, "c": false}'],
  ['json', '{"a": null}', 'a', '5', '{"a": 5}'],
  ['json', '[1, {"x": [2, 3]}]', '1/x/0', '9', '[1, {"x": [9, 3]}]'],
  ['json', '{\n  "a": 1\n}\n', 'new', 'x', '{\n  "a": 1,\n  "new": "x"\n}\n'],
  ['json', '{}', 'n', '1', '{"n": 1}'],
  ['json', '[1, 2]', '2', '3', '[1, 2, 3]'],
  ['json', '{"a": 1, "b": 2, "c": 3}', 'b', remove, '{"a": 1, "c": 3}'],
  ['json', '{"a": 1, "b": 2}', 'b', remove, '{"a": 1}'],
  ['json', '{"a": 1}', 'd', mkdir, '{"a": 1, "d": {}}'],
  ['json', '{"a": 1, "a": 2}', 'a~2', '3', '{"a": 1, "a": 3}'],
  ['json', '{"a/b": 1, "ä": "ö"}', 'a%2Fb', '2', '{"a/b": 2, "ä": "ö"}'],
  [
    'yaml',
    '# top\na: 1 # one\nb:\n    - x\n    - y\n',
    'a',
    '2',
    '# top\na: 2 # one\nb:\n    - x\n    - y\n',
  ],
  ['yaml', '# top\nb:\n    - x # first\n', 'b/0', 'yes: no', '# top\nb:\n    - "yes: no" # first\n'],
  ['yaml', 'a: text\n', 'a', '5', 'a: "5"\n'],
  ['yaml', 'a: 5\n', 'a', 'true', 'a: "true"\n'],
  ['yaml', '# c\na: 1 # one\n', 'n', 'x', '# c\na: 1 # one\nn: x\n'],
  ['yaml', '# c\na: 1\nb: 2 # two\n', 'a', remove, 'b: 2 # two\n'],
  ['yaml', 'a: 1\n', 'm', mkdir, 'a: 1\nm: {}\n'],
  ['yaml', 'a: |\n  one\n  two\nb: 1\n', 'a', 'x', 'a: x\nb: 1\n'],
  ['toml', '# c\na = 1 # one\n[t]\na = "x" # two\n', 't/a', 'y', '# c\na = 1 # one\n[t]\na = "y" # two\n'],
  ['toml', 'a = 1 # one\n', 'a', '7', 'a = 7 # one\n'],
  ['toml', 'a = 1\n\n[t]\nb = 2\n\n[u]\n', 't/n', 'x', 'a = 1\n\n[t]\nb = 2\nn = "x"\n\n[u]\n'],
  ['toml', '# c\na = 1\nb = 2\n', 'a', remove, '# c\nb = 2\n'],
  ['toml', '# c\na = [1, 2]\n', 'a/1', '5', 'a = [ 1, 5 ]\n'],
  ['ini', '; c\n[a]\nk = 1\n[b]\nk = 2 \n', 'b/k', 'x', '; c\n[a]\nk = 1\n[b]\nk = x \n'],
  ['ini', '[a]\nk=1\n\n[b]\nk=2\n', 'a/n', '5', '[a]\nk=1\nn=5\n\n[b]\nk=2\n'],
  ['ini', '[a]\nk=1\nl=2\n', 'a/k', remove, '[a]\nl=2\n'],
  ['ini', 'k=1\n', 's', mkdir, 'k=1\n[s]\n'],
  ['ox', 'a\n  b: 1\nc: 2\n', 'a/b', 'x y', 'a\n  b: x y\nc: 2\n'],
  ['ox', 'a\n  b: 1\nc: 2\n', 'a/n', 'z', 'a\n  b: 1\n  n: z\nc: 2\n'],
  ['ox', 'a\n  b: 1\nc: 2\n', 'a', remove, 'c: 2\n'],
])('%s %j %s', async (form, text, path, change, expected) => {
  expect(await edit(form, text, path, change)).toBe(expected)
})

test.each<[string, string, string, Change | string, string]>([
  ['csv', 'a,b\n', '0', 'x', 'EROFS'],
  ['json', '{"a": {}}', 'a', 'x', 'EISDIR'],
  ['json', '{"a": 1}', 'b/c', 'x', 'ENOENT'],
  ['json', '{"a": 1}', 'b', remove, 'ENOENT'],
  ['json', '{"a": {}}', 'a', mkdir, 'EEXIST'],
  ['json', '[1]', '5', 'x', 'EROFS'],
  ['json', '{', 'a', 'x', 'EILSEQ'],
  ['ini', 'a=1\n', 'a', 'two\nlines', 'EROFS'],
  ['yaml', 'a: &x 1\nb: *x\n', 'b/c', 'x', 'EROFS'],
])('%s %j %s is refused', async (form, text, path, change, code) => {
  await expect(edit(form, text, path, change)).rejects.toMatchObject({ code })
})
