import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatResult, parseArguments, resultToJson } from '../../src/cef/arguments.ts'
import { ADDRESS, type CType, layOut, type Parameter, type Prototype, VOID } from '../../src/cef/ctypes.ts'
import { formatPrototype, parseIdl, parsePrototype, resolvePrototype } from '../../src/cef/prototype.ts'
import type { CosmosError } from '../../src/errors.ts'

function errorOf(act: () => unknown): string {
  try {
    act()
    return 'no error'
  } catch (error) {
    return `${(error as CosmosError).code} ${(error as Error).message}`
  }
}

describe('prototypes', () => {
  test.each([
    ['int add(int x, int y)', 'int add(int x, int y)'],
    ['double cos(double)', 'double cos(double)'],
    ['extern long unsigned int f ( void ) ;', 'unsigned long f(void)'],
    ['unsigned f()', 'unsigned int f(void)'],
    [
      'signed char a(short int b, long long int c, unsigned char d)',
      'signed char a(short b, long long c, unsigned char d)',
    ],
    ['int sum(int n, int *xs)', 'int sum(int n, int xs[n])'],
    ['int sum(size_t count, const double *restrict xs)', 'int sum(size_t count, const double xs[count])'],
    ['int put(int *xs, int n)', 'int put(int *xs, int n)'],
    ['int put(int xs[n], int n)', 'int put(int xs[n], int n)'],
    ['double frexp(double x, out int *e)', 'double frexp(double x, out int *e)'],
    ['double modf(double x, double *)', 'double modf(double x, double *)'],
    [
      'long strtol(const char *s, out char **end, int base)',
      'long strtol(const char *s, out const char **end, int base)',
    ],
    ['char *strtok(char *s, char const *by)', 'const char *strtok(char *s, const char *by)'],
    ['int f(char s[64], out char t[n], int n)', 'int f(char s[64], out char t[n], int n)'],
    ['wchar_t *wcsdup(const wchar_t *s)', 'const wchar_t *wcsdup(const wchar_t *s)'],
    [
      'int memcmp(const void a[n], const void b[n], size_t n)',
      'int memcmp(const unsigned char a[n], const unsigned char b[n], size_t n)',
    ],
    ['void *f(void *p, struct unknown *q)', 'void *f(void *p, void *q)'],
    ['enum color next(enum color c)', 'int next(int c)'],
    ['int f(const char *const texts[n], int n)', 'int f(const char *const texts[n], int n)'],
    ['int printf(const char *f, ...)', 'int printf(const char *f, ...)'],
    ['int printf(const char *f, ..., int, double)', 'int printf(const char *f, ..., int, double)'],
    ['/* one */ int f(int x /* two */) // three', 'int f(int x)'],
    ['struct p { int x, ; double y; }; int f(int x)', ''],
    [
      'struct p { int x; double y[2]; }; struct q { struct p a; const char *n; }; struct q f(const struct p *p, out struct q r[3])',
      'struct p { int x; double y[2]; }; struct q { struct p a; const char *n; }; struct q f(const struct p *p, out struct q r[3])',
    ],
    ['typedef unsigned int mode; typedef struct f FILE; FILE *open(mode m)', 'void *open(unsigned int m)'],
  ])('%s', (text, normal) => {
    if (normal === '') expect(errorOf(() => parsePrototype(text))).toMatch(/^EINVAL/)
    else expect(formatPrototype(parsePrototype(text))).toBe(normal)
  })

  test.each([
    ['', 'is no prototype'],
    ['int f(int x', 'the end where , or ) was expected'],
    ['int f(int x,)', ') where a type was expected'],
    ['int f(int x) int g(void)', 'int where ; was expected'],
    ['int f(void); int g(void)', 'is more than one prototype'],
    ['int x', 'x is no function: ( is missing'],
    ['f(int x)', 'f is no type that is known'],
    ['int f(foo x)', 'foo is no type that is known'],
    ['int f(int x, int x)', 'x is there twice'],
    ['int f(int xs[])', 'the length of xs is missing, as in xs[n]'],
    ['int f(int xs[n])', 'the length of xs, n, is no integer parameter'],
    ['int f(int xs[n], double n)', 'the length of xs, n, is no integer parameter'],
    ['int f(int xs[0])', '0 is no length'],
    ['int f(int m[2][2])', 'm has more than one dimension'],
    ['int f(out int x)', 'x is out, and no pointer'],
    ['int f(out const int *x)', 'x is out, and const'],
    ['int f(out char *s)', 's: how long it is is missing, as in out char s[64]'],
    ['int f(out void *p)', 'p: it is not known how much is written to it'],
    ['int f(void x)', 'x is void'],
    ['int f(union u x)', 'a union cannot be passed'],
    ['long double f(int x)', 'long double cannot be passed'],
    ['int f(short double x)', 'short double is no type'],
    ['int f(struct p x)', 'the struct of x is not defined'],
    ['struct p { int x : 3; }; int f(void)', 'x is a bit field'],
    ['struct p { }; int f(void)', 'struct p has no members'],
    [
      'void qsort(void *b, size_t n, size_t s, int (*compare)(const void *, const void *))',
      'a callback cannot be passed: the function runs in a process of its own',
    ],
    ['int f(int x, ..., float)', 'a variable argument of this type is passed as double'],
    ['int f(...)', '... is not in its place'],
  ])('%s is refused', (text, why) => {
    expect(errorOf(() => parsePrototype(text))).toBe(`EINVAL ${text}: ${why}`)
  })

  const names = fc.integer({ min: 0, max: 999 }).map((n) => `a${n}`)
  const scalars = fc.constantFrom(
    ...[
      'char',
      'signed char',
      'unsigned char',
      'short',
      'unsigned short',
      'int',
      'unsigned int',
      'long',
      'size_t',
    ]
      .concat([
        'unsigned long',
        'long long',
        'unsigned long long',
        'int8_t',
        'uint64_t',
        'float',
        'double',
        'bool',
      ])
      .map((name) => parsePrototype(`${name} f()`).result),
  )
  const texts = fc.constantFrom<CType>({ kind: 'string', wide: false }, { kind: 'string', wide: true })
  const structs = fc
    .tuple(
      names,
      fc.uniqueArray(fc.tuple(names, fc.oneof(scalars, texts), fc.option(fc.integer({ min: 1, max: 9 }))), {
        selector: ([name]) => name,
        minLength: 1,
        maxLength: 5,
      }),
    )
    .map(([name, members]) =>
      layOut(
        name,
        members.map(([member, of, length]): { name: string; type: CType } => ({
          name: member,
          type: length === null ? of : { kind: 'array', of, length },
        })),
      ),
    )
  const types = (struct: CType) => fc.oneof(scalars, texts, fc.constant(ADDRESS), fc.constant(struct))
  const lengths = fc.integer({ min: 1, max: 99 })
  const isText = (type: CType) => type.kind === 'integer' && type.name === 'char'
  const parameters = (struct: CType) =>
    fc
      .tuple(types(struct), fc.constantFrom('in', 'out', 'inout'), fc.option(lengths), fc.boolean())
      .map(([type, direction, length, byValue]): Parameter => {
        const name = ''
        if (byValue) return { name, type, pass: 'value', direction: 'in' }
        if (isText(type)) return { name, type, pass: 'text', direction, length: length ?? 7 }
        return length === null
          ? { name, type, pass: 'pointer', direction }
          : { name, type, pass: 'array', direction, length }
      })
  const prototypes = structs.chain((struct) =>
    fc
      .tuple(
        fc.oneof(types(struct), fc.constant(VOID)),
        fc.array(fc.tuple(parameters(struct), fc.boolean()), { maxLength: 6 }),
      )
      .map(
        ([result, list]): Prototype => ({
          name: 'f',
          result,
          parameters: list.map(([parameter, isNamed], i) =>
            isNamed ? { ...parameter, name: `p${i}` } : parameter,
          ),
        }),
      ),
  )

  test('what is formatted is parsed to the same', () => {
    fc.assert(
      fc.property(prototypes, (prototype) => {
        expect(parsePrototype(formatPrototype(prototype))).toEqual(prototype)
      }),
    )
  })

  test('any text is a prototype or refused', () => {
    const words = fc.constantFrom(
      'int',
      'const',
      'char',
      '*',
      '(',
      ')',
      ',',
      '[',
      ']',
      'n',
      '...',
      'struct',
      '{',
      '}',
      ';',
      'out',
      'x',
      '3',
      '/*',
      '//',
      '\n',
      'void',
    )
    fc.assert(
      fc.property(fc.array(words), (list) => {
        expect(errorOf(() => parsePrototype(list.join(' ')))).toMatch(/^(no error|EINVAL )/)
      }),
    )
  })
})

describe('IDL files', () => {
  const directory = new URL('../../cosm/lib/', import.meta.url)

  test.each(readdirSync(directory).filter((name) => name.endsWith('.idl')))('%s', (name) => {
    const { prototypes } = parseIdl(readFileSync(new URL(name, directory), 'utf8'), name)
    expect(prototypes.size).toBeGreaterThan(80)
    for (const prototype of prototypes.values())
      expect(parsePrototype(formatPrototype(prototype))).toEqual(prototype)
  })

  test('an error names file and line', () => {
    const text = '// sums\nint add(int x, int y);\n\nint bad(foo x);\n'
    expect(errorOf(() => parseIdl(text, 'lib.idl'))).toBe('EINVAL lib.idl:4: foo is no type that is known')
    expect(errorOf(() => parseIdl('int f(); int f();', 'l'))).toBe('EINVAL l:1: f is declared twice')
  })

  test('a call’s prototype by what is known', () => {
    const known = parseIdl('struct p { int x; }; int f(struct p a); int printf(const char *f, ...);')
    expect(formatPrototype(resolvePrototype('f', known))).toBe('struct p { int x; }; int f(struct p a)')
    expect(formatPrototype(resolvePrototype('int printf(const char *f, int, double)', known))).toBe(
      'int printf(const char *f, ..., int, double)',
    )
    expect(formatPrototype(resolvePrototype('int g(struct p *b)', known))).toBe(
      'struct p { int x; }; int g(struct p *b)',
    )
    expect(errorOf(() => resolvePrototype('g', known))).toMatch(/^ENOENT g: its prototype is not known/)
  })
})

describe('arguments of a shell', () => {
  const parse = (prototype: string, ...argv: (string | Uint8Array)[]) =>
    parseArguments(parsePrototype(prototype), argv)

  test('values', () => {
    expect(
      parse('void f(int a, unsigned b, double c, bool d, const char *e)', '-5', '0xff', '1e3', 'true', 'x'),
    ).toEqual([-5, 255, 1000, true, 'x'])
    expect(parse('void f(uint64_t a, int64_t b)', '18446744073709551615', '-9223372036854775808')).toEqual([
      2n ** 64n - 1n,
      -(2n ** 63n),
    ])
    expect(parse('void f(double a, double b, double c)', 'inf', '-Infinity', 'nan')).toEqual([
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
    ])
    expect(parse('void f(int xs[n], int n, const double ys[n])', '1, 2', '2', '[1.5,2]')).toEqual([
      [1, 2],
      2,
      [1.5, 2],
    ])
    expect(
      parse('struct p { uint64_t x; char n[4]; }; void f(struct p a)', '{"x":18446744073709551615,"n":"ab"}'),
    ).toEqual([{ x: 2n ** 64n - 1n, n: 'ab' }])
    expect(parse('void f(int *a, out int *b, void *c)', '3', 'null')).toEqual([3, null])
    expect(parse('int printf(const char *f, ..., int, const char *)', '%d', '3', 'x')).toEqual(['%d', 3, 'x'])
    expect(parse('void f(const char *s)', Buffer.from([0xe9]))).toEqual([Buffer.from([0xe9])])
  })

  test.each([
    ['int f(int x)', [], 'EINVAL f: too few arguments: takes 1, 0 given'],
    ['int f(int x)', ['1', '2'], 'EINVAL f: too many arguments: takes 1, 2 given'],
    ['int f(int x)', ['1.5'], 'EINVAL x: 1.5 is no integer'],
    ['int f(int)', [''], 'EINVAL parameter 1: an empty text is no integer'],
    ['int f(unsigned char x)', ['256'], 'ERANGE x: 256 is not in 0…255 (unsigned char)'],
    [
      'int f(long x)',
      ['9223372036854775808'],
      'ERANGE x: 9223372036854775808 is not in -9223372036854775808…9223372036854775807 (long)',
    ],
    ['int f(double x)', ['one'], 'EINVAL x: one is no number'],
    ['int f(double x)', ['constructor'], 'EINVAL x: constructor is no number'],
    ['int f(double x)', [' '], 'EINVAL x: an empty text is no number'],
    ['int f(bool x)', ['yes'], 'EINVAL x: yes is neither true nor false'],
    ['int f(const char *s)', ['a\0b'], 'EINVAL s: a text cannot have a NUL in it'],
    ['int f(const short xs[2])', ['1,40000'], 'ERANGE xs[1]: 40000 is not in -32768…32767 (short)'],
    ['int f(const int xs[2])', ['[1,"a"]'], 'EINVAL xs[1]: "a" is no integer'],
    ['int f(const int xs[2])', ['[1,'], 'EINVAL xs: [1, is no JSON'],
    ['struct p { int x; }; int f(struct p a)', ['{}'], 'EINVAL a: x is missing'],
    ['struct p { int x; }; int f(struct p a)', ['{"x":1,"z":2}'], 'EINVAL a: struct p has no z'],
    ['struct p { char x; }; int f(struct p a)', ['{"x":1000}'], 'ERANGE a.x: 1000 is not in'],
  ])('%s %j is refused', (prototype, argv, error) => {
    expect(errorOf(() => parse(prototype, ...argv)).startsWith(error)).toBe(true)
  })

  test('results for people', () => {
    const print = (prototype: string, result: Parameters<typeof formatResult>[1]) =>
      formatResult(parsePrototype(prototype), result).toString('latin1')
    expect(print('int f()', { value: 1 })).toBe('1\n')
    expect(print('double f()', { value: 3.14 })).toBe('3.14\n')
    expect(print('double f()', { value: -0 })).toBe('-0\n')
    expect(print('double f()', { value: Number.NaN })).toBe('NaN\n')
    expect(print('uint64_t f()', { value: 2n ** 64n - 1n })).toBe('18446744073709551615\n')
    expect(print('const char *f()', { value: 'as it is' })).toBe('as it is\n')
    expect(print('const char *f()', { value: Buffer.from([0xe9]) })).toBe('\xe9\n')
    expect(
      print('void f(out int *a, out double b[2], char *c)', { value: null, out: [1, [1, 2.5], 'x'] }),
    ).toBe('1\n[1,2.5]\nx\n')
    expect(print('void f(out unsigned char a[2])', { value: null, out: [Buffer.from([1, 2])] })).toBe(
      '[1,2]\n',
    )
    expect(print('struct p { long x; }; struct p f()', { value: { x: 2n ** 60n } })).toBe(
      '{"x":1152921504606846976}\n',
    )
  })

  test('results for programs', () => {
    const prototype = parsePrototype('long f(out int *a, double *)')
    expect(
      JSON.stringify(resultToJson(prototype, { value: -(2n ** 62n), out: [1, Number.NaN], errno: 34 })),
    ).toBe('{"value":-4611686018427387904,"out":{"a":1,"parameter 2":"NaN"},"errno":34}')
    expect(resultToJson(parsePrototype('void f()'), { value: null })).toEqual({ value: null })
  })
})
