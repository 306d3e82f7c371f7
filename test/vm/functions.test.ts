// Library functions: called from the shell, as files of the tree, and from Node.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { has, run, succeed } from '../support/run.ts'

const skip = whyNoMount() ?? ((await has('cc')) ? undefined : 'this machine has no C compiler')

const SOURCE = `
#include <stdlib.h>
#include <errno.h>
int add(int x, int y) { return x + y; }
int fails(int code) { errno = code; return -1; }
void scale(int n, double *xs, double by) { for (int i = 0; i < n; i++) xs[i] *= by; }
void crash(void) { *(volatile int *)0 = 1; }
int undescribed(void) { return 1; }
`
const IDL = `int add(int x, int y);
int fails(int code);
void scale(int n, double *xs, double by);
void crash(void);
`

describe.skipIf(skip)(`library functions${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  let lib: string
  let shown: string
  beforeAll(async () => {
    instance = await CosmosInstance.start()
    lib = join(instance.home, '.cosm/lib')
    shown = join(instance.mount, '.cosm/lib')
    mkdirSync(lib, { recursive: true })
    writeFileSync(join(instance.work, 'add.c'), SOURCE)
    await succeed('cc', ['-shared', '-fPIC', '-o', join(lib, 'libadd.so'), join(instance.work, 'add.c')])
    writeFileSync(join(lib, 'libadd.so.idl'), IDL)
  })
  afterAll(() => instance.stop())

  test('a library is a directory of its functions', () => {
    expect(readdirSync(shown)).toEqual(expect.arrayContaining(['libadd.so', 'libm.so.6', 'libc.so.6']))
    expect(readdirSync(join(shown, 'libadd.so')).sort()).toEqual([
      'add',
      'crash',
      'fails',
      'scale',
      'undescribed',
    ])
    expect(readdirSync(join(shown, 'libm.so.6'))).toContain('cos')
    expect(existsSync(join(shown, 'libadd.so/nothing'))).toBe(false)
    expect(existsSync(join(shown, 'libnothing.so.1'))).toBe(false)
  })

  test('a library whose prototypes nobody has written resolves, and is not listed', () => {
    const [name] = ['libz.so.1', 'libcrypt.so.1', 'librt.so.1', 'libdl.so.2'].filter((each) =>
      existsSync(join(shown, each)),
    )
    if (name === undefined) return
    expect(readdirSync(shown)).not.toContain(name)
    expect(readdirSync(join(shown, name)).length).toBeGreaterThan(0)
  })

  test('a function is an executable file', async () => {
    expect(await run(join(shown, 'libm.so.6/cos'), ['0'])).toMatchObject({ code: 0, stdout: '1\n' })
    expect(await run(join(shown, 'libadd.so/add'), ['2', '3'])).toMatchObject({ code: 0, stdout: '5\n' })
    expect(await run(join(shown, 'libadd.so/scale'), ['3', '[1,2,3]', '10'])).toMatchObject({
      code: 0,
      stdout: '[10,20,30]\n',
    })
  })

  test('one that crashes dies as a program does', async () => {
    const { code, signal, stderr } = await run(join(shown, 'libadd.so/crash'), [])
    expect(signal ?? code).toBe('SIGSEGV')
    expect(stderr).toBe('')
  })

  test('wrong arguments, and a prototype that is not known, are told in one line', async () => {
    expect(await run(join(shown, 'libadd.so/add'), ['2'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^cosmos: add: .*2.*1.*\n$/),
    })
    expect(await run(join(shown, 'libadd.so/add'), ['2', '99999999999'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^cosmos: y: 99999999999 .+\n$/),
    })
    expect(await run(join(shown, 'libadd.so/undescribed'), [])).toMatchObject({
      code: 126,
      stderr: expect.stringMatching(/^cosmos: undescribed: its prototype is not known.*libadd\.so\.idl.*\n$/),
    })
  })

  test('properties of libraries and functions', () => {
    expect(readFileSync(join(shown, 'libadd.so:payload')).equals(readFileSync(join(lib, 'libadd.so')))).toBe(
      true,
    )
    expect(readFileSync(join(shown, 'libadd.so/add:vms'), 'utf8')).toMatch(/^hostfn runs it$/m)
    expect(readFileSync(join(shown, 'libadd.so/add:profile'), 'utf8')).toMatch(/^symbol +add$/m)
  })

  test('a library directory is not written to', async () => {
    expect((await run('/bin/sh', ['-c', ': > "$1"', 'sh', join(shown, 'libadd.so/new')])).code).not.toBe(0)
    expect((await run('/bin/rm', [join(shown, 'libadd.so/add')])).code).not.toBe(0)
    expect(readdirSync(lib).sort()).toEqual(expect.arrayContaining(['libadd.so', 'libadd.so.idl']))
  })

  test('cosmos call: by prototype, by name, typed output, JSON', async () => {
    expect(await instance.tell('call', 'libm.so.6', 'double cos(double x)', '0')).toBe('1\n')
    expect(await instance.tell('call', 'libadd.so', 'add', '2', '3')).toBe('5\n')
    expect(await instance.tell('call', join(lib, 'libadd.so'), 'int add(int, int)', '-2', '3')).toBe('1\n')
    expect(JSON.parse(await instance.tell('call', '--json', 'libadd.so', 'fails', '13'))).toEqual({
      value: -1,
      errno: 13,
    })
    expect(
      JSON.parse(
        await instance.tell('call', '--json', 'libm.so.6', 'double frexp(double x, out int *exponent)', '8'),
      ),
    ).toEqual({ value: 0.5, out: { exponent: 4 } })
  })

  test.each([
    [['libadd.so', 'int add(int x'], /add\(int x/],
    [['libadd.so', 'int nothing(void)'], /nothing: .*no such function/],
    [['libnothing.so', 'int x(void)'], /libnothing\.so/],
    [['libadd.so', 'add', '1'], /add: too few/],
    [['libadd.so', 'add', '1', 'x'], /y: x is no integer/],
    [['libadd.so', 'crash'], /crash: .*SIGSEGV/],
    [['--deadline', '0.3', 'libc.so.6', 'int pause(void)'], /pause: took longer than 0\.3 s/],
    [['/etc/passwd', 'int x(void)'], /passwd: is no library/],
  ] as const)('cosmos call %j fails in one line', async (args, words) => {
    const { code, stderr, stdout } = await instance.cosmos(['call', ...args])
    expect(code).not.toBe(0)
    expect(stdout).toBe('')
    expect(stderr).toMatch(/^cosmos: .+\n$/)
    expect(stderr).toMatch(words)
  })

  test('from Node: a function, a batch, calls beside each other, a crash that fails its own call alone', async () => {
    const script = join(instance.work, 'calls.mjs')
    writeFileSync(
      script,
      `import { dlopen } from ${JSON.stringify(instance.code('bin/api.mjs'))}
const library = dlopen('libadd.so')
const add = library.dlsym('int add(int x, int y)')
const crash = library.dlsym('crash')
const sum = await add(2, 3)
const batch = (await add.batch([[1, 1], [2, 2]])).map((each) => each.value)
const mixed = await Promise.allSettled([add(1, 2), crash(), add(3, 4), add(5, 6)])
console.log(JSON.stringify([sum, batch, mixed.map((each) => each.value ?? each.reason.message)]))
library.close()
console.log(await add(20, 22))
library.close()
`,
    )
    const { stdout, stderr } = await instance.run(instance.node, [script])
    expect(stderr).toBe('')
    const [first, second] = stdout.split('\n')
    expect(JSON.parse(first ?? '')).toEqual([5, [2, 4], [3, expect.stringContaining('SIGSEGV'), 7, 11]])
    expect(second).toBe('42')
  })
})
