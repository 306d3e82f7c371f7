import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { accepts } from '../../src/cef/accepts.ts'
import { type CapabilitiesProfile, parseCapabilities } from '../../src/cef/capabilities.ts'
import { exportedFunctions } from '../../src/cef/elf.ts'
import { thisHost } from '../../src/cef/host.ts'
import { findLibrary } from '../../src/cef/libraries.ts'
import { parseLinkerCache } from '../../src/cef/linker.ts'
import { describeRequirements, requirementsOf } from '../../src/cef/requirements.ts'
import { CosmosError } from '../../src/errors.ts'
import { tinyElf, wasmImporting } from './bytes.ts'
import { MAIN, noCompiler, Workshop } from './workshop.ts'

const shop = new Workshop()
afterAll(() => shop.close())

const kinds = '["native", "library", "script", "wasm", "program"]'
const native = parseCapabilities('all', `kinds = ${kinds}\nnative = true\ncommand = "x"`, 'profile')
const other: CapabilitiesProfile = { ...native, native: false, imports: [] }
const host = thisHost()

/** Whatever the bytes are, there is an answer. */
function inspect(bytes: Uint8Array): void {
  const path = shop.write('fuzz.bin', bytes, 0o755)
  const profile = requirementsOf(path)
  expect(typeof describeRequirements(profile)).toBe('string')
  for (const vm of [native, other]) {
    const verdict = accepts(profile, vm, host)
    expect(verdict.accepts || verdict.reason).toBeTruthy()
    if (!verdict.accepts) expect(verdict.reason).not.toContain('\n')
  }
  try {
    exportedFunctions(path)
  } catch (error) {
    expect(error).toBeInstanceOf(CosmosError)
  }
}

/** Bytes in which some were changed, many of them to what is likely to hurt. */
function damaged(bytes: Uint8Array, within = bytes.length): fc.Arbitrary<Uint8Array> {
  const value = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255))
  return fc
    .array(fc.tuple(fc.nat(within - 1), value, fc.integer({ min: 1, max: 8 })), { maxLength: 12 })
    .map((changes) => {
      const copy = Uint8Array.from(bytes)
      for (const [at, byte, count] of changes) copy.fill(byte, at, at + count)
      return copy
    })
}

describe('nothing but answers, for', { timeout: 240_000 }, () => {
  test('any bytes behind any magic', () => {
    const magic = fc.constantFrom(
      '',
      '#!',
      '\x7fELF\x02\x01\x01',
      '\x7fELF\x01\x02\x01',
      '\0asm\x01\0\0\0',
      '# cosmos: ',
    )
    fc.assert(
      fc.property(magic, fc.uint8Array({ maxLength: 400 }), (start, rest) => {
        inspect(Buffer.concat([Buffer.from(start, 'latin1'), rest]))
      }),
      { numRuns: 400 },
    )
  })

  test('a small ELF file with every byte changed', () => {
    const bytes = tinyElf({
      names: '\0libc.so.6\0$ORIGIN/x\0',
      dynamic: [
        [1, 1],
        [29, 11],
        [6, 0x500],
        [4, 0x540],
        [0x6ffffef5, 0x600],
        [0x6ffffff0, 0x640],
        [0x6ffffffc, 0x680],
        [0x6ffffffe, 0x6c0],
        [10, 0x100],
      ],
    })
    for (let at = 0; at < 0x140; at++)
      for (const value of [0, 0xff]) {
        const copy = Buffer.from(bytes)
        copy[at] = value
        inspect(copy)
      }
    fc.assert(fc.property(damaged(bytes), inspect), { numRuns: 500 })
  })

  test.skipIf(noCompiler)('a real program, changed and cut', () => {
    const bytes = readFileSync(shop.compile('program', MAIN))
    fc.assert(fc.property(damaged(bytes), inspect), { numRuns: 200 })
    fc.assert(fc.property(damaged(bytes, 0x700), inspect), { numRuns: 400 })
    fc.assert(
      fc.property(fc.nat(bytes.length), (length) => inspect(bytes.subarray(0, length))),
      { numRuns: 150 },
    )
  })

  test('a real library, changed where its tables are', () => {
    const bytes = readFileSync(findLibrary('libz.so.1') ?? findLibrary('libm.so.6')!)
    fc.assert(fc.property(damaged(bytes, 0x3000), inspect), { numRuns: 200 })
  })

  test('a WebAssembly module, changed and cut', () => {
    const bytes = wasmImporting('wasi_snapshot_preview1', 'env')
    for (let length = 0; length <= bytes.length; length++) inspect(bytes.subarray(0, length))
    for (let at = 8; at < bytes.length; at++)
      for (const value of [0, 0x7f, 0x80, 0xff]) {
        const copy = Buffer.from(bytes)
        copy[at] = value
        inspect(copy)
      }
    fc.assert(fc.property(damaged(bytes), inspect), { numRuns: 300 })
  })

  test("the linker's cache of this machine, changed and cut", () => {
    const bytes = readFileSync('/etc/ld.so.cache')
    const parse = (content: Uint8Array) => {
      try {
        parseLinkerCache(Buffer.from(content), ['x86-64-v3'])
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError)
      }
    }
    fc.assert(fc.property(damaged(bytes), parse), { numRuns: 50 })
    fc.assert(fc.property(damaged(bytes, 100), parse), { numRuns: 100 })
    fc.assert(
      fc.property(fc.nat(bytes.length), (length) => parse(bytes.subarray(0, length))),
      { numRuns: 50 },
    )
  })
})
