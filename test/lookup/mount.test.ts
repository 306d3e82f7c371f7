// Transformations and the insides of files, as paths of a mounted tree, with ordinary tools.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, isRoot, whyNoMount } from '../support/instance.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const skip = whyNoMount()
const DOCUMENT = { name: 'x', list: [1, 2, { deep: true }], text: 'hello' }

describe.skipIf(skip)(`lookups${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  const put = (name: string, content: string | Buffer): string => {
    writeFileSync(join(instance.work, name), content)
    return instance.inMount(name)
  }
  beforeAll(async () => {
    instance = await CosmosInstance.start()
  })
  afterAll(() => instance.stop())

  test('a file in another form is a file: size, content and copies agree', async () => {
    const path = `${put('data.json', JSON.stringify(DOCUMENT))}.to-yaml`
    const yaml = readFileSync(path, 'utf8')
    expect(yaml).toBe('name: x\nlist:\n  - 1\n  - 2\n  - deep: true\ntext: hello\n')
    expect(statSync(path).size).toBe(Buffer.byteLength(yaml))
    expect((await run('wc', ['-c', path])).stdout).toMatch(new RegExp(`^${Buffer.byteLength(yaml)} `))
    const copy = join(instance.work, 'copy')
    await run('cp', [path, copy])
    expect(readFileSync(copy, 'utf8')).toBe(yaml)
    const archived = await run('sh', [
      '-c',
      'tar c -C "$1" data.json.to-yaml | tar xO',
      'sh',
      instance.inMount(),
    ])
    expect(archived.stdout).toBe(yaml)
    expect(await instance.tell('cat', path)).toBe(yaml)
  })

  test('the inside of a file is a directory', async () => {
    const path = `${put('inside.json', JSON.stringify(DOCUMENT))}.d`
    expect(readdirSync(path).sort()).toEqual(['list', 'name', 'text'])
    expect(readFileSync(join(path, 'name'), 'utf8')).toBe('x\n')
    expect(readFileSync(join(path, 'list/2/deep'), 'utf8')).toBe('true\n')
    expect((await run('grep', ['-rl', 'hello', path])).stdout).toBe(`${path}/text\n`)
    expect((await run('find', [path, '-type', 'f'])).stdout.trim().split('\n').length).toBe(5)
    expect(JSON.parse(await instance.tell('ls', '--json', path))).toHaveLength(3)
  })

  test('chains', () => {
    const path = put('chain.yaml', 'b: 2\na:\n  - one\n  - two\n')
    expect(JSON.parse(readFileSync(`${path}.to-json`, 'utf8'))).toEqual({ b: 2, a: ['one', 'two'] })
    expect(readFileSync(`${path}.to-json.grep-one`, 'utf8')).toBe('    "one",\n')
    expect(readFileSync(`${path}.to-json.d/a/1`, 'utf8')).toBe('two\n')
    expect(readFileSync(`${put('lines.txt', 'c\na\nb\n')}.sort.head-2`, 'utf8')).toBe('a\nb\n')
  })

  test('the inode of what is made is the one that it says', () => {
    const path = put('numbered.json', '{"a": {"b": 1}}')
    for (const made of [`${path}.to-yaml`, `${path}.d`]) {
      const { ino } = statSync(made, { bigint: true })
      expect(readFileSync(`${made}:inode`, 'utf8').trim()).toBe(`${ino}`)
    }
  })

  test('what is there is never read in another way', async () => {
    put('taken.json', '{"a": 1}')
    const literal = put('taken.json.to-yaml', 'mine\n')
    expect(readFileSync(literal, 'utf8')).toBe('mine\n')
    expect(readdirSync(instance.inMount()).filter((name) => name.startsWith('taken'))).toEqual(
      expect.arrayContaining(['taken.json', 'taken.json.to-yaml']),
    )
    expect(readdirSync(instance.inMount())).not.toContain('data.json.to-yaml')
    put('program', '')
    for (const name of [
      'program.c',
      'program.json',
      'program.o',
      'program.d',
      'none.json.to-yaml',
      'program.to-',
    ])
      expect(existsSync(instance.inMount(name))).toBe(false)
  })

  test('another input is another result', async () => {
    const path = put('changes.json', '{"a": 1}')
    expect(readFileSync(`${path}.to-yaml`, 'utf8')).toBe('a: 1\n')
    writeFileSync(path, '{"a": 22}')
    await waitFor('the new result', () => readFileSync(`${path}.to-yaml`, 'utf8') === 'a: 22\n')
    expect(readFileSync(`${path}.d/a`, 'utf8')).toBe('22\n')
    writeFileSync(join(instance.work, 'changes.json'), '{"b": 3}')
    utimesSync(join(instance.work, 'changes.json'), 1, 1)
    await waitFor('the new directory', () => readdirSync(`${path}.d`).join() === 'b')
  })

  test('after a write through the mount, and soon after one outside, what was made is looked up anew', async () => {
    const path = put('a-write.json', '{"a": {"b": 1}}')
    const inside = join(instance.work, 'a-write.json')
    const made = () => [
      readFileSync(`${path}.to-yaml`, 'utf8'),
      readFileSync(`${path}.to-yaml.to-json`, 'utf8').replace(/\s/g, ''),
      readFileSync(`${path}.d/a/b`, 'utf8'),
    ]
    for (let i = 10; i < 20; i++) {
      writeFileSync(path, `{"a": {"b": ${i}}}`)
      expect(made()).toEqual([`a:\n  b: ${i}\n`, `{"a":{"b":${i}}}`, `${i}\n`])
    }
    for (let i = 30; i < 35; i++) {
      writeFileSync(inside, `{"a": {"b": ${i}}}`)
      await waitFor('the news', () => statSync(`${path}.to-yaml`).isFile() && made()[2] === `${i}\n`)
    }
  })

  test('a name becomes something when its file comes', async () => {
    const path = instance.inMount('later.json.to-yaml')
    expect(existsSync(path)).toBe(false)
    put('later.json', '[1]')
    await waitFor('the result', () => readFileSync(path, 'utf8') === '- 1\n')
  })

  test('what is malformed is EIO, and says where', async () => {
    const path = put('bad.yaml', 'a: [1\n')
    expect((await run('cat', [`${path}.to-json`])).stderr).toMatch(/Input\/output error/)
    expect(readFileSync(`${path}.to-json:error`, 'utf8')).toMatch(/line 2, column 1/)
    expect(existsSync(`${put('good.yaml', 'a: 1\n')}.to-json:error`)).toBe(false)
    expect((await run('ls', [`${path}.d/`])).code).not.toBe(0)
    expect(readFileSync(`${path}.d:error`, 'utf8')).toMatch(/line 2/)
  })

  test('a production says what it is', () => {
    const path = put('told.json', '{}')
    readFileSync(`${path}.to-yaml`)
    const told = readFileSync(`${path}.to-yaml:prod`, 'utf8').split('\n')
    const file = join(instance.work, 'told.json')
    expect(told).toEqual([
      `transform to-yaml of source ${file}`,
      expect.stringMatching(new RegExp(`^input ${file}, generation \\d+:${statSync(file).ino}:2:`)),
      expect.stringMatching(/^made 20.*Z, 3 bytes, \d+ ms: transform to-yaml$/),
      '',
    ])
  })

  test('what is made of what was made is not written to', async () => {
    const path = put('fixed.json', '{"a": {"b": 1}}')
    const sh = (line: string) => run('sh', ['-c', line, 'sh', path])
    expect((await sh('echo 1 > "$1.to-yaml"')).stderr).toMatch(/Read-only|Permission denied/)
    expect((await sh('echo 1 > "$1.to-json.d/a/b"')).stderr).toMatch(/Read-only/)
    expect((await sh('touch "$1.to-json.d/new"')).stderr).toMatch(/Read-only/)
    expect((await sh('rm "$1.to-json.d/a/b"')).stderr).toMatch(/Read-only/)
    expect((await sh('mv "$1.to-json.d/a" "$1.to-json.d/c"')).stderr).toMatch(/Read-only/)
    expect((await sh('mkdir "$1.to-json.d/new"')).stderr).toMatch(/Read-only/)
    expect(readFileSync(`${path}.to-json.d/a/b`, 'utf8')).toBe('1\n')
  })

  test('a hundred readers at once have one production', async () => {
    const path = put('many.json', JSON.stringify(Array.from({ length: 20_000 }, (_, i) => ({ i }))))
    const launches = () => {
      const state = readFileSync(join(instance.mount, '.cosm/vm/form/stats'), 'utf8')
      return Number(/^launches (\d+)$/m.exec(state)?.[1])
    }
    const before = launches()
    const all = await Promise.all(
      Array.from({ length: 100 }, () => run('sh', ['-c', 'wc -l < "$1"', 'sh', `${path}.to-yaml`])),
    )
    expect(new Set(all.map((each) => each.stdout.trim()))).toEqual(new Set(['20000']))
    expect(launches() - before).toBe(1)
  })

  test('a VM that is killed in the middle, and a daemon: the next reading has it', async () => {
    const document = JSON.stringify(Array.from({ length: 200_000 }, (_, i) => ({ i })))
    const path = `${put('long.json', document)}.to-yaml`
    const reading = run('sh', ['-c', 'wc -l < "$1"', 'sh', path])
    const state = join(instance.mount, '.cosm/vm/form/stats')
    await waitFor('the production', () => {
      const text = readFileSync(state, 'utf8')
      if (!/^sessions 1$/m.test(text)) throw new Error(text)
      return true
    })
    await instance.killDaemon()
    expect((await reading).stdout.trim()).toBe('200000')
  })

  test.skipIf(!isRoot)('what is made of a file may be read by whoever may read the file', async () => {
    const path = put('secret.json', '{"secret": 1}')
    chmodSync(join(instance.work, 'secret.json'), 0o600)
    chmodSync(instance.work, 0o755)
    expect(readFileSync(`${path}.to-yaml`, 'utf8')).toBe('secret: 1\n')
    const other = { uid: 65_534, cwd: '/' }
    expect((await run('cat', [`${path}.to-yaml`], other)).stderr).toMatch(/Permission denied/)
    expect((await run('ls', [`${path}.d`], other)).stderr).toMatch(/Permission denied/)
    expect((await run('cat', [`${path}.d/secret`], other)).stderr).toMatch(/Permission denied/)
  })

  test.skipIf(!isRoot)('a link in the place of a file leads nobody to what is closed to him', async () => {
    const [secret, swapped] = ['closed.json', 'swapped.json'].map((name) => join(instance.work, name)) as [
      string,
      string,
    ]
    writeFileSync(secret, '{"secret": 1}', { mode: 0o600 })
    const other = { uid: 65_534, cwd: '/' }
    for (let i = 0; i < 20; i++) {
      rmSync(swapped, { force: true })
      writeFileSync(swapped, `{"open": ${i}}`)
      const reading = run('cat', [`${instance.inMount('swapped.json')}.to-yaml`], other)
      rmSync(swapped)
      symlinkSync(secret, swapped)
      const payload = await run('cat', [`${instance.inMount('swapped.json')}:payload`], other)
      expect(`${(await reading).stdout}${payload.stdout}`).not.toContain('secret')
    }
  })

  test('an alias', async () => {
    const etc = join(instance.home, '.cosm/etc/cosmos')
    mkdirSync(etc, { recursive: true })
    writeFileSync(join(etc, 'aliases.toml'), 'first = "head 1"\n')
    const path = put('aliased.txt', 'one\ntwo\n')
    await waitFor(
      'the alias',
      () => existsSync(`${path}.first`) && readFileSync(`${path}.first`, 'utf8') === 'one\n',
    )
  })
})
