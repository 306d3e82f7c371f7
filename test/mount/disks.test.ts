// Disks that are full, read-only, or other than the root's, seen through the tree.
import { spawn } from 'node:child_process'
import { chownSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CosmosInstance, hostDirectory, isRoot, whyNoMount } from '../support/instance.ts'
import { has, run, shell, succeed } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

const missing = whyNoMount() ?? (isRoot ? undefined : 'mounting a small disk needs root')
let instance: CosmosInstance

beforeAll(async () => {
  if (missing === undefined) instance = await CosmosInstance.start()
})
afterAll(() => instance?.stop())

/** A disk of 1 MiB; its path on the host and in the mount. */
async function disk(name: string): Promise<{ raw: string; mounted: string }> {
  const raw = join(instance.work, name)
  mkdirSync(raw)
  await succeed('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', raw])
  return { raw, mounted: instance.inMount(name) }
}

test('a full disk: ENOSPC, and what was written before it is there', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const { raw, mounted } = await disk('full')
  const filled = await instance.run('dd', ['if=/dev/zero', `of=${mounted}/f`, 'bs=100k', 'count=30'])
  expect(filled.stderr).toMatch(/No space left on device/)
  expect(filled.code).toBe(1)
  expect(await shell('cmp "$1/f" "$2/f"; stat -c %s "$1/f"', [raw, mounted])).toBe('1048576\n')
  const made = await instance.run('/bin/bash', ['-c', 'echo x > "$1"', 'sh', join(mounted, 'g')])
  expect(made.stderr).toMatch(/No space left on device/)
  const grown = await instance.run('fallocate', ['-l', '3M', join(mounted, 'h')])
  expect(grown.stderr).toMatch(/No space left on device/)
  expect(await shell('rm "$1"/*; echo again > "$1/f"; cat "$1/f"', [mounted])).toBe('again\n')
})

test('a full local layer: ENOSPC at the copy-up, and nothing is lost', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const { mounted } = await disk('local')
  const lower = join(instance.work, 'lower')
  mkdirSync(lower)
  writeFileSync(join(lower, 'big'), Buffer.alloc(3 << 20, 'x'))
  writeFileSync(join(lower, 'small'), 'small\n')
  await instance.tell('bind', lower, mounted)
  const written = await instance.run('/bin/bash', ['-c', 'echo more >> "$1"', 'sh', join(mounted, 'big')])
  expect(written.stderr).toMatch(/No space left on device/)
  expect(await shell('cmp "$1/big" "$2/big"; ls -A "$1"', [lower, mounted])).toBe('big\nsmall\n')
  await shell('echo more >> "$1/small"', [mounted])
  expect(await shell('cat "$1/small"', [mounted])).toBe('small\nmore\n')
  await instance.tell('unbind', mounted)
})

test('a local layer without O_TMPFILE: copies come in whole, and a failed one leaves nothing', async ({
  skip,
}) => {
  if (missing !== undefined) return skip(missing)
  if (!(await has('bindfs'))) return skip('bindfs, a file system without O_TMPFILE, is not installed')
  const store = join(instance.work, 'store')
  const raw = join(instance.work, 'without')
  const lower = join(instance.work, 'lower-of-without')
  for (const path of [store, raw, lower, join(lower, 'd')]) mkdirSync(path)
  await succeed('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', store])
  await succeed('bindfs', [store, raw])
  const mounted = instance.inMount('without')
  writeFileSync(join(lower, 'd/small'), 'small\n', { mode: 0o640 })
  // Inline, by another thread, and more than there is room for.
  writeFileSync(join(lower, 'big'), Buffer.alloc(6 << 20, 'x'))
  writeFileSync(join(lower, 'huge'), Buffer.alloc(30 << 20, 'x'))
  chownSync(join(lower, 'd/small'), 1234, 1235)
  await instance.tell('bind', lower, mounted)
  const show = (path: string) => shell('stat -c "%i %a %u %g" "$1"', [join(mounted, path)])
  const before = await show('d/small')
  await shell('echo more >> "$1/d/small"; echo more >> "$1/big"', [mounted])
  expect(await show('d/small')).toBe(before)
  expect(await shell('cat "$1/d/small"; tail -n 1 "$1/big" | tail -c 5', [store])).toBe('small\nmore\nmore\n')
  expect(await shell('head -c 6291456 "$1/big" | cmp - "$2/big"', [mounted, lower])).toBe('')
  const failed = await run('/bin/bash', ['-c', 'echo more >> "$1"', 'sh', join(mounted, 'huge')])
  expect(failed.stderr).toMatch(/No space left on device/)
  expect(await shell('cmp "$1/huge" "$2/huge"; find "$3" -type f | sort', [mounted, lower, store])).toBe(
    `${store}/big\n${store}/d/small\n`,
  )
  await instance.tell('unbind', mounted)
})

test('a read-only disk: EROFS', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const { raw, mounted } = await disk('readonly')
  writeFileSync(join(raw, 'f'), 'there\n')
  await succeed('mount', ['-o', 'remount,ro', raw])
  expect(await shell('cat "$1/f"', [mounted])).toBe('there\n')
  const tries = [
    'echo x > "$1/g"',
    'echo x >> "$1/f"',
    'mkdir "$1/d"',
    'rm "$1/f"',
    'mv "$1/f" "$1/g"',
    'ln "$1/f" "$1/g"',
    'ln -s x "$1/g"',
    'chmod 700 "$1/f"',
    'truncate -s 0 "$1/f"',
    'touch -d 2001-01-01 "$1/f"',
  ]
  for (const script of tries) {
    const { code, stderr } = await instance.run('/bin/bash', ['-c', script, 'sh', mounted])
    expect(stderr, script).toMatch(/Read-only file system/)
    expect(code, script).not.toBe(0)
  }
})

test('a read-only lower layer is merged and written over', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const { raw } = await disk('ro-lower')
  writeFileSync(join(raw, 'f'), 'lower\n')
  await succeed('mount', ['-o', 'remount,ro', raw])
  mkdirSync(join(instance.work, 'over'))
  const over = instance.inMount('over')
  await instance.tell('bind', raw, over)
  expect(await shell('echo mine >> "$1/f"; cat "$1/f"; rm "$1/f"; ls -A "$1"', [over])).toBe('lower\nmine\n')
  await instance.tell('unbind', over)
})

test('a rename from disk to disk: EXDEV, and mv copies', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const { mounted } = await disk('other')
  writeFileSync(join(instance.work, 'f'), 'moves\n')
  await shell('mv "$1" "$2/f"; cat "$2/f"; [ ! -e "$1" ]', [instance.inMount('f'), mounted])
  const linked = await instance.run('ln', [join(mounted, 'f'), instance.inMount('g')])
  expect(linked.stderr).toMatch(/cross-device/i)
})

test('inode numbers of different disks do not meet', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const [one, two] = [await disk('one'), await disk('two')]
  await shell('for i in $(seq 20); do : > "$1/$i"; : > "$2/$i"; done', [one.raw, two.raw])
  const numbers = (await shell('stat -c "%d:%i" "$1"/* "$2"/*', [one.mounted, two.mounted]))
    .trim()
    .split('\n')
  expect(numbers.length).toBe(40)
  expect(new Set(numbers).size).toBe(40)
})

test('a disk that is mounted and unmounted outside is seen', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const raw = join(instance.work, 'later')
  mkdirSync(raw)
  writeFileSync(join(raw, 'below'), '')
  const mounted = instance.inMount('later')
  expect(await shell('ls "$1"', [mounted])).toBe('below\n')
  await succeed('mount', ['-t', 'tmpfs', 'tmpfs', raw])
  writeFileSync(join(raw, 'on-it'), '')
  await waitFor('the disk', async () => (await shell('ls "$1"', [mounted])) === 'on-it\n')
  // The daemon lets go of a disk when nobody has asked for a while.
  await waitFor('that it can be unmounted', async () => (await run('umount', [raw])).code === 0)
  await waitFor('what was below it', async () => (await shell('ls "$1"', [mounted])) === 'below\n')
})

test('what the kernel makes is opened, read and followed with the rights of the caller', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const proc = join(instance.mount, hostDirectory, 'proc')
  const asNobody = (...command: string[]) =>
    run('setpriv', ['--reuid', '65534', '--regid', '65534', '--clear-groups', ...command])
  expect((await asNobody('cat', join(proc, 'version'))).stdout).toMatch(/^Linux/)
  // Its mode lets everyone open it; the kernel does not (ptrace(2), access mode checking).
  expect((await asNobody('cat', join(proc, `${process.pid}/maps`))).stderr).toMatch(/Permission denied/)
  expect((await asNobody('readlink', join(proc, `${process.pid}/cwd`))).code).toBe(1)
  expect((await run('cat', [join(proc, `${process.pid}/maps`)])).stdout).toMatch(/node/)
})

test('a file of proc that takes no position is written to', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  if ((await run('unshare', ['--user', 'true'])).code !== 0)
    return skip('this machine has no user namespaces')
  const child = spawn('unshare', ['--user', 'sleep', '60'], { stdio: 'ignore' })
  try {
    const own = readlinkSync('/proc/self/ns/user')
    await waitFor('its namespace', () => readlinkSync(`/proc/${child.pid}/ns/user`) !== own)
    for (const [file, redirection] of [
      ['uid_map', '>'],
      ['gid_map', '>>'],
    ]) {
      const map = `/proc/${child.pid}/${file}`
      const write = `echo 0 7 1 ${redirection} "$1"`
      const bash = ['-c', write, 'sh', join(instance.mount, hostDirectory, map)]
      await succeed('/bin/bash', bash)
      expect(readFileSync(map, 'utf8')).toMatch(/^ *0 +7 +1\n$/)
      // A map is set once: that is the reason which comes out then.
      expect((await run('/bin/bash', bash)).stderr).toMatch(/Operation not permitted/)
    }
  } finally {
    child.kill('SIGKILL')
  }
})
