import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FileCopier } from '../../mount/copy.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { FakeDevice, hex, request, show } from './fake-device.ts'

/** What the kernel is sent, byte by byte. */

let device: FakeDevice
beforeEach(() => {
  device = new FakeDevice()
  const { tree } = device
  tree.seconds = 60
  tree.nodes.get(1)!.mtime = 0x65540000
  const name = { bytes: Buffer.from('file\0'), offset: 0, length: 4, address: 0 }
  tree.create(1, name, 0, 0o644)
  const file = tree.nodes.get(2)!
  file.data = Buffer.from('abc')
  file.mtime = -1
})
afterEach(() => device.close())

const HEADER = (size: string): string => `${size} 00000000 0a000000 00000000`
const U64 = (low: string): string => `${low} 00000000`
/** struct fuse_attr of the file: inode 2, 3 bytes, 1 block, mtime one second before 1970, mode 100644. */
const FILE_ATTR = [
  U64('02000000'),
  U64('03000000'),
  U64('01000000'),
  U64('00000000'),
  'ffffffff ffffffff',
  U64('00000000'),
  '00000000 00000000 00000000 a4810000 01000000 00000000 00000000 00000000 00100000 00000000',
].join(' ')
const ENTRY = [
  U64('02000000'),
  U64('00000000'),
  U64('3c000000'),
  U64('3c000000'),
  U64('00000000'),
  FILE_ATTR,
].join(' ')
const ZEROS = (words: number): string => '00000000 '.repeat(words).trim()

function reply(opcode: number, node: number, body: string): string {
  return show(device.exchange(request(opcode, node, body))!)
}

describe('replies', () => {
  it('entry_out of a name that is there', () => {
    expect(reply(1, 1, '66696c6500')).toBe(`${HEADER('90000000')} ${ENTRY}`)
  })

  it('entry_out of a name that is not there, where that may be believed', () => {
    device.tree.negativeSeconds = 5
    expect(reply(1, 1, '6200')).toBe(`${HEADER('90000000')} ${ZEROS(4)} ${U64('05000000')} ${ZEROS(26)}`)
    device.tree.negativeSeconds = 0
    expect(reply(1, 1, '6200')).toBe('10000000 feffffff 0a000000 00000000')
  })

  it('attr_out', () => {
    expect(reply(3, 2, ZEROS(4))).toBe(`${HEADER('78000000')} ${U64('3c000000')} ${ZEROS(2)} ${FILE_ATTR}`)
  })

  it('statx_out', () => {
    device.tree.attributes.btime = 7
    device.tree.attributes.rdev = 0x12345678
    expect(reply(52, 2, ZEROS(6))).toBe(
      [
        HEADER('30010000'),
        U64('3c000000'),
        ZEROS(6),
        'ff0f0000 00100000 00000000 00000000 01000000 00000000 00000000 a4810000',
        U64('02000000'),
        U64('03000000'),
        U64('01000000'),
        ZEROS(2),
        ZEROS(4),
        `${U64('07000000')} ${ZEROS(2)}`,
        ZEROS(4),
        `ffffffff ffffffff ${ZEROS(2)}`,
        // new_encode_dev 0x12345678: major 0x456, minor 0x12378.
        '56040000 78230100',
        ZEROS(30),
      ].join(' '),
    )
  })

  it('open_out: close need not ask', () => {
    expect(reply(14, 2, ZEROS(2))).toBe(`${HEADER('20000000')} ${U64('02000000')} 20000000 00000000`)
    device.tree.opened.keepCache = true
    expect(reply(14, 2, ZEROS(2))).toBe(`${HEADER('20000000')} ${U64('02000000')} 22000000 00000000`)
    device.tree.opened.directIo = true
    expect(reply(14, 2, ZEROS(2))).toBe(`${HEADER('20000000')} ${U64('02000000')} 61000000 00000000`)
    device.tree.opened.backingId = 9
    expect(reply(14, 2, ZEROS(2))).toBe(`${HEADER('20000000')} ${U64('02000000')} a0000000 09000000`)
  })

  it('open_out: close asks where something may not have arrived', () => {
    device.tree.opened.flush = true
    expect(reply(14, 2, ZEROS(2))).toBe(`${HEADER('20000000')} ${U64('02000000')} 00000000 00000000`)
  })

  it('entry_out and open_out for create', () => {
    expect(reply(35, 1, `${ZEROS(4)} 6200`).slice(0, 53)).toBe(`${HEADER('a0000000')} ${U64('03000000')}`)
  })

  it('data of a read', () => {
    const body = `${U64('02000000')} ${U64('01000000')} 00100000 ${ZEROS(5)}`
    expect(reply(15, 2, body)).toBe(`${HEADER('12000000')} 6263`)
  })

  it('write_out, lseek_out, copy_file_range_out', () => {
    const write = `${U64('02000000')} ${U64('00000000')} 02000000 ${ZEROS(5)} 6869`
    expect(reply(16, 2, write)).toBe(`${HEADER('18000000')} 02000000 00000000`)
    expect(reply(46, 2, `${U64('02000000')} 00000000 01000000 03000000 00000000`)).toBe(
      `${HEADER('18000000')} 00000000 01000000`,
    )
    const copy = `${ZEROS(10)} 05000000 00000000 ${ZEROS(2)}`
    expect(reply(47, 2, copy)).toBe(`${HEADER('18000000')} 05000000 00000000`)
    expect(reply(53, 2, copy)).toBe(`${HEADER('18000000')} 05000000 00000000`)
  })

  it('statfs_out', () => {
    expect(reply(17, 1, '')).toBe(
      [
        HEADER('60000000'),
        U64('e8030000'),
        U64('58020000'),
        U64('f4010000'),
        U64('64000000'),
        U64('32000000'),
        '00100000 ff000000 00100000',
        ZEROS(7),
      ].join(' '),
    )
  })

  it('an extended attribute, its size, and one that does not fit', () => {
    device.tree.nodes.get(2)!.xattrs.set('user.a', Buffer.from('hi'))
    expect(reply(22, 2, `40000000 00000000 757365722e6100`)).toBe(`${HEADER('12000000')} 6869`)
    expect(reply(22, 2, `00000000 00000000 757365722e6100`)).toBe(`${HEADER('18000000')} 02000000 00000000`)
    expect(reply(22, 2, `01000000 00000000 757365722e6100`)).toBe('10000000 deffffff 0a000000 00000000')
    expect(reply(23, 2, '40000000 00000000')).toBe(`${HEADER('17000000')} 75736572 2e6100`)
  })

  it('dirents, each padded to eight bytes, as many as there is room for', () => {
    const body = (size: string): string => `${ZEROS(4)} ${size} ${ZEROS(5)}`
    const dot = `${U64('01000000')} ${U64('01000000')} 01000000 04000000 2e000000 00000000`
    const dots = `${U64('01000000')} ${U64('02000000')} 02000000 04000000 2e2e0000 00000000`
    const file = `${U64('02000000')} ${U64('03000000')} 04000000 08000000 66696c65 00000000`
    expect(reply(28, 1, body('00100000'))).toBe(`${HEADER('70000000')} ${dot} ${dots} ${file}`)
    expect(reply(28, 1, body('5f000000'))).toBe(`${HEADER('50000000')} ${dot} ${dots}`)
    const more = `${ZEROS(2)} ${U64('03000000')} 00100000 ${ZEROS(5)}`
    expect(reply(28, 1, more)).toBe(HEADER('10000000'))
  })

  it('direntplus: the entry before each; none for . and ..', () => {
    const from2 = `${ZEROS(2)} ${U64('02000000')} 00100000 ${ZEROS(5)}`
    const file = `${U64('02000000')} ${U64('03000000')} 04000000 08000000 66696c65 00000000`
    expect(reply(44, 1, from2)).toBe(`${HEADER('b0000000')} ${ENTRY} ${file}`)
    const all = device.exchange(request(44, 1, `${ZEROS(4)} 00100000 ${ZEROS(5)}`))!
    expect(all.readBigUInt64LE(16)).toBe(0n)
  })

  it('a megabyte at once', () => {
    device.tree.nodes.get(2)!.data = Buffer.alloc(1 << 20, 7)
    const body = `${U64('02000000')} ${U64('00000000')} 00001000 ${ZEROS(5)}`
    const message = device.exchange(request(15, 2, body))!
    expect(message.length).toBe((1 << 20) + 16)
    expect(message.subarray(16).equals(Buffer.alloc(1 << 20, 7))).toBe(true)
  })
})

describe('work on another thread', () => {
  let directory: string
  let fd: number
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cosmos-jobs-'))
    writeFileSync(join(directory, 'a'), '0123456789')
    fd = openSync(join(directory, 'a'), 'r+')
    device.tree.jobDescriptor = fd
    device.tree.calls = []
  })
  afterEach(() => {
    closeSync(fd)
    rmSync(directory, { recursive: true })
  })

  it('a read is answered with its data, by the thread', () => {
    const body = `${U64('02000000')} ${U64('04000000')} 04000000 ${ZEROS(5)}`
    expect(device.exchange(request(15, 2, body))).toBeUndefined()
    expect(device.tree.calls).not.toContain('answered')
    expect(show(device.finishJob()!)).toBe(`${HEADER('14000000')} 34353637`)
    expect(device.tree.calls).toContain('answered')
    expect(device.pool.busy).toBe(false)
  })

  it('three at once wait for two threads', () => {
    const fsync = (low: string): Buffer => {
      const message = request(20, 2, ZEROS(4))
      hex(low).copy(message, 8)
      return message
    }
    for (const low of ['02000000', '04000000', '06000000'])
      expect(device.exchange(fsync(low))).toBeUndefined()
    const uniques = [device.finishJob(), device.finishJob(), device.finishJob()].map((reply) => reply![8])
    expect(uniques.sort()).toEqual([2, 4, 6])
    expect(device.pool.busy).toBe(false)
  })

  it('a request that goes on after its job is dispatched again as it was', () => {
    Object.assign(device.tree.job, { again: true, token: 77 })
    expect(device.exchange(request(20, 2, `${U64('07000000')} 01000000 00000000`))).toBeUndefined()
    // Something else in between.
    device.tree.calls = []
    expect(show(device.finishJob()!)).toBe(HEADER('10000000'))
    expect(device.tree.ended).toEqual([[77, 0]])
    expect(device.tree.calls).toEqual(['fsync 2 7 true', 'answered'])
  })

  it('a descriptor that is none is an error at once', () => {
    device.tree.jobDescriptor = 999
    expect(show(device.exchange(request(20, 2, ZEROS(4)))!)).toBe('10000000 f7ffffff 0a000000 00000000')
  })

  it('copies files with their holes', () => {
    const scratch = allocateNative(1 << 16)
    const copier = new FileCopier(scratch.address, 1 << 16)
    const source = openSync(join(directory, 'holes'), 'w+')
    const target = openSync(join(directory, 'copy'), 'w+')
    const content = Buffer.alloc(3 << 20)
    content.fill(1, 1 << 20, (1 << 20) + 5000)
    const size = content.length
    writeHoled(source, content)
    expect(copier.copyFile(source, target, size)).toBe(size)
    expect(readFileSync(join(directory, 'copy')).equals(content)).toBe(true)
    expect(copier.copyRange(source, (1 << 20) + 4990, target, 0, 10)).toBe(10)
    expect(copier.copyRange(source, size, target, 0, 10)).toBe(0)
    expect(copier.copyFile(-1, target, 5)).toBe(-9)
    closeSync(source)
    closeSync(target)
  })
})

/** Writes only what is not zero. */
function writeHoled(fd: number, content: Buffer): void {
  ftruncateSync(fd, content.length)
  writeSync(fd, content, 1 << 20, 5000, 1 << 20)
  expect(fstatSync(fd).blocks * 512).toBeLessThan(content.length)
}
