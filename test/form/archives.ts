import { crc32, deflateRawSync } from 'node:zlib'

/** Archives that no tool would make. */

interface ZipEntry {
  readonly name: string
  readonly content?: Buffer
  /** st_mode, for links. */
  readonly mode?: number
  /** The size that it claims to have. */
  readonly claims?: number
}

/** A zip archive with these entries, byte by byte (APPNOTE.TXT 4.3). */
export function zipOf(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  for (const { name, content = Buffer.alloc(0), mode = 0o100644, claims } of entries) {
    const packed = deflateRawSync(content)
    const fields = Buffer.alloc(26)
    fields.writeUInt16LE(20, 0)
    fields.writeUInt16LE(0x800, 2)
    fields.writeUInt16LE(8, 4)
    fields.writeUInt32LE(0x21, 8)
    fields.writeUInt32LE(crc32(content), 10)
    fields.writeUInt32LE(packed.length, 14)
    fields.writeUInt32LE(claims ?? content.length, 18)
    fields.writeUInt16LE(Buffer.byteLength(name), 22)
    const central = Buffer.alloc(14)
    central.writeUInt32LE((mode << 16) >>> 0, 6)
    central.writeUInt32LE(at, 10)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), packed])
    directory.push(Buffer.from('PK\x01\x02\x14\x03', 'latin1'), fields, central, Buffer.from(name))
    parts.push(local)
    at += local.length
  }
  const listed = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06')
  end.writeUInt16LE(entries.length, 8)
  end.writeUInt16LE(entries.length, 10)
  end.writeUInt32LE(listed.length, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...parts, listed, end])
}

interface TarEntry {
  readonly name: string
  /** `0` file, `1` hard link, `2` symbolic link, `3` device, `5` directory. */
  readonly type?: string
  readonly link?: string
  readonly content?: string
  /** The size that it claims to have. */
  readonly claims?: number
}

/** A tar archive with these entries (POSIX ustar). */
export function tarOf(entries: readonly TarEntry[]): Buffer {
  const parts = entries.map(({ name, type = '0', link = '', content = '', claims }) => {
    const header = Buffer.alloc(512)
    header.write(name, 0, 100)
    header.write('0000644\x000000000\x000000000\x00', 100)
    header.write(`${(claims ?? content.length).toString(8).padStart(11, '0')}\x0000000000000\x00`, 124)
    header.write('        ', 148)
    header.write(type, 156)
    header.write(link, 157, 100)
    header.write('ustar\x0000', 257)
    const sum = header.reduce((total, byte) => total + byte, 0)
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    const body = Buffer.alloc(Math.ceil(content.length / 512) * 512)
    body.write(content)
    return Buffer.concat([header, body])
  })
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}
