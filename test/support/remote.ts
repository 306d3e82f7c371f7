import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { ControlServer } from '../../src/daemon/control-server.ts'
import type { ControlHandlers, LaunchArguments } from '../../src/daemon/handlers.ts'
import type { LaunchResult } from '../../src/daemon/results.ts'
import { CosmosError } from '../../src/errors.ts'
import { type MemoryLinks, memoryLinks } from '../../src/mesh/memory-link.ts'
import { Netrun, type NetrunOptions } from '../../src/mesh/netrun/netrun.ts'
import type { NetrunRequest } from '../../src/mesh/netrun/run.ts'
import type { CallContext, SessionHandler } from '../../src/mesh/session/incoming-call.ts'
import type { Call } from '../../src/mesh/session/outgoing-call.ts'
import { Session } from '../../src/mesh/session/session.ts'
import type { StreamReader, StreamWriter } from '../../src/mesh/session/streams.ts'
import { O_CLOEXEC } from '../../src/os/constants.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { pipe2 } from '../../src/os/processes.ts'
import { checkout } from './instance.ts'
import { waitFor } from './wait.ts'

const HERE = 'a'.repeat(64)
const PEER = 'b'.repeat(64)
const TERMINAL_HOST = join(checkout, 'test/support/terminal-host.py')

/** The arguments of the call `exec`. */
interface ExecArguments {
  readonly program: string
  readonly argv: readonly string[]
  readonly env: readonly string[]
  readonly cwd: string
  readonly terminal?: { readonly rows: number; readonly columns: number } | null
}

/** A peer that runs programs of this machine: without grants and sandbox, which others test. */
export class ProgramPeer implements SessionHandler {
  /** Those that run. */
  readonly children = new Set<ChildProcess>()
  /** Every event that a call got. */
  readonly events: [op: string, args: unknown][] = []

  call(_op: string, sent: unknown, context: CallContext): Promise<unknown> {
    const { program, argv, env, cwd, terminal } = sent as ExecArguments
    if (!existsSync(program)) throw new CosmosError('ENOENT', program, 'is not there')
    const environment = variables(env)
    const [file, ...args] = [program, ...argv].map(text)
    // Pipes, as programs expect them: Node makes socket pairs.
    const out = makePipe()
    const err = makePipe()
    const child = terminal
      ? spawn(
          'python3',
          [TERMINAL_HOST, String(terminal.rows), String(terminal.columns), file!, ...args],
          // A session of its own.
          { cwd, env: environment, detached: true, stdio: ['pipe', out.write, 'inherit', 'pipe', 'pipe'] },
        )
      : spawn(file!, args.slice(1), {
          ...{ argv0: args[0]!, cwd, env: environment, detached: true },
          stdio: ['pipe', out.write, err.write],
        })
    closeSync(out.write)
    closeSync(err.write)
    this.children.add(child)
    child.once('exit', () => this.children.delete(child))
    feed(context.readers[0]!, child.stdin!)
    const drained = Promise.all([drain(out.read, context.writers[0]!), drain(err.read, context.writers[1]!)])
    const commands = child.stdio[3] as Writable | undefined
    commands?.on('error', () => {})
    context.event = (op, args) => {
      this.events.push([op, args])
      const { signal, group, rows, columns } = args as Record<string, number>
      if (op === 'resize') commands?.write(`size ${rows} ${columns}\n`)
      else if (commands) commands.write(`signal ${signal}\n`)
      else process.kill(group ? -child.pid! : child.pid!, signal)
    }
    context.signal.addEventListener('abort', () => {
      if (commands) commands.end()
      else if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGKILL')
    })
    const ended = terminal ? told(child, context) : exited(child)
    void ended.then(() => context.notify('ended', undefined))
    return drained.then(() => ended)
  }
}

const pair = allocateNative(8)

function makePipe(): { read: Socket; write: number } {
  pipe2(pair.address, O_CLOEXEC)
  const [read, write] = [pair.view.getInt32(0, true), pair.view.getInt32(4, true)]
  return { read: new Socket({ fd: read, readable: true, writable: false }), write }
}

/** Text of one character a byte as Node has it. */
function text(bytesText: string): string {
  return Buffer.from(bytesText, 'latin1').toString()
}

function variables(env: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    env.map(text).map((each) => [each.slice(0, each.indexOf('=')), each.slice(each.indexOf('=') + 1)]),
  )
}

async function exited(child: ChildProcess): Promise<unknown> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  return signal === null ? { code } : { signal: constants.signals[signal], core: false }
}

/** How a program in a terminal ends, and its stops, are told by its host. */
async function told(child: ChildProcess, context: CallContext): Promise<unknown> {
  let ended: unknown
  let text = ''
  for await (const bytes of child.stdio[4] as Readable) {
    text += bytes
    const lines = text.split('\n')
    text = lines.pop()!
    for (const line of lines) {
      const [name = '', number] = line.split(' ')
      if (name === 'stopped') context.notify('stopped', { signal: Number(number) })
      else ended = { [name]: Number(number) }
    }
  }
  return ended
}

function feed(reader: StreamReader, to: Writable): void {
  to.on('error', () => reader.stop())
  to.on('close', () => reader.stop())
  reader.read({
    data: (bytes) => {
      to.write(Buffer.from(bytes), (error) => {
        if (!error) reader.consumed(bytes.length)
      })
    },
    end: () => to.end(),
  })
}

/** Resolves when the stream has ended. */
function drain(from: Readable, writer: StreamWriter): Promise<void> {
  writer.drained = () => from.resume()
  writer.stopped = () => from.destroy()
  from.on('data', (bytes: Buffer) => {
    if (!writer.write(bytes)) from.pause()
  })
  from.on('end', () => writer.end())
  return new Promise((resolve) => from.on('close', resolve))
}

/** A daemon whose programs a peer runs, over a session in this process. */
export class RemoteWorld {
  readonly directory = mkdtempSync(join(tmpdir(), 'cr-'))
  readonly control = join(this.directory, 'control')
  readonly peer = new ProgramPeer()
  /** What was asked of the peer. */
  readonly asked: NetrunRequest[] = []
  /** What `ran` told. */
  readonly ran: unknown[] = []
  readonly logged: string[] = []
  readonly calls: Call[] = []
  netrun!: Netrun
  links!: MemoryLinks
  /** How a call is made; by default of the session. */
  open: NetrunOptions['open'] = (request) => this.call(request)
  #a: Session
  #b: Session
  #server!: ControlServer

  private constructor() {
    ;[this.#a, this.#b] = this.#sessions()
  }

  static async start(): Promise<RemoteWorld> {
    const world = new RemoteWorld()
    world.netrun = await Netrun.listen({
      path: join(world.directory, 'netrun'),
      open: (request) => {
        world.asked.push(request)
        return world.open(request)
      },
      log: (line) => world.logged.push(line),
    })
    const handlers: Pick<ControlHandlers, 'launch' | 'ran'> = {
      launch: async (args, context) => world.#launch(args, context.onClose),
      ran: async (told) => {
        world.ran.push(told)
        return {}
      },
    }
    world.#server = await ControlServer.listen(world.control, handlers as ControlHandlers, {
      software: 'test',
    })
    await world.connect()
    return world
  }

  #launch({ path, argv, cwd }: LaunchArguments, onClose: (callback: () => void) => void): LaunchResult {
    const offer = this.netrun.offer({
      run: `run-${this.asked.length}`,
      peer: { id: PEER, name: 'me@B' },
      program: path,
      argv,
      cwd,
      lend: [],
    })
    onClose(offer.withdraw)
    return offer.answer as unknown as LaunchResult
  }

  /** The call of the session that runs a program. */
  call({ program, argv, env, cwd, terminal, event }: NetrunRequest): Call {
    const args = { program, argv, env, cwd, terminal }
    const call = this.#a.open('exec', args, { sends: 1, receives: 2, event })
    this.calls.push(call)
    return call
  }

  #sessions(): [Session, Session] {
    const settings = { resumeWindow: 200 }
    const report = (error: unknown) => this.logged.push(String(error))
    return [
      new Session({ self: HERE, peer: PEER, software: 'test', settings, report }),
      new Session({ self: PEER, peer: HERE, software: 'test', settings, report, handler: this.peer }),
    ]
  }

  /** A link between the two, after the last one is lost too. */
  async connect(): Promise<void> {
    this.links = memoryLinks(HERE, PEER)
    this.#b.attach(this.links.b)
    this.#a.attach(this.links.a)
    await waitFor('the session', () => this.#a.state === 'open' && this.#b.state === 'open')
  }

  /** The link is cut, for good. */
  cut(): void {
    this.links.cut()
  }

  async stop(): Promise<void> {
    await this.netrun.close()
    await this.#server.close()
    this.#a.close()
    this.#b.close()
    for (const child of this.peer.children) child.kill('SIGKILL')
    rmSync(this.directory, { recursive: true })
  }
}
