import { findInstance } from '../../daemon/instance.ts'
import type { CliCommand } from '../command.ts'
import { type Finding, fail } from '../doctor/check.ts'
import { ExitCode } from '../errors.ts'
import { json, line, style } from '../output.ts'

interface Result extends Finding {
  name: string
}

/** `cosmos doctor` */
export const command: CliCommand = {
  summary: 'show what this machine lacks, and the command that mends it',
  rank: 4,
  examples: ['cosmos doctor', 'cosmos doctor --json | jq -r \'.[] | select(.state != "ok") | .fix\''],
  configure(command) {
    command.option('--json', 'print JSON: a list').action(async (options: { json?: boolean }) => {
      const results = await examine()
      if (options.json) await json(results)
      else await print(results)
      if (results.some((result) => result.state === 'fail')) throw new ExitCode(1)
    })
  },
}

async function examine(): Promise<Result[]> {
  const [{ SOFTWARE }, { MACHINE }, { STATE }, { MESH }] = await Promise.all([
    import('../doctor/software.ts'),
    import('../doctor/machine.ts'),
    import('../doctor/state.ts'),
    import('../doctor/mesh.ts'),
  ])
  const instance = findInstance()
  const results: Result[] = []
  for (const { name, run } of [...SOFTWARE, ...MACHINE, ...STATE, ...MESH]) {
    try {
      const found = await run(instance)
      for (const finding of [found].flat()) results.push({ name, ...finding })
    } catch (error) {
      results.push({ name, ...fail(error instanceof Error ? error.message : String(error)) })
    }
  }
  return results
}

async function print(results: readonly Result[]): Promise<void> {
  const width = Math.max(...results.map((result) => result.name.length))
  for (const { state, name, detail, fix } of results) {
    const colour = state === 'ok' ? 'green' : state === 'warn' ? 'yellow' : 'red'
    await line(
      `${style(colour, state.padEnd(4))}  ${name.padEnd(width)}  ${detail}${fix ? `: ${style('bold', fix)}` : ''}`,
    )
  }
}
