import { copyFileSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FunctionSession } from '../../src/api/functions.ts'
import { formatPrototype, parseIdl } from '../../src/cef/prototype.ts'
import { failure, missing, setUp } from './support.ts'

const setup = setUp()
const idl = parseIdl(readFileSync(new URL('../../cosm/lib/libc.so.6.idl', import.meta.url), 'utf8'))
const known = [...idl.prototypes.values()].map(formatPrototype)

describe('a session', () => {
  test('has the functions that are known by their names', async () => {
    const libc = await setup.session().open('libc.so.6', known)
    expect(await (await libc.dlsym('strlen'))('grüße')).toBe(7)
    expect(await (await libc.dlsym('div'))(17, 5)).toEqual({ quot: 3, rem: 2 })
    expect(await (await libc.dlsym('strtol'))('12xyz', 10)).toEqual({ value: 12, out: ['xyz'] })
    expect(await (await libc.dlsym('memcmp'))(Buffer.from('ab'), Buffer.from('ab'), 2)).toBe(0)
    expect(await (await libc.dlsym('getrandom'))(8, 0)).toMatchObject({ value: 8, out: [expect.any(Buffer)] })
    expect(await (await libc.dlsym('strerror'))(2)).toBe('No such file or directory')
    expect(await (await libc.dlsym('gmtime_r'))(86_400)).toMatchObject({ out: [{ tm_year: 70, tm_mday: 2 }] })
    const access = await libc.dlsym('access')
    expect(access.prototype).toBe('int access(const char *path, int mode)')
    expect(await access.result('/nonexistent', 0)).toEqual({ value: -1, errno: 2 })
  })

  test('goes on at another process when its own has ended between calls', async () => {
    const session = setup.session()
    const getpid = await (await session.open('libc.so.6')).dlsym<number>('int getpid(void)')
    const pid = await getpid()
    process.kill(pid, 'SIGKILL')
    await setup.vm.obituary(pid)
    // A call that is made before the end is noticed may have begun, and is not repeated.
    expect(await getpid().catch(() => getpid())).not.toBe(pid)
  })

  test('tells when there is no VM, and tries again at the next call', async () => {
    let isThere = false
    const session = new FunctionSession({
      connect: () => (isThere ? setup.vm.connect() : Promise.reject(new Error('no VM'))),
      obituary: setup.vm.obituary,
    })
    expect(await failure(session.open('libm.so.6'))).toBe('Error: no VM')
    isThere = true
    expect(await (await (await session.open('libm.so.6')).dlsym('double floor(double)'))(1.5)).toBe(1)
    session.close()
    expect(await failure(session.open('libm.so.6'))).toMatch(/^ECANCELED/)
  })

  test.skipIf(missing !== undefined)('fails what it cannot repeat, when a library is gone', async () => {
    const copy = join(setup.directory, 'copy.so')
    copyFileSync(setup.library, copy)
    const library = await setup.session().open(copy)
    const [add, abort] = [await library.dlsym('int add(int, int)'), await library.dlsym('void call_abort()')]
    rmSync(copy)
    const [crashed, sum] = [failure(abort()), failure(add(1, 2))]
    expect(await crashed).toMatch(/SIGABRT$/)
    expect(await sum).toMatch(/^ENOENT .*copy\.so/)
  })

  test.skipIf(missing !== undefined)('closes a library whose process is gone', async () => {
    const session = setup.session()
    const [one, two] = [await session.open(setup.library), await session.open('libm.so.6')]
    const abort = await one.dlsym('void call_abort()')
    const floor = await two.dlsym('double floor(double)')
    const [crashed, closed, value] = [failure(abort()), one.close(), floor(2.5)]
    expect(await crashed).toMatch(/SIGABRT$/)
    await closed
    expect(await value).toBe(2)
    expect(await failure(abort())).toMatch(/^EBADF/)
  })

  test('an end that nobody knows of is an error too', async () => {
    const session = new FunctionSession({
      connect: setup.vm.connect,
      obituary: () => Promise.reject(new Error('no daemon')),
    })
    const exit = await (await session.open('libc.so.6')).dlsym('void exit(int)')
    expect(await failure(exit(0))).toBe('ECONNABORTED exit: its process ended, and how is not known')
    session.close()
  })
})
