import type { Figure } from './figures.ts'
import { digits, median } from './figures.ts'

/** How a peer's figure bounds this project's. */
export interface Bound {
  readonly name: string
  readonly what: string
  /** Whom it is compared with. */
  readonly of: string
  /** `time`: our time by theirs, at most `goal`. `rate`: our rate by theirs, at least `goal`. */
  readonly as: 'time' | 'rate'
  readonly goal: number
}

/**
 * Samples, seconds, of several things that are done in turn, round by round. The first round brings all to their
 * working temperature and is not counted.
 */
export async function inTurn<N extends string>(
  rounds: number,
  things: Readonly<Record<N, (round: number) => Promise<number>>>,
): Promise<Record<N, number[]>> {
  const all = Object.entries(things) as [N, (round: number) => Promise<number>][]
  const samples = Object.fromEntries(all.map(([name]) => [name, [] as number[]])) as Record<N, number[]>
  for (let round = 0; round <= rounds; round++)
    for (const [name, once] of all) {
      const seconds = await once(round)
      if (round > 0) samples[name].push(seconds)
    }
  return samples
}

/** A figure beside a peer's: the median of the ratios within the rounds, and the median times. */
export function beside(bound: Bound, ours: readonly number[], theirs: readonly number[]): Figure {
  const { name, what, of, as, goal } = bound
  const ratios = ours.map((time, round) => {
    const other = theirs[round] ?? Number.NaN
    return as === 'time' ? time / other : other / time
  })
  const value = median(ratios)
  const spread = `${digits(Math.min(...ratios))}…${digits(Math.max(...ratios))}`
  const times = `${duration(median([...ours]))} to ${duration(median([...theirs]))}`
  return {
    ...{ name, what, byRaw: {} },
    goal: `${as} ${as === 'time' ? '≤' : '≥'} ${goal} of ${of}`,
    figure: `${digits(value)} (${spread}), ${times}`,
    verdict: (as === 'time' ? value <= goal : value >= goal) ? 'met' : 'missed',
    samples: { cosmos: [...ours], [of]: [...theirs] },
  }
}

/** Seconds that something takes. */
export async function seconds(step: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await step()
  return (performance.now() - start) / 1000
}

/** Seconds, for people. */
export function duration(time: number): string {
  return time < 0.1 ? `${digits(time * 1000)} ms` : `${time.toFixed(2)} s`
}
