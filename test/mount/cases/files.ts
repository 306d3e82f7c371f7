// What programs do with the content of files.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { O_TMPFILE } from '../../../src/os/constants.ts'
import type { Cases } from '../../support/cases.ts'
import { run } from '../../support/run.ts'
import * as sys from '../../support/system.ts'

const { O_APPEND, O_CREAT, O_DIRECT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants
const KEEP_SIZE = 1
const PUNCH_HOLE = 2
const SEEK_DATA = 3
const SEEK_HOLE = 4
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Opens a file, and closes it whatever happens. */
function opened<T>(path: string, flags: number, act: (fd: number) => T, mode = 0o666): T {
  const fd = openSync(path, flags, mode)
  try {
    return act(fd)
  } finally {
    closeSync(fd)
  }
}

export const cases: Cases = {
  'a file holds what was written, at once and for others'({ dir, host }) {
    const path = join(dir, 'file')
    opened(path, O_CREAT | O_RDWR, (fd) => {
      assert.equal(writeSync(fd, 'hello'), 5)
      assert.equal(fstatSync(fd).size, 5)
      assert.equal(readFileSync(path, 'utf8'), 'hello')
      assert.equal(readFileSync(join(host, 'file'), 'utf8'), 'hello')
      assert.equal(writeSync(fd, ' world'), 6)
      assert.equal(readFileSync(join(host, 'file'), 'utf8'), 'hello world')
    })
  },
  'O_APPEND writes at the end, wherever the offset is'({ dir }) {
    const path = join(dir, 'file')
    writeFileSync(path, 'one\n')
    opened(path, O_APPEND | O_RDWR, (a) =>
      opened(path, O_APPEND | O_WRONLY, (b) => {
        readSync(a, Buffer.alloc(2))
        writeSync(a, 'two\n')
        writeSync(b, 'three\n')
        writeSync(a, 'four\n')
      }),
    )
    assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\nthree\nfour\n')
  },
  'O_APPEND set on an open file counts'({ dir }) {
    const path = join(dir, 'file')
    writeFileSync(path, 'abc')
    opened(path, O_WRONLY, (fd) => {
      writeSync(fd, 'A')
      sys.setStatusFlags(fd, O_APPEND)
      writeSync(fd, 'd')
    })
    assert.equal(readFileSync(path, 'utf8'), 'Abcd')
  },
  async 'two processes that append lose no line'({ dir }) {
    const path = join(dir, 'file')
    const script = 'i=0; while [ $i -lt 200 ]; do echo "$1 $i" >> "$2"; i=$((i+1)); done'
    const results = await Promise.all(
      ['a', 'b'].map((who) => run('/bin/sh', ['-euc', script, 'sh', who, path])),
    )
    for (const { code, stderr } of results) assert.equal(code, 0, stderr)
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
    for (const who of ['a', 'b'])
      assert.deepEqual(
        lines.filter((line) => line.startsWith(who)),
        Array.from({ length: 200 }, (_, i) => `${who} ${i}`),
      )
  },
  'O_TRUNC empties, and O_EXCL refuses what exists'({ dir }) {
    const path = join(dir, 'file')
    writeFileSync(path, 'content')
    opened(path, O_WRONLY | O_TRUNC, (fd) => assert.equal(fstatSync(fd).size, 0))
    assert.equal(statSync(path).size, 0)
    assert.equal(
      sys.codeOf(() => openSync(path, O_CREAT | O_EXCL | O_WRONLY)),
      'EEXIST',
    )
  },
  'O_CREAT makes what a descriptor may not do later'({ dir }) {
    // open(2): the mode is for later opens only.
    opened(join(dir, 'file'), O_CREAT | O_RDWR, (fd) => assert.equal(writeSync(fd, 'x'), 1), 0o400)
    assert.equal(statSync(join(dir, 'file')).mode & 0o777, 0o400)
  },
  'pread and pwrite leave the offset alone'({ dir }) {
    opened(join(dir, 'file'), O_CREAT | O_RDWR, (fd) => {
      writeSync(fd, '0123456789')
      writeSync(fd, 'xyz', 2)
      writeSync(fd, 'end')
      const buffer = Buffer.alloc(13)
      assert.equal(readSync(fd, buffer, 0, 13, 0), 13)
      assert.equal(buffer.toString(), '01xyz56789end')
      assert.equal(readSync(fd, buffer, 0, 13, 100), 0)
    })
  },
  'a big file keeps every byte'({ dir, host }) {
    const path = join(dir, 'file')
    const content = randomBytes(24 * 1024 * 1024 + 4097)
    opened(path, O_CREAT | O_WRONLY, (fd) => {
      // Odd sizes, so that writes straddle pages and requests.
      for (let at = 0; at < content.length; )
        at += writeSync(fd, content, at, Math.min(777_777, content.length - at), at)
      fsyncSync(fd)
    })
    assert.equal(sha(readFileSync(path)), sha(content))
    assert.equal(sha(readFileSync(join(host, 'file'))), sha(content))
  },
  'random writes end where they should'({ dir, host }) {
    const path = join(dir, 'file')
    const model = Buffer.alloc(1 << 20)
    let seed = 12345
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
      return Math.floor((seed / 2 ** 32) * below)
    }
    opened(path, O_CREAT | O_RDWR, (fd) => {
      ftruncateSync(fd, model.length)
      for (let i = 0; i < 500; i++) {
        const at = random(model.length - 5000)
        const piece = Buffer.alloc(1 + random(5000), i % 255)
        piece.copy(model, at)
        assert.equal(writeSync(fd, piece, 0, piece.length, at), piece.length)
        if (i % 10 === 0) {
          const from = random(model.length - 5000)
          const read = Buffer.alloc(5000)
          assert.equal(readSync(fd, read, 0, 5000, from), 5000)
          assert.ok(read.equals(model.subarray(from, from + 5000)), `write ${i}: other bytes at ${from}`)
        }
      }
    })
    assert.equal(sha(readFileSync(join(host, 'file'))), sha(model))
  },
  'truncate shrinks, grows with zeros, and is seen through open files'({ dir }) {
    const path = join(dir, 'file')
    writeFileSync(path, 'abcdefgh')
    opened(path, O_RDWR, (fd) => {
      truncateSync(path, 3)
      assert.equal(fstatSync(fd).size, 3)
      ftruncateSync(fd, 6)
      const buffer = Buffer.alloc(9, 'x')
      assert.equal(readSync(fd, buffer, 0, 9, 0), 6)
      assert.equal(buffer.toString('latin1', 0, 6), 'abc\0\0\0')
    })
  },
  'a sparse file has holes, and says where'({ dir, outside, skip }) {
    const holes = (path: string) =>
      opened(path, O_CREAT | O_RDWR, (fd) => {
        writeSync(fd, 'a'.repeat(4096), 0)
        writeSync(fd, 'b'.repeat(4096), 4 << 20)
        fsyncSync(fd)
        return [
          sys.seek(fd, 0, SEEK_DATA),
          sys.seek(fd, 0, SEEK_HOLE),
          sys.seek(fd, 8192, SEEK_DATA),
          sys.seek(fd, 4 << 20, SEEK_HOLE),
          sys.codeOf(() => sys.seek(fd, (4 << 20) + 4096, SEEK_DATA)),
          fstatSync(fd).blocks < 1000,
        ]
      })
    const expected = [0, 4096, 4 << 20, (4 << 20) + 4096, 'ENXIO', true]
    if (JSON.stringify(holes(join(outside, 'file'))) !== JSON.stringify(expected))
      skip('this file system has no holes')
    assert.deepEqual(holes(join(dir, 'file')), expected)
  },
  'fallocate allocates, keeps the size, and punches holes'({ dir, outside, skip }) {
    const allocate = (path: string) =>
      opened(path, O_CREAT | O_RDWR, (fd) => {
        sys.fallocate(fd, 0, 0, 65_536)
        const grown = fstatSync(fd).size
        sys.fallocate(fd, KEEP_SIZE, 65_536, 65_536)
        const { size, blocks } = fstatSync(fd)
        writeSync(fd, 'x'.repeat(16_384), 0)
        sys.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 4096, 4096)
        const bytes = Buffer.alloc(12_288)
        readSync(fd, bytes, 0, bytes.length, 0)
        return [grown, size, blocks >= 256, bytes[4095], bytes[4096], bytes[8191], bytes[8192]]
      })
    if (sys.codeOf(() => allocate(join(outside, 'file'))) !== '0') skip('this file system has no fallocate')
    assert.deepEqual(allocate(join(dir, 'file')), [65_536, 65_536, true, 120, 0, 0, 120])
    opened(join(dir, 'file'), O_RDONLY, (fd) =>
      assert.equal(
        sys.codeOf(() => sys.fallocate(fd, 0, 0, 1)),
        'EBADF',
      ),
    )
  },
  'copy_file_range copies within a file system'({ dir }) {
    const content = randomBytes(300_000)
    writeFileSync(join(dir, 'from'), content)
    opened(join(dir, 'from'), O_RDONLY, (from) =>
      opened(join(dir, 'to'), O_CREAT | O_RDWR, (to) => {
        for (let at = 1000; at < content.length; ) {
          const copied = sys.copyFileRange(from, at, to, at - 1000, content.length - at)
          assert.ok(copied > 0)
          at += copied
        }
        assert.equal(sys.copyFileRange(from, content.length, to, 0, 10), 0)
      }),
    )
    assert.equal(sha(readFileSync(join(dir, 'to'))), sha(content.subarray(1000)))
  },
  'shared mappings are seen by readers, and readers by them'({ dir, host }) {
    const path = join(dir, 'file')
    writeFileSync(path, Buffer.alloc(16_384, 'a'))
    opened(path, O_RDWR, (fd) => {
      const one = sys.map(fd, 16_384, true, true)
      const two = sys.map(fd, 16_384, true, false)
      one.bytes.write('mapped', 8190)
      assert.equal(two.bytes.toString('latin1', 8190, 8196), 'mapped')
      const buffer = Buffer.alloc(6)
      readSync(fd, buffer, 0, 6, 8190)
      assert.equal(buffer.toString(), 'mapped')
      writeSync(fd, 'written', 100)
      assert.equal(one.bytes.toString('latin1', 100, 107), 'written')
      one.sync()
      one.unmap()
      two.unmap()
    })
    const raw = readFileSync(join(host, 'file'), 'latin1')
    assert.equal(raw.slice(100, 107) + raw.slice(8190, 8196), 'writtenmapped')
  },
  'private mappings change nothing'({ dir }) {
    const path = join(dir, 'file')
    writeFileSync(path, Buffer.alloc(8192, 'a'))
    opened(path, O_RDONLY, (fd) => {
      const mapping = sys.map(fd, 8192, false, true)
      mapping.bytes.write('changed', 4094)
      assert.equal(mapping.bytes.toString('latin1', 4094, 4101), 'changed')
      mapping.unmap()
    })
    assert.equal(readFileSync(path, 'latin1'), 'a'.repeat(8192))
  },
  'a mapping outlives the descriptor and the name'({ dir }) {
    const path = join(dir, 'file')
    writeFileSync(path, Buffer.alloc(8192, 'a'))
    const fd = openSync(path, O_RDWR)
    const mapping = sys.map(fd, 8192, true, true)
    closeSync(fd)
    unlinkSync(path)
    mapping.bytes.write('still', 5000)
    assert.equal(mapping.bytes.toString('latin1', 5000, 5005), 'still')
    mapping.unmap()
  },
  'O_DIRECT reads and writes'({ dir, outside, skip }) {
    const direct = (path: string) =>
      opened(path, O_CREAT | O_RDWR | O_DIRECT, (fd) => {
        const { bytes, address } = sys.pageAligned(16_384)
        bytes.fill('d')
        assert.equal(sys.pwriteFrom(fd, address, 16_384, 0), 16_384)
        bytes.fill(0)
        assert.equal(sys.preadTo(fd, address, 16_384, 0), 16_384)
        return bytes.toString('latin1') === 'd'.repeat(16_384)
      })
    if (sys.codeOf(() => direct(join(outside, 'file'))) !== '0') skip('this file system has no O_DIRECT')
    assert.ok(direct(join(dir, 'file')))
    assert.equal(readFileSync(join(dir, 'file'), 'latin1'), 'd'.repeat(16_384))
  },
  'what is written through one descriptor is read through a mapping of another'({ dir }) {
    const path = join(dir, 'file')
    writeFileSync(path, Buffer.alloc(4096))
    opened(path, O_RDONLY, (reader) => {
      const mapping = sys.map(reader, 4096, true, false)
      opened(path, O_WRONLY, (writer) => writeSync(writer, 'fresh', 10))
      assert.equal(mapping.bytes.toString('latin1', 10, 15), 'fresh')
      mapping.unmap()
    })
  },
  async 'a program is run from it, also while it is being read'({ dir }) {
    const path = join(dir, 'program')
    writeFileSync(path, '#!/bin/sh\necho "$# $1"\n', { mode: 0o755 })
    const { code, stdout } = await run(path, ['x y'])
    assert.deepEqual({ code, stdout }, { code: 0, stdout: '1 x y\n' })
    const binary = join(dir, 'binary')
    writeFileSync(binary, readFileSync('/bin/true'), { mode: 0o755 })
    const done = await opened(binary, O_RDONLY, async () => run(binary, []))
    assert.equal(done.code, 0)
  },
  async 'a running program is not written to'({ dir }) {
    const path = join(dir, 'sleep')
    writeFileSync(path, readFileSync('/bin/cat'), { mode: 0o755 })
    const { spawn } = await import('node:child_process')
    const child = spawn(path, [], { stdio: ['pipe', 'pipe', 'ignore'] })
    try {
      // It answers: it is running.
      child.stdin.write('x')
      await new Promise((resolve) => child.stdout.once('data', resolve))
      assert.equal(
        sys.codeOf(() => openSync(path, O_WRONLY)),
        'ETXTBSY',
      )
    } finally {
      child.kill('SIGKILL')
    }
  },
  'offsets beyond 4 GiB'({ dir, outside, skip }) {
    const far = 5 * 2 ** 32 + 12_345
    const write = (path: string) =>
      opened(path, O_CREAT | O_RDWR, (fd) => {
        writeSync(fd, 'far', far)
        const buffer = Buffer.alloc(4)
        const length = readSync(fd, buffer, 0, 4, far)
        const { size } = fstatSync(fd)
        ftruncateSync(fd, 0)
        return [length, buffer.toString('latin1', 0, 3), size]
      })
    if (sys.codeOf(() => write(join(outside, 'file'))) !== '0') skip('this file system has no such big files')
    assert.deepEqual(write(join(dir, 'file')), [3, 'far', far + 3])
  },
  'hard links are one file'({ dir }) {
    writeFileSync(join(dir, 'a'), 'first')
    linkSync(join(dir, 'a'), join(dir, 'b'))
    opened(join(dir, 'a'), O_RDONLY, (fd) => {
      writeFileSync(join(dir, 'b'), 'second, longer')
      assert.equal(readFileSync(fd, 'utf8'), 'second, longer')
    })
    assert.equal(statSync(join(dir, 'a')).size, 14)
  },
  'a file without a name (O_TMPFILE) is used, gets a name, or goes'({ dir, host, outside, skip }) {
    const path = join(dir, 'file')
    if (sys.codeOf(() => closeSync(openSync(outside, O_TMPFILE | O_RDWR))) === 'ENOTSUP')
      skip('this file system has no O_TMPFILE')
    opened(
      dir,
      O_TMPFILE | O_RDWR,
      (fd) => {
        assert.equal(writeSync(fd, 'nameless'), 8)
        assert.equal(fstatSync(fd).nlink, 0)
        const buffer = Buffer.alloc(8)
        assert.equal(readSync(fd, buffer, 0, 8, 0), 8)
        assert.equal(buffer.toString(), 'nameless')
        for (const at of [dir, host]) assert.deepEqual(readdirSync(at), [])
        sys.linkDescriptor(fd, path)
        assert.equal(fstatSync(fd).nlink, 1)
        writeSync(fd, ', and named')
        const [open, named] = [fstatSync(fd), statSync(path)]
        assert.deepEqual([named.ino, named.size, named.mode & 0o777], [open.ino, 19, 0o640])
      },
      0o640,
    )
    for (const at of [dir, host]) {
      assert.equal(readFileSync(join(at, 'file'), 'utf8'), 'nameless, and named')
      assert.deepEqual(readdirSync(at), ['file'])
    }
    opened(dir, O_TMPFILE | O_WRONLY, (fd) => writeSync(fd, 'goes'))
    // O_EXCL: it may never get a name.
    opened(dir, O_TMPFILE | O_RDWR | O_EXCL, (fd) =>
      assert.equal(
        sys.codeOf(() => sys.linkDescriptor(fd, join(dir, 'another'))),
        'ENOENT',
      ),
    )
    assert.equal(
      sys.codeOf(() => openSync(dir, O_TMPFILE | O_RDONLY)),
      'EINVAL',
    )
    for (const at of [dir, host]) assert.deepEqual(readdirSync(at), ['file'])
  },
  'access modes hold'({ dir }) {
    const path = join(dir, 'file')
    writeFileSync(path, 'x')
    opened(path, O_RDONLY, (fd) =>
      assert.equal(
        sys.codeOf(() => writeSync(fd, 'y')),
        'EBADF',
      ),
    )
    opened(path, O_WRONLY, (fd) =>
      assert.equal(
        sys.codeOf(() => readSync(fd, Buffer.alloc(1))),
        'EBADF',
      ),
    )
    assert.equal(
      sys.codeOf(() => openSync(dir, O_WRONLY)),
      'EISDIR',
    )
    assert.equal(
      sys.codeOf(() => readFileSync(dir)),
      'EISDIR',
    )
  },
}
