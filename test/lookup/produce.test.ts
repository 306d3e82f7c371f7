// `cosmos produce`, and what is known of how a result was made.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'

const skip = whyNoMount()

describe.skipIf(skip)(`cosmos produce${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  const put = (name: string, content: string): string => {
    writeFileSync(join(instance.work, name), content)
    return instance.inMount(name)
  }
  const madeLine = (path: string) => readFileSync(`${path}:prod`, 'utf8').split('\n')[2]
  beforeAll(async () => {
    instance = await CosmosInstance.start()
  })
  afterAll(() => instance.stop())

  test('makes anew what was kept, and tells what it did', async () => {
    const path = `${put('a.json', '{"a": [1]}')}.to-yaml.grep-a`
    expect(readFileSync(path, 'utf8')).toBe('a:\n')
    const first = madeLine(path)
    const [made] = JSON.parse(await instance.tell('produce', '--json', path)) as [object]
    expect(made).toMatchObject({
      instruction: expect.stringMatching(/^transform grep a of transform to-yaml of source /),
      steps: [
        { instruction: 'transform to-yaml', size: 9, milliseconds: expect.any(Number) },
        { instruction: 'transform grep a', size: 3 },
      ],
    })
    expect(madeLine(path)).not.toBe(first)
    expect(readFileSync(path, 'utf8')).toBe('a:\n')
    expect(await instance.tell('produce', `${instance.inMount('a.json')}.d`)).toMatch(/map json +2 entries/)
    expect(readFileSync(`${instance.inMount('a.json')}.d/a/0`, 'utf8')).toBe('1\n')
    expect(
      readdirSync(join(instance.home, '.cosm/var/store')).filter((name) => /dropped/.test(name)),
    ).toEqual([])
  })

  test('what cannot be made is exit 1, and why', async () => {
    const { code, stderr } = await instance.cosmos(['produce', `${put('bad.json', '{')}.to-yaml`])
    expect(code).toBe(1)
    expect(stderr).toMatch(/line 1, column 2/)
  })

  test('what stands for itself is not made, and what is not there neither', async () => {
    const own = await instance.cosmos(['produce', put('own', '')])
    expect(own).toMatchObject({ code: 125, stderr: expect.stringContaining('is not made of anything') })
    expect((await instance.cosmos(['produce', instance.inMount('no.json.to-yaml')])).code).toBe(125)
  })

  test('how a result was made is known to the next daemon, and inspect tells it', async () => {
    const path = `${put('kept.json', '{}')}.to-yaml`
    readFileSync(path)
    const made = madeLine(path)
    await instance.killDaemon()
    expect(madeLine(path)).toBe(made)
    expect(await instance.tell('inspect', path)).toContain(made)
  })
})
