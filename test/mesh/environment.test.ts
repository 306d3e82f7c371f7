// Of a caller's environment a program elsewhere gets what shows text and time, and nothing that runs code.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bareBase, environmentFor, SANDBOX_BASE } from '../../src/mesh/environment.ts'

const taken = (...caller: string[]) => environmentFor(caller, {}).environment

test('language, time zone, terminal and colours are taken over', () => {
  const all = [
    'LANG=de_DE.UTF-8',
    'LC_ALL=C',
    'LC_TIME=en_GB@euro',
    'LANGUAGE=de:en',
    'TZ=Europe/Berlin',
    'TERM=xterm-256color',
    'COLORTERM=truecolor',
    'COLUMNS=80',
    'LINES=24',
    'NO_COLOR=1',
    'SOURCE_DATE_EPOCH=0',
    'OMP_NUM_THREADS=4',
  ]
  expect(taken(...all)).toEqual(all)
  expect(taken('TZ=CET-1CEST,M3.5.0/2,M10.5.0/3', 'LC_ALL=')).toEqual([
    'TZ=CET-1CEST,M3.5.0/2,M10.5.0/3',
    'LC_ALL=',
  ])
})

test.each([
  'LD_PRELOAD=/x.so',
  'LD_LIBRARY_PATH=/x',
  'LD_AUDIT=/x',
  'GLIBC_TUNABLES=x',
  'NODE_OPTIONS=--require=/x',
  'PYTHONPATH=/x',
  'PYTHONSTARTUP=/x',
  'PERL5LIB=/x',
  'PERL5OPT=-Mx',
  'RUBYOPT=-rx',
  'JAVA_TOOL_OPTIONS=x',
  'PATH=/x',
  'HOME=/x',
  'IFS=x',
  'BASH_ENV=/x',
  'ENV=/x',
  'BASH_FUNC_ls%%=() { x; }',
  'SHELLOPTS=xtrace',
  'PS4=$(x)',
  'EDITOR=x',
  'PAGER=x',
  'GIT_SSH=x',
  'LOCPATH=/x',
  'NLSPATH=/x',
  'GCONV_PATH=/x',
  'TERMINFO=/x',
  'TERMCAP=/x',
  'TMPDIR=/x',
  'MAKEFLAGS=x',
  'SHELL=/x',
  'lang=C',
  'DISPLAY=:0',
  'SSH_AUTH_SOCK=/x',
  'DBUS_SESSION_BUS_ADDRESS=x',
  'COSMOS_HOME=/x',
  'LC_=C',
  'LC_ALL_X=1',
  'XLANG=C',
  'LANGX=C',
])('%s is left out and named', (variable) => {
  const { environment, refused } = environmentFor(['LANG=C', variable], {})
  expect(environment).toEqual(['LANG=C'])
  expect(refused).toEqual([variable.slice(0, variable.indexOf('='))])
})

test.each([
  'LANG=../../tmp/x',
  'LC_ALL=/tmp/x',
  'LANG=%n',
  'TZ=:/etc/passwd',
  'TZ=/etc/passwd',
  'TZ=../x',
  'TZ=a/../../x',
  'TERM=/tmp/x',
  'TERM=../x',
  'COLUMNS=-1',
  'COLUMNS=1;x',
  'LANG=C\nLD_PRELOAD=x',
  `LANG=${'C'.repeat(300)}`,
  'LANG=C\0',
  'noequals',
  '=C',
  '',
])('%j is left out', (variable) => {
  expect(taken(variable)).toEqual([])
})

test('whatever a caller sends, only listed names come through, each once, and no base is undone', () => {
  fc.assert(
    fc.property(fc.array(fc.string()), (caller) => {
      const { environment } = environmentFor(caller, SANDBOX_BASE)
      const names = environment.map((each) => each.slice(0, each.indexOf('=')))
      expect(new Set(names).size).toBe(names.length)
      for (const [name, value] of Object.entries(SANDBOX_BASE))
        if (name !== 'LANG') expect(environment).toContain(`${name}=${value}`)
    }),
  )
  expect(environmentFor(['LANG=C', 'LANG=de_DE'], { LANG: 'x' }).environment).toEqual(['LANG=de_DE'])
})

test("without a sandbox a program has the daemon's home and path, and none of its secrets", () => {
  const own = {
    PATH: '/p',
    HOME: '/h',
    NODE_OPTIONS: '--x',
    COSMOS_VM_FD: '3',
    AWS_SECRET: 's',
    LD_PRELOAD: '/x',
  }
  expect(bareBase(own)).toEqual({ PATH: '/p', HOME: '/h' })
})
