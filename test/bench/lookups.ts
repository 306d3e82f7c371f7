/** What lookups, transformations and mapped documents cost, beside plain files, tar and Debian's archivemount, in one run. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { CosmosInstance } from '../support/instance.ts'
import { whyNotInstalled } from '../support/packages.ts'
import { has, shell, succeed } from '../support/run.ts'
import { bare, digits, type Figure, measured, median } from './figures.ts'
import { fudgeFigures } from './fudge.ts'
import { beside, duration, inTurn, seconds } from './turns.ts'

/** Goals of issue 4: ratios, microseconds, seconds. */
const GOALS = { found: 1.05, missed: 10, produced: 0.9, json: 2, tar: 1 }
const MIB = 1024 * 1024
const NAMES = 2000
const PRODUCED_MIB = 128
const JSON_MIB = 50
const PACKED = 10_000
/** archivemount gets no longer. */
const ARCHIVEMOUNT_SECONDS = 30

/** All figures; `probe` is the compiled probe.c, `say` tells progress. */
export async function lookupFigures(
  probe: string,
  rounds: number,
  say: (text: string) => void,
): Promise<Figure[]> {
  const instance = await CosmosInstance.start()
  try {
    const bench = new LookupBench(instance, probe, rounds)
    const figures = await measured(bench.measures, (name) => say(`lookups, ${name} …`))
    return figures.concat(fudgeFigures())
  } finally {
    await instance.stop()
  }
}

class LookupBench {
  readonly #instance: CosmosInstance
  readonly #probe: string
  readonly #rounds: number

  constructor(instance: CosmosInstance, probe: string, rounds: number) {
    this.#instance = instance
    this.#probe = probe
    this.#rounds = rounds
  }

  readonly measures = {
    names: () => this.#names(),
    produced: () => this.#produced(),
    json: () => this.#json(),
    tar: () => this.#tar(),
  }

  /**
   * Names that could be read as a modifier's, beside those that could not, which is what a literal lookup costs: some
   * that exist, and some that do not. Each is new to the kernel.
   */
  async #names(): Promise<Figure[]> {
    const look = (kind: string, name: (at: number) => string, exists: boolean) => async (round: number) => {
      const directory = join(this.#instance.work, `${kind}${round}`)
      mkdirSync(directory)
      const names = Array.from({ length: NAMES }, (_, at) => name(at))
      if (exists) for (const each of names) writeFileSync(join(directory, each), '')
      const shown = this.#instance.inMount(`${kind}${round}`)
      statSync(shown)
      return seconds(async () => {
        for (const each of names) statSync(`${shown}/${each}`, { throwIfNoEntry: false })
      })
    }
    const plain = (at: number): string => `name_${at}_h`
    const dotted = (at: number): string => `name_${at}.h`
    const samples = await inTurn(this.#rounds, {
      plain: look('plain', plain, true),
      dotted: look('dotted', dotted, true),
      plainMiss: look('plain-miss', plain, false),
      dottedMiss: look('dotted-miss', dotted, false),
    })
    const what = `lookup of ${NAMES} names with a dot, by those without`
    const bound = { name: 'lookups', what, of: 'literal', as: 'time', goal: GOALS.found } as const
    const each = (times: readonly number[]): number[] => times.map((time) => (1e6 * time) / NAMES)
    const plainMisses = each(samples.plainMiss)
    const more = median(each(samples.dottedMiss).map((time, round) => time - (plainMisses[round] ?? 0)))
    return [
      beside(bound, samples.dotted, samples.plain),
      bare(
        'lookups',
        `a miss, beyond a literal one of ${digits(median(plainMisses))} µs`,
        `≤ ${GOALS.missed} µs`,
        `${more.toFixed(1)} µs`,
        more <= GOALS.missed,
      ),
    ]
  }

  /** A result that was produced before. */
  async #produced(): Promise<Figure[]> {
    const { work } = this.#instance
    const content = randomBytes(PRODUCED_MIB * MIB)
    writeFileSync(join(work, 'large'), content)
    writeFileSync(join(work, 'large.gz'), gzipSync(content, { level: 1 }))
    const shown = this.#instance.inMount()
    const first = await seconds(() => succeed('cmp', [join(work, 'large'), join(shown, 'large.gz.gunzip')]))
    const read = async (directory: string, name: string): Promise<number> =>
      Number((await succeed(this.#probe, ['read', directory, name, '5'])).split(/\s/)[0])
    const samples = await inTurn(this.#rounds, {
      local: () => read(work, 'large'),
      cosmos: () => read(shown, 'large.gz.gunzip'),
    })
    const what = `read of ${PRODUCED_MIB} MiB that were produced (the first time in ${duration(first)})`
    const bound = { name: 'lookups', what, of: 'local', as: 'rate', goal: GOALS.produced } as const
    return [beside(bound, samples.cosmos, samples.local)]
  }

  /** A large document becomes directories when it is looked at. */
  async #json(): Promise<Figure[]> {
    const times: number[] = []
    let peak = 0
    for (let round = 0; round <= Math.min(this.#rounds, 3); round++) {
      // Another document each time.
      writeFileSync(join(this.#instance.work, `data${round}.json`), document(JSON_MIB * MIB, round))
      const shown = this.#instance.inMount(`data${round}.json.d`)
      const time = await seconds(() => shell('ls "$1" >/dev/null', [shown]))
      if (readdirSync(shown).length === 0) throw new Error(`${shown} is empty`)
      if (round > 0) times.push(time)
      peak = Math.max(peak, ...(await this.#peaks('form')))
    }
    const time = median(times)
    const what = `ls of a JSON of ${JSON_MIB} MiB, mapped; the VM has had ${Math.round(peak / MIB)} MiB`
    return [bare('lookups', what, `≤ ${GOALS.json} s`, `${time.toFixed(2)} s`, time <= GOALS.json)]
  }

  /** The most memory that the processes of a VM have had, bytes. */
  async #peaks(name: string): Promise<number[]> {
    const vms = JSON.parse(await this.#instance.tell('vm', 'stats', name, '--json')) as { pids: number[] }[]
    return vms.flatMap(({ pids }) =>
      pids.map((pid) => {
        const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
        return Number(found?.[1]) * 1024
      }),
    )
  }

  /** Many small files in an archive: all are read, through what shows them, and by unpacking. */
  async #tar(): Promise<Figure[]> {
    const { work } = this.#instance
    const files = join(work, 'files')
    mkdirSync(files)
    await succeed(this.#probe, ['tree', files, '100', String(PACKED / 100), '1000'])
    const archive = (round: number): string => join(work, `packed${round}.tar`)
    for (let round = 0; round <= this.#rounds; round++) {
      writeFileSync(join(files, 'round'), String(round))
      await succeed('tar', ['cf', archive(round), '-C', files, '.'])
    }
    const bytes = PACKED * 1000
    const readAll = (place: string): string =>
      `test "$(find ${place} -name 'f*' -type f -exec cat {} + | wc -c)" -ge ${bytes}`
    const samples = await inTurn(Math.min(this.#rounds, 3), {
      tar: (round) =>
        seconds(() => shell(`tar xf "$1" -C "$2" && ${readAll('"$2"')}`, [archive(round), emptied(work)])),
      cosmos: (round) =>
        seconds(() => shell(readAll('"$1"'), [`${this.#instance.inMount(`packed${round}.tar`)}.d`])),
    })
    const what = `${PACKED} files read through tar.d`
    const by = await this.#archivemount(archive(0), readAll('"$2"'))
    const bound = {
      name: 'lookups',
      what: `${what}; archivemount ${by}`,
      as: 'rate',
      goal: GOALS.tar,
    } as const
    return [beside({ ...bound, of: 'tar x' }, samples.cosmos, samples.tar)]
  }

  /** How long archivemount takes for the same, once: it looks for each file from the archive's start on. */
  async #archivemount(archive: string, readAll: string): Promise<string> {
    const missing = await whyNotInstalled(['archivemount'], () => has('archivemount'))
    if (missing !== undefined) return missing
    const mount = join(this.#instance.work, 'archive')
    mkdirSync(mount)
    const script = `archivemount -o readonly "$1" "$2" && timeout ${ARCHIVEMOUNT_SECONDS} sh -c '${readAll}' sh "$1" "$2"`
    try {
      return duration(await seconds(() => shell(script, [archive, mount])))
    } catch {
      return `takes more than ${ARCHIVEMOUNT_SECONDS} s`
    } finally {
      await succeed('umount', ['-l', mount])
    }
  }
}

/** A directory with nothing in it. */
function emptied(parent: string): string {
  const directory = join(parent, 'unpacked')
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory)
  return directory
}

/** JSON as data sets are: many records of some fields, a few hundred keys at its root. */
function document(bytes: number, seed: number): string {
  const record = (at: number): object => ({
    id: at,
    name: `record ${seed} ${at}`,
    tags: ['one', 'two', 'three'],
    place: { latitude: at / 7, longitude: at / 11 },
    text: 'what somebody has written about it, not very long '.repeat(3),
  })
  const per = Math.floor(bytes / 250 / JSON.stringify(record(100_000)).length)
  const lists = Array.from({ length: 250 }, (_, key) => [
    `list${key}`,
    Array.from({ length: per }, (_, at) => record(key * per + at)),
  ])
  return JSON.stringify(Object.fromEntries(lists))
}
