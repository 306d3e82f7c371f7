import fc from 'fast-check'
import {
  type Bound,
  type Lookup,
  type Modifier,
  type Node,
  OPERATORS,
  type Operand,
  type Origin,
  type Step,
  type Suffix,
} from '../../src/lookup/fudge/grammar.ts'

/** Lookups for property tests: names of any bytes, with what has a meaning more often than it would by chance. */
const byte = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...'ab%./:?-,=<>+25FC') },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)) },
)
const text = fc.oneof(fc.string({ unit: byte, maxLength: 8 }), fc.constantFrom('https', 'file', 'bind', '2F'))
const name = text.filter((value) => value !== '' && value !== '.' && value !== '..')

const modifier: fc.Arbitrary<Modifier> = fc
  .tuple(text, fc.array(text, { maxLength: 3 }))
  .map(([first, rest]) => ({ kind: 'modifier', words: [first, ...rest] }))
const query = fc
  .array(fc.oneof(fc.constantFrom(...'ab=&,+-'), fc.constantFrom('%2F', '%2C', '%252F', '%26', '%2E')), {
    maxLength: 5,
  })
  .map((parts): Suffix => ({ kind: 'query', text: parts.join('') }))
const suffix: fc.Arbitrary<Suffix> = fc.oneof(
  { weight: 3, arbitrary: modifier },
  text.map((value): Suffix => ({ kind: 'property', name: value })),
  query,
)

/** What is written `.` or `..` is no node, and what is written as nothing is none either. */
const isNode = ({ name: base, suffixes }: Node) =>
  base !== '' ||
  suffixes.length > 2 ||
  suffixes.some((one) => one.kind !== 'modifier' || one.words.join('-') !== '')
const anyNode: fc.Arbitrary<Node> = fc.record({
  kind: fc.constant('node'),
  name: fc.oneof(name, fc.constant('')),
  suffixes: fc.array(suffix, { maxLength: 3 }),
})
const node = anyNode.filter(isNode)
const up = fc.constant({ kind: 'up' } as const)

const url: fc.Arbitrary<Lookup['origin'] & { kind: 'url' }> = fc.oneof(
  fc.constant({ kind: 'url', scheme: 'file' } as const),
  fc.record({ kind: fc.constant('url'), scheme: fc.constantFrom('https', 'ssh', 'cosmos'), authority: name }),
)
const origin = fc.oneof(fc.constant({ kind: 'here' } as const), fc.constant({ kind: 'root' } as const), url)
const operand: fc.Arbitrary<Operand> = fc.record({
  origin,
  steps: fc.array(fc.oneof(node, up), { maxLength: 3 }),
})
const bound: fc.Arbitrary<Bound> = fc.record({
  operator: fc.constantFrom(...OPERATORS),
  right: operand,
})
const bind = fc
  .tuple(anyNode, bound, fc.array(bound, { maxLength: 2 }))
  .map(([left, first, rest]): Step => ({ kind: 'bind', left, binds: [first, ...rest] }))
const merge: fc.Arbitrary<Origin> = fc.record({
  kind: fc.constant('merge'),
  scheme: fc.constantFrom('bind', 'cascade'),
  operands: fc.array(operand, { minLength: 1, maxLength: 3 }),
})

export const lookups: fc.Arbitrary<Lookup> = fc.record({
  origin: fc.oneof(origin, merge),
  steps: fc.array(fc.oneof(node, up, bind), { maxLength: 4 }),
})

/** Texts of characters that have a meaning, most of them lookups. */
export const texts = fc.oneof(
  fc.string({ unit: byte, maxLength: 24 }),
  fc
    .array(
      fc.constantFrom(
        'a',
        '/',
        '.',
        ':',
        '-',
        '?',
        '%2F',
        '%2E',
        '%25',
        '.->',
        '.=',
        ',',
        'https:',
        'bind:/',
      ),
      {
        maxLength: 14,
      },
    )
    .map((parts) => parts.join('')),
)
