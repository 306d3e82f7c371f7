// Attacks from inside the sandbox, with real bubblewrap: each must fail, and leave nothing.
import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Grants, parseGrant } from '../../src/mesh/grants.ts'
import { sandboxUser } from '../../src/mesh/sandbox.ts'
import { closePath, openPath, shownPaths } from '../../src/mesh/sandbox-paths.ts'
import { run as runProgram } from '../support/run.ts'
import { waitFor, within } from '../support/wait.ts'
import { PEER, PeerHost, whyNoBubblewrap } from './peer-programs.ts'

const skip = await whyNoBubblewrap()
const isRoot = process.getuid?.() === 0
const EXEC = 'exec:/usr'
const sh = (script: string, ...args: string[]) => ['/bin/sh', '-c', script, 'sh', ...args]
const perl = (script: string, ...args: string[]) => ['/usr/bin/perl', '-e', script, ...args]

describe.skipIf(skip)(`in a sandbox${skip ? ` (${skip})` : ''}`, () => {
  let host: PeerHost
  let servers: Server[]
  /** A directory of the host, readable for everybody, with a file. */
  const directory = (name: string, content = 'SECRET') => {
    const path = join(host.base, name)
    mkdirSync(path, { recursive: true })
    chmodSync(path, 0o777)
    writeFileSync(join(path, 'file'), content, { mode: 0o666 })
    return path
  }
  beforeAll(() => {
    host = new PeerHost()
    servers = []
  })
  afterAll(async () => {
    for (const server of servers) server.close()
    await host.stop()
  })

  describe('files', () => {
    test('nothing of the host is there but its programs', async () => {
      const other = directory('other')
      const { stdout, stderr } = await host.run([EXEC], {
        argv: sh(
          'cat /etc/shadow /etc/ssh/* /root/* /home/* "$1/file"; ls -A / /home /root /var /srv /run /tmp',
          other,
        ),
      })
      expect(stdout).not.toContain('SECRET')
      expect(stdout.replaceAll(/\s+/g, ' ')).toMatch(
        /^\/: bin dev etc lib .*usr var \/run: \/tmp: \/var: tmp $/,
      )
      expect(stderr).toContain('/etc/shadow: No such file')
      const names = (await host.run([EXEC], { argv: sh('cat /etc/passwd; ls /etc/ssl') })).stdout
      expect(names).toMatch(/^root:.*\npeer:.*\n/)
      expect(names).not.toContain('private')
    })

    test("the daemon's key and socket are not to be had, even below what is granted", async () => {
      writeFileSync(join(host.secret, 'key'), 'SECRET', { mode: 0o666 })
      chmodSync(host.secret, 0o777)
      const socket = join(host.secret, 'control')
      let connections = 0
      const server = createServer(() => connections++)
      servers.push(server)
      await new Promise<void>((resolve) => server.listen(socket, resolve))
      chmodSync(socket, 0o777)
      const script =
        'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); print connect(S, pack_sockaddr_un($ARGV[0])) ? "connected" : "no: $!"'
      for (const rules of [
        [],
        [`read:${host.base}`],
        [`write:${host.base}`],
        [`read:${host.base}`, `read:${host.secret}`],
      ]) {
        const key = await host.run([EXEC, ...rules], {
          argv: sh('cat "$1"; echo x >"$1"; ls -A "$(dirname "$1")"', join(host.secret, 'key')),
        })
        expect(key.stdout).toBe('')
        const connected = await host.run([EXEC, ...rules], { argv: perl(script, socket) })
        expect(connected.stdout).toMatch(/^no: /)
      }
      expect(connections).toBe(0)
      expect(readFileSync(join(host.secret, 'key'), 'utf8')).toBe('SECRET')
    })

    test('what is granted is there, as far as it is granted', async () => {
      const path = directory('tree')
      for (const part of ['private', 'share', 'share/fixed']) directory(`tree/${part}`, part)
      const rules = [
        EXEC,
        `read:${path}`,
        `deny:${path}/private`,
        `write:${path}/share`,
        `deny:write:${path}/share/fixed`,
      ]
      const script =
        'cd "$1"; cat file private/file share/file share/fixed/file; for d in . private share share/fixed; do echo x >$d/new; done; rm private/file; ls -A private'
      const { stdout, stderr } = await host.run(rules, { argv: sh(script, path) })
      expect(stdout).toBe('SECRETshareshare/fixed')
      expect(stderr.match(/annot create .*/g)).toHaveLength(3)
      expect(existsSync(join(path, 'share/new'))).toBe(true)
      for (const not of ['new', 'private/new', 'share/fixed/new'])
        expect(existsSync(join(path, not))).toBe(false)
      expect(readFileSync(join(path, 'private/file'), 'utf8')).toBe('private')
    })

    test('a denied file and names by wildcards', async () => {
      const path = directory('wild')
      directory('wild/u1/pub', 'one')
      directory('wild/u2/pub', 'two')
      writeFileSync(join(path, 'u2/pub/hidden.key'), 'KEY')
      writeFileSync(join(path, 'u2/own'), 'OWN')
      const { stdout } = await host.run([EXEC, `read:${path}/u*/pub`, `deny:${path}/**/*.key`], {
        argv: sh('cd "$1"; cat file u1/pub/file u2/pub/file u2/pub/hidden.key u2/own', path),
      })
      expect(stdout).toBe('onetwo')
    })

    test('a link in a granted or lent directory leads nowhere', async () => {
      const outside = directory('outside')
      const inside = directory('inside', 'in')
      symlinkSync(outside, join(inside, 'way'))
      symlinkSync('/etc/shadow', join(inside, 'shadow'))
      symlinkSync('../outside/file', join(inside, 'up'))
      const script = 'cd "$1"; cat way/file shadow up "$1/../outside/file"; cat file'
      const granted = await host.run([EXEC, `read:${inside}`], { argv: sh(script, inside) })
      expect(granted.stdout).toBe('in')
      const lent = [{ host: inside, at: '/home/u/proj', writable: true }]
      expect(
        (await host.run([EXEC], { argv: sh(script, '/home/u/proj'), cwd: '/home/u/proj', lent })).stdout,
      ).toBe('in')
    })

    test('a granted or lent path that is a link itself shows nothing that is not granted', async () => {
      const outside = directory('outside2')
      const link = join(host.base, 'link2')
      symlinkSync(outside, link)
      const { stdout } = await host.run([EXEC, `read:${link}`], {
        argv: sh('cat "$1/file" "$2/file"', link, outside),
      })
      expect(stdout).toBe('')
      const lent = [{ host: link, at: '/home/u', writable: true }]
      await expect(host.start([EXEC], { argv: sh('ls'), cwd: '/home/u', lent })).rejects.toMatchObject({
        code: 'EACCES',
      })
    })

    test('a directory that becomes a link after it was looked at is the one that was looked at', async () => {
      const swapped = directory('swapped', 'looked at')
      const opened = await openPath(swapped, [])
      renameSync(swapped, `${swapped}.away`)
      symlinkSync(directory('target'), swapped)
      try {
        expect(opened.resolved).toBe(swapped)
        expect(readFileSync(`/proc/self/fd/${opened.fd}/file`, 'utf8')).toBe('looked at')
      } finally {
        closePath(opened)
        rmSync(swapped)
      }
      const shown = await shownPaths(new Grants([parseGrant(`read:${swapped}`)], PEER), [])
      expect(shown).toEqual([])
    })

    test('what another peer has lent is not there', async () => {
      const mount = directory('mount')
      const [mine, theirs] = [directory('mount/me@a/home', 'mine'), directory('mount/me@b/home', 'theirs')]
      const lent = [{ host: mine, at: '/home/u', writable: true }]
      const { stdout } = await host.run([EXEC], {
        argv: sh('cat file "$1/file" "$2/file" "$3/file" ../*/file', theirs, mine, mount),
        cwd: '/home/u',
        lent,
      })
      expect(stdout).toBe('minemine')
    })

    test('what is lent can be read only where it is lent so, and nothing is made on this host', async () => {
      const readOnly = directory('read-only', 'in')
      const lent = [{ host: readOnly, at: '/nowhere/here/proj', writable: false }]
      const { stdout, stderr } = await host.run([EXEC], {
        argv: sh('cat file; echo x >file; echo x >new; pwd'),
        cwd: '/nowhere/here/proj',
        lent,
      })
      expect(stdout).toBe('in/nowhere/here/proj\n')
      expect(stderr.match(/Read-only file system/g)).toHaveLength(2)
      expect(existsSync('/nowhere')).toBe(false)
    })

    test.each([
      '/',
      '/usr',
      '/usr/local/x',
      '/etc',
      '/etc/x',
      '/lib/x',
      '/proc/1',
      '/dev/shm',
      'home',
      '/home/../etc',
      '/home//u',
      '/home/.',
    ])('a directory cannot be lent as %s', async (at) => {
      const lent = [{ host: directory('lent'), at, writable: true }]
      await expect(host.start([EXEC], { argv: sh('ls'), lent })).rejects.toMatchObject({ code: 'EINVAL' })
    })

    // A character of which the kernel would get the last byte alone is no NUL yet.
    test.each(['\0--ro-bind\0/\0/host', '\u0100--ro-bind\u0100/\u0100/host'])(
      'no option of the sandbox comes with a name: %j',
      async (more) => {
        const lent = [{ host: directory('lent'), at: '/home/u', writable: true }]
        const argv = sh('cat /host/etc/shadow')
        const requests = [
          { argv, lent: [{ host: directory('lent'), at: `/home/u${more}`, writable: true }] },
          { argv, lent, cwd: `/home/u${more}` },
          { argv, program: `/bin/sh${more}` },
          { argv: [...argv, `x${more}`] },
          { argv, program: 'bin/sh' },
        ]
        for (const request of requests)
          await expect(host.start(['exec-bare:/', EXEC], request)).rejects.toMatchObject({ code: 'EINVAL' })
        for (const request of requests)
          await expect(host.start([EXEC], request)).rejects.toMatchObject({ code: 'EINVAL' })
      },
    )

    test('a program of its own directory cannot be replaced by what is lent', async () => {
      const bin = directory('own/bin')
      writeFileSync(join(bin, 'tool'), '#!/bin/sh\necho own\n', { mode: 0o755 })
      const fake = directory('fake/bin')
      writeFileSync(join(fake, 'tool'), '#!/bin/sh\necho fake\n', { mode: 0o755 })
      const argv = [join(bin, 'tool')]
      const rules = [`exec:${bin}`]
      expect((await host.run(rules, { argv })).stdout).toBe('own\n')
      for (const at of [bin, join(host.base, 'own'), argv[0] ?? '']) {
        const lent = [{ host: fake, at, writable: true }]
        await expect(host.start(rules, { argv, lent })).rejects.toMatchObject({ code: 'EINVAL' })
      }
    })

    test('the system cannot be written, and memory for files is bounded', async () => {
      const script =
        'for d in / /usr /usr/bin /etc /bin /dev /run /var /proc/sys/kernel; do true >$d/new && echo wrote $d; done; true >/usr/bin/env && echo wrote; rm -f /usr/bin/env /etc/passwd; echo 1 >/proc/sys/kernel/core_pattern && echo wrote; ls /usr/bin/env /etc/passwd; true >/tmp/ok && true >/dev/shm/ok && echo tmp'
      const { stdout } = await host.run([EXEC], { argv: sh(script) })
      expect(stdout).toBe('/etc/passwd\n/usr/bin/env\ntmp\n')
      const fill = 'for d in /tmp /dev/shm; do head -c 40M /dev/zero >$d/x; stat -c %s $d/x; done'
      expect((await host.run(['exec:/usr:memory=20M'], { argv: sh(fill) })).stdout).toBe(
        '20971520\n20971520\n',
      )
    })
  })

  test("no network, not even the host's loopback or abstract sockets, unless it is granted", async () => {
    let connections = 0
    const server = createServer(() => connections++)
    const abstract = createServer(() => connections++)
    servers.push(server, abstract)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const name = `cosmos-test-${process.pid}`
    await new Promise<void>((resolve) => abstract.listen(`\0${name}`, resolve))
    const { port } = server.address() as { port: number }
    const script = `use Socket; socket(S, PF_INET, SOCK_STREAM, 0); print connect(S, pack_sockaddr_in($ARGV[0], INADDR_LOOPBACK)) ? "connected" : "no";
      socket(U, PF_UNIX, SOCK_STREAM, 0); print connect(U, pack_sockaddr_un("\\0$ARGV[1]")) ? " connected" : " no"`
    expect((await host.run([EXEC], { argv: perl(script, String(port), name) })).stdout).toBe('no no')
    expect(connections).toBe(0)
    const granted = ['exec:/usr:network=yes']
    expect((await host.run(granted, { argv: perl(script, String(port), name) })).stdout).toMatch(/^connected/)
    expect(
      (await host.run(granted, { argv: perl(script, String(port), name), limits: { network: false } }))
        .stdout,
    ).toBe('no no')
  })

  test('LD_PRELOAD and its like do not come in', async () => {
    const env = ['LD_PRELOAD=/home/u/x.so', 'LD_AUDIT=x', 'BASH_ENV=/home/u/x', 'PATH=/home/u', 'LANG=C']
    const run = await host.start([EXEC], { argv: ['/usr/bin/env'], env })
    await run.result
    expect(run.refusedEnvironment).toEqual(['LD_PRELOAD', 'LD_AUDIT', 'BASH_ENV', 'PATH'])
  })

  test('processes of the host are neither seen nor reached', async () => {
    const { stdout } = await host.run([EXEC], {
      argv: sh(
        'ls /proc | grep -c "^[0-9]"; kill -9 "$1" && echo killed; ls /proc/1/root/; cat /proc/1/environ | tr "\\0" "\\n" | grep -c COSMOS',
        String(process.pid),
      ),
    })
    expect(Number(stdout.split('\n')[0])).toBeLessThan(8)
    expect(stdout).not.toContain('killed')
    // The root of its first process is the sandbox's own.
    expect(stdout).not.toMatch(/^(home|root|boot|srv)$/m)
  })

  test('no ptrace of what is outside, no mounts, no namespaces, no capabilities', async () => {
    const mount = process.arch === 'arm64' ? 40 : 165
    const ptrace = process.arch === 'arm64' ? 117 : 101
    const unshare = process.arch === 'arm64' ? 97 : 272
    const script = `my ($t, $n) = ("tmpfs", "/tmp"); print syscall(${mount}, $t, $n, $t, 0, 0) == 0 ? "mounted" : "no";
      print syscall(${ptrace}, 16, ${process.pid}, 0, 0) == 0 ? " traced" : " no";
      print syscall(${unshare}, 0x10000000) == 0 ? " unshared" : " no";
      print syscall(${unshare}, 0x20000) == 0 ? " unshared" : " no";`
    const { stdout } = await host.run([EXEC], { argv: perl(script) })
    expect(stdout).toMatch(/^no no no no$/)
    const status = (await host.run([EXEC], { argv: sh('grep -E "^(Cap|NoNewPrivs|Uid)" /proc/self/status') }))
      .stdout
    expect(status.match(/^Cap(Inh|Prm|Eff|Bnd|Amb):\s+0+$/gm)).toHaveLength(5)
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m)
    const { uid } = sandboxUser()
    expect(status).toMatch(new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s+${uid}\\s+${uid}$`, 'm'))
  })

  test('a setuid program gains nothing', async () => {
    const path = directory('setuid')
    const copy = join(path, 'id')
    writeFileSync(copy, readFileSync('/usr/bin/id'), { mode: 0o755 })
    chmodSync(copy, 0o4755)
    const { stdout } = await host.run([`exec:${path}`], { argv: [copy, '-u'] })
    expect(stdout).toBe(`${sandboxUser().uid}\n`)
    const raised = await host.run([EXEC], { argv: sh('ls -l /usr/bin/su; echo | su -c id 2>/dev/null') })
    expect(raised.stdout).not.toContain('uid=0')
  })

  test('a device is there where it may be written', async () => {
    const { stdout } = await host.run([EXEC], { argv: sh('ls /dev') })
    expect(stdout.split('\n').filter(Boolean).sort().join(' ')).toMatch(
      /^(console )?core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero$/,
    )
    const granted = await host.run([EXEC, 'write:/dev/fuse'], { argv: sh('ls /dev') })
    expect(granted.stdout.includes('fuse')).toBe(existsSync('/dev/fuse'))
  })

  describe('limits', () => {
    test('a fork bomb stays small, and other sandboxes have their own count', async () => {
      const rules = ['exec:/usr:processes=20,time=2']
      const bomb =
        'my $n = 0; while ($n < 500) { my $p = fork; last unless defined $p; if ($p == 0) { sleep 100; exit } $n++ } print $n'
      const both = await Promise.all(
        [1, 2].map(() => within(20_000, 'the bomb', host.run(rules, { argv: perl(bomb) }))),
      )
      for (const { stdout } of both) {
        expect(Number(stdout)).toBeGreaterThan(10)
        expect(Number(stdout)).toBeLessThanOrEqual(20)
      }
    })

    test('one that forks on and on ends with its time', async () => {
      const left = await within(
        20_000,
        'the end',
        host.run(['exec:/usr:processes=50,time=1'], {
          argv: perl('fork while 1'),
        }),
      )
      expect(left.ended).toBe('time')
    })

    test('without bounds in the grant there is one of processes', async () => {
      const { stdout } = await host.run([EXEC], {
        argv: ['/bin/bash', '-c', 'ulimit -u; ulimit -c; ulimit -n'],
      })
      expect(stdout).toBe('512\n0\n1024\n')
    })
  })

  test('a sandbox that cannot be made is an error that says why, and not an exit of the program', async () => {
    const gone = directory('gone/deep')
    const lent = [{ host: gone, at: '/home/u/x', writable: true }]
    const under = [{ host: directory('gone2'), at: '/home/u/x/not/there', writable: true }]
    const readOnly = lent.map((each) => ({ ...each, writable: false }))
    const left = await host.run([EXEC], { argv: sh('echo ran'), lent: [...readOnly, ...under] })
    expect(left.stdout).toBe('')
    expect(left.exit).toMatchObject({
      error: { code: 'EPERM', subject: 'sandbox', message: expect.stringContaining('bwrap: ') },
    })
  })

  test.skipIf(!isRoot)(
    "root's daemon: what is not for everybody is not for peers, even where it is shown",
    async () => {
      const path = directory('private')
      writeFileSync(join(path, 'mode600'), 'SECRET', { mode: 0o600 })
      const { stdout, stderr } = await host.run([EXEC, `write:${path}`], {
        argv: sh('cat "$1/mode600"', path),
      })
      expect(stdout).toBe('')
      expect(stderr).toContain('Permission denied')
    },
  )

  test('a daemon that is killed takes its sandboxes along', async () => {
    const script = fileURLToPath(new URL('one-program.ts', import.meta.url))
    const env = { ...process.env, PEER_BASE: directory('another') }
    const line = 'trap "" HUP; sleep 7160; sleep 7160'
    const daemon = spawn(process.execPath, [script, line, EXEC], { env, stdio: 'ignore' })
    const sleepers = () =>
      readdirSync('/proc').filter((pid) => {
        try {
          return (
            /^[0-9]+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('sleep\x007160')
          )
        } catch {
          return false
        }
      })
    try {
      await waitFor('the program', () => sleepers().length === 1)
    } finally {
      daemon.kill('SIGKILL')
    }
    await waitFor('nothing to be left', () => sleepers().length === 0)
  })

  test.skipIf(!isRoot)("an ordinary user's daemon has the same sandbox", async ({ skip: leaveOut }) => {
    const script = fileURLToPath(new URL('one-program.ts', import.meta.url))
    const readable = spawnSync(
      '/bin/sh',
      ['-c', 'test -r "$1" && test -x "$2"', 'sh', script, process.execPath],
      { uid: 65_534, gid: 65_534 },
    )
    if (readable.status !== 0) leaveOut('another user cannot read this checkout')
    const attack =
      'id -u; cat "$1/state/key" /etc/shadow /root/.profile; ls -A /; kill -9 1; cat </dev/tcp/127.0.0.1/22; grep CapEff /proc/self/status; exit 4'
    const left = await runProgram(process.execPath, [script, attack, EXEC], {
      uid: 65_534,
      cwd: '/',
      env: { PATH: '/usr/bin:/bin' },
    })
    expect(left.stderr).toBe('')
    const told = JSON.parse(left.stdout) as { exit: unknown; stdout: string }
    expect(told.exit).toEqual({ code: 4 })
    expect(told.stdout).toMatch(/^65534\nbin\ndev\n(?:.*\n)*CapEff:\s+0+\n$/)
    expect(told.stdout).not.toMatch(/KEY|root:/)
  })
})
