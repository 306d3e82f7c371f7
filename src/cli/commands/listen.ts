import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line } from '../output.ts'

/** `cosmos listen` */
export const command: CliCommand = {
  summary: 'listen for peers at an address, from now on; nobody but a peer or who has an invite gets in',
  rank: 20,
  examples: [
    'cosmos listen 192.0.2.7:4711',
    'cosmos listen 0.0.0.0 "[::]"    # all addresses; the port is 4711 where none is named',
    'cosmos listen --stop',
  ],
  configure(command) {
    command
      .argument('[address...]', 'addresses to listen at; none: show where this host listens')
      .option('--stop', 'listen no more')
      .option('--json', 'print JSON')
      .action(async (addresses: string[], options: { stop?: boolean; json?: boolean }) => {
        const found = await withDaemon(async (client) => {
          if (addresses.length > 0 || options.stop) return client.call('listen', { texts: addresses })
          return (await client.call('status', {})).listening
        })
        if (options.json) return json(found)
        if (found.addresses.length + found.waiting.length === 0) return line('this host does not listen')
        for (const address of found.addresses) await line(`listening at ${address}`)
        for (const address of found.waiting)
          await line(`will listen at ${address} as soon as somebody may come: cosmos invite`)
      })
  },
}
