import type { PeerReport } from '../../mesh/mesh.ts'
import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line, table, write } from '../output.ts'

/** `cosmos peers` */
export const command: CliCommand = {
  summary: 'show the peers: where they are, how far, and what they and this host may do',
  rank: 23,
  examples: ['cosmos peers', 'cosmos peers --json'],
  configure(command) {
    command.option('--json', 'print JSON: a list').action(async (options: { json?: boolean }) => {
      const peers = await withDaemon((client) => client.call('peers', {}))
      if (options.json) return json(peers)
      if (peers.length === 0) return line('no peers; cosmos invite, cosmos join')
      const rows = peers.map((peer) => [
        peer.name,
        stateOf(peer),
        ago(peer.since),
        peer.address ?? peer.addresses[0] ?? 'comes by itself',
        peer.roundTrip === undefined ? '' : `${peer.roundTrip.toFixed(1)} ms`,
        peer.software ?? '',
      ])
      await write(table(rows, ['peer', 'state', 'since', 'address', 'round trip', 'version']))
      for (const peer of peers) {
        await line(`${peer.name} may here: ${peer.grants.join(' ') || 'nothing'}`)
        await line(`this host may at ${peer.name}: ${peer.granted.join(' ') || 'nothing that is known'}`)
        if (peer.error !== undefined) await line(`${peer.name}: ${peer.error}`)
      }
    })
  },
}

function stateOf({ state }: PeerReport): string {
  return state === 'open' ? 'connected' : state
}

/** How long ago a time was. */
function ago(time: number): string {
  const seconds = Math.max(0, Math.round((Date.now() - time) / 1000))
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}
