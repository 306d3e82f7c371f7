// Grants: what people type, what is printed back, and what the rules mean for resolved paths.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatGrant, type GrantRule, Grants, parseGrant } from '../../src/mesh/grants.ts'

const ID = 'ab'.repeat(32)
const peer = { id: ID, name: 'me@laptop' }
const grants = (...rules: string[]) =>
  new Grants(
    rules.map((rule) => parseGrant(rule)),
    peer,
  )

describe('what is typed', () => {
  test.each([
    ['exec:.cosm/bin', 'exec:.cosm/bin'],
    ['read:/srv/', 'read:/srv'],
    ['list,lookup,read:/data/**', 'read:/data'],
    ['write,read:/srv//share', 'write:/srv/share'],
    ['lookup:/', 'lookup:/'],
    ['deny:/srv/private', 'deny:/srv/private'],
    ['deny:lookup:/srv/private', 'deny:/srv/private'],
    ['deny:list:/srv/*.key', 'deny:list:/srv/*.key'],
    [
      'exec:/usr/bin/ffmpeg:memory=2048M,processes=64,time=600',
      'exec:/usr/bin/ffmpeg:memory=2G,processes=64,time=600',
    ],
    ['exec:/x:network=yes,filesize=1000', 'exec:/x:filesize=1000,network=yes'],
    ['exec-bare,bind:/opt', 'exec-bare,bind:/opt'],
    ['read:/a%3Ab/caf%C3%A9/%2A/x y', 'read:/a%3Ab/café/%2A/x%20y'],
    ['read:/%ff', 'read:/%FF'],
  ])('%s is %s', (typed, printed) => {
    const rule = parseGrant(typed)
    expect(formatGrant(rule)).toBe(printed)
    expect(parseGrant(printed)).toEqual(rule)
  })

  test.each([
    '',
    'read',
    'read:',
    'read:srv',
    'fly:/srv',
    'read,:/srv',
    'read:/srv/../etc',
    'read:/srv/%2e%2e/etc',
    'read:/a/./b',
    'read:/a%2fb',
    'read:/a%00',
    'read:/a%4',
    'read:/a:b',
    'read:/a:time=3',
    'deny:exec:/a:time=3',
    'exec:/a:time=0',
    'exec:/a:memory=2X',
    'exec:/a:speed=9',
    'exec:/a:time=1:time=2',
    'exec:/a:',
    'deny:',
    'exec-bare:/a:processes=3',
    'exec-bare:/a:network=no',
    'read:.cosmos/x',
  ])('%j is refused', (typed) => {
    expect(() => parseGrant(typed)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test.each(['', 'laptop', '**', 'me@*', 'AB'.repeat(32)])('visitor %j is refused', (visitor) => {
    expect(() => parseGrant('read:/srv', visitor)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  test('any rule that can be made is printed so that it is read back as itself', () => {
    const operation = fc.constantFrom(
      'list',
      'lookup',
      'read',
      'write',
      'exec',
      'exec-bare',
      'bind',
      'control',
    )
    const name = fc
      .uint8Array({ minLength: 1, maxLength: 6 })
      .map((bytes) =>
        [...bytes]
          .filter((b) => b !== 0 && b !== 47)
          .map((b) => `%${b.toString(16).padStart(2, '0')}`)
          .join(''),
      )
      .filter((text) => !['', '%2e', '%2e%2e'].includes(text))
    const segment = fc.oneof(
      name,
      fc.constant('**'),
      fc.tuple(name, name).map((both) => both.join('*')),
      fc.constant('*é'),
    )
    const limits = fc.record(
      { memory: fc.integer({ min: 1, max: 2 ** 45 }), time: fc.integer({ min: 1, max: 1e9 }) },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(
        fc.uniqueArray(operation, { minLength: 1 }),
        fc.constantFrom('/', '.cosm/'),
        fc.array(segment, { maxLength: 5 }),
        limits,
        fc.boolean(),
        (operations, root, segments, bounds, denies) => {
          const text = Object.entries(bounds)
            .map(([key, value]) => `${key}=${value}`)
            .join(',')
          const isExec = operations.some((each) => each.startsWith('exec')) && !denies && text !== ''
          const typed = `${denies ? 'deny:' : ''}${operations}:${root}${segments.join('/')}${isExec ? `:${text}` : ''}`
          const rule = parseGrant(typed, ID)
          const printed = formatGrant(rule)
          expect(parseGrant(printed, ID)).toEqual(rule)
          expect(formatGrant(parseGrant(printed, ID))).toBe(printed)
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('what is allowed', () => {
  test('nothing, by default', () => {
    expect(grants().allows('lookup', '/')).toBe(false)
    expect(grants().execution(['/usr/bin/true', '.cosm/bin/true'])).toBeUndefined()
  })

  test('a path and all below it, and nothing beside it', () => {
    const some = grants('read:/srv')
    for (const path of ['/srv', '/srv/a', '/srv/a/b']) expect(some.allows('read', path)).toBe(true)
    for (const path of ['/', '/srvx', '/sr', '/etc', '/etc/srv'])
      expect(some.allows('read', path)).toBe(false)
    expect(some.allows('write', '/srv/a')).toBe(false)
    expect(some.allows('exec', '/srv/a')).toBe(false)
  })

  test('of the rules that match the last one decides', () => {
    const some = grants('read:/srv', 'deny:/srv/private', 'read:/srv/private/open')
    expect(some.allows('read', '/srv/private/x')).toBe(false)
    expect(some.allows('lookup', '/srv/private/x')).toBe(false)
    expect(some.allows('read', '/srv/private/open/x')).toBe(true)
    expect(grants('deny:/srv/private', 'read:/srv').allows('read', '/srv/private')).toBe(true)
  })

  test('a name may be hidden from listing and still be looked up', () => {
    const some = grants('read:/srv', 'deny:list:/srv/hidden')
    expect(some.allows('list', '/srv/hidden')).toBe(false)
    expect(some.allows('lookup', '/srv/hidden')).toBe(true)
    expect(some.allows('read', '/srv/hidden/file')).toBe(true)
  })

  test('the way to a granted path may be looked up and listed, and what is beside the way may not', () => {
    const some = grants('read:/srv/a/b', 'exec:.cosm/bin')
    for (const path of ['/', '/srv', '/srv/a', '.cosm', '.cosm/bin/x']) {
      expect(some.allows('lookup', path)).toBe(true)
      expect(some.allows('list', path)).toBe(true)
    }
    for (const path of ['/etc', '/srv/x', '/srv/a/x', '.cosm/etc'])
      expect(some.allows('lookup', path)).toBe(false)
    expect(some.allows('read', '/srv')).toBe(false)
    const denied = grants('read:/srv/a/b', 'deny:/srv/a')
    expect(denied.allows('lookup', '/srv')).toBe(false)
    expect(grants('read:/home/*/pub').allows('lookup', '/home/u')).toBe(true)
    expect(grants('read:/home/*/pub').allows('lookup', '/home/u/x')).toBe(false)
    expect(grants('read:/data/**/raw').allows('lookup', '/data/1/2/3')).toBe(true)
  })

  test('wildcards', () => {
    const some = grants('read:/home/*/pub', 'read:/data/**/raw/*.bin', 'read:/lit/%2A')
    expect(some.allows('read', '/home/u/pub/x')).toBe(true)
    expect(some.allows('read', '/home/u/v/pub/x')).toBe(false)
    for (const path of ['/data/raw/a.bin', '/data/1/raw/a.bin', '/data/raw/1/raw/a.bin/x'])
      expect(some.allows('read', path)).toBe(true)
    expect(some.allows('read', '/data/1/raw/a.txt')).toBe(false)
    expect(some.allows('read', '/lit/*')).toBe(true)
    expect(some.allows('read', '/lit/x')).toBe(false)
  })

  test('a pattern of many stars takes no time that grows without bound', () => {
    const some = grants(`read:/${'*a'.repeat(40)}b`)
    expect(some.allows('read', `/${'a'.repeat(5000)}`)).toBe(false)
    const deep = grants(`read:${'/**/a'.repeat(20)}/b`)
    expect(deep.allows('read', '/a'.repeat(2000))).toBe(false)
  })

  test('paths that are not resolved are refused, whatever is granted', () => {
    for (const path of ['/srv/../etc', '/srv/./x', 'srv', '', '../srv', '.cosm/../x'])
      expect(() => grants('read:/').allows('read', path)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
    expect(grants('read:/srv').allows('read', '/srv/%2e%2e/etc')).toBe(true)
  })

  test("rules are for their visitor: by id, by this host's name for it, or for all", () => {
    const rules = (visitor: string): GrantRule[] => [parseGrant('read:/srv', visitor)]
    for (const visitor of [ID, 'me@laptop', '*'])
      expect(new Grants(rules(visitor), peer).allows('read', '/srv')).toBe(true)
    for (const visitor of ['cd'.repeat(32), 'me@other'])
      expect(new Grants(rules(visitor), peer).allows('read', '/srv')).toBe(false)
    expect(new Grants(rules('me@laptop'), { id: ID }).allows('read', '/srv')).toBe(false)
  })

  test('a program is granted by its resolved path or its name in the cosm, with the limits of the deciding rule', () => {
    const some = grants(
      'exec:.cosm/bin:time=60',
      'exec:/opt/tool:memory=1G',
      'deny:exec:/usr/bin/rm',
      'exec-bare:/opt/gpu',
    )
    const names = (name: string) => [`/usr/bin/${name}`, `.cosm/bin/${name}`]
    expect(some.execution(names('cc'))).toEqual({ bare: false, limits: { time: 60 } })
    expect(some.execution(['/usr/bin/cc'])).toBeUndefined()
    expect(some.execution(names('rm'))).toBeUndefined()
    expect(some.execution(['/opt/tool/x'])).toEqual({ bare: false, limits: { memory: 2 ** 30 } })
    expect(some.execution(['/opt/gpu/x'])).toEqual({ bare: true, limits: {} })
  })

  test('a deny at the end always takes effect', () => {
    const rule = fc.constantFrom(
      'read:/a',
      'write:/a/b',
      'deny:/a/c',
      'read:/',
      'read:/a/**/d',
      'deny:list:/*',
    )
    const path = fc.constantFrom('/', '/a', '/a/b', '/a/b/c', '/a/c/d', '/x')
    fc.assert(
      fc.property(fc.array(rule), path, (rules, at) => {
        const some = grants(...rules, `deny:${at}`)
        for (const operation of ['list', 'lookup', 'read', 'write', 'exec', 'bind'] as const)
          expect(some.allows(operation, at)).toBe(false)
      }),
    )
  })
})
