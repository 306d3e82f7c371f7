import type { Socket } from 'node:net'
import { CosmosError } from '../../errors.ts'
import { encodeFrame, FrameReader, isMap } from '../../form/msgpack.ts'
import { toWireError } from '../../form/wire.ts'
import type { Call } from '../session/outgoing-call.ts'
import {
  exitOf,
  type Greeting,
  isSignal,
  messageOf,
  NETRUN_VERSION,
  type NetrunExit,
  type WindowSize,
} from './messages.ts'
import { Input, Output } from './streams.ts'

/** What the daemon knows of a program that a peer is to run, from its `launch`. Texts have one character a byte. */
export interface NetrunLaunch {
  /** Name of the run. */
  readonly run: string
  /** The peer, and how people call its host: `me@gpubox`. */
  readonly peer: { readonly id: string; readonly name: string }
  /** Path on the peer's host. */
  readonly program: string
  readonly argv: readonly string[]
  readonly cwd: string
  /** Directories that are lent beside it. */
  readonly lend: readonly string[]
}

/** A program that a peer is to run, with what its launcher adds. */
export interface NetrunRequest extends NetrunLaunch {
  /** The caller's whole environment, `NAME=value`. */
  readonly env: readonly string[]
  /** The caller has a terminal of this size, and the program is to have one. */
  readonly terminal: WindowSize | undefined
  /**
   * Takes the call's events ({@link CallOptions.event}). `stopped` (`{signal}`): the program was stopped, and the launcher
   * stops too. `ended`: it has ended, while its output is still on its way; signals would not reach it any more.
   */
  readonly event: (op: string, args: unknown) => void
}

/**
 * A call of the peer that runs the program: one writer, its stdin; two readers, its stdout and stderr; the answer is how
 * it ended, `{code}` or `{signal, core?}`. It gets the events `signal` (`{signal, group}`, a number of signal(7), for the
 * program's process group or for it alone) and `resize` (`{rows, columns}`).
 */
export type NetrunRun = Call

/** Makes the call; what it throws the launcher tells. */
export type NetrunOpen = (request: NetrunRequest) => NetrunRun | Promise<NetrunRun>

/** One run of a program by a peer, between its launcher and the session. */
export class Run {
  readonly launch: NetrunLaunch
  readonly #open: NetrunOpen
  readonly #report: (error: unknown) => void
  readonly #over: () => void
  readonly #input = new Input()
  readonly #outputs = { stdout: new Output(), stderr: new Output() }
  readonly #attached = new Set<string>()
  /** What has come before there was a call. */
  readonly #early: [op: string, args: unknown][] = []
  #control: Socket | undefined
  #call: NetrunRun | undefined
  #settled = false
  #gone = false

  /** `over` is called once, when nothing more will come of it. */
  constructor(launch: NetrunLaunch, open: NetrunOpen, report: (error: unknown) => void, over: () => void) {
    this.launch = launch
    this.#open = open
    this.#report = report
    this.#over = over
  }

  /** Whether its launcher has come. */
  get begun(): boolean {
    return this.#control !== undefined
  }

  /** A connection of its launcher. Throws CosmosError EPERM for one that there is already. */
  attach(greeting: Greeting, socket: Socket): void {
    const { stream } = greeting
    if (this.#gone || this.#attached.has(stream))
      throw new CosmosError('EPERM', 'netrun', 'the token was used')
    this.#attached.add(stream)
    if (stream === 'control') void this.#begin(greeting, socket)
    else if (stream === 'stdin') this.#input.attach(socket)
    else this.#outputs[stream].attach(socket)
  }

  /** Ends it; the peer is told. */
  close(): void {
    if (this.#gone) return
    this.#gone = true
    if (!this.#settled) this.#call?.cancel()
    this.#control?.destroy()
    this.#input.close()
    for (const output of Object.values(this.#outputs)) output.close()
    this.#over()
  }

  async #begin({ env, terminal }: Greeting, control: Socket): Promise<void> {
    this.#control = control
    const frames = new FrameReader()
    control.on('data', (bytes: Buffer) => {
      try {
        for (const payload of frames.push(bytes)) this.#take(payload)
      } catch (error) {
        this.#report(error)
        this.close()
      }
    })
    // A launcher that ends is at its end, or was killed.
    control.on('end', () => this.close())
    control.on('close', () => this.close())
    control.resume()
    this.#send({ version: NETRUN_VERSION })
    const event = (op: string, args: unknown) => {
      if (op === 'ended') this.#send({ ended: true })
      if (op === 'stopped' && isMap(args) && isSignal(args.signal)) this.#send({ stopped: args.signal })
    }
    try {
      const call = await this.#open({ ...this.launch, env, terminal, event })
      call.result.then(
        (answer) => this.#answered(answer),
        (error: unknown) => this.#failed(error),
      )
      this.#call = call
      if (this.#gone) call.cancel()
      else {
        this.#join(call)
        for (const [op, args] of this.#early.splice(0)) call.notify(op, args)
      }
    } catch (error) {
      this.#join(undefined)
      this.#failed(error)
    }
  }

  #join(call: NetrunRun | undefined): void {
    this.#input.join(call?.writers[0] ?? null)
    this.#outputs.stdout.join(call?.readers[0] ?? null)
    this.#outputs.stderr.join(call?.readers[1] ?? null)
  }

  #take(payload: Buffer): void {
    const message = messageOf(payload)
    if (message === undefined) return
    if ('end' in message) this.#input.tell()
    else if ('resize' in message) this.#notify('resize', message.resize)
    else this.#notify('signal', message)
  }

  #notify(op: string, args: unknown): void {
    if (this.#call === undefined) this.#early.push([op, args])
    else this.#call.notify(op, args)
  }

  #answered(answer: unknown): void {
    try {
      void this.#end({ exit: exitOf(answer) })
    } catch (error) {
      this.#failed(error)
    }
  }

  #failed(error: unknown): void {
    const { peer } = this.launch
    // People know the peer by its name.
    const named =
      error instanceof CosmosError && error.subject === peer.id
        ? new CosmosError(error.code, peer.name, error.message.slice(peer.id.length + 2), error.hint)
        : error
    if (!(error instanceof CosmosError)) this.#report(error)
    void this.#end({ error: toWireError(named) })
  }

  /** The end is told when the launcher has the output. */
  async #end(message: { exit: NetrunExit } | { error: object }): Promise<void> {
    this.#settled = true
    this.#input.close()
    await Promise.all([this.#outputs.stdout.taken, this.#outputs.stderr.taken])
    this.#send(message)
    this.#control?.end()
  }

  #send(message: object): void {
    if (this.#control?.writable) this.#control.write(encodeFrame(message))
  }
}
