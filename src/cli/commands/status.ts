import type { ControlClient } from '../../daemon/client.ts'
import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { json, line, shown, table } from '../output.ts'

/** `cosmos status` */
export const command: CliCommand = {
  summary: 'show the daemon, its mounts, VMs and peers',
  rank: 3,
  examples: ['cosmos status', "cosmos status --json | jq -r '.mounts[].path'"],
  configure(command) {
    command.option('--json', 'print JSON').action(async (options: { json?: boolean }) => {
      await withDaemon((client) => (options.json ? printJson(client) : print(client)))
    })
  },
}

async function printJson(client: ControlClient): Promise<void> {
  await json(await client.call('status', {}))
}

async function print(client: ControlClient): Promise<void> {
  const status = await client.call('status', {})
  const rows: [string, string][] = [
    ['home', shown(status.home)],
    ['daemon', `${status.pid}, version ${status.version}, for ${duration(Date.now() / 1000 - status.since)}`],
    ['supervisor', String(status.supervisor)],
    ['frames', String(status.frames)],
    ['log', shown(status.log)],
  ]
  for (const mount of status.mounts) {
    const passthrough = mount.passthrough ? ', passthrough' : ''
    rows.push(['mount', `${shown(mount.path)} (${mount.driver}${passthrough})`])
  }
  await line(table(rows).trimEnd())
  await section(
    'VMs',
    status.vms.map((vm) => [vm.name, vm.state]),
  )
  await section(
    'peers',
    status.peers.map((peer) => [peer.name, peer.state, peer.id]),
  )
}

async function section(title: string, rows: string[][]): Promise<void> {
  if (rows.length > 0) await line(`\n${table(rows, [title]).trimEnd()}`)
}

function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min`
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`
}
