import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { ControlClient, isAlive } from '../../daemon/client.ts'
import type { DriverName } from '../../daemon/handover.ts'
import { findInstance, type Instance } from '../../daemon/instance.ts'
import type { CliCommand } from '../command.ts'
import { waitUntil } from '../daemon.ts'
import { report } from '../errors.ts'
import { line } from '../output.ts'
import { shutDown, tellDown } from '../shutdown.ts'
import { tour } from '../tour.ts'

interface UpOptions {
  mount?: string
  driver?: DriverName
  foreground?: boolean
  tour?: boolean
}

/** `cosmos up` */
export const command: CliCommand = {
  summary: 'start the daemon if none runs, and mount',
  rank: 1,
  examples: [
    'cosmos up',
    'cosmos up --mount ~/tree --driver fuse-native',
    'cosmos up --foreground --tour    # what npm start does; Ctrl-C unmounts',
  ],
  configure(command: Command) {
    command
      .option('--mount <dir>', 'where to mount (default: ~/cosmos)')
      .addOption(new Option('--driver <name>', 'which FUSE driver').choices(['kernel', 'fuse-native']))
      .option('--foreground', 'stay until Ctrl-C or SIGTERM, then unmount')
      .option('--tour', 'show what to try first')
      .action(up)
  },
}

async function up(options: UpOptions): Promise<void> {
  const instance = findInstance()
  // Heard from the start: a Ctrl-C while it still mounts must not leave a mount behind.
  const signals = options.foreground ? new StopSignals() : undefined
  const { startInstance } = await import('../../daemon/start.ts')
  const started = await startInstance(instance, {
    ...(options.mount === undefined ? {} : { mount: resolve(options.mount) }),
    ...(options.driver === undefined ? {} : { driver: options.driver }),
    ...(options.foreground === undefined ? {} : { foreground: options.foreground }),
  })
  await line(`${started.started ? 'mounted' : 'already mounted:'} ${started.mount} (daemon ${started.pid})`)
  if (options.tour) await line(`\n${tour(started.mount)}`)
  if (!signals) return
  await line('Ctrl-C unmounts.')
  await stayUntilEnded(instance, started.mount, started.ended ?? supervisorEnd(started.supervisor), signals)
}

/** The signals that ask a foreground instance to end. */
class StopSignals {
  readonly #first: Promise<void>
  #onSecond: () => void = () => {}
  count = 0

  constructor() {
    this.#first = new Promise((resolve) => {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
        process.on(signal, () => {
          this.count++
          if (this.count === 1) resolve()
          else if (this.count === 2) this.#onSecond()
        })
    })
  }

  /** The first one has come; `second` is called when another does. */
  async asked(second: () => void): Promise<void> {
    await this.#first
    this.#onSecond = second
    if (this.count > 1) second()
  }
}

/** Stays until the mount ends or a signal asks for its end; a second signal does not wait. */
async function stayUntilEnded(
  instance: Instance,
  mount: string,
  ended: Promise<void>,
  signals: StopSignals,
): Promise<void> {
  const stop = (force: boolean) => {
    const client = new ControlClient(instance)
    return shutDown(client, instance, force)
      .then((down) => tellDown(down ?? { mounts: [mount], busy: [] }))
      .finally(() => client.close())
  }
  const stopped = signals
    .asked(() => void stop(true).catch((error) => report(error)))
    .then(() => {
      process.stdout.write(`\nunmounting ${mount}\n`)
      return stop(false)
    })
  await Promise.race([
    stopped,
    ended.then(() => (signals.count > 0 ? stopped : line(`${mount} is no longer mounted`))),
  ])
}

/** Settles when the process that holds the mount is gone. */
async function supervisorEnd(supervisor: number): Promise<void> {
  while (!(await waitUntil(() => !isAlive(supervisor), 60_000)));
}
