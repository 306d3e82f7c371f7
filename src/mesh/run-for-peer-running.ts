import { closeSync, fchownSync, readdirSync, readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { CosmosError } from '../errors.ts'
import type { Pty, WindowSize } from './pty.ts'
import { type ChildExit, openPipe, sendSignal } from './run-for-peer-spawn.ts'

/** A program that runs for a peer: its streams, its signals, and its end. */

/**
 * The caller's ends of a program's streams. Their back pressure is the program's: a `stdout` that takes no more stops
 * its writer. The end of `stdin` is the program's end of input; `stdin` is destroyed when the program reads no more. A
 * `stdout` that is destroyed ends its writer by SIGPIPE.
 */
export interface PeerStreams {
  readonly stdin: Readable
  readonly stdout: Writable
  /** Ends without a byte where the program has a terminal. */
  readonly stderr: Writable
}

/** How a program ended: by itself, or the sandbox could not be made. */
export type PeerExit = ChildExit | { readonly error: CosmosError }

/** Why a program was ended before it ended by itself. */
export type Ended = 'time' | 'cancelled'

/** How long a program that is told to end may take, milliseconds. */
const GRACE_MS = 1000
/** When it is looked again whether a sandbox has begun to run its program, milliseconds. */
const AGAIN_MS = 2
/** What is kept of the first lines of errors: they are the sandbox's own where it could not be made; bytes. */
const MAX_COMPLAINT = 512
const TOLD_BY: Readonly<Record<Ended, number>> = {
  time: constants.signals.SIGTERM,
  cancelled: constants.signals.SIGHUP,
}
const { SIGKILL, SIGSTOP, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU } = constants.signals
/** Ends a line of input, or the input, on a terminal (termios(3), VEOF). */
const END_OF_INPUT = '\x04'

/** The program's ends of streams, for its start. */
export interface ProgramEnds {
  readonly stdin: number
  readonly stdout: number
  readonly stderr: number
}

/** The three streams of a program, as pipes or as a terminal. */
export class ProgramStreams {
  readonly ends: ProgramEnds
  readonly #pty: Pty | undefined
  readonly #stdin: Writable
  readonly #outputs: readonly Readable[]
  #complaint = Buffer.alloc(0)

  /** `owner` may open the pipes again, as /dev/stdin and its like. Throws CosmosError. */
  constructor(pty: Pty | undefined, owner: { readonly uid: number; readonly gid: number } | undefined) {
    this.#pty = pty
    if (pty) {
      this.ends = { stdin: pty.slave, stdout: pty.slave, stderr: pty.slave }
      this.#stdin = pty.stream
      this.#outputs = [pty.stream]
      return
    }
    const pipes = [openPipe(), openPipe(), openPipe()] as const
    if (owner) for (const { read } of pipes) fchownSync(read, owner.uid, owner.gid)
    this.ends = { stdin: pipes[0].read, stdout: pipes[1].write, stderr: pipes[2].write }
    this.#stdin = new Socket({ fd: pipes[0].write, readable: false, writable: true })
    this.#outputs = [pipes[1], pipes[2]].map(
      ({ read }) => new Socket({ fd: read, readable: true, writable: false }),
    )
  }

  /** To be called when the program has its ends. */
  closeEnds(): void {
    for (const fd of new Set(Object.values(this.ends) as number[])) closeSync(fd)
  }

  /** Connects the caller's ends. Settles when both outputs have ended and were taken; never rejects. */
  async connect(streams: PeerStreams): Promise<void> {
    const last = this.#outputs.at(-1)
    const keep = (chunk: Buffer) => {
      this.#complaint = Buffer.concat([this.#complaint, chunk]).subarray(0, MAX_COMPLAINT)
      if (this.#complaint.length === MAX_COMPLAINT) last?.off('data', keep)
    }
    last?.on('data', keep)
    if (this.#pty) return this.#connectTerminal(this.#pty, streams)
    const [stdout, stderr] = this.#outputs
    // Either side may go first; what that means to the other is the pipeline's.
    pipeline(streams.stdin, this.#stdin).catch(() => {})
    await Promise.allSettled([
      stdout && pipeline(stdout, streams.stdout),
      stderr && pipeline(stderr, streams.stderr),
    ])
  }

  async #connectTerminal({ stream }: Pty, { stdin, stdout, stderr }: PeerStreams): Promise<void> {
    stderr.end()
    stdin.on('error', () => {})
    stdin.on('end', () => stream.write(END_OF_INPUT))
    stdin.pipe(stream, { end: false })
    // The last one who has the program's end has gone: EIO is the end.
    stream.on('error', () => {})
    await new Promise<void>((resolve) => {
      stream.on('data', (chunk: Buffer) => {
        if (!stdout.write(chunk)) stream.pause()
      })
      stdout.on('drain', () => stream.resume())
      stdout.on('error', () => stream.destroy())
      stdout.on('close', () => stream.destroy())
      const finish = () => {
        stdin.unpipe(stream)
        if (stdout.writable) stdout.end(resolve)
        else resolve()
      }
      stream.once('end', finish)
      stream.once('close', finish)
    })
  }

  resize(window: WindowSize): void {
    this.#pty?.resize(window)
  }

  /** What the first lines of errors say. */
  get complaint(): string {
    return this.#complaint.toString().split('\n', 1)[0]?.trim() ?? ''
  }

  /** The program has ended: it reads no more. */
  closeInput(): void {
    if (!this.#pty) this.#stdin.destroy()
  }

  /** Ends everything at once. */
  destroy(): void {
    this.#stdin.destroy()
    for (const output of this.#outputs) output.destroy()
  }
}

/** What bwrap tells of a sandbox (`--json-status-fd`). */
export class SandboxStatus {
  /** Pid of the sandbox's first process, once there is one. */
  init: number | undefined
  /** What the program answered; undefined where none was run. */
  exitCode: number | undefined
  /** Settles when nothing more will come. */
  readonly told: Promise<void>

  constructor(fd: number) {
    const socket = new Socket({ fd, readable: true, writable: false })
    let text = ''
    this.told = new Promise((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString()
        const init = /"child-pid": ([0-9]+)/.exec(text)?.[1]
        const exit = /"exit-code": ([0-9]+)/.exec(text)?.[1]
        if (init !== undefined) this.init = Number(init)
        if (exit !== undefined) this.exitCode = Number(exit)
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve())
    })
  }
}

/** The processes of a program: signals reach it, and nothing of it is left. */
export class ProgramProcesses {
  /** What this process has started: the program, or the sandbox's guard. */
  readonly #pid: number
  readonly #status: SandboxStatus | undefined
  readonly #hasTerminal: boolean
  #living = true
  #ended: Ended | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(pid: number, status: SandboxStatus | undefined, hasTerminal: boolean) {
    this.#pid = pid
    this.#status = status
    this.#hasTerminal = hasTerminal
  }

  /** Why it was told to end. */
  get ended(): Ended | undefined {
    return this.#ended
  }

  /** Ends it after some seconds. */
  endAfter(seconds: number): void {
    const milliseconds = Math.min(seconds * 1000, 0x7fff_ffff)
    this.#timer = setTimeout(() => this.end('time'), milliseconds)
  }

  /** Tells it to end, and kills all of it a second later. */
  end(why: Ended): void {
    if (!this.#living || this.#ended) return
    this.#ended = why
    this.signal(TOLD_BY[why])
    this.signal(SIGCONT)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.kill(), GRACE_MS)
  }

  /** Kills all of it at once. */
  kill(): void {
    if (!this.#living) return
    const init = this.#status?.init
    if (init !== undefined) sendSignal(init, SIGKILL)
    else if (!this.#status && this.#hasTerminal)
      for (const pid of sessionOf(this.#pid)) sendSignal(pid, SIGKILL)
    sendSignal(-this.#pid, SIGKILL)
  }

  /**
   * Sends a signal to the program's process group. One that comes before a sandbox runs its program waits for that.
   * Stopping signals without a handler become SIGSTOP: nobody in the program's session could let it go on.
   */
  signal(signal: number): void {
    if (!this.#living) return
    if (!this.#status) sendSignal(-this.#pid, this.#stopping(signal, this.#pid))
    else if (signal === SIGKILL) this.kill()
    else {
      const program = programOf(this.#status.init)
      if (program) sendSignal(-program.group, this.#stopping(signal, program.pid))
      else setTimeout(() => this.signal(signal), AGAIN_MS)
    }
  }

  /** To be called when the child has ended. */
  gone(): void {
    this.#living = false
    clearTimeout(this.#timer)
    if (!this.#status && this.#hasTerminal) for (const pid of sessionOf(this.#pid)) sendSignal(pid, SIGKILL)
  }

  #stopping(signal: number, pid: number): number {
    if (signal !== SIGTSTP && signal !== SIGTTIN && signal !== SIGTTOU) return signal
    const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? '0'
    return (BigInt(`0x${caught}`) >> BigInt(signal - 1)) & 1n ? signal : SIGSTOP
  }
}

/** The signals that end a program that does not handle them, so that a shell's 128 and more means them. */
const ENDING = new Set(
  [
    ...[
      'SIGHUP',
      'SIGINT',
      'SIGQUIT',
      'SIGILL',
      'SIGTRAP',
      'SIGABRT',
      'SIGBUS',
      'SIGFPE',
      'SIGKILL',
      'SIGUSR1',
    ],
    ...[
      'SIGSEGV',
      'SIGUSR2',
      'SIGPIPE',
      'SIGALRM',
      'SIGTERM',
      'SIGXCPU',
      'SIGXFSZ',
      'SIGVTALRM',
      'SIGPROF',
      'SIGSYS',
    ],
  ].map((name) => constants.signals[name as NodeJS.Signals]),
)

/** How the program in a sandbox ended: bwrap tells a signal as a shell does. */
export function exitOfSandbox(code: number): ChildExit {
  return ENDING.has(code - 128) ? { signal: code - 128 } : { code }
}

/** The program in a sandbox: the child of its first process, once that has become something else than bwrap. */
function programOf(init: number | undefined): { pid: number; group: number } | undefined {
  if (init === undefined) return undefined
  const [pid] = read(`/proc/${init}/task/${init}/children`).split(' ')
  if (!pid) return undefined
  const stat = readStat(Number(pid))
  return stat && stat.name !== 'bwrap' ? { pid: Number(pid), group: stat.group } : undefined
}

/** The processes of a session. */
function sessionOf(session: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => readStat(pid)?.session === session)
}

function readStat(pid: number): { name: string; group: number; session: number } | undefined {
  // pid (name) state parent group session (proc_pid_stat(5)); the name may have anything in it.
  const [, name, group, session] =
    /^[0-9]+ \((.*)\) \S \S+ (\S+) (\S+)/s.exec(read(`/proc/${pid}/stat`)) ?? []
  return name === undefined ? undefined : { name, group: Number(group), session: Number(session) }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // It has ended.
    return ''
  }
}
