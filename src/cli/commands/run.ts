import { Argument } from 'commander'
import type { RunReport } from '../../daemon/results.ts'
import { CosmosError } from '../../errors.ts'
import { wireBytes, wireReadable } from '../../form/wire.ts'
import type { CliCommand } from '../command.ts'
import { withDaemon } from '../daemon.ts'
import { eachReported } from '../errors.ts'
import { launch } from '../launch.ts'
import { json, line, shown, style, table } from '../output.ts'

const ACTIONS = ['list', 'show', 'rerun'] as const
type Action = (typeof ACTIONS)[number]

/** `cosmos run` */
export const command: CliCommand = {
  summary: 'show what was executed, or execute it again (result frames, .cosm/run)',
  rank: 10,
  examples: ['cosmos run list', 'cosmos run show 1a2b3c', 'cosmos run rerun 1a2b3c'],
  configure(command) {
    command
      .addArgument(new Argument('<action>', 'what to do').choices(ACTIONS))
      .argument('[id...]', 'result frames, as the list has them')
      .option('--json', 'print JSON')
      .action((action: Action, ids: string[], options: { json?: boolean }) => act(action, ids, options))
  },
}

async function act(action: Action, ids: string[], options: { json?: boolean }): Promise<void> {
  if (action === 'list') return list(options)
  if (ids.length === 0)
    throw new CosmosError('EINVAL', `run ${action}`, 'wants the id of a result frame', 'cosmos run list')
  if (action === 'show') return show(ids, options)
  const [id, another] = ids
  if (id === undefined || another !== undefined)
    throw new CosmosError(
      'EINVAL',
      'run rerun',
      'wants one id, as its exit code is the command’s',
      'cosmos run list',
    )
  await rerun(id)
}

async function list(options: { json?: boolean }): Promise<void> {
  const all = await withDaemon((client) => client.call('runs', {}))
  if (options.json) return json(all)
  const rows = all.map((run) => [run.id, when(run.since), run.vm, run.exit ?? 'running', commandOf(run)])
  await line(table(rows, ['ID', 'SINCE', 'VM', 'EXIT', 'COMMAND']).trimEnd())
}

async function show(ids: string[], options: { json?: boolean }): Promise<void> {
  await withDaemon((client) =>
    eachReported(ids, async (id) => {
      const found = await client.call('run', { name: id })
      if (options.json) return json(found)
      await line(style('bold', found.id))
      const rows = [
        ['command', commandOf(found)],
        ['path', shown(found.path)],
        ['directory', shown(found.cwd)],
        ['vm', found.vm],
        ['since', new Date(found.since * 1000).toISOString()],
        ['exit', found.exit ?? 'running'],
        ['streams', shown(found.directory)],
      ]
      await line(table(rows).trimEnd())
    }),
  )
}

/** The same executable with the same arguments, environment and directory; its exit is this command's. */
async function rerun(id: string): Promise<void> {
  const found = await withDaemon((client) => client.call('run', { name: id }))
  const env = found.env?.map((each) => {
    const text = wireReadable(each)
    const at = text.indexOf('=')
    return [text.slice(0, at), text.slice(at + 1)]
  })
  await launch({
    path: wireBytes(found.path).toString(),
    args: found.argv.slice(1).map((each) => wireBytes(each).toString()),
    options: new URLSearchParams([
      ['vm', found.vm],
      ['record', '1'],
    ]),
    cwd: wireBytes(found.cwd).toString(),
    ...(env ? { env: Object.fromEntries(env) as NodeJS.ProcessEnv } : {}),
  })
}

function commandOf(run: RunReport): string {
  return run.argv.map((each) => quoted(shown(each))).join(' ')
}

function quoted(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

function when(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')
}
