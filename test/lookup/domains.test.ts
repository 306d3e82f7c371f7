// Which lookup module reads the names of a directory: `.cosm/etc/cosmos/lookup.toml`, inherited downwards.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Domains } from '../../src/frame/production/domains.ts'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { waitFor } from '../support/wait.ts'

function put(directory: string, text: string): string {
  const etc = join(directory, '.cosm/etc/cosmos')
  mkdirSync(etc, { recursive: true })
  const file = join(etc, 'lookup.toml')
  writeFileSync(file, text)
  return file
}

describe('the file', () => {
  let base: string
  let log: string[]
  let domains: Domains
  beforeEach(() => {
    base = realpathSync(mkdtempSync(join(tmpdir(), 'cosmos-domains-')))
    log = []
    domains = new Domains([join(base, 'common')], (line) => log.push(line))
    mkdirSync(join(base, 'a/b/c'), { recursive: true })
  })
  afterEach(() => rmSync(base, { recursive: true }))

  test('without any, all is fudge', () => {
    expect(domains.of(`${base}/a/b`)).toEqual({ module: 'fudge', file: undefined })
    expect(domains.of('/')).toEqual({ module: 'fudge', file: undefined })
  })

  test('the nearest decides, for its directory and all below', () => {
    const outer = put(`${base}/a`, 'module = "literal"\n')
    const inner = put(`${base}/a/b/c`, 'module = "fudge"\n')
    expect(domains.of(base).module).toBe('fudge')
    expect(domains.of(`${base}/a`)).toEqual({ module: 'literal', file: outer })
    expect(domains.of(`${base}/a/b`)).toEqual({ module: 'literal', file: outer })
    expect(domains.of(`${base}/a/b/c/not/there`)).toEqual({ module: 'fudge', file: inner })
  })

  test('one for all comes last, and one that names none leaves it to those above', () => {
    mkdirSync(join(base, 'common'))
    writeFileSync(join(base, 'common/lookup.toml'), 'module = "literal"\n')
    put(`${base}/a`, '# nothing yet\n')
    expect(domains.of(`${base}/a/b`)).toEqual({ module: 'literal', file: `${base}/common/lookup.toml` })
  })

  test.each([
    ['module = "other"', /`module` is one of fudge, literal/],
    ['module = 1', /`module`/],
    ['module = "literal"\nmodul = 1', /`modul`/],
    ['module', /lookup\.toml:1/],
  ])('%j is told of once, and names none', (text, why) => {
    const file = put(`${base}/a`, `${text}\n`)
    expect(domains.of(`${base}/a`).module).toBe('fudge')
    domains.forget()
    expect(domains.of(`${base}/a`).module).toBe('fudge')
    expect(log).toEqual([expect.stringMatching(why)])
    expect(log[0]).toContain(file)
  })
})

const skip = whyNoMount()
describe.skipIf(skip)(`a mount${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  beforeAll(async () => {
    instance = await CosmosInstance.start()
  })
  afterAll(() => instance?.stop())

  test('below a literal directory names are what they are; below a fudge one in it they are read', async () => {
    for (const directory of ['', 'plain/', 'plain/inner/', 'other/']) {
      mkdirSync(join(instance.work, directory), { recursive: true })
      writeFileSync(join(instance.work, directory, 'x.yaml'), 'a: 1\n')
    }
    const file = put(join(instance.work, 'plain'), 'module = "literal"\n')
    const inner = put(join(instance.work, 'plain/inner'), 'module = "fudge"\n')
    const made = (name: string) => instance.inMount(name)
    expect(readFileSync(made('x.yaml.to-json'), 'utf8')).toBe('{\n  "a": 1\n}\n')
    expect(readFileSync(made('other/x.yaml.d/a'), 'utf8')).toBe('1\n')
    expect(readFileSync(made('plain/inner/x.yaml.d/a'), 'utf8')).toBe('1\n')
    for (const name of ['x.yaml.to-json', 'x.yaml.d', 'x.yaml.d/a', 'x.yaml.to-json:prod'])
      expect(existsSync(made(`plain/${name}`))).toBe(false)
    expect(readFileSync(made('plain/x.yaml:prod'), 'utf8')).toMatch(/^source file:/)
    const told = await instance.cosmos(['cat', made('plain/x.yaml.to-json')])
    expect(told.stderr).toContain(`not found (names are literal there: ${file})`)
    expect(await instance.tell('lookup', '--trace', made('plain/inner/x.yaml.to-json'))).toMatch(
      new RegExp(`\\n  module fudge +0 +cascade +${inner}\\n`),
    )
    expect(await instance.tell('lookup', '--trace', made('x.yaml.to-json'))).toMatch(
      /\n {2}module fudge +0 +built in +nobody names another\n/,
    )
  })

  test('a change counts soon', async () => {
    const directory = join(instance.work, 'changing')
    mkdirSync(directory)
    writeFileSync(join(directory, 'x.yaml'), 'a: 1\n')
    const path = instance.inMount('changing/x.yaml.to-json')
    const file = put(directory, 'module = "literal"\n')
    expect(existsSync(path)).toBe(false)
    rmSync(file)
    await waitFor('the name', () => existsSync(path))
    writeFileSync(file, 'module = "literal"\n')
    await waitFor('its end', () => !existsSync(path))
  })
})
