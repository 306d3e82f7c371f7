import { BlockingPool } from '../../mount/kernel/blocking.ts'
import { type Context, createContext } from '../../mount/kernel/context.ts'
import { Dispatcher } from '../../mount/kernel/dispatch.ts'
import { allocateMessage } from '../../mount/kernel/message-buffer.ts'
import { loadNegotiated, MAX_WRITE, storeNegotiated } from '../../mount/kernel/negotiate.ts'
import { ReplyWriter } from '../../mount/kernel/reply.ts'
import { RequestReader } from '../../mount/kernel/request.ts'
import * as libc from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { MemoryTree } from './memory-tree.ts'

const AF_UNIX = 1
const SOCK_SEQPACKET_NONBLOCK = 5 | 0o4000
const SOL_SOCKET = 1
const SO_SNDBUFFORCE = 32

/** Bytes of a hexadecimal literal; blanks and line ends are for the reader. */
export function hex(literal: string): Buffer {
  return Buffer.from(literal.replace(/\s+/g, ''), 'hex')
}

/** The bytes as a literal with a blank after each four. */
export function show(bytes: Buffer): string {
  return bytes.toString('hex').replace(/(.{8})(?=.)/g, '$1 ')
}

/** A socket pair that keeps messages apart, in place of /dev/fuse: real system calls, no kernel file system. */
export class FakeDevice {
  readonly tree = new MemoryTree()
  readonly log: string[] = []
  readonly context: Context
  readonly pool: BlockingPool
  readonly #dispatcher: Dispatcher
  readonly #driverFd: number
  readonly #kernelFd: number
  readonly #memory = allocateNative(MAX_WRITE + 8192)

  /** `long`: as after INIT with a kernel of 7.45; otherwise before INIT. */
  constructor(settled = true) {
    const pair = allocateNative(8)
    libc.socketpair(AF_UNIX, SOCK_SEQPACKET_NONBLOCK, 0, pair.address)
    this.#driverFd = pair.view.getInt32(0, true)
    this.#kernelFd = pair.view.getInt32(4, true)
    const size = allocateNative(4)
    size.view.setInt32(0, 4 << 20, true)
    for (const fd of [this.#driverFd, this.#kernelFd]) {
      libc.setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, size.address, 4)
    }
    const log = (line: string): void => void this.log.push(line)
    const request = new RequestReader(allocateMessage(80 + MAX_WRITE + 4096, 80))
    const reply = new ReplyWriter(this.#driverFd, log)
    this.pool = new BlockingPool(this.#driverFd)
    const allowed = { resend: true, passthrough: true }
    this.context = createContext(this.tree, request, reply, log, allowed, (negotiated) => {
      this.context.negotiated = negotiated
    })
    this.#dispatcher = new Dispatcher(this.context, this.pool)
    if (settled) this.context.negotiated = settledNow()
  }

  /** One message of the kernel: the driver's reply, undefined for none. */
  exchange(message: Buffer): Buffer | undefined {
    message.copy(this.#memory.bytes)
    libc.write(this.#kernelFd, this.#memory.address, message.length)
    const { buffer } = this.context.request
    const size = libc.read(this.#driverFd, buffer.address, buffer.size)
    this.#dispatcher.handle(Math.max(size, 0))
    return this.reply()
  }

  /** The reply that waits; undefined for none. */
  reply(): Buffer | undefined {
    const size = libc.read(this.#kernelFd, this.#memory.address, this.#memory.bytes.length)
    return size < 0 ? undefined : Buffer.from(this.#memory.bytes.subarray(0, size))
  }

  /** Waits for the job of a request to end and has it answered. */
  finishJob(): Buffer | undefined {
    for (;;) {
      const done = this.pool.take()
      if (done !== undefined) {
        this.#dispatcher.finish(done)
        return this.reply()
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }

  close(): void {
    this.pool.stop()
    libc.close(this.#driverFd)
    libc.close(this.#kernelFd)
  }
}

function settledNow(): ReturnType<typeof loadNegotiated> {
  const part = new Uint32Array(64)
  const none = { resend: true, passthrough: true, expireOnly: true, epoch: true, longSetxattr: true }
  storeNegotiated(part, { minor: 45, flags: 0x20000000, flags2: 0, maxWrite: MAX_WRITE, ...none })
  return loadNegotiated(part)
}

/** A request: header (unique 0x0a, uid 1000, gid 100, pid 4242) of an operation on a node, and its body's literal. */
export function request(opcode: number, node: number, body: string): Buffer {
  const bytes = hex(body)
  const header = hex(
    '00000000 00000000 0a000000 00000000 00000000 00000000 e8030000 64000000 92100000 00000000',
  )
  header.writeUInt32LE(40 + bytes.length, 0)
  header.writeUInt32LE(opcode, 4)
  header.writeUInt32LE(node, 16)
  return Buffer.concat([header, bytes])
}
