import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { OPERATIONS } from '../../mount/kernel/operations-table.ts'
import { FakeDevice, hex, request, show } from './fake-device.ts'

/** Messages that no kernel would send: an error or a logged refusal, never a crash. */

let device: FakeDevice
beforeEach(() => {
  device = new FakeDevice()
})
afterEach(() => device.close())

describe('broken messages', () => {
  it('shorter than a header: logged, and answered where the number is there', () => {
    expect(device.exchange(hex('08000000 03000000'))).toBeUndefined()
    expect(show(device.exchange(hex('18000000 03000000 0a000000 00000000 00000000 00000000'))!)).toBe(
      '10000000 fbffffff 0a000000 00000000',
    )
    expect(device.log).toEqual([
      'a request of 8 bytes is not one whole message',
      'a request of 24 bytes (opcode 3) is not one whole message',
    ])
  })

  it('a length that is not the message’s', () => {
    const message = request(3, 1, '00000000 00000000 00000000 00000000')
    message.writeUInt32LE(57, 0)
    expect(device.exchange(message)!.readInt32LE(4)).toBe(-5)
    message.writeUInt32LE(0xffffffff, 0)
    expect(device.exchange(message)!.readInt32LE(4)).toBe(-5)
    expect(device.tree.calls).toEqual([])
  })

  it('every operation refuses a body one byte short', () => {
    for (const [opcode, operation] of OPERATIONS.entries()) {
      if (operation === undefined || operation.size === 0) continue
      const reply = device.exchange(request(opcode, 1, '00'.repeat(operation.size - 1)))
      if (operation.silent) expect(reply).toBeUndefined()
      else expect(reply?.readInt32LE(4), operation.name).toBe(-5)
      expect(device.log.at(-1)).toContain(`is too short for ${operation.name}`)
    }
    expect(device.tree.calls).toEqual([])
  })

  it('an error that the tree throws is answered', () => {
    device.tree.statfs = () => {
      throw Object.assign(new Error('lost'), { code: 'ESTALE' })
    }
    expect(device.exchange(request(17, 1, ''))!.readInt32LE(4)).toBe(-116)
    expect(device.log).toEqual(['STATFS failed: lost'])
  })

  it('any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (bytes) => {
        answersOrRefuses(Buffer.from(bytes))
      }),
      { numRuns: 3000 },
    )
  })

  it('any body of any operation', () => {
    const opcodes = [...OPERATIONS.keys()].filter((opcode) => OPERATIONS[opcode] !== undefined)
    const body = fc.uint8Array({ maxLength: 400 })
    fc.assert(
      fc.property(
        fc.constantFrom(...opcodes),
        fc.integer({ min: 0, max: 3 }),
        body,
        (opcode, node, bytes) => {
          answersOrRefuses(request(opcode, node, Buffer.from(bytes).toString('hex')))
        },
      ),
      { numRuns: 5000 },
    )
  })

  it('a message as large as the buffer', () => {
    const message = Buffer.alloc((1 << 20) + 4096, 0xff)
    message.writeUInt32LE(message.length, 0)
    message.writeUInt32LE(16, 4)
    expect(device.exchange(message)!.readInt32LE(4)).toBe(-5)
  })
})

/** One reply with the request's number and a length that is right, or a silent operation, or a line in the log. */
function answersOrRefuses(message: Buffer): void {
  const logged = device.log.length
  const reply = device.exchange(message)
  if (reply === undefined) {
    const opcode = message.length >= 8 ? message.readUInt32LE(4) : 0
    expect(OPERATIONS[opcode]?.silent === true || device.log.length > logged).toBe(true)
    return
  }
  expect(reply.readUInt32LE(0)).toBe(reply.length)
  expect(reply.subarray(8, 16).equals(message.subarray(8, 16))).toBe(true)
  expect(reply.readInt32LE(4)).toBeLessThanOrEqual(0)
  expect(reply.readInt32LE(4)).toBeGreaterThan(-512)
  if (reply.readInt32LE(4) < 0) expect(reply.length).toBe(16)
}
