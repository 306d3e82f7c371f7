import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { BUILT_IN, parseCapabilities } from '../../src/cef/capabilities.ts'
import { parseDeclared, readDeclared } from '../../src/cef/declared.ts'
import { Workshop } from './workshop.ts'

const shop = new Workshop()
afterAll(() => shop.close())

const invalid = (message: string) => expect.objectContaining({ name: 'CosmosError', code: 'EINVAL', message })

describe('what an owner declares', () => {
  test('has all keys', () => {
    const text = `
      vm = "python"
      arch = "x86_64"
      interpreter = "/usr/bin/python3"
      libraries = ["libm.so.6"]
      files = ["data/ü.csv", "/etc/hosts"]
      devices = ["/dev/kvm"]
      environment = ["HOME"]
      [limits]
      memory = "1.5 KiB"
      seconds = 0.5
    `
    expect(parseDeclared(text, '/dir', 'file')).toEqual({
      vm: 'python',
      arch: 'x86_64',
      interpreter: '/usr/bin/python3',
      libraries: ['libm.so.6'],
      files: ['/dir/data/\xc3\xbc.csv', '/etc/hosts'],
      devices: ['/dev/kvm'],
      environment: ['HOME'],
      limits: { memory: 1536, seconds: 0.5 },
    })
    expect(parseDeclared('', '/dir', 'file')).toEqual({})
  })

  test.each([
    ['vm = 1', 'tool.cef.toml: `vm` is not text'],
    ['vm = ""', 'tool.cef.toml: `vm` is not text'],
    ['vmm = "x"', 'tool.cef.toml: `vmm` is unknown'],
    ['files = "x"', 'tool.cef.toml: `files` is not a list of texts'],
    ['files = [1]', 'tool.cef.toml: `files` is not a list of texts'],
    ['files = ["a\\u0000"]', 'tool.cef.toml: `files` has a NUL character'],
    ['environment = ["A=b"]', 'tool.cef.toml: `environment` has "A=b", which is no variable\'s name'],
    ['limits = 3', 'tool.cef.toml: `limits` is not a table'],
    ['limits.memory = "much"', 'tool.cef.toml: `limits.memory` is no size such as "64 MiB"'],
    ['limits.memory = -1', 'tool.cef.toml: `limits.memory` is no size such as "64 MiB"'],
    ['limits.seconds = 0', 'tool.cef.toml: `limits.seconds` is not more than 0'],
    ['limits.seconds = nan', 'tool.cef.toml: `limits.seconds` is not a number'],
    ['limits.time = 1', 'tool.cef.toml: `limits.time` is unknown'],
  ])('%s is refused', (text, message) => {
    expect(() => parseDeclared(text, '/', 'tool.cef.toml')).toThrow(invalid(message))
  })

  test('that is no TOML is refused with its line', () => {
    expect(() => parseDeclared('vm = "x"\n=', '/', 'f')).toThrow(invalid(expect.stringMatching(/^f:2: /)))
  })

  test('is in a file beside the payload', () => {
    const payload = shop.write('tool', '')
    expect(readDeclared(payload)).toBeUndefined()
    const file = shop.write('tool.cef.toml', 'files = ["x"]')
    expect(readDeclared(payload)).toEqual({ files: [shop.at('x')] })
    shop.write('tool.cef.toml', 'colour = "red"')
    expect(() => readDeclared(payload)).toThrow(invalid(`${file}: \`colour\` is unknown`))
    shop.write('tool.cef.toml', Buffer.alloc(70_000, '#'))
    expect(() => readDeclared(payload)).toThrow(expect.objectContaining({ code: 'EFBIG' }))
  })
})

describe("a VM's profile", () => {
  test('has all keys', () => {
    const text = `
      description = "Runs Python"
      kinds = ["script", "program"]
      arch = ["x86_64"]
      suffixes = [".py"]
      interpreters = ["python3"]
      imports = []
      check-libraries = true
      command = "bin/vm"
      sessions = 0
      [pool]
      min = 1
      max = 3
      spares = 2
      idle-seconds = 10
      [limits]
      memory = "64 MiB"
      seconds = 10
    `
    expect(parseCapabilities('python', text, 'profile')).toEqual({
      name: 'python',
      description: 'Runs Python',
      kinds: ['script', 'program'],
      native: false,
      arch: ['x86_64'],
      suffixes: ['.py'],
      interpreters: ['python3'],
      imports: [],
      checksLibraries: true,
      command: 'bin/vm',
      sessions: 0,
      pool: { min: 1, max: 3, spares: 2, idleSeconds: 10 },
      limits: { memory: 64 * 2 ** 20, seconds: 10 },
    })
  })

  test.each([
    ['command = "x"', 'profile: `kinds` is missing'],
    ['kinds = []\ncommand = "x"', 'profile: `kinds` is missing'],
    ['kinds = []\ncommand = "x"\nproduces = false', 'profile: `kinds` is missing'],
    ['kinds = ["wasm"]', 'profile: `command` is missing'],
    [
      'kinds = ["jar"]\ncommand = "x"',
      'profile: `kinds` has "jar", which is none of native, library, script, wasm, program, function, remote',
    ],
    ['kinds = ["wasm"]\ncommand = "/bin/sh"', "profile: `command` leads out of the VM's directory"],
    ['kinds = ["wasm"]\ncommand = "a/../../b"', "profile: `command` leads out of the VM's directory"],
    [
      'kinds = ["wasm"]\ncommand = "x"\nsuffixes = ["py"]',
      'profile: `suffixes` has "py", which does not begin with a dot',
    ],
    ['kinds = ["wasm"]\ncommand = "x"\nnative = "yes"', 'profile: `native` is not true or false'],
    [
      'kinds = ["wasm"]\ncommand = "x"\npool.max = 0',
      'profile: `pool.max` is not a whole number of 1 or more',
    ],
    ['kinds = ["wasm"]\ncommand = "x"\npool = {min = 3, max = 2}', 'profile: `pool.max` is less than min, 3'],
    ['kinds = ["wasm"]\ncommand = "x"\ncolour = "red"', 'profile: `colour` is unknown'],
  ])('%j is refused', (text, message) => {
    expect(() => parseCapabilities('x', text, 'profile')).toThrow(invalid(message))
  })

  test('of every VM that ships is right', () => {
    const directory = fileURLToPath(new URL('../../cosm/vm', import.meta.url))
    const names = readdirSync(directory)
    expect(names).toEqual(expect.arrayContaining(['hostexec', 'hostfn', 'wasi']))
    for (const name of names) {
      const file = join(directory, name, 'profile')
      expect(parseCapabilities(name, readFileSync(file, 'utf8'), file)).toMatchObject({
        name,
        command: BUILT_IN,
      })
    }
  })
})
