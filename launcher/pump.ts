import { createConnection, type Socket } from 'node:net'
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { isatty } from 'node:tty'
import { encodeFrame, isMap } from '../src/form/msgpack.ts'
import { type WireText, wireBytes } from '../src/form/wire.ts'
import { type Ending, endAs, endingOf } from './ending.ts'
import { FAILED, fail, failAsTold, failUnreadable } from './failure.ts'
import { env } from './inherited.ts'
import { catchSignals, dieBy, stop } from './signals.ts'
import { readerOf, release, restoreStreams, writerOf } from './streams.ts'
import { enterTerminal, leaveTerminal, terminalEntered, terminalIsOurs, terminalSize } from './terminal.ts'
import { Wire } from './wire.ts'

// A program that a peer runs: pump.c says what it does, docs/netrun.md how.

const VERSION = 1
/** How often a process in the background looks whether it has the terminal. */
const LOOK_MS = 250
const [STDIN, STDOUT, STDERR] = [0, 1, 2]
const { SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM } = constants.signals
const { SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH } = constants.signals
const STOPS: readonly number[] = [SIGTSTP, SIGTTIN, SIGTTOU]
const ENDS: readonly number[] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2]

/** Is the program for its caller, until it ends. `answer` is the daemon's, with `remote`. */
export async function pump(daemon: Wire, answer: Record<string, unknown>): Promise<never> {
  const { socket, run, remote } = answer
  const { token, peer } = isMap(remote) ? remote : {}
  if (!isText(socket) || typeof run !== 'string' || !isName(token) || !isText(peer)) failUnreadable('daemon')
  if (socket.length === 0 || peer.length === 0) failUnreadable('daemon')
  const name = wireBytes(peer).toString()
  const path = wireBytes(socket).toString()
  const inputIsTerminal = isatty(STDIN)
  const size = inputIsTerminal && isatty(STDOUT) ? terminalSize() : undefined
  /** A stop was sent: that the program stopped is no news. */
  let stopping = false
  /** It is over, while its output may still be on its way. */
  let over = false
  /** How it ended, or why it failed. */
  let outcome: { ending: Ending } | { error: unknown } | undefined

  function lost(why: string): never {
    leaveTerminal()
    fail(FAILED, `${name}: outcome unknown: ${why}; cosmos log`)
  }

  let control: Wire | undefined
  const early: object[] = []
  function tell(message: object): void {
    if (control) control.socket.write(encodeFrame(message))
    else early.push(message)
  }

  function look(): void {
    const ours = !inputIsTerminal || terminalIsOurs()
    if (ours && size !== undefined && !terminalEntered()) {
      enterTerminal()
      tell({ resize: terminalSize() })
    }
    input.mayRead = ours && outcome === undefined
    if (!ours) setTimeout(look, LOOK_MS)
  }

  function stopNow(): void {
    leaveTerminal()
    stop()
    look()
  }

  catchSignals((signal, group) => {
    // Node ignores SIGPIPE, so one that comes is somebody's; but its own writes raise it too.
    if (signal === SIGCHLD || signal === SIGPIPE) return
    if (signal === SIGWINCH) {
      if (size !== undefined) tell({ resize: terminalSize() })
      return
    }
    if (over && ENDS.includes(signal)) {
      leaveTerminal()
      restoreStreams()
      dieBy(signal)
    }
    const stops = STOPS.includes(signal)
    tell({ signal, group: group || stops })
    if (signal === SIGCONT) look()
    if (!stops) return
    stopping = true
    stopNow()
  })

  const greeting = { version: VERSION, token, stream: 'control', env, terminal: size }
  const input = new InputFlow(() => tell({ end: 'stdin' }))
  try {
    control = await Wire.connect(path, 'daemon')
    control.socket.write(encodeFrame(greeting))
    for (const message of early) tell(message)
    const streams = ['stdin', 'stdout', 'stderr'].map((stream) => {
      const made = createConnection(path)
      made.on('error', () => {})
      made.write(encodeFrame({ version: VERSION, token, stream }))
      return made
    })
    const [stdin, stdout, stderr] = streams as [Socket, Socket, Socket]
    input.start(stdin, inputIsTerminal)
    look()
    const unreadable = () => lost('the daemon sent what cannot be read')
    // Before that, what comes may be an error.
    if (!(await control.greeted().catch(unreadable))) lost('the daemon ended')
    const moved = Promise.all([
      moveOutput(stdout, STDOUT, size === undefined),
      moveOutput(stderr, STDERR, false),
    ])
    for (;;) {
      const message = await control.next().catch(unreadable)
      if (message === undefined) break
      if (isMap(message.error)) outcome = { error: message.error }
      else if (message.exit != null) {
        const ending = isMap(message.exit) ? endingOf(message.exit) : undefined
        if (ending === undefined) return unreadable()
        outcome = { ending }
      } else if (message.ended === true) over = true
      else if (typeof message.stopped === 'number') {
        if (!stopping) stopNow()
        stopping = false
      }
    }
    if (outcome === undefined) lost('the daemon ended')
    over = true
    await moved
  } catch (error) {
    leaveTerminal()
    const { code } = error as NodeJS.ErrnoException
    fail(FAILED, `${name}: ${code === 'ENOENT' ? 'is not there' : `nobody listens (${code})`}; cosmos log`)
  }
  leaveTerminal()
  restoreStreams()
  if ('error' in outcome) failAsTold(outcome.error, false)
  return endAs(daemon, run, outcome.ending)
}

function isText(value: unknown): value is WireText {
  return typeof value === 'string' || value instanceof Uint8Array
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length < 256
}

/** The caller's input on its way to the program. */
class InputFlow {
  readonly #tellEnd: () => void
  #from: Readable | undefined
  #to: Socket | undefined
  #mayRead = false

  constructor(tellEnd: () => void) {
    this.#tellEnd = tellEnd
  }

  /** In the background nothing may be read of a terminal. */
  set mayRead(may: boolean) {
    this.#mayRead = may
    if (!may) this.#from?.pause()
    else if (!this.#to?.writableNeedDrain) this.#from?.resume()
  }

  start(to: Socket, isTerminal: boolean): void {
    const from = readerOf(STDIN)
    this.#from = from
    this.#to = to
    from.pause()
    const end = () => {
      if (this.#from === undefined) return
      this.#from = undefined
      this.#tellEnd()
      to.end()
    }
    from.on('data', (bytes: Buffer) => {
      if (!to.write(bytes)) from.pause()
    })
    from.on('end', end)
    // A directory, a terminal that is gone.
    from.on('error', end)
    to.on('drain', () => {
      if (this.#mayRead) from.resume()
    })
    to.resume()
    to.on('close', () => {
      // Nobody reads any more.
      this.#from = undefined
      from.destroy()
      if (!isTerminal) release(STDIN)
    })
  }
}

/** Moves what the program writes. Resolves when all is written, or nobody reads any more. */
function moveOutput(from: Socket, number: number, isReleased: boolean): Promise<void> {
  const to: Writable = writerOf(number)
  let [pending, ended, over] = [0, false, false]
  return new Promise((resolve) => {
    const end = () => {
      if (over) return
      over = true
      from.destroy()
      to.destroy()
      if (isReleased) release(number)
      resolve()
    }
    const written = (error?: Error | null) => {
      pending--
      if (!error && ended && pending === 0) end()
    }
    from.on('data', (bytes: Buffer) => {
      pending++
      if (!to.write(bytes, written)) from.pause()
    })
    to.on('drain', () => from.resume())
    to.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || error.code === 'ECONNRESET' || error.code === 'EIO') {
        end()
        return
      }
      leaveTerminal()
      const why = error.code === 'ENOSPC' ? 'no space on the disk' : error.code
      fail(FAILED, `${number === STDOUT ? 'stdout' : 'stderr'}: ${why}`)
    })
    from.on('close', () => {
      ended = true
      if (pending === 0) end()
    })
  })
}
