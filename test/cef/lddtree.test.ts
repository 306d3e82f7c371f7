import { expect, test } from 'vitest'
import { compareWithLddtree, elfPrograms, whyNoLddtree } from '../support/lddtree.ts'

test('every program in /usr/bin has the libraries that lddtree lists', { timeout: 240_000 }, async ({
  skip,
}) => {
  const missing = await whyNoLddtree()
  if (missing !== undefined) return skip(missing)
  const { programs, agreeing, libraries, differences } = await compareWithLddtree(elfPrograms('/usr/bin'))
  console.log(`${agreeing} of ${programs} programs agree, ${libraries} libraries in all`)
  for (const { program, why } of differences) console.log(`${program}\n  ${why.join('\n  ')}`)
  // lddtree does not know of processor levels, nor of a DT_RUNPATH that is for one file alone.
  expect(agreeing).toBeGreaterThanOrEqual(programs * 0.98)
})
