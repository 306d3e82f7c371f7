import { FunctionSession, type RemoteFunction } from '../../src/api/functions.ts'
import { TestVm } from '../support/vm-process.ts'
import { bare, type Figure, median } from './figures.ts'

/** Calls of library functions in hostfn: what one costs alone, in a batch, and beside others. */

/** Goals: microseconds of a call alone, of one in a batch of 1,000, and calls a second with 64 in flight. */
const GOALS = { alone: 170, batched: 3, rate: 100_000 }
const BATCH = 1000
const IN_FLIGHT = 64
const CALLS = 100_000

/** The median time of a call that nothing else is in flight with, microseconds. */
export async function callAlone(abs: RemoteFunction): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < 3000; i++) {
    const start = performance.now()
    await abs(i)
    times.push(1000 * (performance.now() - start))
  }
  return median(times)
}

/** The time of a call in a batch of 1,000, microseconds. */
export async function callBatched(abs: RemoteFunction): Promise<number> {
  const list = Array.from({ length: BATCH }, (_, i) => [i])
  const start = performance.now()
  for (let i = 0; i < CALLS / BATCH; i++) await abs.batch(list)
  return (1000 * (performance.now() - start)) / CALLS
}

/** Calls a second with 64 in flight. */
export async function callRate(abs: RemoteFunction): Promise<number> {
  let next = 0
  const caller = async () => {
    while (next < CALLS) await abs(next++)
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller))
  return (1000 * CALLS) / (performance.now() - start)
}

/** All three, each the median of some rounds after one that is not counted. */
export async function functionFigures(rounds: number): Promise<Figure[]> {
  const vm = new TestVm(new URL('../../vms/hostfn/main.ts', import.meta.url))
  const session = new FunctionSession({ connect: vm.connect, obituary: vm.obituary })
  try {
    const abs = await (await session.open('libc.so.6')).dlsym('int abs(int x)')
    const samples: { alone: number[]; batched: number[]; rate: number[] } = {
      alone: [],
      batched: [],
      rate: [],
    }
    for (let round = 0; round <= rounds; round++) {
      const sample = {
        alone: await callAlone(abs),
        batched: await callBatched(abs),
        rate: await callRate(abs),
      }
      if (round === 0) continue
      samples.alone.push(sample.alone)
      samples.batched.push(sample.batched)
      samples.rate.push(sample.rate)
    }
    const [alone, batched, rate] = [median(samples.alone), median(samples.batched), median(samples.rate)]
    const time = (value: number) => `${value.toFixed(1)} µs`
    return [
      bare(
        'call',
        'a function of another process, alone',
        `≤ ${GOALS.alone} µs`,
        time(alone),
        alone <= GOALS.alone,
      ),
      bare(
        'call',
        `one of a batch of ${BATCH}`,
        `≤ ${GOALS.batched} µs`,
        time(batched),
        batched <= GOALS.batched,
      ),
      bare(
        'call',
        `a second, ${IN_FLIGHT} in flight`,
        `≥ ${GOALS.rate}`,
        rate.toFixed(0),
        rate >= GOALS.rate,
      ),
    ]
  } finally {
    session.close()
    await vm.stop()
  }
}
