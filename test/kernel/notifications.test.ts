import { describe, expect, it } from 'vitest'
import {
  KIND_ATTRIBUTES,
  KIND_DATA,
  KIND_NAME,
  RING_BYTES,
  RingReader,
  RingWriter,
} from '../../mount/kernel/notification-ring.ts'
import { startThread } from '../../mount/kernel/threads.ts'
import * as libc from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { show } from './fake-device.ts'

function ring(): { writer: RingWriter; take: () => unknown } {
  const memory = new SharedArrayBuffer(RING_BYTES)
  const reader = new RingReader(memory, new Uint8Array(1024))
  const take = (): unknown => {
    if (!reader.take()) return undefined
    const name = Buffer.from(reader.name.subarray(0, reader.length)).toString()
    return reader.kind === KIND_NAME ? [reader.kind, reader.node, name] : [reader.kind, reader.node]
  }
  return { writer: new RingWriter(memory), take }
}

describe('the ring of notifications', () => {
  it('keeps their order', () => {
    const { writer, take } = ring()
    writer.node(5, true)
    writer.name(1, Buffer.from('xfile'), 1, 4)
    writer.node(5, false)
    expect([take(), take(), take(), take()]).toEqual([
      [KIND_DATA, 5],
      [KIND_NAME, 1, 'file'],
      [KIND_ATTRIBUTES, 5],
      undefined,
    ])
  })

  it('leaves out what repeats one that still waits, and only that', () => {
    const { writer, take } = ring()
    for (let i = 0; i < 10; i++) writer.node(5, true)
    writer.node(5, false)
    expect([take(), take()]).toEqual([[KIND_DATA, 5], undefined])
    writer.node(5, true)
    expect(take()).toEqual([KIND_DATA, 5])
    for (let i = 0; i < 10; i++) writer.name(1, Buffer.from('file'), 0, 4)
    writer.name(1, Buffer.from('filo'), 0, 4)
    writer.name(2, Buffer.from('filo'), 0, 4)
    expect([take(), take(), take(), take()]).toEqual([
      [KIND_NAME, 1, 'file'],
      [KIND_NAME, 1, 'filo'],
      [KIND_NAME, 2, 'filo'],
      undefined,
    ])
  })

  it('says that it is full, and goes round', () => {
    const { writer, take } = ring()
    let count = 0
    while (writer.node(count + 1, true)) count++
    expect(count).toBe(1 << 15)
    for (let i = 0; i < count; i++) expect(take()).toEqual([KIND_DATA, i + 1])
    const name = Buffer.from('n'.repeat(255))
    for (let i = 0; i < 3000; i++) {
      expect(writer.name(i, name, 0, 255)).toBe(true)
      expect(take()).toEqual([KIND_NAME, i, name.toString()])
    }
  })
})

describe('the notifying thread', () => {
  it('writes what fuse.h says', async () => {
    const pair = allocateNative(8)
    libc.socketpair(1, 5, 0, pair.address)
    const fuseFd = pair.view.getInt32(0, true)
    const kernelFd = pair.view.getInt32(4, true)
    const memory = new SharedArrayBuffer(RING_BYTES)
    const writer = new RingWriter(memory)
    const worker = startThread('notify-thread', { fuseFd, ring: memory, expireOnly: true })
    const buffer = allocateNative(4096)
    const next = (): string => {
      const size = libc.read(kernelFd, buffer.address, 4096)
      return show(buffer.bytes.subarray(0, size))
    }
    writer.node(5, true)
    expect(next()).toBe(
      '28000000 02000000 00000000 00000000 05000000 00000000 00000000 00000000 00000000 00000000',
    )
    writer.node(6, false)
    expect(next()).toBe(
      '28000000 02000000 00000000 00000000 06000000 00000000 ffffffff ffffffff 00000000 00000000',
    )
    writer.name(1, Buffer.from('file'), 0, 4)
    expect(next()).toBe('25000000 03000000 00000000 00000000 01000000 00000000 04000000 01000000 66696c65 00')
    writer.everything()
    expect(next()).toBe('10000000 08000000 00000000 00000000')
    while (!writer.idle) await new Promise((resolve) => setTimeout(resolve, 1))
    await worker.terminate()
    libc.close(fuseFd)
    libc.close(kernelFd)
  })
})
