import { type ChildProcess, spawn } from 'node:child_process'

/** How a process of a VM ended: its exit code, or the signal's name. */
export type VmExit = { readonly code: number } | { readonly signal: NodeJS.Signals }

/** What a process of a VM is started from. */
export interface VmCommand {
  readonly name: string
  /** Program and arguments. */
  readonly command: readonly [string, ...string[]]
  /** Working directory: the VM's own. */
  readonly directory: string
  /** Where Node keeps compiled code, for one that runs on Node. */
  readonly compileCache?: string
}

/** Number of the listening socket in the process (docs/vm-protocol.md). */
const LISTEN_FD = 3
/** How long one that is told to end may take. */
const PATIENCE_MS = 500
/** Part of the error log's end that tells why a process did not start. */
const COMPLAINT_SIZE = 2000

/** One process of a VM. */
export class VmProcess {
  /** 0 when it could not be started at all. */
  readonly pid: number
  readonly startedAt = performance.now()
  readonly exited: Promise<VmExit>
  /** Why it could not be started, or the last line that it wrote to its error log. */
  complaint = ''
  /** It was told to end. */
  ending = false
  readonly #child: ChildProcess

  /** Starts it; `listenFd` is the VM's socket, `log` takes what it writes to its standard output and error. */
  constructor(what: VmCommand, listenFd: number, log: (bytes: Buffer) => void) {
    const [program, ...args] = what.command
    const child = spawn(program, args, {
      cwd: what.directory,
      env: {
        ...process.env,
        ...(what.compileCache === undefined ? {} : { NODE_COMPILE_CACHE: what.compileCache }),
        COSMOS_VM: what.name,
        COSMOS_VM_FD: String(LISTEN_FD),
      },
      stdio: ['pipe', 'pipe', 'pipe', listenFd],
      // Ctrl-C in the terminal of a foreground instance is the supervisor's matter.
      detached: true,
    })
    this.#child = child
    this.pid = child.pid ?? 0
    child.stdin?.on('error', () => {})
    const take = (bytes: Buffer): void => {
      log(bytes)
      const lines = bytes.subarray(-COMPLAINT_SIZE).toString('utf8').trimEnd().split('\n')
      this.complaint = lines.at(-1)?.trim() || this.complaint
    }
    child.stdout?.on('data', take)
    child.stderr?.on('data', take)
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.complaint = error.message
        if (child.pid === undefined) resolve({ code: 127 })
      })
      // `close` comes after the last of its output, which a program that it left behind may hold open: `exit` does not.
      child.once('exit', (code, signal) =>
        setImmediate(() => resolve(signal ? { signal } : { code: code ?? 0 })),
      )
    })
  }

  /** Tells it to end itself and what it runs, and ends it by force if it does not. */
  async end(): Promise<void> {
    this.ending = true
    this.#child.stdin?.destroy()
    const timer = setTimeout(() => this.kill(), PATIENCE_MS)
    await this.exited
    clearTimeout(timer)
  }

  kill(): void {
    this.ending = true
    this.#child.kill('SIGKILL')
  }
}

/** How a process ended, for people: `ended by SIGSEGV`, `exited with 3`. */
export function describeExit(exit: VmExit): string {
  return 'signal' in exit ? `ended by ${exit.signal}` : `exited with ${exit.code}`
}
