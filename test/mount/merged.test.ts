import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, isRoot, whyNoMount } from '../support/instance.ts'
import { describePlaces } from '../support/places.ts'
import { run, shell } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'
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

describe("a cosm of several owners, in root's mount", () => {
  const missing = whyNoMount() ?? (isRoot ? undefined : 'directories of several owners need root')
  const NOBODY = 65_534
  let instance: CosmosInstance

  /** A directory below the work directory. */
  const make = (path: string, uid: number, mode: number): string => {
    const made = join(instance.work, path)
    mkdirSync(made)
    chownSync(made, uid, uid)
    chmodSync(made, mode)
    return made
  }
  const asNobody = (program: string, ...args: string[]) => run(program, args, { uid: NOBODY, cwd: '/' })
  const list = async (path: string) => (await asNobody('ls', '-A', instance.inMount(path))).stdout

  beforeAll(async () => {
    if (missing === undefined) instance = await CosmosInstance.start()
  })
  afterAll(() => instance?.stop())

  test('a directory that is closed to the owner of the first one stays closed', async ({ skip }) => {
    if (missing !== undefined) return skip(missing)
    make('.cosm', 0, 0o755)
    make('his', NOBODY, 0o755)
    make('his/.cosm', NOBODY, 0o755)
    for (const [name, mode] of [
      ['closed', 0o700],
      ['unlistable', 0o711],
      ['open', 0o755],
    ] as const) {
      writeFileSync(join(make(`.cosm/${name}`, 0, mode), 'lower'), name, { mode: 0o644 })
      mkdirSync(join(instance.work, '.cosm', name, 'deep'))
      writeFileSync(join(make(`his/.cosm/${name}`, NOBODY, 0o755), 'own'), 'own')
    }
    expect(await list('his/.cosm/closed')).toBe('own\n')
    expect(await list('his/.cosm/unlistable')).toBe('own\n')
    expect(await list('his/.cosm/open')).toBe('deep\nlower\nown\n')
    for (const path of ['closed/lower', 'closed/deep/.', 'unlistable/lower'])
      expect((await asNobody('stat', instance.inMount(`his/.cosm/${path}`))).code, path).toBe(1)
    // Root's own cosm shows all, and so does his where he is let in.
    expect(await shell('ls -A "$1"', [instance.inMount('.cosm/closed')])).toBe('deep\nlower\n')
    chownSync(join(instance.work, '.cosm/closed'), 0, NOBODY)
    chmodSync(join(instance.work, '.cosm/closed'), 0o750)
    await waitFor(
      'what his group may see',
      async () => (await list('his/.cosm/closed')) === 'deep\nlower\nown\n',
    )
    chmodSync(join(instance.work, '.cosm/closed'), 0o705)
    await waitFor('that it is closed again', async () => (await list('his/.cosm/closed')) === 'own\n')
    expect((await asNobody('cat', instance.inMount('his/.cosm/closed/lower'))).code).toBe(1)
  })

  test("a link in the place of a cosm leads nobody to what is another's", async ({ skip }) => {
    if (missing !== undefined) return skip(missing)
    make('private', 0, 0o700)
    writeFileSync(join(make('private/in', 0, 0o755), 'secret'), 'secret')
    make('links', NOBODY, 0o755)
    const link = join(instance.work, 'links/.cosm')
    symlinkSync(join(instance.work, 'private/in'), link)
    lchownSync(link, NOBODY, NOBODY)
    const seen = instance.inMount('links/.cosm')
    expect(await list('links/.cosm')).not.toContain('secret')
    expect((await asNobody('cat', join(seen, 'secret'))).stdout).toBe('')
    // Nor does writing there give it to him.
    await run('mkdir', [join(seen, 'made')])
    expect(statSync(join(instance.work, 'private/in')).uid).toBe(0)
    expect(readdirSync(join(instance.work, 'private/in'))).toEqual(['secret'])
    // His own he may link to.
    rmSync(link)
    writeFileSync(join(make('elsewhere', NOBODY, 0o755), 'own'), 'own')
    symlinkSync(join(instance.work, 'elsewhere'), link)
    lchownSync(link, NOBODY, NOBODY)
    await waitFor('his own', async () => (await list('links/.cosm')).includes('own\n'))
  })
})
