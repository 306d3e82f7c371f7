// What lookups know of mappers and transformers is what the VM has.
import { expect, test } from 'vitest'
import { MAPPER_EXTENSIONS, TRANSFORMER_NAMES } from '../../src/form/known.ts'
import { MAPPERS } from '../../src/form/mappers/index.ts'
import { TRANSFORMERS } from '../../src/form/transformers/index.ts'

test('mappers and their extensions', () => {
  expect(MAPPER_EXTENSIONS).toEqual(
    Object.fromEntries(MAPPERS.map(({ name, extensions }) => [name, extensions])),
  )
})

test('transformers', () => {
  expect(TRANSFORMER_NAMES).toEqual(TRANSFORMERS.map(({ name }) => name))
})
