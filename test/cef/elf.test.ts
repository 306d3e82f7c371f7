import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { exportedFunctions, readElf } from '../../src/cef/elf.ts'
import { findLibrary } from '../../src/cef/libraries.ts'
import { abiNote, TAIL_AT, tinyElf } from './bytes.ts'
import { MAIN, noCompiler, Workshop } from './workshop.ts'

const shop = new Workshop()
afterAll(() => shop.close())

/** Reads a file of these bytes. */
const read = (bytes: Uint8Array) => readElf(shop.write('file', bytes))

describe('a file of a few bytes', () => {
  test.each([
    [{ machine: 62 }, 'x86_64'],
    [{ machine: 62, bits: 32 as const }, 'x32'],
    [{ machine: 3, bits: 32 as const }, 'i386'],
    [{ machine: 183 }, 'aarch64'],
    [{ machine: 40, bits: 32 as const }, 'arm'],
    [{ machine: 243 }, 'riscv64'],
    [{ machine: 21, bigEndian: true }, 'ppc64'],
    [{ machine: 22, bigEndian: true }, 's390x'],
    [{ machine: 8, bits: 32 as const, bigEndian: true }, 'mips'],
    [{ machine: 4711 }, 'machine 4711'],
  ])('of %o is for %s', (parts, arch) => {
    expect(read(tinyElf(parts))).toMatchObject({ arch, isProgram: true, needed: [] })
  })

  test.each([
    { bits: 64 as const, bigEndian: false },
    { bits: 64 as const, bigEndian: true },
    { bits: 32 as const, bigEndian: false },
    { bits: 32 as const, bigEndian: true },
  ])('has its names in %o', (shape) => {
    const names = '\0liba.so\0libb.so\0me.so\0/run\0/r\0'
    const dynamic: [number, number][] = [
      [1, 1],
      [1, 9],
      [14, 17],
      [29, 23],
      [15, 28],
    ]
    expect(read(tinyElf({ ...shape, type: 3, names, dynamic }))).toMatchObject({
      needed: ['liba.so', 'libb.so'],
      soname: 'me.so',
      runpath: '/run',
      rpath: '/r',
      isProgram: false,
      isShared: true,
    })
  })

  test('says which kernel it is for', () => {
    expect(read(tinyElf({ notes: abiNote(0, 3, 2, 0) })).abi).toEqual({ system: 'linux', atLeast: '3.2.0' })
    expect(read(tinyElf({ notes: abiNote(3, 12, 0, 1) })).abi).toEqual({
      system: 'freebsd',
      atLeast: '12.0.1',
    })
    const bsd = tinyElf()
    bsd[7] = 9
    expect(read(bsd).abi?.system).toBe('freebsd')
  })

  test('is a PIE by its flag', () => {
    const pie = read(tinyElf({ type: 3, dynamic: [[0x6ffffffb, 0x08000000]] }))
    expect(pie).toMatchObject({ isProgram: true, isShared: false })
  })

  test.each<[string, Uint8Array, RegExp]>([
    ['that is empty', Buffer.alloc(0), /truncated/],
    ['of a magic alone', Buffer.from('\x7fELF'), /truncated/],
    ['of text', Buffer.from('this is not an ELF file at all'), /no ELF/],
    ['that is cut in its headers', tinyElf().subarray(0, 70), /truncated/],
    ['that is cut in its content', tinyElf().subarray(0, 0x700), /truncated: it has 1792 of 2304 bytes/],
    ['that is an object file', tinyElf({ type: 1 }), /object file/],
    ['that is a core dump', tinyElf({ type: 4 }), /core dump/],
    ['with a name without an end', unendedName(), /without an end/],
    ['with a name out of the file', tinyElf({ dynamic: [[1, 0x7fffffff]] }), /nothing at the address/],
  ])('%s is refused', (_, bytes, why) => {
    expect(() => read(bytes)).toThrow(
      expect.objectContaining({ code: 'ENOEXEC', message: expect.stringMatching(why) }),
    )
  })

  test('with a chain of symbol versions that goes on and on is refused', () => {
    const tail = Buffer.alloc(16 * 5000)
    for (let at = 0; at < tail.length; at += 16) tail.writeUInt32LE(16, at + 12)
    const bytes = tinyElf({ dynamic: [[0x6ffffffe, TAIL_AT]], tail })
    expect(() => read(bytes)).toThrow(/too many symbol versions/)
  })
})

/** The last byte of the file is in a name. */
function unendedName(): Buffer {
  const bytes = tinyElf({ dynamic: [[1, 0x400]] })
  bytes.fill(0x61, 0x800)
  return bytes
}

describe.skipIf(noCompiler)('what cc makes', () => {
  test('a program, a static one, a static PIE, one at a fixed address, and a library', () => {
    expect(readElf(shop.compile('dynamic', MAIN))).toMatchObject({
      isProgram: true,
      isShared: false,
      interpreter: expect.stringContaining('/ld'),
      abi: { system: 'linux' },
      needed: expect.arrayContaining(['libc.so.6']),
    })
    expect(readElf(shop.compile('fixed', MAIN, '-no-pie'))).toMatchObject({ isProgram: true })
    for (const [name, flag] of [
      ['static', '-static'],
      ['static-pie', '-static-pie'],
    ] as const) {
      const elf = readElf(shop.compile(name, MAIN, flag))
      expect(elf).toMatchObject({ isProgram: true, isShared: false, needed: [] })
      expect(elf.interpreter).toBeUndefined()
    }
    const library = readElf(
      shop.compile('libone.so', 'int one(void) { return 1; }', '-shared', '-Wl,-soname,libone.so.1'),
    )
    expect(library).toMatchObject({ isProgram: false, isShared: true, soname: 'libone.so.1' })
  })

  test.each(['gnu', 'sysv', 'both'])('functions of a library with a hash table of style %s', (style) => {
    const source = `
      int shown(int x) { return x; }
      __attribute__((weak)) int faint(void) { return 1; }
      __attribute__((visibility("hidden"))) int hidden(void) { return 2; }
      static int local(void) { return 3; }
      int data = 4;
      extern int elsewhere(void);
      int caller(void) { return local() + elsewhere(); }
    `
    const library = shop.compile(`lib${style}.so`, source, '-shared', '-fPIC', `-Wl,--hash-style=${style}`)
    const names = exportedFunctions(library).filter((name) => !name.startsWith('_'))
    expect(names).toEqual(['caller', 'faint', 'shown'])
  })

  test('functions in their default version only', () => {
    shop.write('two.map', 'ONE { global: f; local: *; }; TWO { global: g; } ONE;')
    const source = `
      int old(void) { return 1; }
      int new(void) { return 2; }
      __asm__(".symver old, f@ONE");
      __asm__(".symver new, g@@TWO");
    `
    const library = shop.compile('libtwo.so', source, '-shared', '-fPIC', '-Wl,--version-script=two.map')
    expect(exportedFunctions(library)).toContain('g')
    expect(exportedFunctions(library)).not.toContain('f')
    expect(readElf(library).versionsDefined).toEqual(['ONE', 'TWO'])
  })

  test('a library without functions has none', () => {
    const library = shop.compile('libempty.so', '', '-shared', '-nostdlib')
    expect(exportedFunctions(library)).toEqual([])
  })
})

test("the functions of the system's libraries are those that readelf lists", ({ skip }) => {
  if (spawnSync('readelf', ['--version']).status !== 0) return skip('readelf is not installed')
  for (const name of ['libc.so.6', 'libm.so.6', 'libstdc++.so.6', 'libfuse.so.2', 'libz.so.1']) {
    const path = findLibrary(name)
    if (path === undefined) continue
    expect(exportedFunctions(path), name).toEqual(listedByReadelf(path))
  }
})

function listedByReadelf(path: string): string[] {
  const { stdout } = spawnSync('readelf', ['-W', '--dyn-syms', path], {
    maxBuffer: 1 << 28,
    encoding: 'utf8',
  })
  const names = stdout.split('\n').flatMap((line) => {
    const [, , , , type, binding, visibility, section, name = ''] =
      ` ${line.replace(/\[[^\]]*\]/, '')}`.split(/\s+/)
    if (!/^I?FUNC$/.test(type ?? '') || !/^(GLOBAL|WEAK)$/.test(binding ?? '')) return []
    if (!/^(DEFAULT|PROTECTED)$/.test(visibility ?? '') || section === 'UND') return []
    return /[^@]@[^@]/.test(name) ? [] : name.split('@@', 1)
  })
  return [...new Set(names)].sort() as string[]
}

test('only errors of cosmos are thrown for what is no regular file', () => {
  for (const [path, code] of [
    ['/dev/null', 'EACCES'],
    ['/', 'EISDIR'],
    [shop.at('nothing'), 'ENOENT'],
    [`${shop.write('file', 'x')}/below`, 'ENOTDIR'],
  ] as const)
    expect(() => readElf(path)).toThrow(expect.objectContaining({ name: 'CosmosError', code }))
  spawnSync('mkfifo', [shop.at('fifo')])
  expect(() => readElf(shop.at('fifo'))).toThrow(expect.objectContaining({ code: 'EACCES' }))
})

test('this very program is what its name says', () => {
  const magic = readFileSync(process.execPath).readUInt16LE(18)
  expect(readElf(process.execPath)).toMatchObject({ isProgram: true, machine: magic })
})
