// What programs do all day, each checking every result: run as `node workloads.ts NAME DIRECTORY RAW BYTES`, in a
// directory of the place that is tried and one on the raw file system. It works until its standard input ends,
// finishes the round, and prints a report. Any call that fails ends it at once.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import Database from 'better-sqlite3'
import * as sys from '../support/system.ts'

/** What a workload says at its end. */
export interface WorkloadReport {
  readonly name: string
  readonly rounds: number
  readonly calls: number
  /** The longest single call. */
  readonly worst: Longest
  /** The longest call of the same kind on the raw file system meanwhile: what the disk itself costs. */
  readonly raw: Longest
  /** Why it ended before it was told to. */
  readonly error?: string
}

/** A call and how long it took. */
export interface Longest {
  readonly milliseconds: number
  readonly call: string
}

interface Place {
  /** A directory of its own in the mount. */
  readonly dir: string
  /** One on the raw file system. */
  readonly raw: string
  /** Size of the big file. */
  readonly size: number
}

/** One round; `end` is what is left to check and undo when it is told to stop. */
interface Workload {
  round(i: number): void | Promise<void>
  end?(): void | Promise<void>
}

type Maker = (place: Place) => Workload | Promise<Workload>

let calls = 0
let worst: Longest = { milliseconds: 0, call: '' }
let worstRaw: Longest = worst

/** Makes one call, and measures it. Of the mount, unless it is said to be of the raw file system. */
function call<T>(name: string, act: () => T, raw = false): T {
  const started = performance.now()
  try {
    return act()
  } finally {
    const milliseconds = performance.now() - started
    const longest = { milliseconds, call: name }
    if (raw) {
      if (milliseconds > worstRaw.milliseconds) worstRaw = longest
    } else {
      calls++
      if (milliseconds > worst.milliseconds) worst = longest
    }
  }
}

const execute = promisify(execFile)

/** Runs a program that must succeed and have nothing to complain about. */
async function program(file: string, args: string[], cwd?: string): Promise<string> {
  const { stdout, stderr } = await execute(file, args, { cwd, maxBuffer: 1 << 24 })
  assert.equal(stderr, '', `${file} ${args.join(' ')}`)
  return stdout
}

const MIB = 1 << 20

/** Makers by name. */
export const workloads: Record<string, Maker> = {
  /** A big file in and out by chunks. */
  'copy-in-out': ({ dir, raw, size }) => {
    const chunk = Buffer.alloc(MIB)
    const source = join(raw, 'source')
    const sum = createHash('sha256')
    const out = openSync(source, 'w')
    for (let at = 0; at < size; at += MIB) {
      for (let i = 0; i < MIB; i += 8) chunk.writeDoubleLE(at + i * 1.000001, i)
      sum.update(chunk)
      writeSync(out, chunk)
    }
    closeSync(out)
    const expected = sum.digest('hex')
    const copy = (from: string, to: string): string => {
      const hash = createHash('sha256')
      const [fromRaw, toRaw] = [from.startsWith(raw), to.startsWith(raw)]
      const [input, output] = [
        call('open', () => openSync(from, 'r'), fromRaw),
        call('create', () => openSync(to, 'w'), toRaw),
      ]
      for (let done = 0; ; done += chunk.length) {
        const length = call('read', () => readSync(input, chunk), fromRaw)
        if (length === 0) break
        // By parts, so that a slow disk is no slow call.
        if (done % (8 * MIB) === 0) call('fsync', () => fsyncSync(output), toRaw)
        hash.update(chunk.subarray(0, length))
        assert.equal(
          call('write', () => writeSync(output, chunk, 0, length), toRaw),
          length,
        )
      }
      call('fsync', () => fsyncSync(output), toRaw)
      call('close', () => closeSync(input), fromRaw)
      call('close', () => closeSync(output), toRaw)
      return hash.digest('hex')
    }
    return {
      round() {
        assert.equal(copy(source, join(dir, 'big')), expected)
        assert.equal(call('stat', () => statSync(join(dir, 'big'))).size, size)
        assert.equal(copy(join(dir, 'big'), join(raw, 'back')), expected)
        call('unlink', () => unlinkSync(join(dir, 'big')))
        unlinkSync(join(raw, 'back'))
      },
    }
  },

  /** An archive is extracted, compared, and removed. */
  async tar({ dir, raw }) {
    const tree = join(raw, 'tree')
    for (let d = 0; d < 12; d++) {
      mkdirSync(join(tree, `d${d}`), { recursive: true })
      for (let f = 0; f < 25; f++) {
        const path = join(tree, `d${d}`, `f${f}`)
        writeFileSync(path, `${d} ${f}\n`.repeat(1 + ((d * f) % 900)))
        chmodSync(path, 0o600 + f)
        utimesSync(path, 1_000_000 + f, 2_000_000 + d * f)
      }
      symlinkSync(`f${d}`, join(tree, `d${d}`, 'link'))
      linkSync(join(tree, `d${d}`, 'f1'), join(tree, `d${d}`, 'hard'))
    }
    await program('tar', ['-C', raw, '-cf', join(raw, 'tree.tar'), 'tree'])
    return {
      async round() {
        await program('tar', ['-C', dir, '-xpf', join(raw, 'tree.tar')])
        await program('diff', ['-r', tree, join(dir, 'tree')])
        // All attributes, too.
        assert.equal(await program('tar', ['-C', dir, '-df', join(raw, 'tree.tar')]), '')
        await program('rm', ['-r', join(dir, 'tree')])
        assert.deepEqual(
          call('readdir', () => readdirSync(dir)),
          [],
        )
      },
    }
  },

  /** A database in WAL mode under two connections of two processes (see `sqlite-other`). */
  sqlite: ({ dir }) => sqlite(join(dir, 'data.db'), 'one'),
  'sqlite-other': ({ dir }) => sqlite(join(dir, '../sqlite/data.db'), 'two'),

  /** A repository is cloned and checked. */
  async git({ dir, raw }) {
    const origin = join(raw, 'origin')
    const git = (...args: string[]) =>
      program('git', ['-c', 'user.name=n', '-c', 'user.email=e', '-c', 'advice.detachedHead=false', ...args])
    await git('init', '-q', '-b', 'main', origin)
    for (let commit = 0; commit < 5; commit++) {
      for (let f = 0; f < 20; f++) writeFileSync(join(origin, `f${f}`), `${commit} ${f}\n`.repeat(200 + f))
      await git('-C', origin, 'add', '.')
      await git('-C', origin, 'commit', '-q', '-m', `c${commit}`)
    }
    return {
      async round() {
        const clone = join(dir, 'clone')
        await git('clone', '-q', '--no-local', origin, clone)
        await git('-C', clone, 'fsck', '--strict', '--no-progress')
        assert.equal(await git('-C', clone, 'status', '--porcelain'), '')
        writeFileSync(join(clone, 'f0'), 'changed\n')
        await git('-C', clone, 'commit', '-q', '-a', '-m', 'mine')
        assert.equal((await git('-C', clone, 'rev-list', '--count', 'HEAD')).trim(), '6')
        await program('rm', ['-rf', clone])
      },
    }
  },

  /** Each change of a name happens exactly once. */
  names: ({ dir }) => ({
    round(i) {
      const at = (name: string) => join(dir, name)
      call('mkdir', () => mkdirSync(at('d')))
      call('create', () => closeSync(openSync(at('d/f'), 'wx')))
      assert.equal(
        sys.codeOf(() => call('create', () => openSync(at('d/f'), 'wx'))),
        'EEXIST',
      )
      assert.equal(
        sys.codeOf(() => call('rmdir', () => rmdirSync(at('d')))),
        'ENOTEMPTY',
      )
      call('write', () => writeFileSync(at('d/f'), String(i)))
      call('rename', () => renameSync(at('d/f'), at('g')))
      assert.equal(
        sys.codeOf(() => call('stat', () => statSync(at('d/f')))),
        'ENOENT',
      )
      call('link', () => linkSync(at('g'), at('h')))
      assert.equal(call('stat', () => statSync(at('g'))).nlink, 2)
      call('symlink', () => symlinkSync('g', at('s')))
      assert.equal(readFileSync(at('s'), 'utf8'), String(i))
      call('write', () => writeFileSync(at('k'), 'other'))
      call('exchange', () => sys.rename2(at('g'), at('k'), sys.EXCHANGE))
      assert.equal(readFileSync(at('g'), 'utf8'), 'other')
      assert.equal(readFileSync(at('k'), 'utf8'), String(i))
      assert.equal(
        sys.codeOf(() => call('rename', () => sys.rename2(at('g'), at('k'), sys.NOREPLACE))),
        'EEXIST',
      )
      call('rename', () => sys.rename2(at('g'), at('n'), sys.NOREPLACE))
      call('rename', () => renameSync(at('n'), at('k')))
      assert.equal(readFileSync(at('k'), 'utf8'), 'other')
      assert.equal(readFileSync(at('h'), 'utf8'), String(i))
      assert.equal(call('stat', () => statSync(at('h'))).nlink, 1)
      for (const name of ['k', 'h', 's']) call('unlink', () => unlinkSync(at(name)))
      assert.equal(
        sys.codeOf(() => call('unlink', () => unlinkSync(at('k')))),
        'ENOENT',
      )
      call('mkdir', () => mkdirSync(at('e')))
      call('rename', () => renameSync(at('d'), at('e')))
      call('rmdir', () => rmdirSync(at('e')))
      assert.deepEqual(
        call('readdir', () => readdirSync(dir)),
        [],
      )
    },
  }),

  /** Numbered lines are appended to a file that another process appends to. */
  append: ({ dir }) => append(join(dir, 'log'), 'one'),
  'append-other': ({ dir }) => append(join(dir, '../append/log'), 'two'),

  /** A shared mapping is written to. */
  mmap: ({ dir }) => {
    const size = 4 * MIB
    const path = join(dir, 'mapped')
    return {
      round(i) {
        const fd = call('open', () => openSync(path, 'w+'))
        call('truncate', () => ftruncateSync(fd, size))
        const mapping = call('mmap', () => sys.map(fd, size, true, true))
        for (let at = 0; at < size; at += 4096)
          call('store', () => mapping.bytes.writeDoubleLE(i * size + at, at + ((at >> 12) % 4000)))
        call('msync', () => mapping.sync())
        const page = Buffer.alloc(4096)
        for (let at = 0; at < size; at += 4096) {
          assert.equal(
            call('read', () => readSync(fd, page, 0, 4096, at)),
            4096,
          )
          assert.equal(page.readDoubleLE((at >> 12) % 4000), i * size + at)
        }
        mapping.unmap()
        call('close', () => closeSync(fd))
        const again = call('read', () => readFileSync(path))
        for (let at = 0; at < size; at += 4096)
          assert.equal(again.readDoubleLE(at + ((at >> 12) % 4000)), i * size + at)
      },
    }
  },

  /** A shell whose working directory lies in the mount. */
  shell: async ({ dir }) => {
    const script = `
      pwd=$(pwd -P); trap 'echo "failed at $i: $step" >&2' EXIT
      while read i; do
        step=write;  echo "$i" > file
        step=read;   read back < file; [ "$back" = "$i" ]
        step=append; echo more >> file; [ "$(wc -l < file)" = 2 ]
        step=mkdir;  mkdir sub; cd sub; echo in > in; mv in ../out; cd ..; [ "$(cat out)" = in ]
        step=remove; rmdir sub; rm out file; [ -z "$(ls -A)" ]
        step=pwd;    [ "$(pwd -P)" = "$pwd" ]; [ -d ../shell ]
        echo "done $i"
      done
      trap - EXIT`
    const child = spawn('/bin/sh', ['-euc', script], { cwd: dir, stdio: ['pipe', 'pipe', 'pipe'] })
    const lines = createInterface(child.stdout)
    let complaint = ''
    child.stderr.on('data', (data: Buffer) => {
      complaint += data
    })
    const closed = once(child, 'close')
    return {
      async round(i) {
        const line = once(lines, 'line')
        child.stdin.write(`${i}\n`)
        const answer = await Promise.race([line, closed])
        assert.deepEqual(answer, [`done ${i}`], complaint)
      },
      async end() {
        child.stdin.end()
        assert.deepEqual(await closed, [0, null], complaint)
        assert.equal(complaint, '')
      },
    }
  },

  /** A lock that is held is not got by anybody else, whatever happens meanwhile. */
  locks: async ({ dir }) => {
    const path = join(dir, 'lock')
    writeFileSync(path, 'x'.repeat(100))
    const fd = openSync(path, 'r+')
    sys.flock(fd, 2)
    sys.lockRange(fd, sys.F_WRLCK, 10, 10)
    const child = spawn(
      process.execPath,
      [fileURLToPath(new URL('../support/locker.ts', import.meta.url)), path],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    )
    const lines = createInterface(child.stdout)
    const ask = async (command: string): Promise<string> => {
      const line = once(lines, 'line')
      child.stdin.write(`${command}\n`)
      return ((await line) as [string])[0]
    }
    return {
      async round() {
        assert.equal(await ask('flock 6'), 'EAGAIN')
        assert.equal(await ask('range 1 15 1'), 'EAGAIN')
        assert.equal(await ask('range 1 20 5'), '0')
        assert.equal(
          sys.codeOf(() => call('lock', () => sys.lockRange(fd, sys.F_WRLCK, 20, 1))),
          'EAGAIN',
        )
        assert.equal(await ask('range 2 20 5'), '0')
        call('lock', () => sys.lockRange(fd, sys.F_WRLCK, 40, 1))
        call('unlock', () => sys.lockRange(fd, sys.F_UNLCK, 40, 1))
      },
      async end() {
        sys.flock(fd, 8)
        sys.lockRange(fd, sys.F_UNLCK, 10, 10)
        assert.equal(await ask('flock 6'), '0')
        assert.equal(await ask('range 1 15 1'), '0')
        child.stdin.end()
        await once(child, 'close')
      },
    }
  },

  /** Files that stay open over it all: one has no name, and two could not be opened so again. */
  handles: ({ dir }) => {
    const size = 256 * 1024
    const model = Buffer.alloc(size)
    const fds = ['named', 'removed', 'closed', 'read-only'].map((name) =>
      openSync(join(dir, name), 'w+', name === 'read-only' ? 0o444 : 0o644),
    )
    for (const fd of fds) ftruncateSync(fd, size)
    unlinkSync(join(dir, 'removed'))
    chmodSync(join(dir, 'closed'), 0)
    const directory = openSync(dir, constants.O_DIRECTORY)
    return {
      round(i) {
        const at = (i * 7919) % (size - 1000)
        const piece = Buffer.alloc(1000, i % 251)
        piece.copy(model, at)
        for (const fd of fds)
          assert.equal(
            call('pwrite', () => writeSync(fd, piece, 0, 1000, at)),
            1000,
          )
        const read = Buffer.alloc(5000)
        const from = (i * 104_729) % (size - 5000)
        for (const fd of fds) {
          assert.equal(
            call('pread', () => readSync(fd, read, 0, 5000, from)),
            5000,
          )
          assert.ok(read.equals(model.subarray(from, from + 5000)), `other bytes at ${from} in round ${i}`)
          assert.equal(call('fstat', () => fstatSync(fd)).size, size)
        }
        if (i % 100 === 0) call('fsync', () => fsyncSync(fds[0] ?? -1))
        const name = `at${i}`
        closeSync(
          call('openat', () =>
            sys.openat(directory, name, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY),
          ),
        )
        call('unlinkat', () => sys.unlinkat(directory, name))
      },
      end() {
        for (const fd of fds) {
          const all = Buffer.alloc(size)
          readSync(fd, all, 0, size, 0)
          assert.ok(all.equals(model))
        }
        assert.equal(fstatSync(fds[1] ?? -1).nlink, 0)
      },
    }
  },

  /** Attributes are what they were set to. */
  attributes: ({ dir }) => {
    const path = join(dir, 'f')
    writeFileSync(path, '')
    const xattrs = sys.codeOf(() => sys.setXattr(path, 'user.probe', 'x')) === '0'
    if (xattrs) sys.removeXattr(path, 'user.probe')
    return {
      round(i) {
        call('chmod', () => chmodSync(path, 0o600 + (i % 64)))
        call('utimes', () => utimesSync(path, i, i + 1))
        call('truncate', () => {
          const fd = openSync(path, 'r+')
          ftruncateSync(fd, i % 10_000)
          utimesSync(path, i, i + 1)
          closeSync(fd)
        })
        const found = call('stat', () => lstatSync(path))
        assert.deepEqual(
          [found.mode & 0o777, found.mtimeMs, found.size],
          [0o600 + (i % 64), (i + 1) * 1000, i % 10_000],
        )
        if (!xattrs) return
        call('setxattr', () => sys.setXattr(path, 'user.round', String(i), 1))
        assert.equal(call('getxattr', () => sys.getXattr(path, 'user.round')).toString(), String(i))
        call('removexattr', () => sys.removeXattr(path, 'user.round'))
        assert.equal(
          sys.codeOf(() => call('getxattr', () => sys.getXattr(path, 'user.round'))),
          'ENODATA',
        )
      },
    }
  },

  /** A long listing is complete, without doubles. */
  listing: ({ dir }) => {
    const names: string[] = []
    for (let i = 0; i < 1500; i++) {
      names.push(`file${i}`)
      writeFileSync(join(dir, `file${i}`), '')
    }
    names.sort()
    return {
      round(i) {
        const fd = call('open', () => openSync(dir, 'r'))
        const seen: string[] = []
        for (;;) {
          const some = call('getdents', () => sys.readEntries(fd, 4096))
          if (some.length === 0) break
          for (const { name } of some) if (name !== '.' && name !== '..') seen.push(name)
        }
        call('close', () => closeSync(fd))
        assert.deepEqual(seen.sort(), names)
        call('stat', () => statSync(join(dir, `file${i % 1500}`)))
      },
    }
  },

  /** Programs and scripts are run from the mount. */
  exec: ({ dir }) => {
    const [binary, script] = [join(dir, 'echo'), join(dir, 'script')]
    writeFileSync(binary, readFileSync('/bin/echo'), { mode: 0o755 })
    writeFileSync(script, '#!/bin/sh\necho "script $1"\n', { mode: 0o755 })
    return {
      async round(i) {
        assert.equal(await program(binary, [String(i)]), `${i}\n`)
        assert.equal(await program(script, [String(i)], dir), `script ${i}\n`)
      },
    }
  },
}

/** A writer of a database that another process writes to, too. */
function sqlite(path: string, who: string): Workload {
  const db = new Database(path, { timeout: 20_000 })
  setUp(() => assert.equal(db.pragma('journal_mode = wal', { simple: true }), 'wal'))
  db.exec('CREATE TABLE IF NOT EXISTS rows (who TEXT, i INTEGER, text TEXT, UNIQUE (who, i))')
  const insert = db.prepare('INSERT INTO rows VALUES (?, ?, ?)')
  const count = db.prepare('SELECT count(*) AS n, sum(i) AS sum FROM rows WHERE who = ?')
  return {
    round(i) {
      // Immediate: a reader that becomes a writer may be refused at once (SQLITE_BUSY_SNAPSHOT).
      db.transaction(() => {
        for (let k = 0; k < 10; k++) insert.run(who, i * 10 + k, 'x'.repeat(100 + k))
      }).immediate()
      const rows = 10 * (i + 1)
      assert.deepEqual(count.get(who), { n: rows, sum: (rows * (rows - 1)) / 2 })
      if (i % 20 === 0) db.pragma('wal_checkpoint(PASSIVE)')
    },
    end() {
      assert.equal(db.pragma('integrity_check', { simple: true }), 'ok')
      db.close()
    },
  }
}

/** Does what SQLite answers with `busy` at once, whatever the timeout, while the other process does it. */
function setUp(act: () => void): void {
  for (let tries = 1; ; tries++)
    try {
      act()
      return
    } catch (error) {
      if (tries === 1000 || (error as { code?: string }).code !== 'SQLITE_BUSY') throw error
    }
}

/** A writer of numbered lines to a file that another process appends to, too. */
function append(path: string, who: string): Workload {
  const fd = openSync(path, 'a+')
  let line = 0
  let read = 0
  let rest = ''
  let next = 0
  const bytes = Buffer.alloc(MIB)
  /** Reads on from where it stopped: this process's lines come in order, each once. */
  const check = (): void => {
    for (;;) {
      const length = call('read', () => readSync(fd, bytes, 0, bytes.length, read))
      if (length === 0) break
      read += length
      const lines = (rest + bytes.toString('latin1', 0, length)).split('\n')
      rest = lines.pop() ?? ''
      for (const each of lines) {
        assert.match(each, /^(one|two) \d+ x+$/)
        if (each.startsWith(who))
          assert.equal(Number(each.split(' ')[1]), next++, 'a line is lost or doubled')
      }
    }
  }
  return {
    round() {
      for (let i = 0; i < 50; i++, line++) {
        const text = `${who} ${line} ${'x'.repeat(1 + (line % 80))}\n`
        assert.equal(
          call('append', () => writeSync(fd, text)),
          text.length,
        )
      }
      check()
      assert.equal(next, line, 'lines are missing')
    },
    end() {
      closeSync(fd)
    },
  }
}

async function main([name = '', dir = '', raw = '', size = '0']: string[]): Promise<void> {
  let stopped = false
  process.stdin.on('end', () => {
    stopped = true
  })
  process.stdin.resume()
  let rounds = 0
  let error: string | undefined
  try {
    const make = workloads[name]
    assert.ok(make, `there is no workload ${name}`)
    const workload = await make({ dir, raw, size: Number(size) })
    // What the preparation cost is no call under test.
    process.stdout.write('ready\n')
    do {
      await workload.round(rounds++)
      await turn()
    } while (!stopped)
    await workload.end?.()
  } catch (thrown) {
    error = thrown instanceof Error ? `${thrown.stack}` : String(thrown)
  }
  const told = error === undefined ? {} : { error }
  const report: WorkloadReport = { name, rounds, calls, worst, raw: worstRaw, ...told }
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(error === undefined ? 0 : 1))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2))
