import { Argument } from 'commander'
import type { AcceptsResult, VmReport } from '../../daemon/results.ts'
import { CosmosError } from '../../errors.ts'
import type { CliCommand } from '../command.ts'
import { argument, withDaemon, workingDirectory } from '../daemon.ts'
import { eachReported } from '../errors.ts'
import { json, line, shown, style, table } from '../output.ts'

const ACTIONS = ['list', 'accepts', 'restart', 'stats'] as const
type Action = (typeof ACTIONS)[number]

/** `cosmos vm` */
export const command: CliCommand = {
  summary: 'show the VMs, which of them run a file and why not, or restart one',
  rank: 9,
  examples: [
    'cosmos vm list',
    'cosmos vm accepts ~/cosmos/.cosm/bin/hello.wasm',
    'cosmos vm restart wasi',
    'cosmos vm stats --json',
  ],
  configure(command) {
    command
      .addArgument(new Argument('<action>', 'what to do').choices(ACTIONS))
      .argument('[path...]', 'files to ask about, or the names of VMs')
      .option('--json', 'print JSON')
      .action((action: Action, names: string[], options: { json?: boolean }) => act(action, names, options))
  },
}

async function act(action: Action, names: string[], options: { json?: boolean }): Promise<void> {
  if ((action === 'accepts' || action === 'restart') && names.length === 0)
    throw new CosmosError(
      'EINVAL',
      `vm ${action}`,
      action === 'accepts' ? 'wants a file' : 'wants the name of a VM',
      'cosmos vm --help',
    )
  if (action === 'accepts') return accepts(names, options)
  if (action === 'restart')
    return withDaemon((client) =>
      eachReported(names, async (name) => {
        await client.call('restartVm', { name })
      }),
    )
  const all = await withDaemon((client) => client.call('vms', {}))
  const wanted = names.length === 0 ? all : all.filter((vm) => names.includes(vm.name))
  const unknown = names.find((name) => !all.some((vm) => vm.name === name))
  if (unknown !== undefined)
    throw new CosmosError('ENOENT', `VM ${unknown}`, 'no layer of the cosm has it', 'cosmos vm list')
  if (options.json) await json(wanted)
  else await line((action === 'list' ? listed(wanted) : figures(wanted)).trimEnd())
}

function listed(vms: readonly VmReport[]): string {
  const rows = vms.map((vm) => [
    vm.default ? `${vm.name} *` : vm.name,
    vm.state,
    vm.kinds.join(' '),
    vm.description,
  ])
  return table(rows, ['VM', 'STATE', 'RUNS', 'WHAT'])
}

function figures(vms: readonly VmReport[]): string {
  const rows = vms.map((vm) => [vm.name, vm.pids.length, vm.sessions, vm.launches, vm.restarts])
  return table(rows, ['VM', 'PROCESSES', 'SESSIONS', 'LAUNCHES', 'RESTARTS'])
}

async function accepts(paths: string[], options: { json?: boolean }): Promise<void> {
  const found: AcceptsResult[] = []
  await withDaemon(async (client) => {
    try {
      await eachReported(paths, async (path) => {
        const one = await client.call('accepts', { path: argument(path), cwd: workingDirectory() })
        if (options.json) found.push(one)
        else await print(one)
      })
    } finally {
      if (options.json) await json(found)
    }
  })
}

async function print(found: AcceptsResult): Promise<void> {
  await line(`${style('bold', shown(found.path))} (${found.kind})`)
  const rows = found.verdicts.map(({ vm, accepts: yes, reason }) => [
    `  ${vm}`,
    yes ? 'yes' : 'no',
    reason ?? (vm === found.chosen ? 'runs it' : ''),
  ])
  await line(table(rows).trimEnd())
}
