import type { Command } from 'commander'
import type { BindKind } from '../daemon/results.ts'
import { argument, withDaemon, workingDirectory } from './daemon.ts'
import { json, line, shown, table } from './output.ts'

/** What `cosmos bind` and `cosmos cascade` have in common. */
export function configureBinding(command: Command, kind: BindKind): void {
  command
    .usage('[options] [URL... PATH]')
    .argument('[url-path...]', 'what is merged, nearest first, and then the path where it shows')
    .option('--json', 'print JSON')
    .action(async (words: string[], options: { json?: boolean }) => {
      if (words.length === 1) command.error('a URL and a path are needed')
      if (words.length === 0) await listBinds(kind, options.json ?? false)
      else await bind(kind, words.slice(0, -1), words.at(-1) ?? '', options.json ?? false)
    })
}

async function bind(kind: BindKind, urls: readonly string[], path: string, asJson: boolean): Promise<void> {
  const bound = await withDaemon((client) =>
    client.call('bind', { kind, urls: urls.map(argument), path: argument(path), cwd: workingDirectory() }),
  )
  if (asJson) return json(bound)
  await line(`${shown(argument(path))} shows ${bound.layers.map(shown).join(', then ')}`)
}

async function listBinds(kind: BindKind, asJson: boolean): Promise<void> {
  const all = await withDaemon((client) => client.call('binds', {}))
  const binds = all.filter((each) => each.kind === kind)
  if (asJson) return json(binds)
  if (binds.length > 0)
    await line(table(binds.map((each) => [shown(each.path), each.layers.map(shown).join(' ')])).trimEnd())
}
