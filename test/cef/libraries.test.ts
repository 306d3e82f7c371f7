import { readFileSync, rmSync, symlinkSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { readElf } from '../../src/cef/elf.ts'
import { findLibrary, knownLibraries, resolveLibraries } from '../../src/cef/libraries.ts'
import { configuredDirectories, levelsOf, parseLinkerCache } from '../../src/cef/linker.ts'
import { tinyElf } from './bytes.ts'
import { MAIN, noCompiler, Workshop } from './workshop.ts'

const shop = new Workshop()
afterAll(() => shop.close())

const ONE = 'int one(void) { return 1; }'
const USES_ONE = 'extern int one(void); int two(void) { return one() + 1; }'
const CALLS_ONE = 'extern int one(void); int main(void) { return one(); }'
const CALLS_TWO = 'extern int two(void); int main(void) { return two(); }'

const library = (path: string, source: string, ...flags: string[]) =>
  shop.compile(path, source, '-shared', '-fPIC', `-Wl,-soname,${path.split('/').at(-1)}`, ...flags)

const needsOf = (path: string) => {
  const needs = resolveLibraries(path, readElf(path))
  return Object.fromEntries(needs.map((need) => [need.name, need]))
}

describe.skipIf(noCompiler)('a program', () => {
  test('finds libraries beside itself by $ORIGIN, also through a link', () => {
    const one = library('origin/lib/libone.so', ONE)
    const flags = ['-Lorigin/lib', '-lone', '-Wl,-rpath,$ORIGIN/../lib']
    const program = shop.compile('origin/bin/program', CALLS_ONE, ...flags)
    expect(needsOf(program)['libone.so']?.path).toBe(`${shop.at('origin/bin')}/../lib/libone.so`)
    symlinkSync(program, shop.at('link'))
    expect(needsOf(shop.at('link'))['libone.so']?.path).toBe(`${shop.at('origin/bin')}/../lib/libone.so`)
    rmSync(one)
    expect(needsOf(program)['libone.so']).toEqual({
      name: 'libone.so',
      needs: [],
      versions: [],
      missingVersions: [],
    })
  })

  test.each([
    ['DT_RPATH is for its libraries too', '--disable-new-dtags', true],
    ['DT_RUNPATH is for itself alone', '--enable-new-dtags', false],
  ])('%s', (_, flag, found) => {
    const at = flag.slice(2, 8)
    library(`${at}/libone.so`, ONE)
    library(`${at}/libtwo.so`, USES_ONE, `-L${at}`, '-lone')
    const paths = [`-L${at}`, `-Wl,-rpath-link,${at}`, `-Wl,${flag}`, `-Wl,-rpath,\${ORIGIN}`]
    const needs = needsOf(shop.compile(`${at}/program`, CALLS_TWO, '-Wl,--no-as-needed', ...paths, '-ltwo'))
    expect(needs['libtwo.so']).toMatchObject({
      path: shop.at(`${at}/libtwo.so`),
      needs: expect.arrayContaining(['libone.so']),
    })
    expect(needs['libone.so']?.path !== undefined).toBe(found)
  })

  test('lists each library once, in a circle too', () => {
    library('circle/libtwo.so', 'int two(void) { return 2; }')
    library('circle/libone.so', 'extern int two(void); int one(void) { return two(); }', '-Lcircle', '-ltwo')
    library('circle/libtwo.so', USES_ONE, '-Lcircle', '-lone')
    const program = shop.compile(
      'circle/program',
      CALLS_ONE,
      '-Lcircle',
      '-lone',
      '-Wl,--disable-new-dtags,-rpath,$ORIGIN',
      '-Wl,-rpath-link,circle',
    )
    const names = resolveLibraries(program, readElf(program)).map(({ name }) => name)
    expect(names.filter((name) => name.includes('one') || name.includes('two'))).toEqual([
      'libone.so',
      'libtwo.so',
    ])
    expect(new Set(names).size).toBe(names.length)
  })

  test('passes over a library of another machine, and not over a broken one', () => {
    library('real/libone.so', ONE)
    shop.write('other/libone.so', tinyElf({ type: 3, machine: 183 }))
    const flags = ['-Lreal', '-lone', '-Wl,-rpath,$ORIGIN/other:$ORIGIN/real']
    const program = shop.compile('program', CALLS_ONE, ...flags)
    expect(needsOf(program)['libone.so']?.path).toBe(shop.at('real/libone.so'))
    shop.write('other/libone.so', tinyElf({ type: 3 }).subarray(0, 100))
    expect(needsOf(program)['libone.so']).toMatchObject({
      path: shop.at('other/libone.so'),
      problem: expect.stringContaining('truncated'),
    })
  })

  test('wants versions of symbols', () => {
    const versioned = (versions: string) => {
      shop.write('one.map', versions)
      library('versions/libone.so', ONE, '-Wl,--version-script=one.map')
    }
    versioned('ONE_1.0 { global: one; };')
    const program = shop.compile('versions/program', CALLS_ONE, '-Lversions', '-lone', '-Wl,-rpath,$ORIGIN')
    expect(needsOf(program)['libone.so']).toMatchObject({ versions: ['ONE_1.0'], missingVersions: [] })
    versioned('ONE_2.0 { global: one; };')
    expect(needsOf(program)['libone.so']).toMatchObject({
      versions: ['ONE_1.0'],
      missingVersions: ['ONE_1.0'],
    })
    // One without any versions is taken, with a warning.
    library('versions/libone.so', ONE)
    expect(needsOf(program)['libone.so']).toMatchObject({ versions: ['ONE_1.0'], missingVersions: [] })
  })

  test('that is static has none', () => {
    const program = shop.compile('static', MAIN, '-static')
    expect(resolveLibraries(program, readElf(program))).toEqual([])
  })

  test('finds the one for a better processor first', () => {
    const level = levelsOf(new Set(flagsOfThisProcessor()))[0]
    if (level === undefined) return
    library('plain/libone.so', ONE)
    library(`plain/glibc-hwcaps/${level}/libone.so`, ONE)
    const program = shop.compile('better', CALLS_ONE, '-Lplain', '-lone', '-Wl,-rpath,$ORIGIN/plain')
    expect(needsOf(program)['libone.so']?.path).toBe(shop.at(`plain/glibc-hwcaps/${level}/libone.so`))
  })
})

function flagsOfThisProcessor(): string[] {
  const text = process.arch === 'x64' ? readFileSync('/proc/cpuinfo', 'latin1') : ''
  return /^flags\s*:(.*)$/m.exec(text)?.[1]?.trim().split(' ') ?? []
}

test('too many places to look in are refused', () => {
  const directories = Array.from({ length: 4000 }, (_, i) => `/${i}`).join(':')
  const elf = {
    ...readElf(shop.write('many', tinyElf())),
    needed: Array.from({ length: 100 }, (_, i) => `lib${i}.so`),
    runpath: directories,
  }
  expect(() => resolveLibraries(shop.at('many'), elf)).toThrow(
    expect.objectContaining({ code: 'ENOEXEC', message: expect.stringContaining('too many') }),
  )
})

test("the system's libraries are found by name", () => {
  expect(knownLibraries()).toContain('libc.so.6')
  const libc = findLibrary('libc.so.6')!
  expect(readElf(libc).soname).toBe('libc.so.6')
  expect(findLibrary(libc)).toBe(libc)
  for (const name of ['libnothing.so.9', '', '../libc.so.6', '/etc/passwd', 'libc.so.6\0'])
    expect(findLibrary(name), name).toBeUndefined()
  expect(findLibrary('libc.so.6', 'alpha')).toBeUndefined()
})

test("the linker's configuration includes others, each once", () => {
  shop.write('ld.so.conf', 'include conf.d/*.conf # all\n\n/last/\n')
  shop.write('conf.d/b.conf', '/b\n/a\n')
  shop.write('conf.d/a.conf', `# comment\n/a\ninclude ${shop.at('ld.so.conf')}\ninclude nothing.conf`)
  shop.write('conf.d/ignored.txt', '/ignored\n')
  expect(configuredDirectories(shop.at('ld.so.conf'))).toEqual(['/a', '/b', '/last'])
})

describe("the linker's cache", () => {
  test('has the better library first, and none for another processor', () => {
    const cache = linkerCacheOf([
      ['libx.so', '/plain/libx.so'],
      ['libx.so', '/v2/libx.so', 0],
      ['libx.so', '/v4/libx.so', 1],
      ['liby.so', '/y/liby.so'],
    ])
    const found = parseLinkerCache(cache, ['x86-64-v3', 'x86-64-v2'])!
    expect([...found]).toEqual([
      ['libx.so', ['/v2/libx.so', '/plain/libx.so']],
      ['liby.so', ['/y/liby.so']],
    ])
  })

  test('behind one of the former format is found; another one is none', () => {
    const former = Buffer.alloc(24, 'ld.so-1.7.0\0')
    const cache = linkerCacheOf([['libx.so', '/x/libx.so']])
    expect([...parseLinkerCache(Buffer.concat([former, cache]), [])!]).toEqual([['libx.so', ['/x/libx.so']]])
    expect(parseLinkerCache(former, [])).toBeUndefined()
  })

  test('that is damaged is no more than a RangeError', () => {
    const cache = linkerCacheOf([['libx.so', '/v2/libx.so', 0]])
    for (let length = 0; length < cache.length; length++)
      try {
        parseLinkerCache(cache.subarray(0, length), ['x86-64-v2'])
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError)
      }
  })
})

/** ld.so.cache by hand, with the subdirectories x86-64-v2 and x86-64-v4. */
function linkerCacheOf(entries: [name: string, path: string, level?: number][]): Buffer {
  const levels = ['x86-64-v2', 'x86-64-v4']
  const extension = 48 + entries.length * 24
  const list = extension + 8 + 16
  let texts = Buffer.alloc(0)
  const textAt = (text: string): number => {
    const at = list + 8 + texts.length
    texts = Buffer.concat([texts, Buffer.from(`${text}\0`)])
    return at
  }
  const table = Buffer.alloc(list + 8)
  table.write('glibc-ld.so.cache1.1')
  table.writeUInt32LE(entries.length, 20)
  table.writeUInt32LE(extension, 32)
  entries.forEach(([name, path, level], i) => {
    const at = 48 + i * 24
    table.writeUInt32LE(0x303, at)
    table.writeUInt32LE(textAt(name), at + 4)
    table.writeUInt32LE(textAt(path), at + 8)
    if (level === undefined) return
    table.writeUInt32LE(level, at + 16)
    table.writeUInt32LE(0x40000000, at + 20)
  })
  ;[0xeaa42174, 1, 1, 0, list, 8].forEach((value, i) => {
    table.writeUInt32LE(value, extension + i * 4)
  })
  levels.forEach((level, i) => {
    table.writeUInt32LE(textAt(level), list + i * 4)
  })
  return Buffer.concat([table, texts])
}
