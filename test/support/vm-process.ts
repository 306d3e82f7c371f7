import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import koffi from 'koffi'
import { addressOf } from '../../src/os/memory.ts'
import { waitFor } from './wait.ts'

// A VM's processes without a daemon: started as docs/vm-protocol.md has it.

const libc = koffi.load('libc.so.6')
const makeSocket: (family: number, type: number, protocol: number) => number =
  libc.func('int socket(int, int, int)')
const bind: (fd: number, address: number, size: number) => number = libc.func(
  'int bind(int, uintptr_t, uint32_t)',
)
const listen: (fd: number, backlog: number) => number = libc.func('int listen(int, int)')

/** The Node that everything runs on, whichever runs the tests. */
const NODE = fileURLToPath(new URL('../../node_modules/node/bin/node', import.meta.url))

const AF_UNIX = 1
/** SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC */
const STREAM = 1 | 0o4000 | 0o2000000

function listenAt(path: string): number {
  const address = Buffer.alloc(110)
  address.writeUInt16LE(AF_UNIX)
  address.write(path, 2)
  const fd = makeSocket(AF_UNIX, STREAM, 0)
  if (fd < 0 || bind(fd, addressOf(address), 110) < 0 || listen(fd, 128) < 0)
    throw new Error(`cannot listen at ${path}: errno ${koffi.errno()}`)
  return fd
}

/** How a process ended, as the daemon's `obituary` tells it. */
export interface Obituary {
  readonly code?: number
  readonly signal?: string
}

/** A VM: a socket, and processes that accept from it; one that ends is followed by the next. */
export class TestVm {
  readonly directory = mkdtempSync(join(tmpdir(), 'cosmos-vm-'))
  readonly socket = join(this.directory, 'socket')
  readonly #listening = listenAt(this.socket)
  readonly #log = openSync(join(this.directory, 'err'), 'a')
  readonly #children = new Set<ChildProcess>()
  readonly #ended = new Map<number, Obituary>()
  readonly #program: URL
  #isStopped = false

  /** Starts as many processes of a program as are to be there. */
  constructor(program: URL, processes = 1) {
    this.#program = program
    for (let i = 0; i < processes; i++) this.#start()
  }

  #start(): void {
    const child = spawn(NODE, [fileURLToPath(this.#program)], {
      cwd: this.directory,
      env: { ...process.env, COSMOS_VM: 'test', COSMOS_VM_FD: '3' },
      stdio: ['pipe', this.#log, this.#log, this.#listening],
    })
    this.#children.add(child)
    child.on('exit', (code, signal) => {
      this.#children.delete(child)
      this.#ended.set(child.pid!, signal === null ? { code: code! } : { signal })
      if (!this.#isStopped) this.#start()
    })
  }

  connect = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(this.socket, () => resolve(socket))
      socket.once('error', reject)
    })

  obituary = (pid: number): Promise<Obituary> =>
    waitFor(`the end of process ${pid}`, () => this.#ended.get(pid))

  /** What the processes have written to their error log. */
  log(): string {
    return readFileSync(join(this.directory, 'err'), 'utf8')
  }

  /** The processes that are there. */
  get pids(): number[] {
    return [...this.#children].map((child) => child.pid!)
  }

  /** Closes the pipe that tells a process that the daemon is there. */
  endLife(pid: number): void {
    for (const child of this.#children) if (child.pid === pid) child.stdin?.destroy()
  }

  /** Ends the processes as the daemon does, by the pipe, and at once those that do not hear it. */
  async stop(): Promise<void> {
    this.#isStopped = true
    for (const child of this.#children) child.stdin?.destroy()
    await waitFor('the end of all processes', () => this.#children.size === 0).catch((error: unknown) => {
      for (const child of this.#children) child.kill('SIGKILL')
      throw error
    })
    closeSync(this.#listening)
    closeSync(this.#log)
    rmSync(this.directory, { recursive: true, force: true })
  }
}
