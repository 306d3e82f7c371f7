/**
 * `npm run bench`: this project beside raw ext4, bindfs and mergerfs, and beside plain spawn, in one run, as ratios.
 * Absolute times say little on a shared machine, so each round measures every place in turn (A B C A B C …)
 * and a figure is the median over the rounds of the ratios within a round.
 */
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { killAll, run, Undo } from './children.ts'
import { executableFigures } from './executables.ts'
import { bare, compared, type Figure, median, type Samples, table } from './figures.ts'
import { lookupFigures } from './lookups.ts'
import { type Measure, measures, userMeasures } from './measures.ts'
import { meshFigures } from './mesh.ts'
import { memoryGoals, million } from './million.ts'
import {
  type Bench,
  Cosmos,
  openFuseDevice,
  type Place,
  type PlaceName,
  peer,
  prepare,
  raw,
} from './mounts.ts'
import { sourceFigures } from './sources.ts'
import { seconds } from './turns.ts'

const help = `usage: npm run bench -- [--only NAME[,NAME…]] [--rounds N] [--million] [--json]
                       [--dir DIR] [--cosmos PROGRAM] [--uid N] [--list]

  --only NAME       only these measures
  --rounds N        rounds of each, at least 5 for figures that count (default 7)
  --million         also walk 1,000,000 files and read the daemon's memory (minutes)
  --json            print one JSON document instead of the table
  --dir DIR         where the files lie: a directory on the raw file system (default /var/tmp)
  --cosmos PROGRAM  the cosmos to measure (default bin/cosmos of this checkout)
  --uid N           the ordinary user (default 65534)
  --list            names of the measures

Where a FUSE daemon runs beside its caller decides much (waking another CPU is slow on virtual machines);
\`taskset -c 0 npm run bench\` takes that out: mounts and helpers all inherit the one CPU.`

interface Settings {
  rounds: number
  program: string
  dir: string
  uid: number
  wants: (name: string) => boolean
  say: (text: string) => void
}

/** Seconds that `cosmos up` to an answered `ls` may take beyond Node's own start. */
const readyGoal = 0.5

let stopped = false

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      rounds: { type: 'string', default: '7' },
      million: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      dir: { type: 'string', default: '/var/tmp' },
      cosmos: { type: 'string', default: join(import.meta.dirname, '../../bin/cosmos') },
      uid: { type: 'string', default: '65534' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const names = [...measures, ...userMeasures]
    .map((measure) => measure.name)
    .concat('ready', 'executables', 'sources', 'lookups', 'mesh', 'million')
  if (values.help) return console.log(help)
  if (values.list) return console.log(names.join('\n'))
  const only = values.only?.flatMap((name) => name.split(','))
  const unknown = only?.find((name) => !names.includes(name))
  if (unknown) throw new Error(`no measure is called ${unknown}; there are ${names.join(' ')}`)
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds wants a number from 1')
  if (process.getuid?.() !== 0)
    throw new Error('run it as root: it mounts, drops caches, and becomes another user')

  const undo = new Undo()
  // Clean up once, however often it comes: npm passes a signal on that the terminal has sent already.
  const end = (code: number) => {
    if (stopped) return
    stopped = true
    killAll()
    undo.run().then(() => process.exit(code))
  }
  process.on('SIGINT', () => end(130))
  process.on('SIGTERM', () => end(143))
  process.on('SIGHUP', () => end(129))
  try {
    const figures = await measureAll(undo, {
      rounds,
      program: resolve(values.cosmos),
      dir: values.dir,
      uid: Number(values.uid),
      wants: (name) =>
        (only ? only.includes(name) : name !== 'million') || (values.million && name === 'million'),
      say: (text) => process.stderr.write(`${text}\n`),
    })
    console.log(values.json ? JSON.stringify({ rounds, figures }, null, 2) : table(figures, rounds))
  } finally {
    // After a signal its handler cleans up and ends the process.
    if (stopped) await new Promise(() => {})
    await undo.run()
  }
}

async function measureAll(undo: Undo, settings: Settings): Promise<Figure[]> {
  const { wants, say, program } = settings
  const bench = await prepare(settings.dir, undo)
  say(`files in ${bench.base} (${(await run('stat', ['-f', '-c', '%T', bench.base])).trim()})`)
  const figures: Figure[] = []

  const asRoot = measures.filter((measure) => wants(measure.name))
  if (asRoot.length) {
    const places = [raw(bench)]
    for (const name of ['bindfs', 'mergerfs'] as const) await add(places, say, name, () => peer(bench, name))
    await add(places, say, 'cosmos', async () => {
      const cosmos = await Cosmos.make(bench, program, 'cosmos')
      await cosmos.up()
      return cosmos.place()
    })
    for (const measure of asRoot) figures.push(await compare(measure, places, bench, settings))
  }

  const asUser = userMeasures.filter((measure) => wants(measure.name))
  if (asUser.length) {
    await openFuseDevice(undo)
    const places = [raw(bench, settings.uid)]
    await add(places, say, 'bindfs', () => peer(bench, 'bindfs', settings.uid))
    await add(places, say, 'cosmos', async () => {
      const cosmos = await Cosmos.make(bench, program, 'cosmos', settings.uid)
      await cosmos.up()
      return cosmos.place()
    })
    for (const measure of asUser) figures.push(await compare(measure, places, bench, settings))
  }

  if (wants('ready')) await told(say, 'ready', async () => figures.push(await ready(bench, settings)))
  if (wants('executables'))
    await told(say, 'executables', async () =>
      figures.push(...(await executableFigures(bench.probe, settings.rounds, say))),
    )
  const [of, rounds] = [bench.probe, settings.rounds]
  if (wants('sources'))
    await told(say, 'sources', async () => figures.push(...(await sourceFigures(rounds, say))))
  if (wants('lookups'))
    await told(say, 'lookups', async () => figures.push(...(await lookupFigures(of, rounds, say))))
  if (wants('mesh'))
    await told(say, 'mesh', async () => figures.push(...(await meshFigures(of, rounds, say))))
  if (wants('million')) {
    await told(say, 'million', async () => {
      const memory = await million(bench, program)
      const [held, kept] = [memory.held, memory.kept / memory.held]
      figures.push(
        bare(
          'million',
          `daemon memory a frame, walk of ${memory.frames}`,
          `≤ ${memoryGoals.held} B`,
          `${held.toFixed(0)} B`,
          held <= memoryGoals.held,
        ),
        bare(
          'million',
          'the share kept when the kernel has forgotten',
          `≤ ${memoryGoals.kept}`,
          kept.toFixed(2),
          held <= 0 || kept <= memoryGoals.kept,
        ),
      )
    })
  }
  return figures
}

/** Adds a place; one that cannot be had here is told and left out. */
async function add(places: Place[], say: Settings['say'], name: PlaceName, make: () => Promise<Place>) {
  await told(say, name, async () => places.push(await make()))
}

async function told(say: Settings['say'], name: string, step: () => Promise<unknown>): Promise<void> {
  try {
    await step()
  } catch (error) {
    if (stopped) throw error
    say(`${name} is left out: ${(error as Error).message}`)
  }
}

/** Measures one thing in all places, in turn, and sets it against its goal. */
async function compare(measure: Measure, places: Place[], bench: Bench, settings: Settings): Promise<Figure> {
  settings.say(`${measure.name} …`)
  const samples: Samples = new Map()
  const here = places.filter((place) => measure.places.includes(place.name))
  const failed = new Set<Place>()
  // Round 0 brings everything to its working temperature and is not counted.
  for (let round = 0; round <= settings.rounds; round++) {
    for (const place of here) {
      if (failed.has(place)) continue
      await told(settings.say, `${place.name} in ${measure.name}`, async () => {
        failed.add(place)
        const seconds = await measure.once(place, bench.probe)
        failed.delete(place)
        if (round > 0) samples.set(place.name, [...(samples.get(place.name) ?? []), seconds])
      })
    }
  }
  for (const place of failed) samples.delete(place.name)
  return compared(measure, samples)
}

/** `cosmos up` to an answered `ls`, less one start of Node. */
async function ready(bench: Bench, settings: Settings): Promise<Figure> {
  settings.say('ready …')
  const cosmos = await Cosmos.make(bench, settings.program, 'cosmos-ready')
  const beyond: number[] = []
  for (let round = 0; round <= settings.rounds; round++) {
    const start = await seconds(() => run(process.execPath, ['-e', '0']))
    const up = await seconds(async () => {
      await cosmos.up()
      await run('ls', [cosmos.mount])
    })
    await cosmos.down()
    if (round > 0) beyond.push(up - start)
  }
  const value = median(beyond)
  const what = '`cosmos up` to an answered `ls`, beyond the start of Node'
  return bare('ready', what, `≤ ${readyGoal} s`, `${value.toFixed(2)} s`, value <= readyGoal)
}

try {
  await main()
} catch (error) {
  console.error(`bench: ${(error as Error).message}`)
  process.exitCode = 1
}
