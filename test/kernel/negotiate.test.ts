import { describe, expect, it } from 'vitest'
import { loadNegotiated, negotiate, storeNegotiated } from '../../mount/kernel/negotiate.ts'
import { FakeDevice, hex, request, show } from './fake-device.ts'

/** What Linux 6.18 sends as fuse_init_in: 7.45, max_readahead 0x20000, flags, flags2. */
const LINUX_6_18 = `07000000 2d000000 00000200 fbffff73 fd050000
  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000`
/** Linux 5.4: 7.31, sixteen bytes. */
const LINUX_5_4 = '07000000 1f000000 00000200 fbffff03'

function answer(
  body: string,
  allowed = { resend: true, passthrough: true },
): ReturnType<typeof negotiate> & {
  bytes: string
} {
  const input = hex(body)
  const words = new Uint32Array(input.buffer.slice(input.byteOffset, input.byteOffset + input.length))
  const output = new Uint32Array(16).fill(0xffffffff)
  const outcome = negotiate(words, 0, input.length, output, 0, allowed)
  return { ...outcome, bytes: show(Buffer.from(output.buffer)) }
}

describe('INIT', () => {
  it('settles everything with a kernel of 7.45', () => {
    const { bytes, size, negotiated } = answer(LINUX_6_18)
    expect(bytes).toBe(
      [
        '07000000 2d000000 00000200',
        // ASYNC_READ ATOMIC_O_TRUNC BIG_WRITES DONT_MASK AUTO_INVAL DO_READDIRPLUS ASYNC_DIO PARALLEL_DIROPS
        // POSIX_ACL MAX_PAGES CACHE_SYMLINKS NO_OPENDIR KILLPRIV_V2 SETXATTR_EXT INIT_EXT
        '69b0d471',
        // max_background 64, congestion 48; max_write 1 MiB; time_gran 1; max_pages 256
        '40003000 00001000 01000000 00010000',
        // EXPIRE_ONLY DIRECT_IO_ALLOW_MMAP PASSTHROUGH HAS_RESEND; stack depth 1
        'b8000000 01000000',
        '00000000 00000000 00000000 00000000 00000000 00000000',
      ].join(' '),
    )
    expect(size).toBe(64)
    expect(negotiated).toMatchObject({ minor: 45, maxWrite: 1 << 20, resend: true, passthrough: true })
    expect(negotiated).toMatchObject({ expireOnly: true, epoch: true, longSetxattr: true })
  })

  it('does with less on an older kernel', () => {
    const { bytes, negotiated } = answer(LINUX_5_4)
    expect(bytes).toBe(
      `07000000 1f000000 00000200 69b0d401 40003000 00001000 01000000 00010000 ${'00000000 '.repeat(8).trim()}`,
    )
    expect(negotiated).toMatchObject({ minor: 31, resend: false, passthrough: false, expireOnly: false })
    expect(negotiated).toMatchObject({ epoch: false, longSetxattr: false })
  })

  it('speaks its own minor with a newer kernel, and does not look at flags2 unless it is sent', () => {
    const newer = answer(LINUX_6_18.replace('2d000000', '63000000'))
    expect(newer.negotiated).toMatchObject({ minor: 45 })
    const short = answer('07000000 2d000000 00000200 fbffff73')
    expect(short.negotiated).toMatchObject({ flags2: 0 })
  })

  it('leaves out what is not allowed', () => {
    const { negotiated } = answer(LINUX_6_18, { resend: false, passthrough: false })
    expect(negotiated).toMatchObject({ resend: false, passthrough: false, flags2: 0x18 })
  })

  it('has a kernel of a newer major version ask again', () => {
    const { size, negotiated, bytes } = answer(LINUX_6_18.replace('07000000', '08000000'))
    expect(negotiated).toBeUndefined()
    expect(size).toBe(64)
    expect(bytes).toMatch(/^07000000 2d000000 00000000/)
  })

  it.each([
    ['7.30', LINUX_5_4.replace('1f000000', '1e000000')],
    ['6.45', LINUX_6_18.replace('07000000', '06000000')],
  ])('refuses %s with EPROTO and says why', (version, body) => {
    const device = new FakeDevice(false)
    expect(show(device.exchange(request(26, 0, body))!)).toBe('10000000 b9ffffff 0a000000 00000000')
    expect(device.log).toEqual([`the kernel speaks FUSE ${version}, at least 7.31 is needed (Linux 5.4)`])
    device.close()
  })

  it('is kept for the next daemon', () => {
    const part = new Uint32Array(64)
    expect(loadNegotiated(part)).toBeUndefined()
    const { negotiated } = answer(LINUX_6_18)
    storeNegotiated(part, negotiated!)
    expect(loadNegotiated(part)).toEqual(negotiated)
  })
})
