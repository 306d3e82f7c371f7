/** What reading a segment costs: `node test/bench/fudge.ts`. One thread, no I/O: the namespace is in memory. */
import type { Namespace } from '../../src/lookup/fudge/namespace.ts'
import { parse } from '../../src/lookup/fudge/parse.ts'
import { reread } from '../../src/lookup/fudge/resolve.ts'
import { directory } from '../lookup/namespace.ts'
import { bare, type Figure, median } from './figures.ts'

/** Microseconds that an ordinary name which does not exist may cost beyond its lookup. */
const GOAL = 10
const ROUNDS = 9
const CALLS = 20_000

/** Figures of segments that missed, and of the parser. */
export function fudgeFigures(): Figure[] {
  const here: Namespace = { ...directory(['foo', 'photo.png', 'data.yaml']), exists: existsQuietly }
  const measures: [string, () => unknown][] = [
    ['foo.c', () => reread(here, 'foo.c')],
    ['libexample.so.6', () => reread(here, 'libexample.so.6')],
    [
      'a-long-name.with.many.dots-and-dashes.o',
      () => reread(here, 'a-long-name.with.many.dots-and-dashes.o'),
    ],
    ['photo.png.scale-50', () => reread(here, 'photo.png.scale-50')],
    ['data.yaml.to-json.d', () => reread(here, 'data.yaml.to-json.d')],
    ['https://h/a/b.to-json parsed', () => parse('https://h/a/b.to-json')],
  ]
  return measures.map(([what, call]) => {
    const time = median(Array.from({ length: ROUNDS }, () => microseconds(call)))
    return bare('fudge', what, `≤ ${GOAL} µs`, `${time.toFixed(2)} µs`, time <= GOAL)
  })
}

function existsQuietly(name: string): boolean {
  return name === 'photo.png' || name === 'data.yaml'
}

function microseconds(call: () => unknown): number {
  const start = process.hrtime.bigint()
  for (let i = 0; i < CALLS; i++) call()
  return Number(process.hrtime.bigint() - start) / 1000 / CALLS
}

if (import.meta.main)
  for (const { what, figure } of fudgeFigures()) console.log(`${figure.padStart(9)}  ${what}`)
