import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { unmount } from '../../mount/fuse-native/mount-point.ts'

/**
 * A tree mounted through fuse-native. A process of its own serves it, and others use it: whoever serves a mount must
 * not wait for it.
 */
const isRoot = process.getuid?.() === 0
const possible = process.platform === 'linux' && isWritable('/dev/fuse')

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** A server of `serve.ts` and what it has said. */
class Server {
  readonly base = mkdtempSync(join(tmpdir(), 'cosmos-fuse-native-'))
  readonly mount = join(this.base, 'mnt')
  /** The same directory on the disk and through the mount. */
  readonly host = join(this.base, 'data')
  readonly dir = join(this.mount, 'me@test', this.host)
  readonly lines: string[] = []
  readonly child: ChildProcess
  #heard: () => void = () => {}

  constructor(...mode: string[]) {
    mkdirSync(this.host)
    mkdirSync(join(this.base, 'shipped'))
    this.child = spawn(
      process.execPath,
      [fileURLToPath(new URL('serve.ts', import.meta.url)), this.base, ...mode],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    )
    if (this.child.stdout)
      createInterface(this.child.stdout).on('line', (line) => {
        this.lines.push(line)
        this.#heard()
      })
  }

  /** Waits for a line of output. */
  async said(text: string): Promise<string> {
    for (;;) {
      const line = this.lines.find((each) => each.startsWith(text))
      if (line !== undefined) return line
      if (this.child.exitCode !== null) throw new Error(`ended with ${this.child.exitCode} before "${text}"`)
      await new Promise<void>((resolve) => {
        this.#heard = resolve
        this.child.once('exit', () => resolve())
      })
    }
  }

  async stop(): Promise<string> {
    this.child.stdin?.end()
    return this.said('stopped')
  }

  get mounted(): boolean {
    return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${this.mount} `)
  }

  async clean(): Promise<void> {
    this.child.kill('SIGKILL')
    if (this.mounted) await unmount(this.mount)
    rmSync(this.base, { recursive: true, force: true })
  }

  /** Output of shell commands in the directory of the mount; they fail as a whole. */
  shell(script: string): string {
    return execFileSync('/bin/bash', ['-ec', `cd "$DIR"; ${script}`], {
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C', DIR: this.dir, HOST: this.host, MOUNT: this.mount },
      encoding: 'latin1',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 30_000,
    })
  }
}

for (const mode of ['', 'plain'])
  describe.skipIf(!possible || (mode === '' && process.arch !== 'x64'))(
    mode === '' ? 'with the request record' : 'without it',
    () => {
      let server: Server
      const shell = (script: string): string => server.shell(script)

      beforeAll(async () => {
        server = new Server(mode)
        await server.said('ready')
      })
      afterAll(() => server.clean())

      test('lists', () => {
        expect(shell('ls -A "$MOUNT"')).toContain('me@test\n')
        expect(shell('mkdir list; touch list/a list/b; ls -A list; ls -A list | wc -l')).toBe('a\nb\n2\n')
      })

      test('lists a directory that is made where another was', () => {
        const script = 'for i in $(seq 20); do mkdir again; touch again/$i; ls again; rm -r again; done'
        const names = Array.from({ length: 20 }, (_, i) => `${i + 1}\n`)
        expect(shell(script)).toBe(names.join(''))
      })

      test('writes, appends and reads', () => {
        expect(shell('echo one > file; echo two >> file; cat file; cat "$HOST/file"')).toBe(
          'one\ntwo\none\ntwo\n',
        )
        expect(
          shell('echo new > appended; (exec 3>> made; echo 1 >&3; echo 2 >> made; echo 3 >&3); cat made'),
        ).toBe('1\n2\n3\n')
      })

      test('makes, moves and removes directories', () => {
        expect(
          shell('mkdir -p p/q/r; echo x > p/q/r/f; mv p/q s; cat s/r/f; mv s/r/f s/g; find p s | sort'),
        ).toBe('x\np\ns\ns/g\ns/r\n')
        expect(shell('rm -r p s; ls -d p s 2>&1 || true')).toMatch(/No such file.*\n.*No such file/)
      })

      test('links', () => {
        expect(shell('echo x > t; ln -s t soft; readlink soft; cat soft; ln t hard; stat -c %h t hard')).toBe(
          't\nx\n2\n2\n',
        )
        expect(shell('test $(stat -c %i t) = $(stat -c %i hard) && echo same')).toBe('same\n')
      })

      test('changes modes, owners and sizes', () => {
        expect(shell('echo 12345 > m; chmod 640 m; truncate -s 3 m; stat -c "%a %s" m; cat m')).toBe(
          '640 3\n123',
        )
      })

      test.skipIf(!isRoot)('changes owners', () => {
        expect(shell('touch w; chown 12:34 w; chgrp 5 w; stat -c "%u %g" w')).toBe('12 5\n')
      })

      test('copies a large file whole', () => {
        const bytes = randomBytes(24 << 20)
        writeFileSync(join(server.base, 'large'), bytes)
        const sum = createHash('sha256').update(bytes).digest('hex')
        expect(
          shell('cp "$HOST/../large" large; sync large; sha256sum large "$HOST/large" | cut -c1-64'),
        ).toBe(`${sum}\n${sum}\n`)
      })

      test('takes names of 255 bytes, and no longer ones', () => {
        expect(
          shell('n=$(printf "n%.0s" $(seq 255)); echo x > $n; cat $n; rm $n; touch "$n"n 2>&1 || true'),
        ).toMatch(/^x\n.*File name too long/)
      })

      test('sees outside changes at once', () => {
        expect(
          shell(
            'cat o 2>&1 || true; echo 1 > "$HOST/o"; cat o; echo 234 > "$HOST/o"; cat o; rm "$HOST/o"; cat o 2>&1 || true',
          ),
        ).toMatch(/No such file.*\n1\n234\n.*No such file/)
      })

      test('keeps an open file that is removed', () => {
        expect(shell('echo x > gone; exec 3< gone; rm gone; cat <&3')).toBe('x\n')
      })

      test('has extended attributes', () => {
        const get =
          'import os; os.setxattr("xa","user.a",b"1"); print(os.listxattr("xa"), os.getxattr("xa","user.a"))'
        const ours = 'print(int(os.getxattr("xa","user.cosmos.inode")) > 0)'
        if (spawnSync('python3', ['-V']).error) return
        expect(shell(`touch xa; python3 -c '${get}; ${ours}'`)).toBe("['user.a'] b'1'\nTrue\n")
      })

      test('copies a file of a lower layer before it is changed', () => {
        mkdirSync(join(server.base, 'shipped/lib'))
        writeFileSync(join(server.base, 'shipped/lib/f'), 'x'.repeat(5 << 20))
        expect(
          shell('cd "$MOUNT/.cosm"; echo more >> lib/f; tail -c 5 lib/f; wc -c < "$HOST/../home/lib/f"'),
        ).toBe('more\n5242885\n')
        expect(shell('wc -c < "$HOST/../shipped/lib/f"; cd "$MOUNT/.cosm"; rm lib/f; ls lib')).toBe(
          '5242880\n',
        )
      })

      test.skipIf(mode === 'plain')('takes names that are not UTF-8', () => {
        expect(shell("n=$'caf\\351'; echo x > $n; ls | grep -a caf; mv $n b$n; cat b$n")).toBe('caf\xe9\nx\n')
      })

      test.skipIf(mode === 'plain')('shows and sets times', () => {
        expect(
          shell(
            'touch t1; touch -d "2001-02-03 04:05:06.789 UTC" t1; TZ=UTC stat -c %y t1; cp -p t1 t2; TZ=UTC stat -c %y t2',
          ),
        ).toBe('2001-02-03 04:05:06.789000000 +0000\n'.repeat(2))
        expect(
          shell(
            'touch -d @1000000000 r1; cat r1; touch t3; python3 -c "import os; os.utime(\'t3\', (5, -7))"; stat -c "%X %Y" t3',
          ),
        ).toBe('5 -7\n')
        expect(shell('echo x > ns; test $(stat -c %.9Y ns) = $(stat -c %.9Y "$HOST/ns") && echo same')).toBe(
          'same\n',
        )
      })

      test.skipIf(mode === 'plain')('shows inode numbers whole', () => {
        // Those of a merged directory have their highest bit set.
        expect(shell('mkdir "$MOUNT/.cosm/n"; stat -c %i "$MOUNT/.cosm/n"').length).toBeGreaterThan(19)
      })

      test.skipIf(mode === 'plain')('reads files whose size is not known', () => {
        expect(shell('head -c 9 "$MOUNT/me@test/proc/cpuinfo"')).toBe('processor')
      })

      test('unmounts, and holds no frames then', async () => {
        expect(await server.stop()).toBe('stopped 1')
        expect(server.mounted).toBe(false)
      })
    },
  )

describe.skipIf(!possible)('an end that is not ordinary', () => {
  test('an outside unmount is told', async () => {
    const server = new Server()
    try {
      await server.said('ready')
      server.shell('echo x > f')
      await unmount(server.mount)
      await server.said('ended')
    } finally {
      await server.clean()
    }
  })

  test('a busy mount is taken away lazily', async () => {
    const server = new Server()
    try {
      await server.said('ready')
      const user = spawn('sleep', ['100'], { cwd: server.mount })
      await server.stop()
      expect(server.mounted).toBe(false)
      user.kill()
    } finally {
      await server.clean()
    }
  })
})

test('a thread that is not the main one is refused', async () => {
  const library = new URL('../../mount/fuse-native/library.ts', import.meta.url).href
  const code = `import(${JSON.stringify(library)}).then(({ loadLibrary }) => loadLibrary())
    .catch((error) => require('node:worker_threads').parentPort.postMessage(error.code))`
  const [answer] = await once(new Worker(code, { eval: true }), 'message')
  expect(answer).toBe('ENOSYS')
})
