import type { InspectResult } from '../../daemon/results.ts'
import type { CliCommand } from '../command.ts'
import { argument, withDaemon, workingDirectory } from '../daemon.ts'
import { eachReported } from '../errors.ts'
import { modeText } from '../listing.ts'
import { json, line, shown, style, table } from '../output.ts'

/** `cosmos inspect` */
export const command: CliCommand = {
  summary: 'show the access frame of a path: inode, dcel, production instruction, layers, profile, VMs',
  rank: 4,
  examples: ['cosmos inspect ~/cosmos/.cosm/bin', 'cosmos inspect --json .cosm/etc | jq .layers'],
  configure(command) {
    command
      .argument('<path...>', 'paths or URLs')
      .option('--json', 'print JSON: a list')
      .action(async (paths: string[], options: { json?: boolean }) => {
        const found: InspectResult[] = []
        await withDaemon(async (client) => {
          try {
            await eachReported(paths, async (path) => {
              const one = await client.call('inspect', { path: argument(path), cwd: workingDirectory() })
              if (options.json) found.push(one)
              else await print(one)
            })
          } finally {
            if (options.json) await json(found)
          }
        })
      })
  },
}

/** Properties that have a row of their own. */
const SHOWN = new Set(['inode', 'dcel', 'layers', 'prod', 'mtime'])

async function print(found: InspectResult): Promise<void> {
  const owner = found.uid === undefined ? '' : `, ${found.uid}:${found.gid}`
  const rows = [
    ['type', `${found.type}, ${modeText(found)}${owner}`],
    ['size', String(found.size)],
    ['modified', new Date(found.mtime * 1000).toISOString()],
    ['inode', found.inode],
    ['frame', String(found.node)],
    ['context', shown(found.context)],
    ['dcel', found.dcel],
    ...found.production.split('\n').map((text, i) => [i === 0 ? 'production' : '', text]),
  ]
  if (found.target !== undefined) rows.splice(1, 0, ['target', shown(found.target)])
  for (const [i, layer] of found.layers.entries())
    rows.push([
      i === 0 ? 'layers' : '',
      `${shown(layer.path)} (${layer.kind}${layer.local ? ', local' : ''})`,
    ])
  for (const [name, value] of Object.entries(found.properties))
    if (!SHOWN.has(name))
      for (const [i, text] of value.split('\n').entries()) rows.push([i === 0 ? `:${name}` : '', text])
  await line(style('bold', shown(found.path)))
  await line(table(rows).trimEnd())
}
