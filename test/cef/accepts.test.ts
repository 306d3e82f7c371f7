import { readFileSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { accepts } from '../../src/cef/accepts.ts'
import { type CapabilitiesProfile, parseCapabilities } from '../../src/cef/capabilities.ts'
import { type Host, thisHost } from '../../src/cef/host.ts'
import { findLibrary } from '../../src/cef/libraries.ts'
import { requirementsOf } from '../../src/cef/requirements.ts'
import { run } from '../support/run.ts'
import { abiNote, tinyElf, wasmImporting } from './bytes.ts'
import { MAIN, noCompiler, Workshop } from './workshop.ts'

const shop = new Workshop()
afterAll(() => shop.close())

function shipped(name: string): CapabilitiesProfile {
  const file = fileURLToPath(new URL(`../../cosm/vm/${name}/profile`, import.meta.url))
  return parseCapabilities(name, readFileSync(file, 'utf8'), file)
}

const hostexec = shipped('hostexec')
const hostfn = shipped('hostfn')
const wasi = shipped('wasi')
const python = parseCapabilities(
  'python',
  'kinds = ["script", "program"]\nsuffixes = [".py"]\ninterpreters = ["python3"]\ncommand = "vm"\n[limits]\nmemory = "1 MiB"\nseconds = 5',
  'profile',
)
const host = thisHost()

/** `yes`, or code and reason. */
function verdict(path: string, vm: CapabilitiesProfile, on: Host = host): string {
  const answer = accepts(requirementsOf(path), vm, on)
  return answer.accepts ? 'yes' : `${answer.code} ${answer.reason}`
}

/** What execve(2) says of it, and the dynamic linker (127): the verdict of the kernel itself. */
async function executes(path: string): Promise<boolean> {
  // A spawned program that is none would be given to a shell; this is the call alone, which aborts when it fails.
  const { code } = await run(process.execPath, ['-e', 'process.execve(process.argv[1])', path], {
    cwd: shop.directory,
    env: { PATH: process.env.PATH, NODE_NO_WARNINGS: '1' },
  })
  return code === 0
}

describe.skipIf(noCompiler || process.arch !== 'x64')('hostexec and a program', () => {
  test('that is whole', async () => {
    for (const flags of [[], ['-static'], ['-static-pie'], ['-no-pie']]) {
      const path = shop.compile('whole', MAIN, ...flags)
      expect(verdict(path, hostexec), flags.join()).toBe('yes')
      expect(await executes(path)).toBe(true)
    }
  })

  test('for another machine', async () => {
    const path = shop.compile('other', MAIN)
    const bytes = readFileSync(path)
    for (const [machine, arch] of [
      [183, 'aarch64'],
      [243, 'riscv64'],
    ] as const) {
      bytes.writeUInt16LE(machine, 18)
      shop.write('other', bytes, 0o755)
      expect(verdict(path, hostexec)).toBe(`ENOEXEC needs ${arch}, this machine is x86_64`)
      expect(await executes(path)).toBe(false)
    }
  })

  test('whose header says 32 bits, or another byte order', () => {
    // The kernel looks at neither of these bytes; who does sees a file that contradicts itself.
    for (const at of [4, 5]) {
      const bytes = readFileSync(shop.compile('flipped', MAIN))
      bytes[at] = at === 4 ? 1 : 2
      expect(verdict(shop.write('flipped', bytes, 0o755), hostexec)).toMatch(/^ENOEXEC /)
    }
  })

  test('that is cut off, or may not be executed', () => {
    const path = shop.compile('cut', MAIN)
    const bytes = readFileSync(path)
    shop.write('cut', bytes.subarray(0, 2000), 0o755)
    expect(verdict(path, hostexec)).toMatch(/^ENOEXEC is truncated: it has 2000 of \d+ bytes$/)
    shop.write('cut', bytes, 0o644)
    expect(verdict(path, hostexec)).toBe('EACCES is not executable: no x bit, or a mount with noexec')
  })

  test('whose library, or the version of its symbols, is missing', async () => {
    const make = (version: string) => {
      shop.write('one.map', `${version} { global: one; };`)
      const flags = ['-shared', '-fPIC', '-Wl,-soname,libone.so.1', '-Wl,--version-script=one.map']
      return shop.compile('libone.so', 'int one(void) { return 0; }', ...flags)
    }
    const library = make('ONE_1')
    const source = 'extern int one(void); int main(void) { return one(); }'
    const path = shop.compile('linked', source, '-L.', '-lone', '-Wl,-rpath,$ORIGIN')
    expect(verdict(path, hostexec)).toBe('ENOENT libone.so.1 is missing')
    expect(await executes(path)).toBe(false)
    shop.write('libone.so.1', readFileSync(library))
    expect(verdict(path, hostexec)).toBe('yes')
    expect(await executes(path)).toBe(true)
    shop.write('libone.so.1', readFileSync(make('ONE_2')))
    expect(verdict(path, hostexec)).toBe('ENOEXEC libone.so.1 has no ONE_1')
    rmSync(shop.at('libone.so.1'))
  })

  test('whose dynamic linker is missing, of another machine, or no linker', async () => {
    const path = shop.compile('strange', MAIN, '-Wl,--dynamic-linker=/nowhere/ld.so')
    expect(verdict(path, hostexec)).toBe('ENOENT its interpreter /nowhere/ld.so is missing')
    expect(await executes(path)).toBe(false)
    const linker = shop.write('ld.so', tinyElf({ type: 3, machine: 183 }), 0o755)
    const foreign = shop.compile('strange', MAIN, `-Wl,--dynamic-linker=${linker}`)
    expect(verdict(foreign, hostexec)).toBe(`ENOEXEC its interpreter ${linker} is for aarch64`)
    shop.write('ld2.so', 'text', 0o755)
    const text = shop.compile('strange2', MAIN, `-Wl,--dynamic-linker=${shop.at('ld2.so')}`)
    expect(verdict(text, hostexec)).toBe(`ENOEXEC its interpreter ${shop.at('ld2.so')} is for no machine`)
    expect(await executes(text)).toBe(false)
  })
})

test('a kernel that is too old, and another system', () => {
  const [machine, on] = [62, { ...host, arch: 'x86_64', system: 'linux', kernel: '5.10.0-28-amd64' }]
  const vm = { ...hostexec, arch: ['x86_64'] }
  const file = (system: number, ...version: [number, number, number]) =>
    shop.write('kernel', tinyElf({ machine, notes: abiNote(system, ...version) }), 0o755)
  expect(verdict(file(0, 5, 10, 0), vm, on)).toBe('yes')
  expect(verdict(file(0, 5, 9, 99), vm, on)).toBe('yes')
  expect(verdict(file(0, 5, 10, 1), vm, on)).toBe(
    'ENOEXEC needs linux 5.10.1 or newer, this machine has 5.10.0-28-amd64',
  )
  expect(verdict(file(3, 1, 0, 0), vm, on)).toBe('ENOEXEC is for freebsd, this machine has linux')
})

describe('hostexec and a script', () => {
  const script = (name: string, content: string) => shop.write(name, content, 0o755)

  test.each([
    ['#!/bin/sh\n', 'yes'],
    ['#!/usr/bin/env sh\n', 'yes'],
    ['#!/usr/bin/env -S sh -e\n', 'yes'],
    ['#!/nowhere/sh\n', 'ENOENT its interpreter /nowhere/sh is missing'],
    ['#!/usr/bin/env no-such-program\n', 'ENOENT its interpreter no-such-program is not on the PATH'],
    ['#!/bin/sh\r\n', 'ENOENT has Windows line ends: its interpreter is /bin/sh and a CR'],
    ['#!/etc/passwd\n', 'ENOEXEC its interpreter /etc/passwd: is no program'],
    ['#!/etc\n', 'EISDIR its interpreter /etc: is a directory'],
    ['#!sh\n', 'ENOENT its interpreter sh is no absolute path'],
    ['#!\n', 'ENOEXEC has a #! line without an interpreter'],
  ])('%j: %s', async (content, expected) => {
    const path = script('script', content)
    expect(verdict(path, hostexec)).toBe(expected)
    // A relative name is for the working directory of the caller, which nobody knows beforehand.
    if (content !== '#!sh\n') expect(await executes(path)).toBe(expected === 'yes')
  })

  test('with interpreters one behind the other: five, and not six', async () => {
    let interpreter = '/bin/true'
    for (let depth = 1; depth <= 7; depth++) {
      const path = script(`chain${depth}`, `#!${interpreter}\n`)
      const answer = verdict(path, hostexec, thisHost())
      expect(answer === 'yes', `${depth}: ${answer}`).toBe(await executes(path))
      interpreter = path
    }
    expect(verdict(shop.at('chain7'), hostexec)).toBe('ELOOP has more than 5 interpreters')
  })

  test('that is its own interpreter ends', () => {
    expect(verdict(script('self', `#!${shop.at('self')}\n`), hostexec)).toMatch(/^ELOOP /)
  })

  test('whose interpreter may not be executed', () => {
    const tool = shop.write('tool', '#!/bin/sh\n', 0o644)
    expect(verdict(script('uses', `#!${tool}\n`), hostexec)).toMatch(
      `EACCES its interpreter ${tool}: is not executable`,
    )
  })
})

test('hostfn takes libraries, libc among them, and no programs', () => {
  expect(verdict(findLibrary('libm.so.6')!, hostfn)).toBe('yes')
  expect(verdict(findLibrary('libc.so.6')!, hostfn)).toBe('yes')
  const named = { ...requirementsOf(findLibrary('libm.so.6')!), kind: 'function' as const, symbol: 'cos' }
  expect(accepts(named, hostfn, host)).toEqual({ accepts: true })
  expect(accepts(named, hostexec, host)).toMatchObject({ code: 'EOPNOTSUPP' })
  expect(verdict('/bin/sh', hostfn)).toBe('EOPNOTSUPP is an ELF program; hostfn runs libraries, functions')
  const foreign = shop.write(
    'lib.so',
    tinyElf({ type: 3, machine: 2, dynamic: [[1, 1]], names: '\0libc.so.6\0' }),
  )
  expect(verdict(foreign, hostfn)).toMatch(/^ENOEXEC needs sparc, this machine is /)
})

test('a VM of modules takes those whose imports it has; wasi looks for others itself', () => {
  const picky = { ...wasi, imports: ['wasi_unstable'] }
  expect(verdict(shop.write('a.wasm', wasmImporting('wasi_snapshot_preview1')), wasi)).toBe('yes')
  expect(verdict(shop.write('b.wasm', wasmImporting('wasi_unstable', 'my-own-cluster')), wasi)).toBe('yes')
  expect(verdict(shop.write('c.wasm', wasmImporting('wasi_unstable', 'env')), wasi)).toBe('yes')
  expect(verdict(shop.at('c.wasm'), picky)).toBe('ENOEXEC imports env.fd_write, which wasi has not')
  expect(verdict(shop.at('a.wasm'), hostexec)).toBe(
    'EOPNOTSUPP is WebAssembly; hostexec runs ELF programs, scripts',
  )
})

test('a VM for suffixes and interpreters', () => {
  const file = (name: string, content: string) => verdict(shop.write(name, content), python)
  expect(file('a.py', 'print()')).toBe('yes')
  expect(file('b', '#!/usr/bin/env python3\n')).toBe('yes')
  expect(file('c.rb', 'puts')).toBe('ENOEXEC python knows no .rb')
  expect(file('d', 'puts')).toBe('ENOEXEC has no suffix')
  expect(file('e', '#!/usr/bin/env -S ruby -w\n')).toBe('ENOEXEC is for ruby, which python has not')
  expect(file('f.rb', '# cosmos: vm = "python"\n')).toBe('yes')
  expect(file('g.py', '# cosmos: vm = "pypy"\n')).toBe('EOPNOTSUPP wants the VM pypy, this is python')
  expect(file('h.rb', '# cosmos: interpreter = "/usr/bin/python3"\n')).toBe('yes')
})

test('what is declared must be there', () => {
  const on = { ...host, environment: new Set(['HOME']) }
  const declared = (toml: string) => {
    shop.write('x.py.cef.toml', toml)
    return verdict(shop.write('x.py', ''), python, on)
  }
  expect(declared('environment = ["HOME"]\nfiles = ["x.py", "/"]\ndevices = ["/dev/null"]')).toBe('yes')
  expect(declared('environment = ["HOME", "TOKEN"]')).toBe(
    'ENOENT needs the variable TOKEN, which is not set',
  )
  expect(declared('files = ["gone"]')).toBe(`ENOENT needs the file ${shop.at('gone')}, which is missing`)
  expect(declared('devices = ["/dev/nothing"]')).toBe(
    'ENODEV needs the device /dev/nothing, which is missing',
  )
  expect(declared('devices = ["/etc/passwd"]')).toBe('ENODEV needs the device /etc/passwd, which is missing')
  expect(declared('libraries = ["libno.so.1", "libnot.so.2"]')).toBe(
    'ENOENT libno.so.1, libnot.so.2 are missing',
  )
  expect(declared('arch = "z80"')).toMatch(/^ENOEXEC needs z80, this machine is /)
  expect(declared('limits.memory = "2 MiB"')).toBe(
    'ENOMEM needs 2097152 bytes of memory, python gives 1048576',
  )
  expect(declared('limits.seconds = 6')).toBe('ETIME needs 6 seconds, python gives 5')
  expect(declared('colour = "red"')).toBe(`EINVAL ${shop.at('x.py.cef.toml')}: \`colour\` is unknown`)
})

test('what is nothing is nothing for all', () => {
  for (const vm of [hostexec, hostfn, wasi, python])
    expect(verdict(shop.at('nothing'), vm)).toBe('ENOENT is not there')
})
