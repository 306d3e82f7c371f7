import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import type { Link, LinkReceiver } from '../../src/mesh/link.ts'
import { memoryLinks } from '../../src/mesh/memory-link.ts'
import type { SessionHandler } from '../../src/mesh/session/incoming-call.ts'
import { Session } from '../../src/mesh/session/session.ts'

/**
 * What a session costs: `node test/bench/mesh-session.ts`. Calls and a stream over the link in memory, both ends in this
 * process; over a plain WebSocket on the loopback, between two; and over bare sockets of the same two, to compare.
 */

const A = 'a'.repeat(64)
const B = 'b'.repeat(64)
const MIB = 1024 * 1024
const SECONDS = 2
const CHUNK = 64 * 1024

/** Answers what it is asked, and sends as much as it is asked for. */
const handler: SessionHandler = {
  call: (op, args, context) => {
    if (op === 'echo') return args
    if (op === 'memory') return process.memoryUsage().rss
    const [output] = context.writers
    let left = (args as { bytes: number }).bytes
    return new Promise((resolve) => {
      const chunk = Buffer.alloc(CHUNK, 'x')
      const more = () => {
        while (left > 0) {
          left -= chunk.length
          if (!output!.write(chunk)) return
        }
        output!.end()
        resolve(null)
      }
      output!.drained = more
      more()
    })
  },
}

function session(self: string, peer: string): Session {
  const report = (error: unknown) => console.error(error)
  return new Session({ self, peer, software: 'bench', handler, report })
}

/** A WebSocket without TLS as a link. */
class PlainLink implements Link {
  readonly peer: string
  readonly address = 'loopback'
  receiver: LinkReceiver | undefined
  readonly #socket: WebSocket
  #full = false

  constructor(socket: WebSocket, peer: string) {
    this.#socket = socket
    this.peer = peer
    socket.binaryType = 'nodebuffer'
    socket.on('message', (message: Buffer) => this.receiver?.message(message))
    socket.on('close', () => this.receiver?.ended('closed'))
    socket.on('error', () => {})
  }

  get buffered(): number {
    return this.#socket.bufferedAmount
  }

  send(message: Uint8Array): void {
    this.#socket.send(message, () => {
      if (!this.#full || this.buffered > 256 * 1024) return
      this.#full = false
      this.receiver?.drained()
    })
    if (this.buffered > 256 * 1024) this.#full = true
  }

  close(): void {
    this.#socket.close()
  }
}

/** Calls a second with so many in flight, and microseconds that one takes. */
async function rpc(client: Session, flights: number): Promise<string> {
  for (const seconds of [0.5, SECONDS]) {
    const end = performance.now() + seconds * 1000
    const start = performance.now()
    let calls = 0
    const one = async () => {
      while (performance.now() < end) {
        await client.call('echo', { path: '/some/where', offset: calls }, { deadline: 30_000 })
        calls++
      }
    }
    await Promise.all(Array.from({ length: flights }, one))
    const took = performance.now() - start
    if (seconds === SECONDS)
      return `${Math.round((calls / took) * 1000)} calls/s, ${((took / calls) * 1000 * flights).toFixed(1)} µs each`
  }
  return ''
}

/** MiB a second of one stream from the peer. */
async function stream(client: Session): Promise<string> {
  const size = 1024 * MIB
  const start = performance.now()
  const call = client.open('stream', { bytes: size }, { receives: 1 })
  const [reader] = call.readers
  let came = 0
  reader!.read({
    data: (bytes) => {
      came += bytes.length
      reader!.consumed(bytes.length)
    },
    end: () => {},
  })
  await call.result
  if (came !== size) throw new Error(`${came} bytes came`)
  return `${Math.round(size / MIB / ((performance.now() - start) / 1000))} MiB/s`
}

/** MiB more memory, here and there, of streams that nobody reads; calls are answered meanwhile. */
async function stalled(client: Session): Promise<string> {
  const memory = async () => [process.memoryUsage().rss, (await client.call('memory', {})) as number]
  const before = await memory()
  const abort = new AbortController()
  const calls = Array.from({ length: 8 }, () => {
    const call = client.open('stream', { bytes: 1024 * MIB }, { receives: 1, signal: abort.signal })
    call.readers[0]!.read({ data: () => {}, end: () => {} })
    return call.result.catch(() => {})
  })
  const calling = await rpc(client, 1)
  const after = await memory()
  abort.abort()
  await Promise.all(calls)
  const [here, there] = after.map((each, i) => Math.round((each - before[i]!) / MIB))
  return `${here} MiB more here, ${there} MiB there; calls meanwhile: ${calling}`
}

/** MiB a second of as many bytes over a WebSocket or TCP alone, in messages of a batch each. */
async function bare(start: (take: (size: number) => void) => void): Promise<string> {
  const size = 1024 * MIB
  const from = performance.now()
  let came = 0
  await new Promise<void>((resolve) => {
    start((bytes) => {
      came += bytes
      if (came >= size) resolve()
    })
  })
  return `${Math.round(size / MIB / ((performance.now() - from) / 1000))} MiB/s`
}

async function open(client: Session): Promise<void> {
  while (client.state !== 'open') await new Promise((resolve) => setImmediate(resolve))
}

async function measure(title: string, client: Session): Promise<void> {
  await open(client)
  console.log(`${title}: 1 in flight   ${await rpc(client, 1)}`)
  console.log(`${title}: 64 in flight  ${await rpc(client, 64)}`)
  await stream(client)
  console.log(`${title}: stream        ${await stream(client)}`)
}

/** The other process: a session on each WebSocket of one port, and floods on those of two others. */
async function serve(): Promise<void> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
  server.on('connection', (socket, request) => {
    if (request.url === '/session') session(B, A).attach(new PlainLink(socket, A))
    else flood((chunk, then) => socket.send(chunk, then))
  })
  const tcp = createServer((socket) => {
    socket.on('error', () => {})
    flood((chunk, then) => socket.write(chunk, then))
  })
  tcp.listen(0, '127.0.0.1')
  await Promise.all([once(server, 'listening'), once(tcp, 'listening')])
  process.send!({ ws: (server.address() as AddressInfo).port, tcp: (tcp.address() as AddressInfo).port })
}

function flood(send: (chunk: Buffer, then: () => void) => void): void {
  const chunk = Buffer.alloc(256 * 1024, 'x')
  let left = (1024 * MIB) / chunk.length
  const more = () => {
    if (left-- > 0) send(chunk, more)
  }
  for (let i = 0; i < 4; i++) more()
}

async function main(): Promise<void> {
  const { a, b } = memoryLinks(A, B)
  const [client, peer] = [session(A, B), session(B, A)]
  peer.attach(b)
  client.attach(a)
  await measure('memory', client)
  client.close()
  peer.close()

  const child: ChildProcess = fork(import.meta.filename, ['serve'])
  try {
    const [ports] = (await once(child, 'message')) as [{ ws: number; tcp: number }]
    const connect = (path: string) =>
      new WebSocket(`ws://127.0.0.1:${ports.ws}/${path}`, { perMessageDeflate: false })
    const socket = connect('session')
    await once(socket, 'open')
    const far = session(A, B)
    far.attach(new PlainLink(socket, B))
    await measure('WebSocket', far)
    console.log(`WebSocket: 8 stalled streams  ${await stalled(far)}`)
    far.close()
    const flooded = await bare((take) => {
      connect('flood').on('message', (message: Buffer) => take(message.length))
    })
    console.log(`WebSocket alone: stream  ${flooded}`)
    const { connect: dial } = await import('node:net')
    const plain = await bare((take) => {
      dial(ports.tcp, '127.0.0.1').on('data', (bytes) => take(bytes.length))
    })
    console.log(`TCP alone: stream        ${plain}`)
  } finally {
    child.kill()
  }
  process.exit()
}

if (process.argv[2] === 'serve') await serve()
else await main()
