import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './children.ts'
import { megabytes, type Place, type PlaceName, tree } from './mounts.ts'

/** A goal of issue 2: this project's figure as a ratio to a peer's. */
export interface Goal {
  of: PlaceName
  /** `time`: our time by theirs, at most `bound`. `rate`: our rate by theirs, at least `bound`. */
  as: 'time' | 'rate'
  bound: number
}

/** Something that is measured in every place. */
export interface Measure {
  name: string
  what: string
  places: PlaceName[]
  goal: Goal
  /** Does it once; answers seconds. */
  once: (place: Place, probe: string) => Promise<number>
}

const all: PlaceName[] = ['raw', 'bindfs', 'mergerfs', 'cosmos']

/**
 * What is measured as root. Cold: the cached pages of the directories are let go, then
 * `echo 2 >/proc/sys/vm/drop_caches` makes the kernel forget names and inodes, in every place alike.
 * Warm: right after an unmeasured pass.
 */
export const measures: Measure[] = [
  {
    name: 'walk-cold',
    what: 'lstat of 10,000 files, directory order, cold',
    places: all,
    goal: { of: 'bindfs', as: 'time', bound: 0.5 },
    once: (place, probe) => cold(place, probe, () => walk(place, probe, 1)),
  },
  {
    name: 'walk-warm',
    what: 'the same, warm',
    places: all,
    goal: { of: 'raw', as: 'time', bound: 1.6 },
    once: async (place, probe) => {
      await walk(place, probe, 1)
      return walk(place, probe, 5)
    },
  },
  {
    name: 'stat-cold',
    what: 'stat of 10,000 files by name, cold',
    places: all,
    goal: { of: 'bindfs', as: 'rate', bound: 1 },
    once: (place, probe) => cold(place, probe, () => statAll(place, probe, 1)),
  },
  {
    name: 'stat-warm',
    what: 'the same, warm',
    places: all,
    goal: { of: 'raw', as: 'rate', bound: 0.93 },
    once: async (place, probe) => {
      await statAll(place, probe, 1)
      return statAll(place, probe, 7)
    },
  },
  {
    name: 'read',
    what: `read of a cached file of ${megabytes} MiB`,
    places: all,
    goal: { of: 'raw', as: 'rate', bound: 0.95 },
    once: (place, probe) => read(place.data, place, probe),
  },
  {
    name: 'read-merged',
    what: 'the same, lower layer of a merged directory',
    places: ['raw', 'cosmos'],
    goal: { of: 'raw', as: 'rate', bound: 0.95 },
    once: async (place, probe) => read(lower(place), place, probe),
  },
  {
    name: 'write',
    what: `write of ${megabytes} MiB`,
    places: all,
    goal: { of: 'mergerfs', as: 'rate', bound: 1 },
    once: (place, probe) => ask(probe, place, ['write', join(place.data, 'scratch'), 'new', `${megabytes}`]),
  },
  {
    name: 'create',
    what: 'create, write 1 KiB, close, unlink',
    places: all,
    goal: { of: 'bindfs', as: 'rate', bound: 2.5 },
    once: (place, probe) => ask(probe, place, ['create', join(place.data, 'scratch'), '1000']),
  },
  {
    name: 'exec',
    what: 'exec of a small static program',
    places: all,
    goal: { of: 'raw', as: 'time', bound: 1.1 },
    once: (place, probe) => exec(place.data, place, probe),
  },
  {
    name: 'exec-merged',
    what: 'the same, lower layer of a merged directory',
    places: ['raw', 'cosmos'],
    goal: { of: 'raw', as: 'time', bound: 1.1 },
    once: async (place, probe) => exec(lower(place), place, probe),
  },
]

/** What is measured as an ordinary user, in mounts of that user's own. */
export const userMeasures: Measure[] = [
  {
    name: 'user-read',
    what: `read of a cached file of ${megabytes} MiB, ordinary user`,
    places: ['raw', 'bindfs', 'cosmos'],
    goal: { of: 'bindfs', as: 'rate', bound: 1.3 },
    once: (place, probe) => read(place.data, place, probe),
  },
]

async function ask(probe: string, place: Place, args: string[]): Promise<number> {
  const [seconds = ''] = (await run(probe, args, place)).split(/\s/)
  return Number(seconds)
}

async function walk(place: Place, probe: string, passes: number): Promise<number> {
  const [seconds = '', count] = (
    await run(probe, ['walk', join(place.data, 'tree'), `${passes}`], place)
  ).split(/\s/)
  const expected = tree.dirs * (tree.files + 1)
  if (Number(count) !== expected) throw new Error(`${place.name} lists ${count} entries, not ${expected}`)
  return Number(seconds)
}

function statAll(place: Place, probe: string, passes: number): Promise<number> {
  return ask(probe, place, ['stat', join(place.data, 'tree'), `${tree.dirs}`, `${tree.files}`, `${passes}`])
}

async function read(dir: string, place: Place, probe: string): Promise<number> {
  await ask(probe, place, ['read', dir, 'large', '1'])
  return ask(probe, place, ['read', dir, 'large', '5'])
}

function lower(place: Place): string {
  if (place.lower === undefined) throw new Error('it has no merged directory')
  return place.lower
}

async function exec(dir: string, place: Place, probe: string): Promise<number> {
  const program = join(dir, 'true')
  await ask(probe, place, ['exec', dir, program, '20'])
  return ask(probe, place, ['exec', dir, program, '200'])
}

/** The median of three cold passes: one alone is at the mercy of whatever else the machine does. */
async function cold(place: Place, probe: string, pass: () => Promise<number>): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < 3; i++) {
    await ask(probe, place, ['chill', join(place.data, 'tree')])
    await dropCaches()
    times.push(await pass())
  }
  return times.sort((a, b) => a - b)[1] ?? Number.NaN
}

/** Makes the kernel forget names and inodes that nobody uses. */
export async function dropCaches(): Promise<void> {
  await writeFile('/proc/sys/vm/drop_caches', '2')
}

/**
 * Makes the kernel let go of the pages of files. A machine that gives a guest its memory by and by copies into a page
 * for the first time several times as slowly: what fills the page cache has pages that were used before.
 */
export async function dropPages(): Promise<void> {
  await writeFile('/proc/sys/vm/drop_caches', '1')
}
