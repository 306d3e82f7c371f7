import { launcherPath } from '../../src/cef/launcher.ts'
import { LaunchWorld } from '../support/launching.ts'
import { run } from './children.ts'
import { median } from './figures.ts'

/** What launching a program costs, beside the kernel's own way. Goals: `ratio` at most 3, `throughput` at least 800. */
export interface LaunchFigures {
  /** p50 of posix_spawn and wait of `true`, microseconds; of the launcher with the same program; rounds' medians. */
  readonly spawn: number
  readonly launch: number
  /** The second by the first, round by round: the median. */
  readonly ratio: number
  /** MB/s from stdin to stdout of `cat`: launched, launched and recorded, and by itself. */
  readonly throughput: number
  readonly recorded: number
  readonly bare: number
}

const PROGRAM = '/bin/true'
const MEGABYTES = 2000

/** Measures, with a daemon's answers at hand: `probe` is the compiled probe.c. */
export async function measureLaunch(probe: string, rounds = 9, times = 200): Promise<LaunchFigures> {
  const world = await LaunchWorld.start()
  const launcher = [launcherPath(), world.control] as const
  try {
    const p50 = async (command: readonly string[]): Promise<number> =>
      1e6 * Number(await run(probe, ['spawn', '/', String(times), ...command]))
    await p50([...launcher, PROGRAM])
    const spawned: number[] = []
    const launched: number[] = []
    for (let i = 0; i < rounds; i++) {
      spawned.push(await p50([PROGRAM]))
      launched.push(await p50([...launcher, PROGRAM]))
    }
    const ratios = launched.map((time, i) => time / (spawned[i] ?? Number.NaN))
    const throughput = await rate([...launcher, '/bin/cat'])
    world.answer = { recordLimit: 8 * 1024 * 1024 }
    const recorded = await rate([...launcher, '/bin/cat'])
    const bare = await rate(['/bin/cat'])
    return {
      spawn: median(spawned),
      launch: median(launched),
      ratio: median(ratios),
      throughput,
      recorded,
      bare,
    }
  } finally {
    await world.stop()
  }
}

/** MB/s through a program that copies its stdin to its stdout; both are pipes. */
async function rate(command: readonly string[]): Promise<number> {
  const script = `head -c ${MEGABYTES}MB /dev/zero | "$@" | cat >/dev/null`
  const start = performance.now()
  await run('/bin/sh', ['-c', script, 'sh', ...command])
  return MEGABYTES / ((performance.now() - start) / 1000)
}
