import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cosmosMountOf, isWithin, type MountEntry, mountOf, parseMountinfo } from '../../mount/mountinfo.ts'

const bytes = (text: string) => Buffer.from(text, 'latin1')

describe('parseMountinfo', () => {
  test('a line of the kernel', () => {
    const line =
      '45 27 0:42 / /home/me/cosmos rw,relatime shared:7 master:2 - fuse.cosmos cosmos rw,user_id=0,allow_other\n'
    expect(parseMountinfo(bytes(line))).toEqual([
      {
        id: 45,
        parent: 27,
        device: '0:42',
        root: '/',
        path: '/home/me/cosmos',
        options: 'rw,relatime',
        type: 'fuse.cosmos',
        source: 'cosmos',
        superOptions: 'rw,user_id=0,allow_other',
      },
    ])
  })

  test('escapes are bytes, and a dash may be a name', () => {
    const line = '2 1 8:1 /a\\134b /x\\040y\\011\\012\\303\\244/- rw - ext4 - rw\n'
    expect(parseMountinfo(bytes(line))).toMatchObject([
      { root: '/a\\b', path: '/x y\t\nä/-', type: 'ext4', source: '-' },
    ])
  })

  test('lines that are none are left out', () => {
    expect(parseMountinfo(bytes('\n1 2 3\n1 2 0:1 / / rw\n1 2 0:1 / / rw - ext4\n'))).toEqual([])
  })

  test('gives back what the kernel would have written', () => {
    const text = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
      .filter((each) => !each.includes('\0') && Buffer.from(each).toString() === each)
    const entry = fc.record({
      id: fc.nat(),
      parent: fc.nat(),
      device: fc.constant('0:1'),
      root: text.map((each) => `/${each}`),
      path: text.map((each) => `/${each}`),
      options: fc.constant('rw'),
      type: fc.constantFrom('ext4', 'fuse.cosmos'),
      source: text,
      superOptions: fc.constant('rw'),
    })
    fc.assert(
      fc.property(
        fc.array(entry),
        fc.array(fc.constantFrom('shared:1', 'master:2'), { maxLength: 3 }),
        (all, tags) => {
          const lines = all.map((each) => line(each, tags)).join('')
          expect(parseMountinfo(Buffer.from(lines))).toEqual(all)
        },
      ),
    )
  })
})

/** An entry as show_mountinfo() writes it. */
function line(entry: MountEntry, tags: string[]): string {
  const { id, parent, device, root, path, options, type, source, superOptions } = entry
  const mangle = (text: string) =>
    text.replace(/[ \t\n\\#]/g, (each) => `\\${each.charCodeAt(0).toString(8).padStart(3, '0')}`)
  const fields = [
    id,
    parent,
    device,
    mangle(root),
    mangle(path),
    options,
    ...tags,
    '-',
    type,
    mangle(source),
    superOptions,
  ]
  return `${fields.join(' ')}\n`
}

describe('mountOf', () => {
  const mount = (id: number, parent: number, path: string, type = 'ext4'): MountEntry => ({
    id,
    parent,
    device: `0:${id}`,
    root: '/',
    path,
    options: 'rw',
    type,
    source: 'x',
    superOptions: 'rw',
  })

  test('the longest mount point, by whole names', () => {
    const mounts = [mount(1, 0, '/'), mount(2, 1, '/a', 'fuse.cosmos'), mount(3, 2, '/a/b')]
    expect(mountOf('/ab', mounts)?.id).toBe(1)
    expect(mountOf('/a', mounts)?.id).toBe(2)
    expect(mountOf('/a/c/d', mounts)?.id).toBe(2)
    expect(mountOf('/a/b/d', mounts)?.id).toBe(3)
    expect(cosmosMountOf('/a/c', mounts)?.id).toBe(2)
    expect(cosmosMountOf('/a/b', mounts)).toBeUndefined()
    expect(cosmosMountOf('/', mounts)).toBeUndefined()
  })

  test('what lies on top is seen, what lies below is hidden', () => {
    const mounts = [
      mount(1, 1, '/'),
      mount(2, 1, '/a'),
      mount(3, 2, '/a/b', 'fuse.cosmos'),
      mount(4, 2, '/a', 'tmpfs'),
      mount(5, 4, '/a', 'ext4'),
    ]
    expect(mountOf('/a/b/c', mounts)?.id).toBe(5)
  })

  test('a root that is no mount point', () => {
    expect(mountOf('/x', [mount(7, 3, '/x')])?.id).toBe(7)
    expect(mountOf('/y', [mount(7, 3, '/x')])).toBeUndefined()
  })
})

test('isWithin', () => {
  expect(isWithin('/a/b', '/a')).toBe(true)
  expect(isWithin('/a', '/a')).toBe(true)
  expect(isWithin('/ab', '/a')).toBe(false)
  expect(isWithin('/a', '/')).toBe(true)
})
