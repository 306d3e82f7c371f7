// Programs and functions of libraries as modifiers: where an alias names them, and where a cosm has paths read as URLs.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compileLibrary, whyNoCompiler } from '../support/c-library.ts'
import { CosmosInstance, isRoot, whyNoMount } from '../support/instance.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const skip = whyNoMount()

async function instanceWith(files: Record<string, string>): Promise<CosmosInstance> {
  const instance = new CosmosInstance()
  for (const [name, text] of Object.entries(files)) {
    const file = join(instance.home, '.cosm/etc/cosmos', name)
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, text)
  }
  const { code, stderr } = await instance.up()
  if (code === 0) return instance
  await instance.stop()
  throw new Error(stderr)
}

describe.skipIf(skip)(`aliases${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  const put = (name: string, content: string): string => {
    writeFileSync(join(instance.work, name), content)
    return instance.inMount(name)
  }
  beforeAll(async () => {
    instance = await instanceWith({
      'aliases.toml': `
        upper = "tr a-z A-Z"
        fields = "cut -d"
        gone = "no-such-program"
        bad = "false"
        slow = "sleep 1000"
        backwards = "call libfixture.so.1 reverse"
        grown = "call libfixture.so.1 grow"
        refused = "call libfixture.so.1 refuse"
        crashed = "call libfixture.so.1 crash"
        nothing = "call libfixture.so.1 nothing"
      `,
    })
    mkdirSync(join(instance.home, '.cosm/lib'), { recursive: true })
  })
  afterAll(() => instance.stop())

  test('a program that an alias names makes of its input what it writes', () => {
    const path = put('a.txt', 'some:words\n')
    expect(readFileSync(`${path}.upper`, 'utf8')).toBe('SOME:WORDS\n')
    expect(statSync(`${path}.upper`).size).toBe(11)
    expect(readFileSync(`${path}.fields-%3A-%2Df-2`, 'utf8')).toBe('words\n')
    expect(readFileSync(`${path}.upper.head-1`, 'utf8')).toBe('SOME:WORDS\n')
    expect(readFileSync(`${path}.upper:prod`, 'utf8')).toMatch(/^run tr a-z A-Z of source /)
  })

  test('one that no alias names is no modifier', () => {
    const path = put('b.txt', 'x\n')
    for (const name of ['tr-a-b', 'cat', 'gone', 'call-libfixture%2Eso%2E1-reverse'])
      expect(existsSync(`${path}.${name}`)).toBe(false)
  })

  test('one that fails is EIO, and says how', () => {
    const path = put('c.txt', 'x\n')
    expect(() => readFileSync(`${path}.bad`)).toThrow(/EIO/)
    expect(readFileSync(`${path}.bad:error`, 'utf8')).toMatch(/false: exited with 1/)
  })

  const noCompiler = whyNoCompiler()
  test.skipIf(noCompiler)('a function of a library; one that crashes fails that reading only', () => {
    compileLibrary(new URL('fixture.c', import.meta.url), join(instance.home, '.cosm/lib/libfixture.so.1'))
    const path = put('d.bin', 'abc')
    expect(readFileSync(`${path}.backwards`, 'utf8')).toBe('cba')
    expect(readFileSync(`${path}.grown`).length).toBe(3000)
    const large = put('e.bin', 'x'.repeat(100_000))
    expect(() => readFileSync(`${large}.grown`)).toThrow(/EIO/)
    expect(readFileSync(`${large}.grown:error`, 'utf8')).toMatch(/makes more than/)
    expect(readFileSync(`${put('f.bin', 'y'.repeat(500))}.grown`).length).toBe(500_000)
    expect(() => readFileSync(`${path}.refused`)).toThrow(/EIO/)
    expect(readFileSync(`${path}.refused:error`, 'utf8')).toMatch(/refuse: returned 7/)
    expect(() => readFileSync(`${path}.crashed`)).toThrow(/EIO/)
    expect(readFileSync(`${path}.crashed:error`, 'utf8')).toMatch(/ended by SIGSEGV/)
    expect(() => readFileSync(`${path}.nothing`)).toThrow(/EIO/)
    expect(readFileSync(`${path}.nothing:error`, 'utf8')).toMatch(/nothing/)
    expect(readFileSync(`${put('g.bin', '12')}.backwards`, 'utf8')).toBe('21')
  })
})

describe.skipIf(skip)(`a tree whose paths are read as URLs are${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  const put = (name: string, content: string): string => {
    writeFileSync(join(instance.work, name), content)
    return instance.inMount(name)
  }
  beforeAll(async () => {
    instance = await instanceWith({ 'cosmos.conf': '[lookup]\nfudge = true\n' })
    chmodSync(instance.work, 0o755)
  })
  afterAll(() => instance.stop())

  test('programs are modifiers', () => {
    const path = put('a.txt', 'one\ntwo\n')
    expect(readFileSync(`${path}.wc-%2Dl`, 'utf8').trim()).toBe('2')
    expect(existsSync(`${path}.no-such-program`)).toBe(false)
  })

  test('what is missing between two forms is completed', () => {
    const path = put('b.md', '# Title\n')
    expect(readFileSync(`${path}.html`, 'utf8')).toContain('<h1>Title</h1>')
    expect(readFileSync(`${put('c.yaml', 'a: 1\n')}.json.d/a`, 'utf8')).toBe('1\n')
  })

  test('a base match: the shortest way, and none over a name that exists', async () => {
    put('pacman.yaml', 'a: 1\n')
    put('pacman.png', 'no picture')
    const json = instance.inMount('pacman.json')
    expect(JSON.parse(readFileSync(json, 'utf8'))).toEqual({ a: 1 })
    expect(readdirSync(`${json}.d`)).toEqual(['a'])
    expect(readFileSync(`${json}:prod`, 'utf8')).toMatch(/^transform to-json of source .*pacman\.yaml$/m)
    put('pacman.json', '[]')
    await waitFor('the name itself', () => readFileSync(json, 'utf8') === '[]')
    expect(existsSync(instance.inMount('other.json'))).toBe(false)
  })

  test.skipIf(!isRoot)('nobody else has programs run', async () => {
    const path = put('d.sh', 'id\n')
    const other = { uid: 65_534, cwd: '/' }
    expect((await run('cat', [`${path}.sh`], other)).stderr).toMatch(/No such file/)
    expect((await run('cat', [`${path}.sort`], other)).stdout).toBe('id\n')
  })
})
