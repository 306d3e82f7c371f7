import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { WireError } from '../form/wire.ts'
import type { ToDaemon, ToSupervisor } from './handover.ts'
import { FUSE_FD, IPC_FD, KEEP_RECEIVE_FD, KEEP_SEND_FD, STATE_FD, type StartMessage } from './handover.ts'
import type { Inheritance } from './inheritance.ts'

/** The program of a daemon; also how a daemon's process is known by its command line. */
export const DAEMON_PROGRAM = fileURLToPath(new URL('./main.ts', import.meta.url))

/** How a process ended: its exit code, or the signal's name. */
export type Exit = number | NodeJS.Signals

/** One daemon process, as its supervisor sees it. */
export class DaemonProcess {
  /** 0 when it could not be started at all. */
  readonly pid: number
  /** Settles when its process is gone. */
  readonly exited: Promise<Exit>
  /** Settles when it waits for `start`; false when it ended before. */
  readonly loaded: Promise<boolean>
  /** It was told to end: that it does is no crash. */
  expectedToEnd = false
  /** When it became ready, and when it was started, as performance.now() tells; undefined before. */
  readyAt: number | undefined
  startedAt: number | undefined
  /** Why it ends, if it said so. */
  failure: WireError | undefined
  readonly #child: ChildProcess

  /** Starts the process. It loads, and waits for {@link start}. */
  constructor(
    home: string,
    inheritance: Inheritance,
    onMessage: (daemon: DaemonProcess, message: ToSupervisor) => void,
  ) {
    const stdio: ('ignore' | 'inherit' | 'ipc' | number)[] = ['ignore', 'inherit', 'inherit']
    stdio[IPC_FD] = 'ipc'
    stdio[FUSE_FD] = inheritance.fuse
    stdio[STATE_FD] = inheritance.state
    stdio[KEEP_SEND_FD] = inheritance.keepSend
    stdio[KEEP_RECEIVE_FD] = inheritance.keepReceive
    // The home is for people who look at `ps`.
    const child = spawn(process.execPath, [...process.execArgv, DAEMON_PROGRAM, home], { stdio, cwd: '/' })
    this.#child = child
    this.pid = child.pid ?? 0
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? code ?? 1))
      child.once('error', (error) => {
        this.failure ??= { code: 'EIO', subject: 'daemon', message: `daemon: ${error.message}` }
        if (child.pid === undefined) resolve(1)
      })
    })
    this.loaded = new Promise((resolve) => {
      void this.exited.then(() => resolve(false))
      child.on('message', (message: ToSupervisor) => {
        if (message.type === 'loaded') resolve(true)
        else if (message.type === 'ready') this.readyAt = performance.now()
        else if (message.type === 'failed') this.failure = message.error
        onMessage(this, message)
      })
    })
  }

  /** Lets it serve; it may still be loading. */
  start(message: StartMessage): void {
    this.startedAt = performance.now()
    this.#send(message)
  }

  /** Lets it finish what it is at and end; ends it by force after some time. Answers how it ended. */
  async stop(patience: number): Promise<Exit> {
    this.expectedToEnd = true
    this.#send({ type: 'stop' })
    const timer = setTimeout(() => this.kill(), patience)
    const exit = await this.exited
    clearTimeout(timer)
    return exit
  }

  /** Ends it at once. */
  kill(): void {
    this.expectedToEnd = true
    this.#child.kill('SIGKILL')
  }

  #send(message: ToDaemon): void {
    // One that has just died is not there to take it: its exit tells.
    this.#child.send(message, () => {})
  }
}
