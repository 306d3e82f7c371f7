import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ControlServer } from '../../src/daemon/control-server.ts'
import type { ControlHandlers } from '../../src/daemon/handlers.ts'
import { CosmosError } from '../../src/errors.ts'
import { toWire } from '../../src/form/wire.ts'
import { ListeningSocket } from '../../src/vm/listening-socket.ts'
import { VmProcess } from '../../src/vm/vm-process.ts'
import { checkout } from './instance.ts'

/** How the daemon's answer to `launch` is made. */
export interface Launching {
  /** The host file that is run, by the path that is asked for; without it, the path itself. */
  payload?: (path: string) => string
  /** More of the route. */
  route?: Record<string, unknown>
  /** Bytes of each stream that are recorded, and where: the directory `record`, unless it is another. */
  recordLimit?: number
  recordDirectory?: string
}

/** A control socket that answers `launch` and `ran`, and hostexec behind it, as the daemon would run it. */
export class LaunchWorld {
  readonly directory = mkdtempSync(join(tmpdir(), 'cl-'))
  readonly control = join(this.directory, 'control')
  readonly record = join(this.directory, 'record')
  /** What `ran` told. */
  readonly ran: { run: string; exit: unknown }[] = []
  /** What `launch` asked. */
  readonly asked: { path: string; options: string; argv: readonly string[] }[] = []
  answer: Launching = {}
  vm: VmProcess
  readonly #listening = new ListeningSocket(join(this.directory, 'vm'))
  readonly #log = openSync(join(this.directory, 'vm_err'), 'a')
  #server: ControlServer | undefined

  private constructor() {
    mkdirSync(this.record)
    this.vm = this.startVm()
  }

  /** Starts both. */
  static async start(): Promise<LaunchWorld> {
    const world = new LaunchWorld()
    const handlers: Pick<ControlHandlers, 'launch' | 'ran'> = {
      launch: async ({ path, options, argv }) => {
        const { payload: find, route = {}, recordLimit, recordDirectory = world.record } = world.answer
        const payload = find?.(path) ?? path
        world.asked.push({ path, options, argv })
        if (!existsSync(payload)) throw new CosmosError('ENOENT', path, 'is not there')
        return {
          vm: 'hostexec',
          socket: join(world.directory, 'vm'),
          run: `run-${world.asked.length}`,
          route: { path: toWire(path), payload: toWire(payload), kind: 'native', ...route },
          ...(recordLimit === undefined
            ? {}
            : { record: { directory: recordDirectory, limit: recordLimit } }),
        }
      },
      ran: async (told) => {
        world.ran.push(told)
        return {}
      },
    }
    world.#server = await ControlServer.listen(world.control, handlers as ControlHandlers, {
      software: 'test',
    })
    return world
  }

  /** Starts a process of the VM, on the socket that is there. */
  startVm(): VmProcess {
    const main = join(checkout, 'vms/hostexec/main.ts')
    this.vm = new VmProcess(
      { name: 'hostexec', command: [process.execPath, main], directory: this.directory },
      this.#listening.fd,
      (bytes) => writeSync(this.#log, bytes),
    )
    return this.vm
  }

  /** The programs that the VM runs. */
  running(): number[] {
    return readFileSync(`/proc/${this.vm.pid}/task/${this.vm.pid}/children`, 'utf8')
      .split(' ')
      .filter(Boolean)
      .map(Number)
  }

  /** Ends the control socket, as a daemon that goes. */
  async closeControl(): Promise<void> {
    await this.#server?.close()
    this.#server = undefined
  }

  async stop(): Promise<void> {
    await this.closeControl()
    await this.vm.end()
    this.#listening.close()
    closeSync(this.#log)
    rmSync(this.directory, { recursive: true })
  }
}
