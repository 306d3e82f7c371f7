// Runs the cases of a module in one place, in a process of its own: so it can be any user, and a call that hangs
// hangs nobody else. Arguments: module, place, dir, host, outside. One line of JSON for each case.
import { mkdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Cases, type Outcome, type PlaceName, Skipped } from './cases.ts'

const [file = '', place = 'raw', dir = '', host = '', outside = ''] = process.argv.slice(2)
const { cases } = (await import(pathToFileURL(file).href)) as { cases: Cases }

process.umask(0o022)
for (const [index, [name, act]] of Object.entries(cases).entries()) {
  const own = `c${index}`
  let outcome: Outcome = { name }
  try {
    mkdirSync(join(dir, own))
    mkdirSync(join(outside, own))
    await act({
      place: place as PlaceName,
      dir: join(dir, own),
      host: join(host, own),
      outside: join(outside, own),
      skip(reason: string): never {
        throw new Skipped(reason)
      },
    })
  } catch (error) {
    if (error instanceof Skipped) outcome = { name, skipped: error.message }
    else outcome = { name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
  process.chdir('/')
  process.umask(0o022)
  writeSync(1, `${JSON.stringify(outcome)}\n`)
}
process.exit(0)
