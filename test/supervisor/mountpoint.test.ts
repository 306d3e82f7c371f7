import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { isConnected, mountFuse, unmountFuse } from '../../mount/kernel/mounting.ts'
import { cosmosMountOf, readMountinfo } from '../../mount/mountinfo.ts'
import { prepareMountPoint, removeMountPoint, resolveMountPoint } from '../../mount/mountpoint.ts'
import { close } from '../../src/os/libc.ts'
import { whyNoMount } from '../support/instance.ts'

const base = realpathSync(mkdtempSync(join(tmpdir(), 'cosmos-mountpoint-')))
const home = join(base, 'user/home')
const at = (path: string) => join(base, path)
const noDetach = () => Promise.reject(new Error('nothing to detach'))
const prepare = (path: string) => prepareMountPoint(path, home, noDetach)

afterAll(() => rmSync(base, { recursive: true, force: true }))
mkdirSync(home, { recursive: true })
chmodSync(base, 0o755)

describe('a directory to mount on', () => {
  test('is made with its parents, and removed with them', async () => {
    const point = await prepare(at('made/a/b'))
    expect(point).toEqual({ path: at('made/a/b'), made: at('made') })
    removeMountPoint(point)
    expect(existsSync(at('made'))).toBe(false)
  })

  test('stays when it was there, or is used by now', async () => {
    mkdirSync(at('there'))
    const there = await prepare(at('there'))
    expect(there).toEqual({ path: at('there'), made: undefined })
    removeMountPoint(there)
    expect(existsSync(at('there'))).toBe(true)
    const used = await prepare(at('used/x'))
    writeFileSync(at('used/x/file'), '')
    removeMountPoint(used)
    expect(existsSync(at('used/x/file'))).toBe(true)
  })

  test('is found through links, dots and doubled slashes', () => {
    mkdirSync(at('real/deep'), { recursive: true })
    symlinkSync('real/deep', at('link'))
    symlinkSync(at('real'), at('absolute'))
    expect(resolveMountPoint(at('link//./new'))).toBe(at('real/deep/new'))
    expect(resolveMountPoint(at('absolute/deep/../other'))).toBe(at('real/other'))
  })

  test.each([
    ['a file', 'file', 'ENOTDIR', /is not a directory/],
    ['inside a file', 'file/x', 'ENOTDIR', /file is not a directory/],
    ['not empty', 'full', 'ENOTEMPTY', /is not empty/],
    ['the cosmos home', 'user/home', 'EINVAL', /holds the cosmos home/],
    ['around the cosmos home', 'user', 'EINVAL', /holds the cosmos home/],
    ['a link to itself', 'loop', 'ELOOP', /too many links/],
    ['where nothing can be made', '../../proc/cosmos', 'ENOENT', /cannot be made/],
  ])('is refused: %s', async (_what, path, code, why) => {
    if (!existsSync(at('full'))) {
      writeFileSync(at('file'), '')
      mkdirSync(at('full/x'), { recursive: true })
      symlinkSync('loop', at('loop'))
    }
    const wanted = path.startsWith('../..') ? '/proc/cosmos' : at(path)
    await expect(prepare(wanted)).rejects.toMatchObject({ code, message: expect.stringMatching(why) })
  })

  test.runIf(process.geteuid?.() === 0)('is refused to another user: not theirs, not writable', () => {
    mkdirSync(at('theirs'), { mode: 0o755 })
    const script = `
      const { prepareMountPoint } = await import(${JSON.stringify(import.meta.resolve('../../mount/mountpoint.ts'))})
      process.setuid(65534)
      for (const path of ${JSON.stringify([at('theirs'), at('theirs/new')])})
        await prepareMountPoint(path, '/x').catch((error) => console.log(error.code, error.message))`
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
    expect(said).toMatch(
      /EACCES .*theirs: belongs to uid 0 and is not writable for this user\nEACCES .*new: cannot be made/,
    )
  })
})

describe.skipIf(whyNoMount())('what is mounted there', () => {
  test('a dead mount is taken away, however many lie on each other', async () => {
    mkdirSync(at('dead'))
    for (let i = 0; i < 2; i++) {
      const { fd, device } = mountFuse(at('dead'))
      expect(device).toMatch(/^\d+:\d+$/)
      expect(isConnected(fd)).toBe(true)
      close(fd)
    }
    const point = await prepareMountPoint(at('dead'), home, async (path) => {
      expect(await unmountFuse(path, true)).toBe(true)
    })
    expect(point.path).toBe(at('dead'))
    expect(cosmosMountOf(at('dead'), readMountinfo())).toBeUndefined()
  })

  test('a mount that does not answer is refused, and so is what lies inside', async () => {
    mkdirSync(at('silent'))
    const { fd } = mountFuse(at('silent'))
    try {
      await expect(prepare(at('silent'))).rejects.toMatchObject({
        code: 'EBUSY',
        message: expect.stringMatching(/does not answer/),
      })
      await expect(prepare(at('silent/in/it'))).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringMatching(/lies inside the cosmos mount/),
      })
    } finally {
      expect(await unmountFuse(at('silent'), true)).toBe(true)
      close(fd)
    }
    expect(await unmountFuse(at('silent'), false)).toBe(true)
  })
})
