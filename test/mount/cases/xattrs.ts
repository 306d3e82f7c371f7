// Extended attributes and POSIX ACLs.
import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CaseContext, Cases } from '../../support/cases.ts'
import { has, run } from '../../support/run.ts'
import * as sys from '../../support/system.ts'

const { codeOf } = sys
const ACCESS = 'system.posix_acl_access'
const DEFAULT = 'system.posix_acl_default'
const uid = process.getuid?.() ?? 0

/** An ACL as the kernel has it: version 2, then tag, permissions and id of each entry. */
function acl(...entries: [tag: number, permissions: number, id?: number][]): Buffer {
  const bytes = Buffer.alloc(4 + entries.length * 8)
  bytes.writeUInt32LE(2)
  for (const [i, [tag, permissions, id = 0xffffffff]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + i * 8)
    bytes.writeUInt16LE(permissions, 6 + i * 8)
    bytes.writeUInt32LE(id, 8 + i * 8)
  }
  return bytes
}
const [OWNER, USER, GROUP, MASK, OTHER] = [1, 2, 4, 16, 32]
/** Owner all, user 1234 reads, group and others nothing. */
const shared = acl([OWNER, 7], [USER, 4, 1234], [GROUP, 0], [MASK, 4], [OTHER, 0])

/** Ends the case where the raw file system has no such attributes. */
function need({ outside, skip }: CaseContext, name: string, value: Uint8Array | string): void {
  const path = join(outside, 'probe')
  mkdirSync(path, { recursive: true })
  const code = codeOf(() => sys.setXattr(path, name, value))
  if (code === 'ENOTSUP') skip(`this file system has no ${name}`)
}

export const cases: Cases = {
  'set, get, list, remove'(context) {
    need(context, 'user.probe', 'x')
    const path = join(context.dir, 'f')
    const raw = join(context.host, 'f')
    writeFileSync(path, '')
    sys.setXattr(path, 'user.one', 'first')
    sys.setXattr(path, 'user.two', Buffer.from([0, 255, 10]))
    assert.equal(sys.getXattr(path, 'user.one').toString(), 'first')
    assert.deepEqual(sys.getXattr(raw, 'user.two'), Buffer.from([0, 255, 10]))
    assert.deepEqual(
      sys
        .listXattrs(path)
        .filter((name) => name.startsWith('user.'))
        .sort(),
      ['user.one', 'user.two'],
    )
    sys.removeXattr(path, 'user.one')
    assert.equal(
      codeOf(() => sys.getXattr(path, 'user.one')),
      'ENODATA',
    )
    assert.equal(
      codeOf(() => sys.removeXattr(path, 'user.one')),
      'ENODATA',
    )
  },
  'XATTR_CREATE, XATTR_REPLACE, sizes'(context) {
    need(context, 'user.probe', 'x')
    const path = join(context.dir, 'f')
    writeFileSync(path, '')
    assert.equal(
      codeOf(() => sys.setXattr(path, 'user.a', 'x', 2)),
      'ENODATA',
    )
    sys.setXattr(path, 'user.a', '12345', 1)
    assert.equal(
      codeOf(() => sys.setXattr(path, 'user.a', 'x', 1)),
      'EEXIST',
    )
    assert.equal(sys.getXattrLength(path, 'user.a', 0), 5)
    assert.equal(
      codeOf(() => sys.getXattrLength(path, 'user.a', 3)),
      'ERANGE',
    )
    sys.setXattr(path, 'user.empty', '')
    assert.equal(sys.getXattr(path, 'user.empty').length, 0)
    const long = 'v'.repeat(2000)
    sys.setXattr(path, 'user.long', long)
    assert.equal(sys.getXattr(path, 'user.long').toString(), long)
    assert.equal(
      codeOf(() => sys.setXattr(path, 'nonsense', 'x')),
      'ENOTSUP',
    )
  },
  'directories have them too'(context) {
    need(context, 'user.probe', 'x')
    sys.setXattr(context.dir, 'user.d', 'dir')
    assert.equal(sys.getXattr(context.host, 'user.d').toString(), 'dir')
  },
  async 'an ACL lets one user in, and chmod changes its mask'(context) {
    need(context, ACCESS, shared)
    const { dir, skip } = context
    const path = join(dir, 'f')
    writeFileSync(path, 'for 1234', { mode: 0o700 })
    sys.setXattr(path, ACCESS, shared)
    assert.deepEqual(sys.getXattr(join(context.host, 'f'), ACCESS), shared)
    assert.equal(statSync(path).mode & 0o777, 0o740)
    chmodSync(path, 0o700)
    assert.equal(sys.getXattr(path, ACCESS).readUInt16LE(4 + 3 * 8 + 2), 0)
    if (uid !== 0) return skip('reading as another needs root')
    const as = (user: number) => run('/bin/cat', [path], { uid: user })
    assert.notEqual((await as(1234)).code, 0)
    chmodSync(path, 0o740)
    assert.equal((await as(1234)).stdout, 'for 1234')
    assert.notEqual((await as(1235)).code, 0)
  },
  'a default ACL is inherited, and the umask is not used then'(context) {
    const inherited = acl([OWNER, 7], [USER, 6, 1234], [GROUP, 5], [MASK, 7], [OTHER, 0])
    need(context, DEFAULT, inherited)
    const { dir } = context
    sys.setXattr(dir, DEFAULT, inherited)
    process.umask(0o077)
    writeFileSync(join(dir, 'f'), '', { mode: 0o664 })
    mkdirSync(join(dir, 'd'), { mode: 0o775 })
    process.umask(0o022)
    assert.equal(statSync(join(dir, 'f')).mode & 0o777, 0o660)
    assert.equal(statSync(join(dir, 'd')).mode & 0o777, 0o770)
    assert.deepEqual(sys.getXattr(join(dir, 'd'), DEFAULT), inherited)
    assert.ok(sys.getXattr(join(dir, 'f'), ACCESS).length > 4)
    sys.removeXattr(dir, DEFAULT)
    assert.equal(
      codeOf(() => sys.getXattr(dir, DEFAULT)),
      'ENODATA',
    )
  },
  async 'setfacl and getfacl agree'(context) {
    need(context, ACCESS, shared)
    if (!(await has('setfacl'))) return context.skip('this machine has no setfacl')
    const path = join(context.dir, 'f')
    writeFileSync(path, '')
    assert.equal((await run('setfacl', ['-m', 'u:1234:rw,g:99:r', path])).stderr, '')
    const { stdout } = await run('getfacl', ['-n', '-c', '-p', path])
    assert.match(stdout, /^user:1234:rw-$/m)
    assert.match(stdout, /^group:99:r--$/m)
    await run('setfacl', ['-b', path])
    assert.equal((await run('getfacl', ['-n', '-c', '-p', path])).stdout.includes('1234'), false)
  },
  'security attributes of root stay'(context) {
    if (uid !== 0) return context.skip('needs root')
    need(context, 'trusted.probe', 'x')
    const path = join(context.dir, 'f')
    writeFileSync(path, '')
    chownSync(path, 0, 0)
    sys.setXattr(path, 'trusted.cosmos-test', 'x')
    assert.equal(sys.getXattr(join(context.host, 'f'), 'trusted.cosmos-test').toString(), 'x')
  },
}
