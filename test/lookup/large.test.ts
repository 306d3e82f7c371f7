// Large documents are mapped by and by: what nobody looks for is not written.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { run } from '../support/run.ts'

const skip = whyNoMount()
const COUNT = 3000
const record = (i: number) => ({ id: i, deep: { list: [i, { x: `needle${i}` }] }, text: 'x'.repeat(1500) })

describe.skipIf(skip)(`large documents${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  let path: string
  const stored = () => {
    const store = join(instance.home, '.cosm/var/store')
    const [key] = readdirSync(store).filter((name) => /^[0-9a-f]+$/.test(name))
    return join(store, key!)
  }
  beforeAll(async () => {
    instance = await CosmosInstance.start()
    const records = Array.from({ length: COUNT }, (_, i) => record(i))
    writeFileSync(join(instance.work, 'large.json'), JSON.stringify({ all: records, note: 'short' }))
    path = `${instance.inMount('large.json')}.d`
  })
  afterAll(() => instance.stop())

  test('the root is there without what lies below', () => {
    expect(readdirSync(path).sort()).toEqual(['all', 'note'])
    expect(readFileSync(join(path, 'note'), 'utf8')).toBe('short\n')
    expect(statSync(join(path, 'all')).mode & 0o7777).toBe(0o755)
    expect(readdirSync(join(stored(), 'all'))).toEqual([])
  })

  test('what is looked for is there, also for several at once', async () => {
    const files = [2500, 7, 2501, 1200].map((i) => [i, join(path, `all/${i}/deep/list/1/x`)] as const)
    const all = await Promise.all(files.map(([, file]) => run('cat', [file])))
    expect(all.map(({ stdout }) => stdout)).toEqual(files.map(([i]) => `needle${i}\n`))
    expect(readdirSync(join(path, 'all'))).toHaveLength(COUNT)
    expect(existsSync(join(stored(), 'all/1100'))).toBe(false)
    const listed = JSON.parse(await instance.tell('ls', '--json', join(path, 'all/1100'))) as object[]
    expect(listed).toHaveLength(3)
  })

  test('find and grep -r end, and see everything', async () => {
    const found = await run('grep', ['-rl', 'needle', path])
    expect(found.stdout.trim().split('\n')).toHaveLength(COUNT)
    expect((await run('find', [path, '-name', 'x'])).stdout.trim().split('\n')).toHaveLength(COUNT)
  })

  test('it is not written to', async () => {
    expect((await run('sh', ['-c', 'echo x > "$1/note"', 'sh', path])).stderr).toMatch(/Read-only/)
  })
})
