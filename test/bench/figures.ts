import type { Goal, Measure } from './measures.ts'
import type { PlaceName } from './mounts.ts'

/** Seconds of each place, round by round. */
export type Samples = Map<PlaceName, number[]>

const columns: PlaceName[] = ['raw', 'bindfs', 'mergerfs', 'cosmos']

/** One line of the result. */
export interface Figure {
  name: string
  what: string
  /** Time of each place by raw's; medians. Empty where nothing is compared. */
  byRaw: Partial<Record<PlaceName, number>>
  goal: string
  figure: string
  verdict: 'met' | 'missed' | '–'
  /** Seconds, round by round: for judging the noise, not for comparing runs. */
  samples?: Record<string, number[]>
}

/** The figure of a measure that was taken in several places. */
export function compared(measure: Measure, samples: Samples): Figure {
  const byRaw: Figure['byRaw'] = {}
  for (const place of columns) {
    const times = ratios(samples, place, 'raw')
    if (times.length) byRaw[place] = median(times)
  }
  const { name, what, goal } = measure
  return { name, what, byRaw, ...judge(goal, samples), samples: Object.fromEntries(samples) }
}

/** A figure of this project alone. */
export function bare(name: string, what: string, goal: string, figure: string, met: boolean): Figure {
  return { name, what, byRaw: {}, goal, figure, verdict: met ? 'met' : 'missed' }
}

function judge(goal: Goal, samples: Samples): Pick<Figure, 'goal' | 'figure' | 'verdict'> {
  const sign = goal.as === 'time' ? '≤' : '≥'
  const wanted = `${goal.as} ${sign} ${goal.bound} of ${goal.of}`
  const found = goal.as === 'time' ? ratios(samples, 'cosmos', goal.of) : ratios(samples, goal.of, 'cosmos')
  if (!found.length) return { goal: wanted, figure: '–', verdict: '–' }
  const value = median(found)
  const met = goal.as === 'time' ? value <= goal.bound : value >= goal.bound
  const spread = `${digits(Math.min(...found))}…${digits(Math.max(...found))}`
  return { goal: wanted, figure: `${digits(value)} (${spread})`, verdict: met ? 'met' : 'missed' }
}

/** Time of one place by another's, round by round. */
function ratios(samples: Samples, over: PlaceName, under: PlaceName): number[] {
  const below = samples.get(under) ?? []
  return (samples.get(over) ?? []).flatMap((time, round) => {
    const base = below[round]
    return base === undefined ? [] : [time / base]
  })
}

/** The middle value. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const [low = Number.NaN, high = low] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return (low + high) / 2
}

/** A number for people: three digits or so. */
export function digits(value: number): string {
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)
}

/** The figures for people. */
export function table(figures: Figure[], rounds: number): string {
  const rows = [['', '', ...columns, 'goal', 'cosmos is', '']]
  for (const { name, what, byRaw, goal, figure, verdict } of figures) {
    const times = columns.map((column) => (byRaw[column] === undefined ? '' : digits(byRaw[column])))
    rows.push([name, what, ...times, goal, figure, verdict])
  }
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  const met = figures.filter((figure) => figure.verdict === 'met').length
  const missed = figures.filter((figure) => figure.verdict === 'missed').length
  return [
    `Time by raw's time (less is faster); median of ${rounds} rounds, places in turn within each round.`,
    'Cold: directory pages let go, then drop_caches 2. In brackets: the lowest and highest round.',
    '',
    ...lines,
    '',
    `${met} met, ${missed} missed${rounds < 5 ? ' (fewer than 5 rounds: figures to look at, not to cite)' : ''}`,
  ].join('\n')
}

/** The figures of all measures, one after the other; `begin` is told the name of each. */
export async function measured(
  measures: Readonly<Record<string, () => Promise<Figure[]>>>,
  begin: (name: string) => void,
): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const [name, measure] of Object.entries(measures)) {
    begin(name)
    figures.push(...(await measure()))
  }
  return figures
}
