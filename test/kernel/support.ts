import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { O_NONBLOCK, O_RDWR } from '../../src/os/constants.ts'
import * as libc from '../../src/os/libc.ts'
import { allocateNative, cString } from '../../src/os/memory.ts'

const MS_NOSUID_NODEV = 6
const MNT_DETACH = 2

/** Whether this process may mount: root with /dev/fuse. */
export function canMount(): boolean {
  if (process.geteuid?.() !== 0) return false
  const fd = libc.open(cString('/dev/fuse').address, O_RDWR, 0)
  if (fd >= 0) libc.close(fd)
  return fd >= 0
}

/** A FUSE mount whose daemon is a process (`serve.ts`) that can be killed and replaced, as the supervisor does. */
export class TestMount {
  readonly directory = mkdtempSync(join(tmpdir(), 'cosmos-kernel-'))
  readonly path = join(this.directory, 'mnt')
  readonly #saved = join(this.directory, 'tree.json')
  readonly #fuseFd = libc.open(cString('/dev/fuse').address, O_RDWR | O_NONBLOCK, 0)
  readonly #stateFd = libc.memfdCreate(cString('state').address, 0)
  readonly #wakeFd = libc.eventfd(0, 0)
  #daemon: ChildProcess | undefined
  output = ''

  constructor() {
    libc.mkdirat(-100, cString(this.path).address, 0o755)
    const options = `fd=${this.#fuseFd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions`
    const mounted = libc.mount(
      cString('cosmos-test').address,
      cString(this.path).address,
      cString('fuse.cosmos').address,
      MS_NOSUID_NODEV,
      cString(options).address,
    )
    if (mounted < 0) throw new Error(`mount: ${mounted}`)
    libc.ftruncate(this.#stateFd, 4096)
  }

  /** Starts a daemon; answers when it says that it is ready. */
  async start(deadly = '', environment: NodeJS.ProcessEnv = {}): Promise<void> {
    const program = fileURLToPath(new URL('./serve.ts', import.meta.url))
    const daemon = spawn(process.execPath, [program, this.#saved, deadly], {
      stdio: ['ignore', 'inherit', 'pipe', 'ignore', this.#fuseFd, this.#stateFd, this.#wakeFd],
      env: { ...process.env, ...environment },
    })
    this.#daemon = daemon
    await new Promise<void>((resolve, reject) => {
      daemon.stderr!.on('data', (data: Buffer) => {
        this.output += data
        if (data.includes('ready')) resolve()
      })
      daemon.once('exit', (code, signal) => reject(new Error(`daemon: ${code ?? signal}: ${this.output}`)))
    })
  }

  get exited(): Promise<number | string | null> {
    const daemon = this.#daemon!
    if (daemon.exitCode !== null || daemon.signalCode !== null) {
      return Promise.resolve(daemon.exitCode ?? daemon.signalCode)
    }
    return new Promise((resolve) => daemon.once('exit', (code, signal) => resolve(code ?? signal)))
  }

  async kill(): Promise<void> {
    const { exited } = this
    this.#daemon!.kill('SIGKILL')
    await exited
  }

  /** Asks the daemon to stop; its exit code. */
  async stop(): Promise<number | string | null> {
    const { exited } = this
    const one = allocateNative(8)
    one.bytes[0] = 1
    libc.write(this.#wakeFd, one.address, 8)
    return exited
  }

  unmount(): number {
    return libc.umount2(cString(this.path).address, MNT_DETACH)
  }

  async remove(): Promise<void> {
    this.unmount()
    if (this.#daemon !== undefined) await this.kill()
    for (const fd of [this.#fuseFd, this.#stateFd, this.#wakeFd]) libc.close(fd)
    rmSync(this.directory, { recursive: true, force: true })
  }
}
