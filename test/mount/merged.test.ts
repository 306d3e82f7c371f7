import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { describePlaces } from '../support/places.ts'
import { shell } from '../support/run.ts'
import { cases } from './cases/merged.ts'

describePlaces(cases, new URL('./cases/merged.ts', import.meta.url), { places: ['merged'], lower: true })

describe('one bind after another', () => {
  const missing = whyNoMount()
  let instance: CosmosInstance

  beforeAll(async () => {
    if (missing === undefined) instance = await CosmosInstance.start()
  })
  afterAll(() => instance?.stop())

  test('whiteouts go with their bind: the next one hides nothing', async ({ skip }) => {
    if (missing !== undefined) return skip(missing)
    const { work } = instance
    for (const path of ['at', 'one', 'one/d', 'two', 'two/d']) mkdirSync(join(work, path))
    for (const lower of ['one', 'two'])
      for (const path of ['f', 'd/in']) writeFileSync(join(work, lower, path), lower)
    const at = instance.inMount('at')
    const show = () =>
      shell('cd "$1"; find . -type f | sort | while read f; do cat "$f"; echo " $f"; done', [at])
    const remove = () => shell('rm -r "$1/f" "$1/d"; mkdir "$1/d"; rmdir "$1/d"; ls -A "$1"', [at])
    for (const lower of ['one', 'two', 'one']) {
      await instance.tell('bind', join(work, lower), at)
      expect(await show()).toBe(`${lower} ./d/in\n${lower} ./f\n`)
      expect(await remove()).toBe('')
      await instance.tell('unbind', at)
      expect(await show()).toBe('')
    }
    // Over a life of the daemon, too.
    await instance.tell('bind', join(work, 'two'), at)
    await remove()
    await instance.tell('unbind', at)
    await instance.tell('down')
    expect((await instance.up()).code).toBe(0)
    await instance.tell('bind', join(work, 'two'), at)
    expect(await show()).toBe('two ./d/in\ntwo ./f\n')
    expect(await shell('ls -A "$1/one" "$1/two" "$1/at"', [work])).toMatch(
      /^.*at:\n\n.*one:\nd\nf\n\n.*two:\nd\nf\n$/,
    )
  })
})
