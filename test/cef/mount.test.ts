import { afterAll, beforeAll, expect, test } from 'vitest'
import { accepts } from '../../src/cef/accepts.ts'
import { parseCapabilities } from '../../src/cef/capabilities.ts'
import { thisHost } from '../../src/cef/host.ts'
import { requirementsOf } from '../../src/cef/requirements.ts'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { Workshop } from './workshop.ts'

const missing = whyNoMount('kernel')
const shop = new Workshop()
let instance: CosmosInstance | undefined

beforeAll(async () => {
  if (missing === undefined) instance = await CosmosInstance.start()
})
afterAll(async () => {
  await instance?.stop()
  shop.close()
})

test('nothing is looked up in a cosmos mount: who answers for the mount would wait for itself', ({
  skip,
}) => {
  if (!instance) return skip(missing)
  const inside = instance.inMount('tool')
  expect(requirementsOf(inside).problem?.code).toBe('ENOENT')
  const vm = parseCapabilities('x', 'kinds = ["script"]\nnative = true\ncommand = "x"', 'profile')
  const script = shop.write('script', `#!${inside}\n# cosmos: files = ["${inside}"]\n`, 0o755)
  expect(accepts(requirementsOf(script), vm, thisHost())).toMatchObject({
    code: 'ENOENT',
    reason: `its interpreter ${inside} is missing`,
  })
  expect(thisHost().kindOf(inside)).toBeUndefined()
})
