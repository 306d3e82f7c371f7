import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import koffi from 'koffi'
import { decodePayload, encodeFrame, FrameReader } from '../../src/form/msgpack.ts'
import { fromWireError } from '../../src/form/wire.ts'
import { sendmsg } from '../../src/os/libc.ts'
import { addressOf, allocateNative } from '../../src/os/memory.ts'
import { checkout } from './instance.ts'
import { within } from './wait.ts'

/** Support: a VM's process as the daemon starts it, and a client of docs/vm-protocol.md. */

const libc = koffi.load('libc.so.6')
const socket: (domain: number, type: number, protocol: number) => number =
  libc.func('int socket(int, int, int)')
const bind: (fd: number, address: number, size: number) => number = libc.func(
  'int bind(int, uintptr_t, uint)',
)
const listen: (fd: number, backlog: number) => number = libc.func('int listen(int, int)')
const connect: (fd: number, address: number, size: number) => number = libc.func(
  'int connect(int, uintptr_t, uint)',
)

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
/** struct msghdr (56) · struct iovec (16) · control message. */
const IOVEC = 56
const CONTROL = 72
const PATIENCE_MS = 20_000

/** The Node that the tests run on, with the VM wasi. */
export const WASI_COMMAND = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  join(checkout, 'vms/wasi/main.ts'),
]

type Message = Record<string, unknown>

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A VM's socket, and one process at a time that serves it; where one ends and a client waits, the next starts. */
export class VmProcess {
  readonly directory = mkdtempSync(join(tmpdir(), 'cosmos-vm-'))
  readonly #command: readonly string[]
  readonly #listening: number
  readonly #clients: VmClient[] = []
  #child: ChildProcess | undefined
  /** Clients that no process has taken. */
  #waiting = 0
  #ended: Promise<ProcessEnd> | undefined

  constructor(command: readonly string[] = WASI_COMMAND) {
    this.#command = command
    this.#listening = unixSocket(SOCK_NONBLOCK)
    const address = unixAddress(this.path('socket'))
    if (bind(this.#listening, address.address, 110) !== 0 || listen(this.#listening, 16) !== 0)
      throw new Error('no socket can be made')
  }

  /** A path in a directory of its own. */
  path(name: string): string {
    return join(this.directory, name)
  }

  /** Starts a process, if none runs. */
  start(): ChildProcess {
    if (this.#child !== undefined) return this.#child
    const [program = '', ...args] = this.#command
    const log = openSync(this.path('err'), 'a')
    const child = spawn(program, args, {
      cwd: this.directory,
      env: { ...process.env, COSMOS_VM: 'tested', COSMOS_VM_FD: '3' },
      stdio: ['pipe', log, log, this.#listening],
    })
    closeSync(log)
    this.#child = child
    this.#ended = new Promise((resolve) => {
      child.on('exit', (code, signal) => {
        this.#child = undefined
        resolve({ code, signal })
        if (this.#waiting > 0) this.start()
      })
    })
    return child
  }

  /** How the process ends that runs now, or ran last. */
  get ended(): Promise<ProcessEnd> {
    return within(PATIENCE_MS, "the VM's end", this.#ended ?? Promise.reject(new Error('it was not started')))
  }

  /** What it has logged. */
  log(): string {
    return readFileSync(this.path('err'), 'utf8')
  }

  /** A new session with a process. */
  async connect(): Promise<VmClient> {
    this.start()
    const client = new VmClient(this.path('socket'))
    this.#clients.push(client)
    client.send({ version: 1 })
    this.#waiting++
    await client.hello.finally(() => this.#waiting--)
    return client
  }

  /** Closes the pipe that says that the daemon is there. */
  leave(): void {
    this.#child?.stdin?.destroy()
  }

  async stop(): Promise<void> {
    this.#waiting = 0
    for (const client of this.#clients) client.close()
    this.#child?.kill('SIGKILL')
    await this.#ended
    closeSync(this.#listening)
    rmSync(this.directory, { recursive: true })
  }
}

/** What is executed; what is left out is empty. */
export interface Execution {
  payload: string
  argv?: readonly string[]
  env?: readonly string[]
  cwd?: string
  umask?: number
  /** Members of the route besides the path and kind. */
  route?: Message
  limits?: readonly unknown[]
  /** What the program reads: text, or an open descriptor. */
  stdin?: string | Uint8Array | number
  /** Where it writes; a file, whose text is in the result, where it is left out. */
  stdout?: number
}

/** What came of it. */
export interface Executed {
  readonly exit: { code?: number; signal?: number; core?: boolean }
  readonly stdout: string
  readonly stderr: string
}

/** One session. */
export class VmClient {
  readonly fd: number
  readonly hello: Promise<Message>
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #frames = new FrameReader()
  readonly #open = new Map<number, { resolve(answer: Message): void; reject(error: Error): void }>()
  /** Messages of executions that are no end, by request. */
  readonly #told = new Map<number, (message: Message) => void>()
  #greet: (hello: Message) => void = () => {}
  #last = 0

  constructor(path: string) {
    this.fd = unixSocket(0)
    const address = unixAddress(path)
    if (connect(this.fd, address.address, 110) !== 0) throw new Error(`no connection to ${path}`)
    this.hello = within(PATIENCE_MS, 'hello', new Promise((resolve) => (this.#greet = resolve)))
    this.#socket = new Socket({ fd: this.fd })
    this.#socket.on('data', (bytes) => this.#receive(bytes as Buffer))
    this.#socket.on('error', () => {})
    this.closed = new Promise((resolve) => {
      this.#socket.on('close', () => {
        for (const { reject } of this.#open.values()) reject(new Error('the session ended'))
        resolve()
      })
    })
  }

  #receive(bytes: Buffer): void {
    for (const payload of this.#frames.push(bytes)) {
      const message = decodePayload(payload)
      if (message.version !== undefined) this.#greet(message)
      const id = message.id as number
      const waiting = this.#open.get(id)
      if (message.started !== undefined || message.stopped !== undefined) this.#told.get(id)?.(message)
      else if (message.error !== undefined) waiting?.reject(fromWireError(message.error))
      else waiting?.resolve(message)
    }
  }

  /** Sends a message, with descriptors. */
  send(message: object, descriptors: readonly number[] = []): void {
    const frame = encodeFrame(message)
    const header = allocateNative(CONTROL + 16 + 4 * descriptors.length + 4)
    const { view, address } = header
    view.setBigUint64(16, BigInt(address + IOVEC), true)
    view.setBigUint64(24, 1n, true)
    view.setBigUint64(IOVEC, BigInt(addressOf(frame)), true)
    view.setBigUint64(IOVEC + 8, BigInt(frame.length), true)
    if (descriptors.length > 0) {
      const length = 16 + 4 * descriptors.length
      view.setBigUint64(32, BigInt(address + CONTROL), true)
      view.setBigUint64(40, BigInt(length), true)
      view.setBigUint64(CONTROL, BigInt(length), true)
      view.setInt32(CONTROL + 8, SOL_SOCKET, true)
      view.setInt32(CONTROL + 12, SCM_RIGHTS, true)
      for (const [i, fd] of descriptors.entries()) view.setInt32(CONTROL + 16 + 4 * i, fd, true)
    }
    const sent = sendmsg(this.fd, address, 0)
    if (sent !== frame.length) throw new Error(`${sent} of ${frame.length} bytes are sent`)
  }

  /** Sends bytes as they are. */
  sendRaw(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  /** A request; rejects with the CosmosError that is its answer. */
  async request(op: string, args: object = {}, descriptors: readonly number[] = []): Promise<Message> {
    return (await this.#ask(++this.#last, op, args, descriptors)).ok as Message
  }

  #ask(id: number, op: string, args: object, descriptors: readonly number[]): Promise<Message> {
    const answer = new Promise<Message>((resolve, reject) => this.#open.set(id, { resolve, reject }))
    this.send({ id, op, args }, descriptors)
    return within(PATIENCE_MS, op, answer).finally(() => this.#open.delete(id))
  }

  /** `exec` with these arguments: its last message. */
  run(args: object, descriptors: readonly number[]): Promise<Message> {
    return this.#ask(++this.#last, 'exec', args, descriptors)
  }

  /** Begins an execution. */
  begin(execution: Execution): Running {
    return new Running(this, ++this.#last, execution, (id, args, fds, told) => {
      this.#told.set(id, told)
      return this.#ask(id, 'exec', args, fds)
    })
  }

  /** Executes to the end. */
  exec(execution: Execution): Promise<Executed> {
    return this.begin(execution).done
  }

  close(): void {
    this.#socket.destroy()
  }
}

type Ask = (id: number, args: object, fds: number[], told: (message: Message) => void) => Promise<Message>

/** An execution that has begun. */
export class Running {
  /** Process id, once it runs. */
  readonly started: Promise<number>
  readonly done: Promise<Executed>
  /** Signals that have stopped it. */
  readonly stops: number[] = []
  readonly #client: VmClient
  readonly #id: number

  constructor(client: VmClient, id: number, execution: Execution, ask: Ask) {
    this.#client = client
    this.#id = id
    const { payload, argv, env = [], cwd = tmpdir(), umask = 0o022, route = {}, limits = [] } = execution
    const directory = mkdtempSync(join(tmpdir(), 'cosmos-exec-'))
    const file = (name: string) => openSync(join(directory, name), 'w+')
    const own = [file('out'), file('error')]
    const { stdin = '', stdout = own[0]! } = execution
    let input = stdin
    if (typeof input !== 'number') {
      writeFileSync(join(directory, 'in'), input)
      input = openSync(join(directory, 'in'), 'r')
      own.push(input)
    }
    const args = {
      route: { path: payload, payload, kind: 'wasm', ...route },
      argv: argv ?? [payload],
      env,
      cwd,
      umask,
      limits,
      descriptors: [0, 1, 2],
    }
    let start: (pid: number) => void = () => {}
    this.started = new Promise((resolve) => (start = resolve))
    const answer = ask(id, args, [input, stdout, own[1]!], ({ started, stopped }) => {
      if (started !== undefined) start((started as { pid: number }).pid)
      if (stopped !== undefined) this.stops.push(stopped as number)
    })
    for (const fd of own) closeSync(fd)
    const text = (name: string) => readFileSync(join(directory, name), 'utf8')
    this.done = answer
      .then(({ exit }) => ({ exit: exit as Executed['exit'], stdout: text('out'), stderr: text('error') }))
      .finally(() => rmSync(directory, { recursive: true }))
    // Whoever only looks at `started` is told of an error by its absence.
    this.done.catch(() => {})
  }

  signal(signal: number, group = true): void {
    this.#client.send({ id: this.#id, signal, group })
  }
}

function unixSocket(flags: number): number {
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)
  if (fd < 0) throw new Error('no socket')
  return fd
}

function unixAddress(path: string): ReturnType<typeof allocateNative> {
  const address = allocateNative(110)
  address.view.setUint16(0, AF_UNIX, true)
  address.bytes.write(path, 2)
  return address
}
