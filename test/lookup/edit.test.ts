// Writing through `.d`: what is written to an entry is written back to the document.
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, isRoot, whyNoMount } from '../support/instance.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const skip = whyNoMount()

describe.skipIf(skip)(`writing through .d${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  const file = (name: string) => join(instance.work, name)
  const put = (name: string, content: string): string => {
    writeFileSync(file(name), content)
    return `${instance.inMount(name)}.d`
  }
  const sh = (line: string, ...args: string[]) => run('sh', ['-c', line, 'sh', ...args])
  beforeAll(async () => {
    instance = await CosmosInstance.start()
  })
  afterAll(() => instance.stop())

  test.each([
    ['a.yaml', '# top\nport: 80 # the port\nname: x\n', 'port', '# top\nport: 8080 # the port\nname: x\n'],
    ['a.json', '{ "port": 80, "name": "x" }\n', 'port', '{ "port": 8080, "name": "x" }\n'],
    [
      'a.toml',
      '# top\n[server]\nport = 80 # the port\n',
      'server/port',
      '# top\n[server]\nport = 8080 # the port\n',
    ],
    ['a.ini', '; top\n[server]\nport = 80\n', 'server/port', '; top\n[server]\nport = 8080\n'],
    ['a.ox', 'server\n  port: 80\n', 'server/port', 'server\n  port: 8080\n'],
  ])('echo into an entry of %s', async (name, before, entry, after) => {
    const path = put(name, before)
    expect(readFileSync(join(path, entry), 'utf8')).toBe('80\n')
    const echoed = await sh('echo 8080 > "$1" && cat "$1"', join(path, entry))
    expect(echoed).toMatchObject({ code: 0, stdout: '8080\n', stderr: '' })
    expect(readFileSync(file(name), 'utf8')).toBe(after)
    expect(readFileSync(join(path, entry), 'utf8')).toBe('8080\n')
    // And once more, by a path that was looked up before.
    writeFileSync(join(path, entry), '9\n')
    expect(readFileSync(file(name), 'utf8')).toBe(after.replace('8080', '9'))
  })

  test('entries come, and go', async () => {
    const path = put('b.json', '{"a": {"b": 1}, "c": [1, 2]}')
    writeFileSync(join(path, 'a/new'), 'text\n')
    writeFileSync(join(path, 'c/2'), '3')
    mkdirSync(join(path, 'made'))
    writeFileSync(join(path, 'made/x'), 'true\n')
    rmSync(join(path, 'a/b'))
    expect(JSON.parse(readFileSync(file('b.json'), 'utf8'))).toEqual({
      a: { new: 'text' },
      c: [1, 2, 3],
      made: { x: true },
    })
    expect(readdirSync(path).sort()).toEqual(['a', 'c', 'made'])
    expect(readdirSync(join(path, 'a'))).toEqual(['new'])
    expect(() => rmdirSync(join(path, 'made'))).toThrow(/ENOTEMPTY/)
    expect(() => rmSync(join(path, 'made'))).toThrow(/directory/)
    mkdirSync(join(path, 'made/below'))
    expect(await sh('rm -r "$1/made" && ls "$1"', path)).toMatchObject({
      code: 0,
      stdout: 'a\nc\n',
      stderr: '',
    })
    expect(JSON.parse(readFileSync(file('b.json'), 'utf8'))).toEqual({ a: { new: 'text' }, c: [1, 2, 3] })
  })

  test('what cannot be written is an error of close, and nothing is changed', async () => {
    const path = put('c.ini', 'a = 1\n')
    const fd = openSync(join(path, 'a'), 'w')
    writeSync(fd, 'two\nlines\n')
    expect(() => closeSync(fd)).toThrow(/EROFS/)
    expect(readFileSync(file('c.ini'), 'utf8')).toBe('a = 1\n')
    await waitFor('the entry as it was', () => readFileSync(join(path, 'a'), 'utf8') === '1\n')
    expect((await sh('printf "x\\ny" | dd of="$1" status=none', join(path, 'a'))).stderr).toMatch(/Read-only/)
  })

  test('mode and owner stay, and no other file is left', () => {
    const path = put('d.yaml', 'a: 1\n')
    chmodSync(file('d.yaml'), 0o640)
    if (isRoot) chownSync(file('d.yaml'), 1234, 1235)
    writeFileSync(join(path, 'a'), '2\n')
    const { mode, uid, gid } = statSync(file('d.yaml'))
    expect(mode & 0o7777).toBe(0o640)
    if (isRoot) expect([uid, gid]).toEqual([1234, 1235])
    expect(readFileSync(file('d.yaml'), 'utf8')).toBe('a: 2\n')
    expect(readdirSync(instance.work).filter((name) => name.includes('part'))).toEqual([])
  })

  test('a file that is cut off is an empty text; one that is only opened stays', async () => {
    const path = put('e.json', '{"a": "x", "b": "y"}')
    await sh(': > "$1"; : >> "$2"', join(path, 'a'), join(path, 'b'))
    await waitFor('the empty text', () => JSON.parse(readFileSync(file('e.json'), 'utf8')).a === '')
    expect(JSON.parse(readFileSync(file('e.json'), 'utf8'))).toEqual({ a: '', b: 'y' })
  })

  test('what other mappers make is read-only, and what is made of what was made', async () => {
    const csv = put('f.csv', 'a,b\n1,2\n')
    const [row] = readdirSync(csv)
    expect((await sh('echo x > "$1"', join(csv, row!, 'a'))).stderr).toMatch(/Read-only/)
    const chain = `${put('g.yaml', 'a: 1\n').slice(0, -2)}.to-json.d`
    expect((await sh('echo x > "$1"', join(chain, 'a'))).stderr).toMatch(/Read-only/)
    expect((await sh('mkdir "$1/m"', chain)).stderr).toMatch(/Read-only/)
    const json = put('h.json', '{"a": {"b": 1}}')
    expect((await sh('mv "$1/a" "$1/c"', json)).stderr).toMatch(/Read-only/)
    expect((await sh('ln -s x "$1/c"', json)).stderr).toMatch(/Read-only/)
    expect(readFileSync(file('h.json'), 'utf8')).toBe('{"a": {"b": 1}}')
  })

  test.skipIf(!isRoot)('who may not write the document does not', async () => {
    const path = put('i.json', '{"a": 1}')
    chmodSync(instance.work, 0o755)
    const other = await run('sh', ['-c', 'echo 2 > "$1"', 'sh', join(path, 'a')], { uid: 65_534, cwd: '/' })
    expect(other.stderr).toMatch(/Permission denied/)
    expect((await run('rm', ['-f', join(path, 'a')], { uid: 65_534, cwd: '/' })).stderr).toMatch(
      /Permission denied/,
    )
    expect(readFileSync(file('i.json'), 'utf8')).toBe('{"a": 1}')
  })

  test('a daemon that dies before the end leaves the document as it was', async () => {
    const path = put('j.json', '{"a": 1}')
    expect(readFileSync(join(path, 'a'), 'utf8')).toBe('1\n')
    const writer = run('sh', [
      '-c',
      'exec 3> "$1"; echo 2 >&3; touch "$2"; while [ ! -e "$3" ]; do :; done',
      'sh',
      join(path, 'a'),
      file('begun'),
      file('end'),
    ])
    await waitFor('the writer', () => existsSync(file('begun')))
    await instance.killDaemon()
    writeFileSync(file('end'), '')
    await writer
    expect(readFileSync(file('j.json'), 'utf8')).toMatch(/^\{"a": [12]\}$/)
    await waitFor(
      'the entry',
      () =>
        readFileSync(join(path, 'a'), 'utf8') === `${JSON.parse(readFileSync(file('j.json'), 'utf8')).a}\n`,
    )
  })
})
