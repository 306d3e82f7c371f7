// What programs do with names.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Cases } from '../../support/cases.ts'
import { run } from '../../support/run.ts'
import * as sys from '../../support/system.ts'

const S_IFIFO = 0o010000
const { codeOf } = sys

export const cases: Cases = {
  'mkdir, rmdir, and what they refuse'({ dir, host }) {
    const path = join(dir, 'd')
    mkdirSync(path)
    assert.ok(statSync(join(host, 'd')).isDirectory())
    assert.equal(
      codeOf(() => mkdirSync(path)),
      'EEXIST',
    )
    writeFileSync(join(path, 'f'), '')
    assert.equal(
      codeOf(() => rmdirSync(path)),
      'ENOTEMPTY',
    )
    unlinkSync(join(path, 'f'))
    rmdirSync(path)
    assert.equal(
      codeOf(() => rmdirSync(path)),
      'ENOENT',
    )
    writeFileSync(join(dir, 'f'), '')
    assert.equal(
      codeOf(() => rmdirSync(join(dir, 'f'))),
      'ENOTDIR',
    )
    assert.deepEqual(readdirSync(dir), ['f'])
  },
  'unlink refuses directories, and what is not there'({ dir }) {
    mkdirSync(join(dir, 'd'))
    assert.equal(
      codeOf(() => unlinkSync(join(dir, 'd'))),
      'EISDIR',
    )
    assert.equal(
      codeOf(() => unlinkSync(join(dir, 'none'))),
      'ENOENT',
    )
  },
  async 'a fifo passes bytes between processes'({ dir }) {
    const path = join(dir, 'fifo')
    sys.mknod(path, S_IFIFO | 0o600)
    assert.ok(lstatSync(path).isFIFO())
    const [reader, writer] = await Promise.all([
      run('/bin/cat', [path]),
      run('/bin/sh', ['-c', 'echo through > "$1"', 'sh', path]),
    ])
    assert.equal(writer.code, 0)
    assert.equal(reader.stdout, 'through\n')
  },
  async 'a socket is bound and connected to'({ dir }) {
    // A socket's path has at most 107 bytes.
    process.chdir(dir)
    const path = 's'
    const server = createServer((socket) => socket.end('hello'))
    await new Promise<void>((resolve, reject) => server.on('error', reject).listen(path, resolve))
    assert.ok(lstatSync(path).isSocket())
    const { connect } = await import('node:net')
    const answer = await new Promise<string>((resolve, reject) => {
      connect(path)
        .on('data', (data) => resolve(data.toString()))
        .on('error', reject)
    })
    assert.equal(answer, 'hello')
    await new Promise((resolve) => server.close(resolve))
  },
  'symbolic links keep their text, and are followed'({ dir, host }) {
    writeFileSync(join(dir, 'target'), 'there')
    symlinkSync('target', join(dir, 'link'))
    symlinkSync('no/such//thing/../', join(dir, 'broken'))
    symlinkSync('x'.repeat(4095), join(dir, 'long'))
    assert.equal(readlinkSync(join(dir, 'link')), 'target')
    assert.equal(readlinkSync(join(dir, 'broken')), 'no/such//thing/../')
    assert.equal(readlinkSync(join(dir, 'long')).length, 4095)
    assert.equal(readFileSync(join(dir, 'link'), 'utf8'), 'there')
    assert.equal(lstatSync(join(dir, 'link')).size, 6)
    assert.equal(readlinkSync(join(host, 'link')), 'target')
    assert.equal(
      codeOf(() => statSync(join(dir, 'broken'))),
      'ENOENT',
    )
    assert.equal(
      codeOf(() => symlinkSync('y', join(dir, 'link'))),
      'EEXIST',
    )
  },
  'link counts and shares'({ dir }) {
    writeFileSync(join(dir, 'a'), 'x')
    linkSync(join(dir, 'a'), join(dir, 'b'))
    const [a, b] = ['a', 'b'].map((name) => statSync(join(dir, name)))
    assert.equal(a?.nlink, 2)
    assert.equal(a?.ino, b?.ino)
    unlinkSync(join(dir, 'a'))
    assert.equal(statSync(join(dir, 'b')).nlink, 1)
    assert.equal(
      codeOf(() => linkSync(join(dir, 'b'), join(dir, 'b'))),
      'EEXIST',
    )
    mkdirSync(join(dir, 'd'))
    assert.equal(
      codeOf(() => linkSync(join(dir, 'd'), join(dir, 'e'))),
      'EPERM',
    )
  },
  'rename moves and replaces in one step'({ dir, host }) {
    writeFileSync(join(dir, 'a'), 'new')
    writeFileSync(join(dir, 'b'), 'old')
    const { ino } = statSync(join(dir, 'a'))
    renameSync(join(dir, 'a'), join(dir, 'b'))
    assert.equal(
      codeOf(() => statSync(join(dir, 'a'))),
      'ENOENT',
    )
    assert.equal(readFileSync(join(dir, 'b'), 'utf8'), 'new')
    assert.equal(statSync(join(dir, 'b')).ino, ino)
    assert.deepEqual(readdirSync(host), ['b'])
    mkdirSync(join(dir, 'd'))
    renameSync(join(dir, 'b'), join(dir, 'd/b'))
    assert.deepEqual(readdirSync(dir), ['d'])
    assert.equal(readFileSync(join(dir, 'd/b'), 'utf8'), 'new')
  },
  'rename of directories'({ dir }) {
    for (const name of ['a', 'a/in', 'empty', 'full', 'full/in']) mkdirSync(join(dir, name))
    writeFileSync(join(dir, 'a/in/f'), 'x')
    writeFileSync(join(dir, 'file'), '')
    const rename = (from: string, to: string) => codeOf(() => renameSync(join(dir, from), join(dir, to)))
    assert.equal(rename('a', 'full'), 'ENOTEMPTY')
    assert.equal(rename('a', 'file'), 'ENOTDIR')
    assert.equal(rename('file', 'a'), 'EISDIR')
    assert.equal(rename('a', 'a/in/below'), 'EINVAL')
    assert.equal(rename('none', 'x'), 'ENOENT')
    assert.equal(rename('a', 'empty'), '0')
    assert.equal(readFileSync(join(dir, 'empty/in/f'), 'utf8'), 'x')
    assert.equal(existsSync(join(dir, 'a')), false)
    assert.equal(readdirSync(join(dir, 'empty')).join(), 'in')
  },
  'rename to a hard link of the same file does nothing'({ dir }) {
    writeFileSync(join(dir, 'a'), 'x')
    linkSync(join(dir, 'a'), join(dir, 'b'))
    renameSync(join(dir, 'a'), join(dir, 'b'))
    assert.deepEqual(readdirSync(dir).sort(), ['a', 'b'])
  },
  RENAME_NOREPLACE({ dir }) {
    writeFileSync(join(dir, 'a'), 'a')
    writeFileSync(join(dir, 'b'), 'b')
    assert.equal(
      codeOf(() => sys.rename2(join(dir, 'a'), join(dir, 'b'), sys.NOREPLACE)),
      'EEXIST',
    )
    sys.rename2(join(dir, 'a'), join(dir, 'c'), sys.NOREPLACE)
    assert.deepEqual(readdirSync(dir).sort(), ['b', 'c'])
  },
  RENAME_EXCHANGE({ dir }) {
    writeFileSync(join(dir, 'a'), 'a')
    mkdirSync(join(dir, 'b'))
    writeFileSync(join(dir, 'b/in'), 'b')
    sys.rename2(join(dir, 'a'), join(dir, 'b'), sys.EXCHANGE)
    assert.equal(readFileSync(join(dir, 'b'), 'utf8'), 'a')
    assert.equal(readFileSync(join(dir, 'a/in'), 'utf8'), 'b')
    assert.equal(
      codeOf(() => sys.rename2(join(dir, 'a'), join(dir, 'none'), sys.EXCHANGE)),
      'ENOENT',
    )
  },
  'an unlinked open file lives on, without a trace in the directory'({ dir, host }) {
    const path = join(dir, 'file')
    writeFileSync(path, 'content')
    const fd = openSync(path, 'r+')
    unlinkSync(path)
    assert.deepEqual(readdirSync(dir), [])
    assert.deepEqual(readdirSync(host), [])
    assert.equal(fstatSync(fd).nlink, 0)
    assert.equal(writeSync(fd, 'CON', 0), 3)
    const buffer = Buffer.alloc(7)
    assert.equal(readSync(fd, buffer, 0, 7, 0), 7)
    assert.equal(buffer.toString(), 'CONtent')
    writeFileSync(path, 'another')
    assert.notEqual(statSync(path).ino, fstatSync(fd).ino)
    closeSync(fd)
    assert.equal(readFileSync(path, 'utf8'), 'another')
  },
  'an open file that a rename replaces lives on'({ dir }) {
    writeFileSync(join(dir, 'old'), 'old')
    writeFileSync(join(dir, 'new'), 'new')
    const old = openSync(join(dir, 'old'), 'r')
    const moved = openSync(join(dir, 'new'), 'a')
    renameSync(join(dir, 'new'), join(dir, 'old'))
    writeSync(moved, '!')
    assert.equal(readFileSync(old, 'utf8'), 'old')
    assert.equal(readFileSync(join(dir, 'old'), 'utf8'), 'new!')
    assert.deepEqual(readdirSync(dir), ['old'])
    closeSync(old)
    closeSync(moved)
  },
  'a removed working directory answers ENOENT, and does not come back'({ dir }) {
    const path = join(dir, 'cwd')
    mkdirSync(path)
    process.chdir(path)
    rmdirSync(path)
    assert.equal(
      codeOf(() => writeFileSync('file', '')),
      'ENOENT',
    )
    assert.deepEqual(readdirSync('.'), [])
    mkdirSync(path)
    assert.equal(
      codeOf(() => writeFileSync('file', '')),
      'ENOENT',
    )
    assert.deepEqual(readdirSync(path), [])
  },
  'a working directory follows its rename'({ dir }) {
    mkdirSync(join(dir, 'from'))
    process.chdir(join(dir, 'from'))
    renameSync(join(dir, 'from'), join(dir, 'to'))
    writeFileSync('file', 'x')
    assert.equal(process.cwd(), join(dir, 'to'))
    assert.equal(readFileSync(join(dir, 'to/file'), 'utf8'), 'x')
    assert.ok(statSync('../to').isDirectory())
  },
  'paths relative to an open directory hold over its rename'({ dir }) {
    mkdirSync(join(dir, 'from'))
    const at = openSync(join(dir, 'from'), 'r')
    renameSync(join(dir, 'from'), join(dir, 'to'))
    sys.mkdirat(at, 'in')
    closeSync(sys.openat(at, 'file', 0o101))
    assert.deepEqual(readdirSync(join(dir, 'to')).sort(), ['file', 'in'])
    sys.unlinkat(at, 'in', true)
    sys.unlinkat(at, 'file')
    closeSync(at)
    assert.deepEqual(readdirSync(join(dir, 'to')), [])
  },
  'trailing slashes and dots mean what they mean elsewhere'({ dir }) {
    writeFileSync(join(dir, 'f'), '')
    assert.equal(
      codeOf(() => statSync(`${dir}/f/`)),
      'ENOTDIR',
    )
    assert.equal(
      codeOf(() => rmdirSync(`${dir}/.`)),
      'EINVAL',
    )
    mkdirSync(`${dir}/d/`)
    assert.equal(
      codeOf(() => rmdirSync(`${dir}/d/..`)),
      'ENOTEMPTY',
    )
    assert.ok(statSync(`${dir}/d/../f`).isFile())
  },
  'a deep tree is made and removed'({ dir }) {
    let at = dir
    for (let i = 0; i < 60; i++) {
      at = join(at, `level${i}`)
      mkdirSync(at)
      writeFileSync(join(at, 'file'), String(i))
    }
    assert.equal(readFileSync(join(at, 'file'), 'utf8'), '59')
    rmSync(join(dir, 'level0'), { recursive: true })
    assert.deepEqual(readdirSync(dir), [])
  },
  async 'many processes that make one name: one of them does'({ dir }) {
    const script =
      'i=0; while [ $i -lt 100 ]; do mkdir "$1/$i" 2>/dev/null && echo $i; i=$((i+1)); done; true'
    const results = await Promise.all(
      Array.from({ length: 4 }, () => run('/bin/sh', ['-c', script, 'sh', dir])),
    )
    const made = results.flatMap(({ stdout }) => stdout.split('\n').filter(Boolean))
    assert.equal(made.length, 100)
    assert.equal(new Set(made).size, 100)
  },
  async 'a process that holds a directory open sees it emptied'({ dir }) {
    mkdirSync(join(dir, 'd'))
    for (const name of ['a', 'b']) writeFileSync(join(dir, 'd', name), '')
    const child = spawn('/bin/sh', [
      '-c',
      'cd "$1"; echo in; read line; ls -A; ls -ld . | cut -c1',
      'sh',
      join(dir, 'd'),
    ])
    let output = ''
    const inside = new Promise<void>((resolve) =>
      child.stdout.on('data', (data: Buffer) => {
        output += data
        if (output.startsWith('in\n')) resolve()
      }),
    )
    await inside
    rmSync(join(dir, 'd'), { recursive: true })
    const closed = new Promise((resolve) => child.on('close', resolve))
    child.stdin.end('\n')
    await closed
    assert.equal(output, 'in\nd\n')
  },
}
