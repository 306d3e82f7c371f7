import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Library } from '../../src/api/functions.ts'
import type { CallResult, Value } from '../../src/cef/ctypes.ts'
import { waitFor } from '../support/wait.ts'
import { failure, missing, setUp } from './support.ts'

const setup = setUp()

describe.skipIf(missing !== undefined)('values', () => {
  let library: Library
  const call = async (prototype: string, ...args: Parameters<Awaited<ReturnType<Library['dlsym']>>>) =>
    (await library.dlsym(prototype))(...args)

  beforeAll(async () => {
    library = await setup.lasting().open(setup.library)
  })

  const integers: [string, string, bigint, bigint][] = [
    ['char', 'char', -128n, 127n],
    ['signed char', 'schar', -128n, 127n],
    ['unsigned char', 'uchar', 0n, 255n],
    ['short', 'short', -32768n, 32767n],
    ['unsigned short', 'ushort', 0n, 65535n],
    ['int', 'int', -(2n ** 31n), 2n ** 31n - 1n],
    ['unsigned', 'uint', 0n, 2n ** 32n - 1n],
    ['long', 'long', -(2n ** 63n), 2n ** 63n - 1n],
    ['unsigned long int', 'ulong', 0n, 2n ** 64n - 1n],
    ['long long', 'llong', -(2n ** 63n), 2n ** 63n - 1n],
    ['unsigned long long', 'ullong', 0n, 2n ** 64n - 1n],
    ['size_t', 'size', 0n, 2n ** 64n - 1n],
    ['ssize_t', 'ssize', -(2n ** 63n), 2n ** 63n - 1n],
    ['int8_t', 'int8', -128n, 127n],
    ['int16_t', 'int16', -32768n, 32767n],
    ['int32_t', 'int32', -(2n ** 31n), 2n ** 31n - 1n],
    ['int64_t', 'int64', -(2n ** 63n), 2n ** 63n - 1n],
    ['uint8_t', 'uint8', 0n, 255n],
    ['uint16_t', 'uint16', 0n, 65535n],
    ['uint32_t', 'uint32', 0n, 2n ** 32n - 1n],
    ['uint64_t', 'uint64', 0n, 2n ** 64n - 1n],
    ['intptr_t', 'intptr', -(2n ** 63n), 2n ** 63n - 1n],
  ]
  test.each(integers)('%s keeps its limits', async (type, name, min, max) => {
    const same = await library.dlsym(`${type} same_${name}(${type} x)`)
    for (const value of [min, max, 0n, 1n, min + 1n, max - 1n]) {
      const small = Number.isSafeInteger(Number(value)) ? Number(value) : value
      expect(await same(small)).toBe(small)
    }
    expect(await failure(same(max + 1n))).toMatch(/^ERANGE (x|message): /)
    expect(await failure(same(Number(min) * 2 - 2))).toMatch(/^ERANGE x: /)
    expect(await failure(same(1.5))).toMatch(/^EINVAL x: /)
    expect(await failure(same('1'))).toMatch(/^EINVAL x: /)
  })

  test('floats, bools, enums, addresses', async () => {
    for (const x of [0, -0, 1.5, -1e300, Number.MIN_VALUE, Number.NaN, Number.POSITIVE_INFINITY])
      expect(await call('double same_double(double x)', x)).toBe(x)
    expect(await call('float same_float(float x)', 0.1)).toBe(Math.fround(0.1))
    expect(await call('bool not(bool x)', true)).toBe(false)
    expect(await failure(call('bool not(bool x)', 1))).toBe('EINVAL x: is no bool')
    expect(await call('enum color green(enum color c)', 0)).toBe(5)
    expect(await call('void *same_address(void *p)', 2 ** 40)).toBe(2 ** 40)
    expect(await call('void *same_address(void *p)', null)).toBe(null)
  })

  test('more arguments than registers', async () => {
    const prototype =
      'double many(int a, double b, int c, double d, int e, double f, int g, double h, int i, double j)'
    expect(await call(prototype, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1)).toBe(1987654321)
  })

  test('text', async () => {
    expect(await call('const char *greet(const char *name)', 'wörld')).toBe('hello wörld')
    expect(await call('const char *greet(const char *name)', null)).toBe(null)
    expect(await call('char *latin1()')).toEqual(Buffer.from('caf\xe9', 'latin1'))
    expect(await call('const char *greet(const char *name)', Buffer.from('\xe9', 'latin1'))).toEqual(
      Buffer.from('hello \xe9', 'latin1'),
    )
    expect(await failure(call('const char *greet(const char *name)', 'a\0b'))).toMatch(/^EINVAL name: .*NUL/)
    expect(await failure(call('const char *greet(const char *name)', 7))).toMatch(/^EINVAL name: is no text/)
  })

  test('text that is changed, and buffers', async () => {
    expect(await call('void upper(char *s)', 'abc ü')).toEqual({ value: null, out: ['ABC ü'] })
    expect(await call('void append(char s[16], const char *more)', 'abc', 'def')).toEqual({
      value: null,
      out: ['abcdef'],
    })
    expect(await failure(call('void append(char s[16], const char *more)', 'x'.repeat(17), ''))).toMatch(
      /^EINVAL s: is longer/,
    )
    expect(await call('int fill(out char s[size], size_t size, char c)', 3, 65)).toEqual({
      value: 3,
      out: ['AAA'],
    })
  })

  test('wide text', async () => {
    expect(await call('size_t wide_length(const wchar_t *s)', 'grüß 😀')).toBe(6)
    expect(await call('wchar_t *wide()')).toBe('grüß 😀')
    expect(await call('void wide_turn(wchar_t s[n], size_t n)', 'ab😀', 8)).toEqual({
      value: null,
      out: ['😀ba'],
    })
  })

  test('pointers: in, in-out, out, NULL', async () => {
    expect(await call('int read_one(const int *p)', 7)).toBe(7)
    expect(await call('int read_one(const int *p)', null)).toBe(-1)
    expect(await call('void increment(int *p)', 41)).toEqual({ value: null, out: [42] })
    expect(await call('void halves(int x, out int *low, out double *half)', 7)).toEqual({
      value: null,
      out: [3, 3.5],
    })
  })

  test('arrays', async () => {
    expect(await call('long sum(int n, const int *xs)', 3, [1, 2, 3])).toBe(6)
    expect(await call('long sum(int n, const int xs[n])', 3, new Int32Array([4, 5, 6]))).toBe(15)
    expect(await call('long sum(int n, const int xs[n])', 0, [])).toBe(0)
    expect(await failure(call('long sum(int n, const int xs[n])', 4, [1, 2, 3]))).toMatch(
      /^EINVAL xs: has 3 elements where 4/,
    )
    expect(await failure(call('long sum(int n, const int xs[n])', -1, []))).toBe('EINVAL n: -1 is no length')
    expect(await failure(call('long sum(int n, const int xs[n])', 2, [1, 2 ** 40]))).toMatch(
      /^ERANGE xs\[1\]/,
    )
    expect(await call('void scale(double xs[n], int n, double by)', [1, 2.5], 2, 2)).toEqual({
      value: null,
      out: [[2, 5]],
    })
    expect(
      await call('void scale(double xs[n], int n, double by)', new Float64Array([1, 2.5]), 2, 2),
    ).toEqual({
      value: null,
      out: [new Float64Array([2, 5])],
    })
    expect(await call('void squares(int n, out int64_t xs[n])', 4)).toEqual({
      value: null,
      out: [[0, 1, 4, 9]],
    })
    expect(await call('void invert(uint8_t bytes[n], size_t n)', Buffer.from([0, 255, 15]), 3)).toEqual({
      value: null,
      out: [Buffer.from([255, 0, 240])],
    })
    expect(await call('size_t lengths(int n, const char *const texts[n])', 3, ['a', 'bc', 'ü'])).toBe(5)
  })

  test('structs by value and by pointer', async () => {
    const point = 'struct point { int x; double y; };'
    expect(await call(`${point} struct point move(struct point p, double by)`, { x: 1, y: 2 }, 0.5)).toEqual({
      x: 2,
      y: 2.5,
    })
    expect(await call(`${point} void turn(struct point *p)`, { x: 1, y: 2 })).toEqual({
      value: null,
      out: [{ x: 2, y: 1 }],
    })
    const points = [
      { x: 1, y: 2 },
      { x: 3, y: 4.5 },
    ]
    expect(await call(`${point} double total(int n, const struct point ps[n])`, 2, points)).toBe(10.5)
    expect(await failure(call(`${point} void turn(struct point *p)`, { x: 'a', y: 2 }))).toMatch(
      /^EINVAL p\.x: /,
    )

    const person = `${point} struct person { const char *name; char code[4]; struct point at; short marks[3];
      bool member; float weight; uint64_t id; };`
    const ada = {
      name: 'Ada',
      code: 'abcd',
      at: { x: 1, y: 2 },
      marks: [1, 2, 3],
      member: false,
      weight: 1.5,
      id: 2n ** 63n,
    }
    expect(await call(`${person} struct person promote(struct person p)`, ada)).toEqual({
      ...ada,
      code: 'Zbcd',
      at: { x: 2, y: 2 },
      marks: [1, 2, 4],
      member: true,
      weight: 3,
      id: 2n ** 63n + 1n,
    })
    expect(await call(`${person} int name_length(const struct person *p)`, ada)).toBe(3)
  })

  test('errno, which is 0 before', async () => {
    expect(await (await library.dlsym('int fail(int code)')).result(2)).toEqual({ value: -1, errno: 2 })
    expect(await (await library.dlsym('int succeed()')).result()).toEqual({ value: 0 })
  })

  test('variable arguments', async () => {
    const libc = await setup
      .session()
      .open('libc.so.6', ['int snprintf(out char s[n], size_t n, const char *f, ...)'])
    const print = await libc.dlsym<CallResult>(
      'int snprintf(out char s[n], size_t n, const char *f, int, double, const char *, long)',
    )
    expect(await print(64, '%d %g %s %ld', 3, 1.5, 'ü', -(2 ** 40))).toEqual({
      value: 23,
      out: ['3 1.5 ü -1099511627776'],
    })
    const bare = await libc.dlsym<CallResult>('snprintf')
    expect(await bare(64, 'hi')).toEqual({ value: 2, out: ['hi'] })
    expect(await failure(libc.dlsym('int snprintf(out char s[n], size_t n, const char *f, float)'))).toMatch(
      /^EINVAL .*passed as double/,
    )
  })

  test('batches', async () => {
    const add = await library.dlsym('int add(int x, int y)')
    const results = await add.batch(Array.from({ length: 1000 }, (_, i): Value[] => [i, 1]))
    expect(results.map((result) => result.value)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1))
    expect(await failure(add.batch([[1, 2], [1, 2 ** 31], [3]]))).toMatch(/^ERANGE call 1: y: /)
    expect(await add.batch([])).toEqual([])
    const increment = await library.dlsym('void increment(int *p)')
    expect(await increment.batch([[1], [2]])).toEqual([
      { value: null, out: [2] },
      { value: null, out: [3] },
    ])
  })

  test('a function has the stack of a program', async () => {
    expect(await call('int use_stack(int mib)', 7)).toBe(7)
  })

  test('wrong counts of arguments', async () => {
    expect(await failure(call('int add(int x, int y)', 1))).toBe(
      'EINVAL add: too few arguments: takes 2, 1 given',
    )
    expect(await failure(call('int add(int x, int y)', 1, 2, 3))).toMatch(/too many arguments/)
  })

  test('results that are larger than a frame, and arguments beyond the arena', async () => {
    const squares = await library.dlsym('void squares(int n, out int64_t xs[n])')
    expect(await failure(squares(8_000_000))).toMatch(/^EMSGSIZE/)
    expect(await failure(squares(2 ** 30))).toMatch(/^ENOMEM/)
    expect((await squares.result(1000)).out).toHaveLength(1)
  })
})

describe.skipIf(missing !== undefined)('libraries', () => {
  test('a callback is refused', async () => {
    const libc = await setup.session().open('libc.so.6')
    const qsort = 'void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *))'
    expect(await failure(libc.dlsym(qsort))).toMatch(/^EINVAL .*callback/)
  })

  test('a symbol that is missing is named', async () => {
    const library = await setup.open()
    expect(await failure(library.dlsym('int no_such_thing(int x)'))).toMatch(
      /^ENOENT no_such_thing: .*functions\.so/,
    )
    expect(await failure(library.dlsym('add'))).toMatch(/^ENOENT add: its prototype is not known/)
  })

  test('a library that is missing, and one that is none', async () => {
    const session = setup.session()
    expect(await failure(session.open('/nonexistent/lib.so'))).toMatch(/^ENOENT \/nonexistent\/lib\.so: /)
    const broken = join(setup.directory, 'broken.so')
    const elf = readFileSync(setup.library)
    writeFileSync(broken, elf.subarray(0, 40))
    expect(await failure(session.open(broken))).toMatch(/^ENOEXEC .*broken\.so: /)
    const text = join(setup.directory, 'text.so')
    writeFileSync(text, 'no library')
    expect(await failure(session.open(text))).toMatch(/^ENOEXEC .*text\.so: /)
    // The loader itself crashes where a file ends before its segments do.
    writeFileSync(broken, elf.subarray(0, 4096))
    expect(await failure(session.open(broken))).toMatch(/^(ENOEXEC|ECONNABORTED) .*broken\.so: /)
    expect(await failure(session.open('libm.so.6'))).toBe('no error')
  })

  test('opened twice it is one; the last close unloads it', async () => {
    const session = setup.session()
    const [one, two] = [await session.open(setup.library), await session.open(setup.library)]
    const mark = join(setup.directory, 'unloaded')
    await (await one.dlsym('void leave_at_unload(const char *path)'))(mark)
    const count = await two.dlsym('int count()')
    expect(await count()).toBe(1)
    expect(await (await one.dlsym('int count()'))()).toBe(2)
    await one.close()
    expect(existsSync(mark)).toBe(false)
    expect(await count()).toBe(3)
    await two.close()
    expect(readFileSync(mark, 'utf8')).toBe('unloaded')
    expect(await failure(count())).toMatch(/^EBADF/)
    const again = await session.open(setup.library)
    expect(await (await again.dlsym('int count()'))()).toBe(1)
  })

  test('each session has a process of its own, which ends with it', async () => {
    const [a, b] = [await setup.open(), setup.session()]
    const libraryB = await b.open(setup.library)
    expect(await (await a.dlsym('int count()'))()).toBe(1)
    expect(await (await libraryB.dlsym('int count()'))()).toBe(1)
    const pid = (await (await (await b.open('libc.so.6')).dlsym('int getpid()'))()) as number
    expect(setup.vm.pids).toContain(pid)
    b.close()
    expect(await setup.vm.obituary(pid)).toEqual({ code: 0 })
    await waitFor('the next process', () => setup.vm.pids.length === 3)
    expect(await failure(libraryB.dlsym('int count()'))).toMatch(/^ECANCELED/)
  })
})
