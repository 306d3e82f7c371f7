// Users' own mappers and transformers: files in lib/cosmos of a cosm.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { waitFor } from '../support/wait.ts'

const skip = whyNoMount()

describe.skipIf(skip)(`users' own forms${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  const put = (name: string, content: string): string => {
    writeFileSync(join(instance.work, name), content)
    return instance.inMount(name)
  }
  const own = (path: string, content: string, mode = 0o644): void => {
    const file = join(instance.home, '.cosm/lib/cosmos', path)
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, content)
    chmodSync(file, mode)
  }
  const soon = (path: string, text: string) =>
    waitFor(path, () => existsSync(path) && readFileSync(path, 'utf8') === text)
  beforeAll(async () => {
    instance = await CosmosInstance.start()
  })
  afterAll(() => instance.stop())

  test('a module is a modifier on plain paths, and made anew when it is changed', async () => {
    const path = put('a.txt', 'some words')
    expect(existsSync(`${path}.shout`)).toBe(false)
    own(
      'transformers/shout.mjs',
      'export default { transform: (bytes, args) => Buffer.from(bytes.toString().toUpperCase() + args) }\n',
    )
    await soon(`${path}.shout`, 'SOME WORDS')
    await soon(`${path}.shout-x`, 'SOME WORDSx')
    expect(existsSync(instance.inMount('none.shout'))).toBe(false)
    own('transformers/shout.mjs', 'export default { transform: () => Buffer.from("quiet") }\n')
    await soon(`${path}.shout`, 'quiet')
    rmSync(join(instance.home, '.cosm/lib/cosmos/transformers/shout.mjs'))
    await waitFor('the end of it', () => !existsSync(`${path}.shout`))
  })

  test('an executable, in a chain', async () => {
    const path = put('b.txt', 'b\na\n')
    own('transformers/rot', '#!/bin/sh\ntr a-z b-za; echo "$1"\n', 0o755)
    await soon(`${path}.sort.rot-x`, 'b\nc\nx\n')
  })

  test('one that fails says what it said', async () => {
    const path = put('c.txt', '')
    own('transformers/fails', '#!/bin/sh\necho reason >&2; exit 3\n', 0o755)
    await waitFor('the transformer', () => existsSync(`${path}.fails`))
    expect(() => readFileSync(`${path}.fails`)).toThrow(/EIO/)
    expect(readFileSync(`${path}.fails:error`, 'utf8')).toMatch(/exited with 3: reason/)
  })

  test('a mapper is for files of its name, and what transformers ask; the nearest stands first', async () => {
    const path = put('d.words', 'one two')
    own(
      'scanners/words.mjs',
      "export default { map: (bytes) => ({ name: '', children: bytes.toString().split(' ').map((name) => ({ name, text: name })) }) }\n",
    )
    await soon(`${path}.d/two`, 'two\n')
    expect(readFileSync(`${path}.to-json`, 'utf8')).toBe('{\n  "one": "one",\n  "two": "two"\n}\n')
    expect(readFileSync(`${put('e.txt', 'x y')}.words.d/x`, 'utf8')).toBe('x\n')
    own('scanners/pairs', `#!/bin/sh\nprintf '{"got": "%s"}' "$(cat)"\n`, 0o755)
    const pairs = put('f.pairs', 'all')
    await soon(`${pairs}.d/got`, 'all\n')
    expect(readFileSync(`${pairs}.to-yaml`, 'utf8')).toBe('got: all\n')
    own('transformers/to-yaml.mjs', 'export default { transform: () => Buffer.from("mine") }\n')
    await soon(`${pairs}.to-yaml`, 'mine')
  })
})
