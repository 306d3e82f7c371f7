import { mkdirSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { declarationsIn, findOnPath, parseShebang, programOfEnv } from '../../src/cef/script.ts'
import { run } from '../support/run.ts'
import { Workshop } from './workshop.ts'

const shop = new Workshop()
afterAll(() => shop.close())

describe('a #! line', () => {
  test.each([
    ['#!/bin/sh\n', { interpreter: '/bin/sh' }],
    ['#!/bin/sh', { interpreter: '/bin/sh' }],
    ['#! \t/bin/sh \t\necho', { interpreter: '/bin/sh' }],
    ['#!/bin/sh -e -u  \n', { interpreter: '/bin/sh', argument: '-e -u' }],
    ['#!/usr/bin/env\tpython3\n', { interpreter: '/usr/bin/env', argument: 'python3' }],
    ['#!/bin/sh\r\n', { interpreter: '/bin/sh\r' }],
    ['#!/bin/sh\0-x\n', { interpreter: '/bin/sh' }],
    ['#!\n/bin/sh\n', undefined],
    ['#!   \n', undefined],
    ['#!', undefined],
    ['# /bin/sh\n', undefined],
    ['', undefined],
  ])('%j', (text, expected) => {
    expect(parseShebang(Buffer.from(text, 'latin1'))).toEqual(expected)
  })

  test('longer than the kernel reads: its argument is cut, its interpreter must not be', () => {
    const argument = parseShebang(Buffer.from(`#!/bin/sh ${'a'.repeat(400)}\n`))
    expect(argument).toEqual({ interpreter: '/bin/sh', argument: 'a'.repeat(245) })
    expect(parseShebang(Buffer.from(`#!/${'i'.repeat(400)}\n`))).toBeUndefined()
    const fits = `/${'i'.repeat(252)}`
    expect(parseShebang(Buffer.from(`#!${fits}\n`))).toEqual({ interpreter: fits })
  })

  test('is taken apart as the kernel does', async () => {
    const program = shop.write('echo', '#!/bin/sh\nprintf "[%s]" "$@"\n', 0o755)
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: fc.constantFrom(' ', '\t', 'a', '-', "'", '$', 'b'), maxLength: 300 }),
        async (rest) => {
          const script = shop.write('script', `#!${program} ${rest}\n`, 0o755)
          const { stdout } = await run(script, [])
          const { argument } = parseShebang(Buffer.from(`#!${program} ${rest}\n`))!
          expect(stdout).toBe(`${argument === undefined ? '' : `[${argument}]`}[${script}]`)
        },
      ),
      { numRuns: 25 },
    )
  })
})

test('the program that env runs', () => {
  for (const [argument, program] of [
    ['python3', 'python3'],
    ['-S node --no-warnings', 'node'],
    ['-S  -i A=b node', 'node'],
    ['-vS node x', 'node'],
    ['--split-string=node x', 'node'],
    ['-i', undefined],
    ['A=b', undefined],
    ['', ''],
  ] as const)
    expect(programOfEnv(argument), argument).toBe(program)
})

test('a program on a PATH is the first that may be executed', () => {
  shop.write('one/tool', 'no program')
  mkdirSync(shop.at('two/tool'), { recursive: true })
  const tool = shop.write('three/tool', '', 0o755)
  const path = ['', '.', 'relative', ...['none', 'one', 'two', 'three'].map((name) => shop.at(name))]
  expect(findOnPath('tool', path)).toBe(tool)
  expect(findOnPath('other', path)).toBeUndefined()
})

describe('declarations in comments', () => {
  test.each(['#', '//', '--', ';', ';;', '  #'])('after %s', (leader) => {
    expect(declarationsIn(Buffer.from(`first\n${leader} cosmos: vm = "x"\n`))?.trim()).toBe('vm = "x"')
  })

  test('keep their lines, and are near the top', () => {
    expect(declarationsIn(Buffer.from('a\n# cosmos: a = 1\n\n# cosmos: b = 2\n'))).toBe('\na = 1\n\nb = 2\n')
    expect(declarationsIn(Buffer.from(`${'x'.repeat(5000)}\n# cosmos: a = 1\n`))).toBeUndefined()
    expect(declarationsIn(Buffer.from('"cosmos: a = 1"\nnothing'))).toBeUndefined()
    const cut = Buffer.alloc(4096, `${'x'.repeat(4080)}\n# cosmos: a = 12345`)
    expect(declarationsIn(cut)).toBeUndefined()
  })
})
