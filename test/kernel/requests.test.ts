import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FakeDevice, hex, request, show } from './fake-device.ts'

/** What the tree is asked for each message, byte by byte, and what the kernel gets for it. */

let device: FakeDevice
beforeEach(() => {
  device = new FakeDevice()
})
afterEach(() => device.close())

/** The tree's calls for a message, without the end of the request. */
function calls(message: Buffer): string[] {
  device.tree.calls = []
  device.exchange(message)
  return device.tree.calls.filter((call) => call !== 'answered')
}

/** Error of the reply to a message. */
function error(message: Buffer): number {
  return device.exchange(message)!.readInt32LE(4)
}

const U64 = (low: string): string => `${low} 00000000`
/** "file", "dir", "b" with their NUL. */
const FILE = '66696c6500'
const DIR = '64697200'
const B = '6200'

describe('requests on names', () => {
  it('tells the tree who asks, and passes the number of the request back as it came', () => {
    const resent = hex(`2d000000 01000000 0c000000 00000080 01000000 00000000
      e8030000 64000000 92100000 00000000 ${FILE}`)
    const reply = device.exchange(resent)!
    expect(show(reply)).toBe('10000000 feffffff 0c000000 00000080')
    expect(device.tree.request).toEqual({
      uid: 1000,
      gid: 100,
      pid: 4242,
      umask: 0,
      uniqueLow: 0x0c,
      uniqueHigh: 0,
      resent: true,
    })
  })

  it.each([
    ['LOOKUP', request(1, 1, FILE), 'lookup 1 file'],
    ['MKNOD', request(8, 1, `a4810000 03010000 12000000 00000000 ${FILE}`), 'mknod 1 file 100644 259 18'],
    ['MKDIR', request(9, 1, `ed010000 12000000 ${DIR}`), 'mkdir 1 dir 755 18'],
    ['SYMLINK', request(6, 1, `${FILE} 2e2e2f6100`), 'symlink 1 file ../a'],
    ['UNLINK', request(10, 1, FILE), 'unlink 1 file'],
    ['RMDIR', request(11, 1, DIR), 'rmdir 1 dir'],
    ['RENAME', request(12, 1, `${U64('02000000')} ${FILE} ${B}`), 'rename 1 file 2 b 0'],
    ['RENAME2', request(45, 1, `${U64('02000000')} 01000000 00000000 ${FILE} ${B}`), 'rename 1 file 2 b 1'],
    ['LINK', request(13, 1, `${U64('05000000')} ${B}`), 'link 5 1 b'],
    ['CREATE', request(35, 1, `42800000 a4010000 12000000 00000000 ${FILE}`), 'create 1 file 100102 644'],
  ])('%s', (_name, message, call) => {
    expect(calls(message)).toEqual([call])
  })

  it('keeps bytes that are not UTF-8', () => {
    expect(calls(request(1, 1, 'fffe8000'))).toEqual(['lookup 1 \xff\xfe\x80'])
  })

  it.each([
    ['empty', '00', -22],
    ['.', '2e00', -22],
    ['..', '2e2e00', -22],
    ['with a slash', '612f6200', -22],
    ['of 256 bytes', `${'61'.repeat(256)}00`, -36],
    ['without an end', '6162', -5],
  ])('refuses a name that is %s', (_name, body, errno) => {
    expect(error(request(1, 1, body))).toBe(errno)
    expect(calls(request(1, 1, body))).toEqual([])
  })

  it('takes a name of 255 bytes', () => {
    expect(calls(request(1, 1, `${'61'.repeat(255)}00`))).toEqual([`lookup 1 ${'a'.repeat(255)}`])
  })
})

describe('requests on attributes', () => {
  it('GETATTR by node and by handle', () => {
    expect(calls(request(3, 1, `00000000 00000000 ${U64('07000000')}`))).toEqual(['getattr 1 0'])
    expect(calls(request(3, 1, `01000000 00000000 ${U64('07000000')}`))).toEqual(['getattr 1 7'])
  })

  it('STATX', () => {
    expect(calls(request(52, 1, `00000000 00000000 ${U64('07000000')} 00000000 ff0f0000`))).toEqual([
      'getattr 1 0',
    ])
  })

  it('SETATTR: every field', () => {
    const body = `7f080000 00000000 ${U64('07000000')} 00100000 01000000 ${U64('00000000')}
      ffffffff ffffffff ${U64('02000000')} ${U64('00000000')} 0a000000 0b000000 00000000
      a4810000 00000000 01000000 02000000 00000000`
    const change = {
      valid: 1 | 2 | 4 | 8 | 16 | 32 | 256,
      mode: 0o100644,
      uid: 1,
      gid: 2,
      size: 0x100001000,
      atime: -1,
      atimensec: 10,
      mtime: 2,
      mtimensec: 11,
    }
    device.tree.nodes.delete(1)
    expect(calls(request(4, 1, body))).toEqual([`setattr 1 7 ${JSON.stringify(change)}`])
  })

  it('SETATTR: now wins over a time that comes with it', () => {
    calls(request(4, 1, `b0010000 ${'00000000 '.repeat(21)}`))
    expect(device.context.change.valid).toBe(64 | 128)
  })

  it('SETATTR: a size that is no file size is too big', () => {
    expect(
      error(
        request(4, 1, `08000000 00000000 ${U64('00000000')} 00000000 00002000 ${'00000000 '.repeat(16)}`),
      ),
    ).toBe(-27)
  })

  it.each([
    ['STATFS', request(17, 1, ''), 'statfs 1'],
    ['READLINK', request(5, 1, ''), 'readlink 1'],
  ])('%s', (_name, message, call) => {
    expect(calls(message)).toEqual([call])
  })
})

describe('requests on open files', () => {
  const H = U64('07000000')
  it.each([
    ['OPEN', request(14, 1, '02800000 00000000'), ['open 1 100002']],
    [
      'READ',
      request(15, 1, `${H} 00000000 01000000 00100000 00000000 ${'00000000 '.repeat(4)}`),
      ['read 1 7 4096 4294967296'],
    ],
    [
      'WRITE',
      request(16, 1, `${H} 00020000 00000000 03000000 04000000 ${'00000000 '.repeat(4)} 616263`),
      ['write 1 7 3 512 true'],
    ],
    ['RELEASE', request(18, 1, `${H} 00000000 00000000 ${U64('00000000')}`), ['release 1 7']],
    ['FSYNC', request(20, 1, `${H} 01000000 00000000`), ['fsync 1 7 true']],
    ['FSYNCDIR', request(30, 1, `${H} 00000000 00000000`), ['fsyncdir 1']],
    [
      'FALLOCATE',
      request(43, 1, `${H} ${U64('10000000')} ${U64('20000000')} 03000000 00000000`),
      ['fallocate 1 7 3 16 32'],
    ],
    ['LSEEK', request(46, 1, `${H} ${U64('10000000')} 04000000 00000000`), ['lseek 1 7 16 4']],
    [
      'COPY_FILE_RANGE',
      request(
        47,
        1,
        `${H} ${U64('01000000')} ${U64('05000000')} ${U64('08000000')} ${U64('02000000')} ffffffff ffffff7f ${U64('00000000')}`,
      ),
      ['copy 1 7 1 5 8 2 134217728'],
    ],
    [
      'READDIR',
      request(28, 1, `${U64('00000000')} ${U64('00000000')} 00100000 00000000 ${'00000000 '.repeat(4)}`),
      ['readdir 1 0'],
    ],
    [
      'READDIRPLUS',
      request(44, 1, `${U64('00000000')} ${U64('02000000')} 00100000 00000000 ${'00000000 '.repeat(4)}`),
      ['readdirplus 1 2'],
    ],
  ])('%s', (_name, message, expected) => {
    expect(calls(message)).toEqual(expected)
  })

  it('OPEN with O_TRUNC by an ordinary user drops privileges', () => {
    expect(calls(request(14, 1, '02820000 01000000'))).toEqual([
      'open 1 101002',
      expect.stringMatching(/^setattr 1 1 \{"valid":256,/),
    ])
  })

  it('a WRITE that has less data than it says is refused', () => {
    expect(
      error(request(16, 1, `${H} ${U64('00000000')} 04000000 00000000 ${'00000000 '.repeat(4)} 616263`)),
    ).toBe(-5)
  })
})

describe('requests on extended attributes', () => {
  // "user.a"
  const NAME = '757365722e6100'
  it.each([
    ['GETXATTR', request(22, 1, `40000000 00000000 ${NAME}`), 'getxattr 1 user.a 64'],
    ['LISTXATTR', request(23, 1, '40000000 00000000'), 'listxattr 1 64'],
    [
      'SETXATTR',
      request(21, 1, `02000000 01000000 00000000 00000000 ${NAME} 6869`),
      'setxattr 1 user.a hi 1',
    ],
    ['REMOVEXATTR', request(24, 1, NAME), 'removexattr 1 user.a'],
  ])('%s', (_name, message, call) => {
    expect(calls(message)).toEqual([call])
  })

  it('SETXATTR in its short form', () => {
    device.context.negotiated = undefined
    expect(calls(request(21, 1, `02000000 00000000 ${NAME} 6869`))).toEqual(['setxattr 1 user.a hi 0'])
  })

  it('an access ACL of one who is not of the group clears setgid', () => {
    device.tree.nodes.get(1)!.mode |= 0o2000
    expect(error(request(21, 1, `02000000 00000000 01000000 00000000 ${NAME} 6869`))).toBe(0)
    expect(device.tree.nodes.get(1)!.mode & 0o7777).toBe(0o755)
  })
})

describe('requests without an answer', () => {
  it('FORGET and BATCH_FORGET', () => {
    expect(device.exchange(request(2, 5, U64('03000000')))).toBeUndefined()
    const batch = `02000000 00000000 ${U64('05000000')} ${U64('01000000')} ${U64('06000000')} ${U64('02000000')}`
    expect(device.exchange(request(42, 0, batch))).toBeUndefined()
    expect(device.tree.calls!.filter((call) => call.startsWith('forget'))).toEqual([
      'forget 5 3',
      'forget 5 1',
      'forget 6 2',
    ])
  })

  it('INTERRUPT', () => {
    expect(device.exchange(request(36, 0, U64('0a000000')))).toBeUndefined()
  })

  it('a batch that is longer than its message is logged and left', () => {
    expect(
      device.exchange(request(42, 0, `ffffffff 00000000 ${U64('05000000')} ${U64('01000000')}`)),
    ).toBeUndefined()
    expect(device.log).toEqual(['BATCH_FORGET of 4294967295 nodes has only 16 bytes'])
  })
})

describe('what is not done', () => {
  const ZEROS = '00000000 '.repeat(16)
  it.each([
    ['OPENDIR', 27, -38],
    ['RELEASEDIR', 29, -38],
    ['GETLK', 31, -38],
    ['ACCESS', 34, -38],
    ['BMAP', 37, -38],
    ['IOCTL', 39, -25],
    ['POLL', 40, -38],
    ['SYNCFS', 50, -38],
    ['TMPFILE', 51, -95],
    ['an operation of tomorrow', 4711, -38],
    ['DESTROY', 38, 0],
  ])('%s', (_name, opcode, errno) => {
    expect(error(request(opcode, 1, ZEROS))).toBe(errno)
  })
})
