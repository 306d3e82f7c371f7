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
  const { startInstance } = await import('../../daemon/start.ts')
  const started = await startInstance(instance, {
    ...(options.mount === undefined ? {} : { mount: resolve(options.mount) }),
    ...(options.driver === undefined ? {} : { driver: options.driver }),
    ...(options.foreground === undefined ? {} : { foreground: options.foreground }),
  })
  await line(`${started.started ? 'mounted' : 'already mounted:'} ${started.mount} (daemon ${started.pid})`)
  if (options.tour) await line(`\n${tour(started.mount)}`)
  if (!options.foreground) return
  await line('Ctrl-C unmounts.')
  await stayUntilEnded(instance, started.mount, started.ended ?? supervisorEnd(started.supervisor))
}

/** Stays until the mount ends or a signal asks for its end; a second signal does not wait. */
async function stayUntilEnded(instance: Instance, mount: string, ended: Promise<void>): Promise<void> {
  let asked = 0
  const stopped = new Promise<void>((resolve, reject) => {
    const stop = (force: boolean) => {
      const client = new ControlClient(instance)
      return shutDown(client, instance, force)
        .then((down) => tellDown(down ?? { mounts: [mount], busy: [] }))
        .finally(() => client.close())
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        asked++
        if (asked === 1) {
          process.stdout.write(`\nunmounting ${mount}\n`)
          stop(false).then(resolve, reject)
        } else if (asked === 2) stop(true).then(resolve, (error) => report(error))
      })
  })
  await Promise.race([
    stopped,
    ended.then(() => (asked > 0 ? stopped : line(`${mount} is no longer mounted`))),
  ])
}

/** Settles when the process that holds the mount is gone. */
async function supervisorEnd(supervisor: number): Promise<void> {
  while (!(await waitUntil(() => !isAlive(supervisor), 60_000)));
}
