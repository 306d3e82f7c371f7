// What a program gets of its caller: arguments, environment, directory, limits, open files.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'
import { forBoth, openFiles, statusOf } from './launchers.ts'

forBoth('what a program gets', (subject) => {
  const { launch, shell, file } = subject

  test('its arguments, as they are', async () => {
    const args = ['', ' ', 'a b', '-x', '--', 'ä€😀', '*', "'", '"', '\\', 'line\nbreak']
    const { stdout } = await shell('for each; do printf "%s|" "$each"; done', {})
    expect(stdout).toBe('')
    const all = await launch('/bin/sh', ['-c', 'printf "%s|" "$@"', ...args])
    expect(all).toMatchObject({ code: 0, stderr: '', stdout: `${args.slice(1).join('|')}|` })
    expect(subject.world.asked.at(-1)?.argv).toEqual([
      '/bin/sh',
      '-c',
      'printf "%s|" "$@"',
      ...args.map((each) => Buffer.from(each).toString('latin1')),
    ])
  })

  test('arguments and variables that are not UTF-8', async () => {
    const script = `a=$(printf 'a\\377\\200'); export V=$a; exec '${file}' '${subject.world.control}' /bin/sh -c 'printf "%s%s" "$1" "$V" | od -An -tx1' sh "$a"`
    const { stdout } = await run('/bin/sh', ['-c', script])
    expect(stdout.trim()).toBe('61 ff 80 61 ff 80')
  })

  test('its own path as argument 0', async () => {
    const { stdout } = await launch('/usr/bin/head', ['-z', '-n1', '/proc/self/cmdline'])
    expect(stdout).toBe('/usr/bin/head\0')
  })

  test('a path that is relative to the working directory', async () => {
    const { code } = await launch('./true', [], { cwd: '/usr/bin' })
    expect(code).toBe(0)
    expect(subject.world.asked.at(-1)?.path).toBe('/usr/bin/./true')
  })

  test('options of the line', async () => {
    await run(file, [`${subject.world.control}?vm=hostexec&lend=/tmp`, '/bin/true'])
    expect(subject.world.asked.at(-1)?.options).toBe('vm=hostexec&lend=/tmp')
  })

  test('the environment and nothing else', async () => {
    const { stdout } = await launch('/usr/bin/env', [], { env: { ONE: '1', TWO: 'a=b\nc', PATH: '/bin' } })
    const names = stdout.split('\n').filter((line) => !/^(PWD|OLDPWD|SHLVL|_)=/.test(line))
    expect(names.sort()).toEqual(['', 'ONE=1', 'PATH=/bin', 'TWO=a=b', 'c'])
  })

  test('1,000 variables', async () => {
    const env: NodeJS.ProcessEnv = { PATH: '/usr/bin:/bin' }
    for (let i = 0; i < 1000; i++) env[`VARIABLE_${i}`] = `value of ${i}`
    const { stdout } = await launch('/usr/bin/env', [], { env })
    expect(stdout.split('\n').filter((line) => line.startsWith('VARIABLE_'))).toHaveLength(1000)
  })

  test('1 MB of arguments', async () => {
    const args = Array.from({ length: 10 }, (_, i) => String(i).repeat(100_000))
    const { stdout } = await launch('/bin/sh', ['-c', 'printf %s "$@" | md5sum', 'sh', ...args])
    const native = await run('/bin/sh', ['-c', 'printf %s "$@" | md5sum', 'sh', ...args])
    expect(stdout).toBe(native.stdout)
  })

  test('the working directory, and one that was removed', async () => {
    const { directory } = subject.world
    expect((await launch('/bin/pwd', [], { cwd: directory })).stdout.trim()).toBe(directory)
    const gone = join(directory, 'gone')
    mkdirSync(gone)
    const child = spawn(
      '/bin/sh',
      ['-c', `read x; exec '${file}' '${subject.world.control}' /bin/readlink /proc/self/cwd`],
      { cwd: gone },
    )
    rmdirSync(gone)
    child.stdin.end('\n')
    expect((await text(child.stdout)).trim()).toBe(`${gone} (deleted)`)
  })

  test('umask, and limits', async () => {
    const script = `umask 027; ulimit -Sn 77; ulimit -Hn 99; ulimit -c 0; ulimit -Ss 4096; exec '${file}' '${subject.world.control}' /bin/bash -c 'umask; ulimit -Sc; ulimit -Ss; until [ $(ulimit -Sn)/$(ulimit -Hn) = 77/99 ]; do :; done'`
    const { stdout } = await run('/bin/bash', ['-c', script])
    expect(stdout.split('\n')).toEqual(['0027', '0', '4096', ''])
    const own = await run('/bin/sh', ['-c', 'umask; ulimit -Sn; ulimit -Hn; ulimit -Ss'])
    expect((await shell('umask; ulimit -Sn; ulimit -Hn; ulimit -Ss')).stdout).toBe(own.stdout)
  })

  test('descriptor 3, and no other', async () => {
    const path = join(subject.world.directory, 'three')
    const given = openSync(path, 'w+')
    const command = ['/bin/sh', '-c', 'echo three >&3; ls /proc/$$/fd'] as const
    const listing = (program: string, args: readonly string[]): Promise<string> => {
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit', given] })
      return text(child.stdout as Readable)
    }
    const launched = await listing(file, [subject.world.control, ...command])
    expect(readFileSync(path, 'utf8')).toBe('three\n')
    expect(launched).toBe(await listing(command[0], command.slice(1)))
    closeSync(given)
  })

  test('descriptors in each other’s places, and closed ones', async () => {
    const script = `exec 5>&1 1>&2 2>&5 5>&- 0<&-; exec '${file}' '${subject.world.control}' /bin/sh -c 'echo out; echo err >&2; [ -e /proc/self/fd/0 ] || echo none >&2'`
    const { stdout, stderr } = await run('/bin/bash', ['-c', script])
    expect(stdout).toBe('err\nnone\n')
    expect(stderr).toBe('out\n')
  })

  test('signals at their default, none blocked', async () => {
    const { stdout } = await shell('grep -E "Sig(Blk|Ign)" /proc/self/status')
    expect(stdout.match(/0000000000000000/g)).toHaveLength(2)
  })
})

forBoth('streams', (subject) => {
  const { launch, shell, file } = subject

  test('stdout and stderr apart, each in order', async () => {
    const { stdout, stderr } = await shell('for i in $(seq 200); do echo o$i; echo e$i >&2; done')
    const numbers = Array.from({ length: 200 }, (_, i) => i + 1)
    expect(stdout).toBe(numbers.map((i) => `o${i}\n`).join(''))
    expect(stderr).toBe(numbers.map((i) => `e${i}\n`).join(''))
  })

  test('the streams block, as they did for the caller', async () => {
    const { stdout } = await shell('for i in 0 1 2; do grep flags /proc/$$/fdinfo/$i; done')
    const flags = [...stdout.matchAll(/flags:\s+([0-7]+)/g)].map(([, octal]) =>
      Number.parseInt(octal ?? '', 8),
    )
    expect(flags.map((each) => each & 0o4000)).toEqual([0, 0, 0])
  })

  test('an end of stdin that is not the end', async () => {
    const { stdout } = await shell('cat; echo after', { input: 'before\n' })
    expect(stdout).toBe('before\nafter\n')
  })

  test('a program that reads no more ends who writes to it', async () => {
    const program = `'${file}' '${subject.world.control}' /bin/sh -c 'exec <&-; read x <&9; echo $x' 9<&3`
    const child = spawn('/bin/bash', ['-c', `(yes; echo "yes: $?" >&2) | ${program}`], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    })
    expect(String((await once(child.stderr as Readable, 'data'))[0])).toMatch(/yes: 141|Broken pipe/)
    ;(child.stdio[3] as Writable).end('released\n')
    expect(await text(child.stdout as Readable)).toBe('released\n')
  })

  test('a reader sees the end when the program is gone, and not before', async () => {
    const child = spawn(file, [subject.world.control, '/bin/sh', '-c', 'echo one; read x; echo two'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const ended = once(child.stdout as Readable, 'end')
    expect(String((await once(child.stdout as Readable, 'data'))[0])).toBe('one\n')
    expect(child.stdout?.readableEnded).toBe(false)
    const rest = once(child.stdout as Readable, 'data')
    child.stdin?.end('\n')
    expect(String((await rest)[0])).toBe('two\n')
    await ended
  })

  test('a reader that goes away ends the program by SIGPIPE', async () => {
    const { stdout } = await run('/bin/bash', [
      '-c',
      `'${file}' '${subject.world.control}' /usr/bin/yes | head -n1; echo \${PIPESTATUS[0]}`,
    ])
    expect(stdout).toBe('y\n141\n')
  })

  test('100 MB from stdin to stdout, and memory for none of it', async () => {
    const child = spawn(file, [subject.world.control, '/bin/cat'], { stdio: ['pipe', 'pipe', 'inherit'] })
    const sent = createHash('sha256')
    const received = createHash('sha256')
    let size = 0
    let most = 0
    child.stdout?.on('data', (chunk: Buffer) => {
      if (size === 0) most = Number.parseInt(statusOf(child.pid as number, 'VmHWM'), 10)
      received.update(chunk)
      size += chunk.length
    })
    const ended = once(child, 'close')
    for (let i = 0; i < 100; i++) {
      const block = Buffer.alloc(1_000_000, i.toString().padStart(7, '0'))
      sent.update(block)
      if (!child.stdin?.write(block)) await once(child.stdin as Writable, 'drain')
    }
    child.stdin?.end()
    expect((await ended)[0]).toBe(0)
    expect(size).toBe(100_000_000)
    expect(received.digest('hex')).toBe(sent.digest('hex'))
    // KiB: Node itself has some 60 MiB.
    expect(most).toBeLessThan(subject.name === 'C' ? 4_000 : 150_000)
    expect(Number.parseInt(statusOf(subject.world.vm.pid, 'VmHWM'), 10)).toBeLessThan(250_000)
  })

  test('exit codes', async () => {
    const all = Array.from({ length: 256 }, (_, i) => i)
    // Each of the launcher in Node starts a Node.
    const codes = subject.name === 'C' ? all : [0, 1, 2, 64, 124, 125, 126, 127, 128, 130, 254, 255]
    const found: number[] = []
    for (let at = 0; at < codes.length; at += 8)
      found.push(
        ...(await Promise.all(
          codes.slice(at, at + 8).map(async (code) => (await shell(`exit ${code}`)).code),
        )),
      )
    expect(found).toEqual(codes)
  })

  test('the daemon is told how it ended', async () => {
    const before = subject.world.ran.length
    await shell('exit 7')
    await shell('kill -KILL $$')
    expect(subject.world.ran.slice(before).map(({ exit }) => exit)).toEqual([
      { code: 7 },
      expect.objectContaining({ signal: 9 }),
    ])
  })

  test('nothing is left in the VM', async () => {
    const before = openFiles(subject.world.vm.pid).length
    await Promise.all([launch('/bin/true', []), shell('exit 3'), launch('/bin/nothing', [])])
    await waitFor('descriptors to go', () => openFiles(subject.world.vm.pid).length <= before)
  })
})
