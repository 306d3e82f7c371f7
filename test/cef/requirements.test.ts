import { chmodSync, symlinkSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { describeRequirements, requirementsOf } from '../../src/cef/requirements.ts'
import { tinyElf, wasmImporting, wasmModule, wasmText } from './bytes.ts'
import { MAIN, noCompiler, Workshop } from './workshop.ts'

const shop = new Workshop()
afterAll(() => shop.close())

describe('the kind of a file', () => {
  test.each<[string, string, Uint8Array | string]>([
    ['native', 'program', tinyElf()],
    ['library', 'lib.so', tinyElf({ type: 3, dynamic: [[1, 1]], names: '\0libc.so.6\0' })],
    ['script', 'script', '#!/bin/sh\n'],
    ['wasm', 'module.wasm', wasmModule()],
    ['program', 'program.py', 'print()'],
    ['program', 'empty', ''],
  ])('is %s', (kind, name, content) => {
    const profile = requirementsOf(shop.write(name, content, 0o755))
    expect(profile).toMatchObject({ kind, executable: true, path: shop.at(name) })
    expect(profile.problem).toBeUndefined()
    expect(JSON.parse(JSON.stringify(profile))).toEqual(profile)
  })

  test.each([
    [0o644, false],
    [0o755, true],
  ])('of mode %o is executable: %o', (mode, executable) => {
    expect(requirementsOf(shop.write('mode', '#!/bin/sh\n', mode)).executable).toBe(executable)
  })
})

test('a suffix is the end of the name, not of its directory', () => {
  for (const [name, suffix] of [
    ['a.tar.gz', '.gz'],
    ['dir.d/plain', undefined],
    ['.hidden', undefined],
    ['ends.', undefined],
    ['x/.b.py', '.py'],
  ] as const)
    expect(requirementsOf(shop.write(name, '')).suffix, name).toBe(suffix)
})

describe('a problem', () => {
  test.each<[string, () => string, string, RegExp]>([
    ['nothing', () => shop.at('nothing'), 'ENOENT', /not there/],
    ['a directory', () => shop.directory, 'EISDIR', /directory/],
    ['a device', () => '/dev/null', 'EACCES', /no regular file/],
    ['a truncated program', () => shop.write('cut', tinyElf().subarray(0, 1000)), 'ENOEXEC', /truncated/],
    ['an ELF magic', () => shop.write('magic', '\x7fELF'), 'ENOEXEC', /truncated/],
    ['a #! without interpreter', () => shop.write('bad', '#!\n'), 'ENOEXEC', /interpreter/],
    [
      'a truncated module',
      () => shop.write('cut.wasm', wasmImporting('x').subarray(0, 25)),
      'ENOEXEC',
      /truncated/,
    ],
    ['a component', () => shop.write('c.wasm', '\0asm\x0d\0\x01\0'), 'ENOEXEC', /component/],
    [
      'a wrong declaration',
      () => shop.write('wrong', '#!/bin/sh\n# cosmos: x = 1\n'),
      'EINVAL',
      /`x` is unknown/,
    ],
    [
      'a declaration that contradicts',
      () => shop.write('against', '#!/bin/sh\n# cosmos: interpreter = "/bin/awk"\n'),
      'EINVAL',
      /declares the interpreter \/bin\/awk, its content has \/bin\/sh/,
    ],
  ])('of %s', (_, make, code, message) => {
    const path = make()
    const profile = requirementsOf(path)
    expect(profile.problem).toMatchObject({ code, message: expect.stringMatching(message) })
    expect(profile.path).toBe(path)
    expect(describeRequirements(profile)).toContain(`(${code})\n`)
  })

  test('of a loop of links', () => {
    symlinkSync('loop', shop.at('loop'))
    expect(requirementsOf(shop.at('loop')).problem?.code).toBe('ELOOP')
  })

  test('is none where the kernel may execute what nobody may read', () => {
    const path = shop.write('secret', tinyElf())
    chmodSync(shop.directory, 0o755)
    chmodSync(path, 0o111)
    const root = process.geteuid?.() === 0
    if (root) process.seteuid?.(65534)
    try {
      expect(requirementsOf(path)).toMatchObject({ kind: 'native', executable: true })
      expect(requirementsOf(path).problem).toBeUndefined()
    } finally {
      if (root) process.seteuid?.(0)
    }
  })
})

test('declarations: those beside the payload come before those in it', () => {
  const path = shop.write('tool.py', '# cosmos: vm = "a"\n# cosmos: environment = ["HOME"]\n')
  shop.write(
    'tool.py.cef.toml',
    'vm = "b"\nlibraries = ["libc.so.6", "libnothing.so.9"]\nlimits.seconds = 3\n',
  )
  expect(requirementsOf(path)).toMatchObject({
    kind: 'program',
    vm: 'b',
    environment: ['HOME'],
    limits: { seconds: 3 },
    libraries: expect.arrayContaining([
      expect.objectContaining({ name: 'libc.so.6', path: expect.stringContaining('libc') }),
      { name: 'libnothing.so.9', needs: [], versions: [], missingVersions: [] },
    ]),
  })
})

test('imports and exports of WebAssembly, all kinds', () => {
  const module = (name: string, kind: number, ...rest: number[]) => [
    ...wasmText('env'),
    ...wasmText(name),
    kind,
    ...rest,
  ]
  const imports = [
    ...module('f', 0, 0),
    ...module('t', 1, 0x70, 0, 1),
    ...module('rt', 1, 0x63, 0x70, 1, 1, 2),
    ...module('m', 2, 3, 1, 2),
    ...module('g', 3, 0x7f, 0),
    ...module('e', 4, 0, 0),
  ]
  const path = shop.write(
    'all.wasm',
    wasmModule([0, [1, 65]], [2, [6, ...imports]], [7, [1, ...wasmText('ü'), 2, 0]]),
  )
  const profile = requirementsOf(path)
  expect(profile.problem).toBeUndefined()
  expect(profile.imports?.map(({ name, kind }) => `${name} ${kind}`)).toEqual([
    'f function',
    't table',
    'rt table',
    'm memory',
    'g global',
    'e tag',
  ])
  expect(profile.exports).toEqual([{ name: 'ü', kind: 'memory' }])
})

test('what people read of a script', () => {
  const path = shop.write('sk\xfcript.sh', '#!/usr/bin/env -S sh -e\n# cosmos: files = ["x"]\n', 0o755)
  expect(describeRequirements(requirementsOf(Buffer.from(path).toString('latin1')))).toBe(
    [
      'kind        script',
      `path        ${path}`,
      'executable  yes',
      'interpreter /usr/bin/env -S sh -e',
      'suffix      .sh',
      `file        ${shop.at('x')}`,
      '',
    ].join('\n'),
  )
})

test.skipIf(noCompiler)('what people read of a program', () => {
  const text = describeRequirements(requirementsOf(shop.compile('program', MAIN)))
  expect(text).toMatch(/^kind {8}native$/m)
  expect(text).toMatch(/^interpreter \/.*ld.*$/m)
  expect(text).toMatch(/^library {5}libc\.so\.6 => \/.*libc\.so\.6$/m)
})
