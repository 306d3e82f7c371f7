// The tree's own shape: what is listed, what only resolves, and where it ends.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CosmosInstance, checkout, hostDirectory, whyNoMount } from '../support/instance.ts'
import { has, run } from '../support/run.ts'
import * as sys from '../support/system.ts'

const missing = whyNoMount()
let instance: CosmosInstance
let other: CosmosInstance

beforeAll(async () => {
  if (missing !== undefined) return
  instance = await CosmosInstance.start()
  other = await CosmosInstance.start()
})
afterAll(async () => {
  await instance?.stop()
  await other?.stop()
})

/** A script with `$m` the mount and `$h` this host in it, `$w` the work directory; its output, trimmed. */
async function sh(script: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { mount, work } = instance
  const { code, signal, stdout, stderr } = await instance.run('/bin/sh', ['-euc', script], {
    env: { m: mount, h: join(mount, hostDirectory), w: work, ...env },
    timeout: 30_000,
  })
  if (code !== 0) throw new Error(`${script}: ${signal ?? code}\n${stdout}${stderr}`)
  return stdout.trim()
}

test("the root lists the cosm, this host, the sources, and the root URL's content", async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  expect(await sh('ls -A "$m"')).toBe(`.cosm\nhttp:\nhttps:\n${hostDirectory}\nssh:`)
  await sh('echo mine > "$m/note"; mkdir "$m/dir"')
  expect(await sh('ls -A "$m"')).toBe(`.cosm\ndir\nhttp:\nhttps:\n${hostDirectory}\nnote\nssh:`)
  expect(await sh('cat "$HOME/.cosm/root/note"')).toBe('mine')
  await sh('rm "$m/note"; rmdir "$m/dir"')
})

test('the host is there, with the same content', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  expect(await sh('ls -A "$h"')).toBe(await sh('ls -A /'))
  expect(await sh('ls -A "$h/etc"')).toBe(await sh('ls -A /etc'))
  await sh('cmp "$h/etc/passwd" /etc/passwd')
  // Not /tmp: its times change while others make theirs there.
  expect(await sh('stat -c "%a %u %g %Y %s" "$h/etc/passwd" "$h/usr/bin/env" "$h/var/tmp"')).toBe(
    await sh('stat -c "%a %u %g %Y %s" /etc/passwd /usr/bin/env /var/tmp'),
  )
})

test(".os is the operating system's directories", async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  const listed = (await sh('ls -A "$h/.os"')).split('\n')
  expect(listed).toEqual(expect.arrayContaining(['bin', 'etc', 'usr', 'var']))
  expect(listed).not.toContain('home')
  expect(listed).not.toContain('root')
  await sh('cmp "$h/.os/etc/passwd" /etc/passwd')
  expect(await sh('ls -A "$h" | grep -cx .os || true')).toBe('0')
})

test('.cosm resolves in every directory, and is listed only where one is', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  mkdirSync(join(instance.work, 'plain/below'), { recursive: true })
  mkdirSync(join(instance.work, 'project/.cosm/bin'), { recursive: true })
  mkdirSync(join(instance.work, 'project/src'))
  writeFileSync(join(instance.work, 'project/.cosm/bin/tool'), '#!/bin/sh\necho tool\n', { mode: 0o755 })
  const at = instance.inMount('')
  expect(await sh(`ls -A '${at}/plain'`)).toBe('below')
  expect(await sh(`ls -A '${at}/plain/below'`)).toBe('')
  expect((await sh(`ls -A '${at}/project'`)).split('\n')).toEqual(['.cosm', 'src'])
  for (const directory of ['plain', 'plain/below', 'project', 'project/src'])
    expect((await sh(`ls -A '${at}/${directory}/.cosm'`)).split('\n')).toContain('bin')
  // Nearest wins; from above it is not seen.
  expect(await sh(`'${at}/project/src/.cosm/bin/tool'`)).toBe('tool')
  expect(await sh(`'${at}/project/.cosm/bin/tool'`)).toBe('tool')
  expect(await sh(`ls '${at}/plain/.cosm/bin' | grep -cx tool || true`)).toBe('0')
})

test("the home is a layer of the cosm, without the instance's state", async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  await sh('mkdir -p "$HOME/.cosm/bin"; printf "#!/bin/sh\\necho mine\\n" > "$HOME/.cosm/bin/my-tool"')
  await sh('chmod +x "$HOME/.cosm/bin/my-tool"')
  expect(await sh('"$m/.cosm/bin/my-tool"')).toBe('mine')
  expect(await sh('stat -c %F "$m/.cosm/bin/my-tool"')).toBe('regular file')
  const listed = (await sh('ls -A "$m/.cosm"')).split('\n')
  expect(listed).not.toContain('var')
  expect(listed).not.toContain('root')
  expect(listed).toEqual(expect.arrayContaining(['bin', 'etc']))
})

test(".cosm/bin has the PATH's programs as links to their real places, and they run", async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  expect(await sh('stat -c %F "$m/.cosm/bin/env"')).toBe('symbolic link')
  expect(await sh('readlink "$m/.cosm/bin/env"')).toBe(await sh('command -v env'))
  expect(await sh('PATH="$m/.cosm/bin"; env echo through env; ls -d /')).toBe('through env\n/')
  expect(await sh('PATH="$m/.cosm/bin:$PATH"; command -v sort')).toBe(`${instance.mount}/.cosm/bin/sort`)
  expect(await sh('cd "$m"; PATH="$m/.cosm/bin:$PATH"; printf "b\\na\\n" | sort | tr "\\n" " "')).toBe('a b')
  const names = new Set((await sh('ls -A "$m/.cosm/bin"')).split('\n'))
  for (const name of (await sh('ls -A /usr/bin')).split('\n').slice(0, 50))
    if (await sh(`[ -x '/usr/bin/${name}' ] && [ -f '/usr/bin/${name}' ] && echo yes || true`))
      expect(names, name).toContain(name)
  // A broken link of the host is no program.
  expect(await sh('find "$m/.cosm/bin" -xtype l | head')).toBe('')
})

test('find -xdev ends, with nothing to complain about', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  expect(await sh('find "$m/.cosm" -xdev > /dev/null')).toBe('')
  expect(await sh(`find '${instance.inMount('')}' -xdev | wc -l`)).toBe(await sh('find "$w" -xdev | wc -l'))
  expect(await sh('find "$h/etc" -xdev | wc -l')).toBe(await sh('find /etc -xdev | wc -l'))
  const found = await sh('find "$m" -maxdepth 2 -xdev -name ".cosm" | sort')
  expect(found.split('\n')[0]).toBe(`${instance.mount}/.cosm`)
})

test('properties: name:prop, ls name:, and extended attributes', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  writeFileSync(join(instance.work, 'file'), 'x')
  const file = instance.inMount('file')
  const names = (await sh(`ls '${file}:'`)).split('\n').sort()
  expect(names).toEqual(['dcel', 'inode', 'layers', 'mtime', 'prod'])
  expect(await sh(`cat '${file}:inode'`)).toBe(await sh(`stat -c %i '${file}'`))
  expect(await sh(`cat '${file}:layers'`)).toContain(join(instance.work, 'file'))
  expect(await sh(`cat '${file}:prod'`)).toBe(`source file://${instance.work}/file`)
  await sh(`touch -d '2001-02-03 04:05:06.5 UTC' '${join(instance.work, 'file')}'`)
  expect(await sh(`cat '${file}:mtime'`)).toBe('2001-02-03T04:05:06.500000000Z')
  for (const name of names) {
    const whole = await sh(`cat '${file}:${name}'`)
    expect(await sh(`cat '${file}:/${name}'`)).toBe(whole)
    expect(sys.getXattr(file, `user.cosmos.${name}`).toString()).toBe(whole)
    // The size that stat answers is the content's.
    expect(await sh(`stat -c %s '${file}:${name}'`)).toBe(await sh(`cat '${file}:${name}' | wc -c`))
  }
  expect(sys.listXattrs(file).filter((name) => name.startsWith('user.cosmos'))).toEqual([])
  expect(sys.codeOf(() => sys.setXattr(file, 'user.cosmos.inode', '1'))).toBe('EPERM')
  for (const path of [`${file}:nothing`, `${instance.inMount('none')}:inode`, `${instance.inMount('none')}:`])
    expect((await run('stat', [path])).stderr).toMatch(/No such file/)
  expect((await run('/bin/sh', ['-c', `echo x > '${file}:mtime'`])).code).not.toBe(0)
  if (await has('getfattr'))
    expect(await sh(`getfattr --only-values -n user.cosmos.inode '${file}'`)).toBe(
      await sh(`stat -c %i '${file}'`),
    )
})

test('a name that exists is never reinterpreted', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  writeFileSync(join(instance.work, 'odd'), 'base')
  writeFileSync(join(instance.work, 'odd:mtime'), 'a file of that name')
  expect(await sh(`cat '${instance.inMount('odd:mtime')}'`)).toBe('a file of that name')
  expect(await sh(`cat '${instance.inMount('odd:inode')}'`)).toMatch(/^\d+$/)
})

test('a tree is copied and moved without its properties and cosm', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  mkdirSync(join(instance.work, 'tree/d'), { recursive: true })
  writeFileSync(join(instance.work, 'tree/d/f'), 'x')
  await sh(`cp -a '${instance.inMount('tree')}' '${instance.inMount('copy')}'; diff -r "$w/tree" "$w/copy"`)
  expect(await sh('find "$w/copy" | wc -l')).toBe('3')
  await sh(
    `tar -C '${instance.inMount('')}' -cf - copy | tar -C "$w/tree" -xf -; diff -r "$w/copy" "$w/tree/copy"`,
  )
  await sh(`rm -r '${instance.inMount('copy')}'; [ ! -e "$w/copy" ]`)
})

test('the mount never goes down into itself or another instance', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  for (const [from, to] of [
    [instance, instance],
    [instance, other],
    [other, instance],
  ] as const) {
    const seen = from.hostPath(to.mount)
    expect(await sh(`ls -A '${seen}'`), `${from.mount} shows ${to.mount}`).toBe('')
    expect(await sh(`stat -c %F '${seen}'`)).toBe('directory')
    expect((await run('mkdir', [join(seen, 'x')])).code).not.toBe(0)
    expect((await run('stat', [join(seen, hostDirectory)])).stderr).toMatch(/No such file/)
  }
  expect(await sh('ls -A "$h/tmp" | wc -l')).not.toBe('0')
})

test('the root is its own parent, and cannot be bound, removed or written away', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  expect(await sh('cd "$h"; cd ..; pwd -P')).toBe(instance.mount)
  const bound = await instance.cosmos(['bind', instance.work, instance.mount])
  expect(bound.code).toBe(125)
  expect(bound.stderr).toMatch(/^cosmos: .*\n$/)
  for (const name of [hostDirectory, '.cosm']) {
    expect((await run('rmdir', [join(instance.mount, name)])).code).not.toBe(0)
    expect((await run('mv', [join(instance.mount, name), join(instance.mount, 'x')])).code).not.toBe(0)
    expect((await run('mkdir', [join(instance.mount, name)])).stderr).toMatch(/File exists/)
  }
  expect(await sh('ls -A "$m"')).toBe(`.cosm\nhttp:\nhttps:\n${hostDirectory}\nssh:`)
})

test('the command line sees the same tree without the kernel', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  writeFileSync(join(instance.work, 'content'), 'the content\n')
  const file = instance.inMount('content')
  expect(await instance.tell('cat', file)).toBe('the content\n')
  expect(await instance.tell('cat', `file://${join(instance.work, 'content')}`)).toBe('the content\n')
  expect(await instance.tell('ls', instance.mount)).toContain(hostDirectory)
  const [found] = JSON.parse(await instance.tell('inspect', '--json', file)) as {
    inode: string
    size: number
  }[]
  expect(found?.inode).toBe(await sh(`stat -c %i '${file}'`))
  expect(found?.size).toBe(12)
  expect(await instance.tell('which', 'env')).toContain('/env')
  const none = await instance.cosmos(['cat', instance.inMount('none')])
  expect([none.code, none.stdout]).toEqual([127, ''])
  expect(none.stderr).toMatch(/^cosmos: .*\n$/)
})

test('a cascade merges several layers, nearest first, and survives down and up', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  await sh(`cd "$w"; mkdir local near far; echo near > near/both; echo far > far/both; echo far > far/only
    mkdir near/d far/d; echo n > near/d/n; echo f > far/d/f`)
  const at = instance.inMount('local')
  await instance.tell('cascade', join(instance.work, 'near'), join(instance.work, 'far'), at)
  expect(await sh(`cat '${at}/both' '${at}/only'; ls '${at}/d'`)).toBe('near\nfar\nf\nn')
  await sh(
    `rm '${at}/both'; echo more >> '${at}/only'; rm -r '${at}/d'; mkdir '${at}/d'; echo new > '${at}/d/new'`,
  )
  const number = await sh(`stat -c %i '${at}/only'`)
  const expectSame = async (): Promise<void> => {
    expect(await sh(`cd '${at}'; find . | sort | tr '\\n' ' '`)).toBe('. ./d ./d/new ./only')
    expect(await sh(`cat '${at}/only'`)).toBe('far\nmore')
    expect(await sh(`stat -c %i '${at}/only'`)).toBe(number)
  }
  await expectSame()
  await instance.tell('down')
  expect(await sh('cd "$w"; cat near/both far/both far/only; ls near/d far/d')).toBe(
    'near\nfar\nfar\nfar/d:\nf\n\nnear/d:\nn',
  )
  expect((await instance.up()).code).toBe(0)
  await expectSame()
  await instance.killDaemon()
  await expectSame()
  await instance.tell('unbind', at)
  expect(await sh(`ls -A '${at}'`)).toBe('d\nonly')
})

test('the checkout builds in the mount what it builds outside', async ({ skip }) => {
  if (missing !== undefined) return skip(missing)
  // node_modules through the mount: thousands of small modules, links and packages.
  const script = `node_modules/node/bin/node node_modules/typescript/bin/tsc --version`
  const inside = await sh(`cd '${instance.hostPath(checkout)}'; ${script}`)
  expect(inside).toMatch(/^Version \d/)
})
