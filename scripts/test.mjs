// `npm test`: sets up, then every check and every test, all of them even when one fails, and one line of
// totals at the end. Arguments go to vitest: `npm test -- test/mount -t rename` checks everything and runs those.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setup } from './setup.mjs'
import { inRoot, node, run } from './support.mjs'

// Well inside what a CI machine waits for, so that a hanging test is reported and not just cut off.
const LONGEST = 75 * 60_000

const passed = []
const failed = []
const skipped = []
/** Tests that passed when they were run again. */
const retried = []

const check = (name, ok, message = '') => (ok ? passed : failed).push({ name, message })

const tools = {
  typecheck: ['typescript/bin/tsc', '--noEmit'],
  'biome ci': ['@biomejs/biome/bin/biome', 'ci', '--colors=off'],
  knip: ['knip/bin/knip.js'],
}

if (await setup()) {
  for (const [name, [script, ...args]] of Object.entries(tools)) {
    const { code, output } = await run(node, [inRoot('node_modules', script), ...args])
    console.log(code === 0 ? `✓ ${name}` : `✗ ${name}\n${output.trimEnd()}`)
    check(name, code === 0, `ended with ${code}; its output is above`)
  }
  await vitest()
} else check('setup', false, 'nothing else could run')

report()

async function vitest() {
  const folder = mkdtempSync(join(tmpdir(), 'cosmos-test-'))
  const file = join(folder, 'report.json')
  const reporters = ['--reporter=default', `--reporter=${inRoot('scripts/vitest-report.mjs')}`]
  const { code } = await run(
    node,
    [inRoot('node_modules/vitest/vitest.mjs'), 'run', ...reporters, ...process.argv.slice(2)],
    { show: true, timeout: LONGEST, env: { ...process.env, COSMOS_TEST_REPORT: file } },
  )
  try {
    const tests = JSON.parse(readFileSync(file, 'utf8'))
    passed.push(...tests.passed)
    failed.push(...tests.failed)
    skipped.push(...tests.skipped)
    retried.push(...tests.retried)
    const none = tests.passed.length + tests.failed.length === 0
    if (none) check('vitest', false, 'no test ran')
    else if (code !== 0 && tests.failed.length === 0) check('vitest', false, `ended with ${code}`)
  } catch {
    check('vitest', false, `ended with ${code} and left no report`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function report() {
  if (skipped.length > 0) console.log('\nSkipped:')
  for (const { name, message } of skipped) console.log(`  ${name}: ${message || 'no reason given'}`)
  if (retried.length > 0) console.log('\nPassed at the second time:')
  for (const { name, message } of retried) console.log(`  ${name}\n${message.replace(/^/gm, '    ')}`)
  if (failed.length > 0) console.log('\nFailed:')
  for (const { name, message } of failed) console.log(`  ${name}\n${message.replace(/^/gm, '    ')}`)
  const totals = [`${passed.length} passed`, `${failed.length} failed`]
  if (skipped.length > 0) totals.push(`${skipped.length} skipped`)
  console.log(`\n${totals.join(', ')}`)
  process.exitCode = failed.length > 0 ? 1 : 0
}
