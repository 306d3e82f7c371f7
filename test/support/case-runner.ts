// Runs the cases of a module in one place, in a process of its own: so it can be any user, and a call that hangs
// hangs nobody else. Arguments: module, place, dir, host, outside, lower, then the names of cases that are left out.
// One line of JSON for each case.
import { mkdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Cases, type Outcome, type PlaceName, Skipped } from './cases.ts'

const [file = '', place = 'raw', dir = '', host = '', outside = '', lower = '', ...leftOut] =
  process.argv.slice(2)
const { cases } = (await import(pathToFileURL(file).href)) as { cases: Cases }

process.umask(0o022)
// Where there is a lower layer, the cases' directories are of it; else they are made in the place.
if (lower !== '') for (const index of Object.keys(cases).keys()) mkdirSync(join(lower, `c${index}`))
for (const [index, [name, act]] of Object.entries(cases).entries()) {
  if (leftOut.includes(name)) continue
  const own = `c${index}`
  let outcome: Outcome = { name }
  try {
    if (lower === '') mkdirSync(join(dir, own))
    mkdirSync(join(outside, own))
    await act({
      place: place as PlaceName,
      dir: join(dir, own),
      host: join(host, own),
      outside: join(outside, own),
      lower: lower === '' ? '' : join(lower, own),
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
