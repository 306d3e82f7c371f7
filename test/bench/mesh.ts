/** What a peer's files and programs cost, beside Debian's ssh (ControlMaster), sshfs and GNU parallel, in one run. */
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { succeed } from '../support/run.ts'
import { pause } from './children.ts'
import { bare, digits, type Figure, measured, median } from './figures.ts'
import type { ClientFigures } from './mesh-client.ts'
import { MeshWorld } from './mesh-world.ts'
import { beside, duration, inTurn } from './turns.ts'

/** Goals of issue 5; milliseconds, MiB/s, MiB, and ratios. */
const GOALS = {
  p50: 3,
  p99: 8,
  runs: 450,
  calls: 100_000,
  shell: 6,
  sandboxed: 12,
  jobs: 600,
  stream: 400,
  stalled: 64,
  cold: 0.3,
  warm: 1.2,
  read: 1.5,
  far: { walk: 0.2, beyond: 5 },
}
/** Delay each way in the second world, and the round trip that it makes; milliseconds. */
const DELAY = 10
const ROUND_TRIP = 2 * DELAY
const JOBS = 200
const SPAWNS = 20
const MIB = 1024 * 1024
const READ_MIB = 256
const STREAM_MIB = 256
const tree = { dirs: 100, files: 100, bytes: 100 }

/** All figures; `probe` is the compiled probe.c, `say` tells progress. */
export async function meshFigures(
  probe: string,
  rounds: number,
  say: (text: string) => void,
): Promise<Figure[]> {
  const near = await inWorld(0, async (world) => {
    const bench = new MeshBench(world, probe, rounds)
    return measured(bench.near, (name) => say(`mesh, ${name} …`))
  })
  say(`mesh, ${ROUND_TRIP} ms away …`)
  const far = await inWorld(DELAY, (world) => new MeshBench(world, probe, Math.min(rounds, 3)).far())
  return [...near, ...far]
}

async function inWorld<T>(delay: number, work: (world: MeshWorld) => Promise<T>): Promise<T> {
  const world = await MeshWorld.start(delay)
  try {
    await world.connectSsh()
    return await work(world)
  } finally {
    await world.end()
  }
}

class MeshBench {
  readonly #world: MeshWorld
  readonly #probe: string
  readonly #rounds: number

  constructor(world: MeshWorld, probe: string, rounds: number) {
    this.#world = world
    this.#probe = probe
    this.#rounds = rounds
  }

  readonly near = {
    client: () => this.#client(),
    shell: () => this.#shell(),
    jobs: () => this.#jobs(),
    stream: () => this.#stream(),
    stalled: () => this.#stalled(),
    walk: () => this.#walk(GOALS.cold),
    read: () => this.#read(),
  }

  /** The same things, far away. */
  async far(): Promise<Figure[]> {
    const { times } = await this.#askClient('exec-bare:.cosm/bin', 30)
    const goal = ROUND_TRIP + GOALS.far.beyond
    const ssh = await this.#spawned('/', this.#ssh('true'), 10)
    const what = `true by a client, ${ROUND_TRIP} ms away; ssh ${duration(ssh)}`
    return [upTo(what, median([...times]), goal), ...(await this.#walk(GOALS.far.walk))]
  }

  /** A client that runs has b run `true`, and ask it something. */
  async #client(): Promise<Figure[]> {
    const ssh = await this.#spawned('/', this.#ssh('true'))
    const bare = await this.#askClient('exec-bare:.cosm/bin', 300)
    const sandboxed = await this.#askClient('exec:.cosm/bin', 100)
    const sorted = bare.times.toSorted((one, other) => one - other)
    return [
      upTo(`true by a client, p50; ssh ${duration(ssh)}`, median(sorted), GOALS.p50),
      upTo('the same, p99', sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN, GOALS.p99),
      atLeast('the same, a second, 8 in flight', bare.runs, GOALS.runs),
      upTo('the same, sandboxed, p50', median([...sandboxed.times]), GOALS.sandboxed),
      atLeast('calls of the daemon a second, 64 in flight', bare.calls, GOALS.calls),
    ]
  }

  /** The user's file, run from a directory that is lent. */
  async #shell(): Promise<Figure[]> {
    const figures: Figure[] = []
    const { work } = this.#world.a.cosmos
    const far = [this.#world.program('far-true')]
    for (const operation of ['exec-bare', 'exec'] as const) {
      await this.#world.grantPrograms(operation)
      const how = operation === 'exec' ? ', sandboxed' : ''
      const goal = operation === 'exec' ? GOALS.sandboxed : GOALS.shell
      for (const [where, directory] of [
        ['in /, which is not lent', '/'],
        ['in a directory that is lent', work],
      ] as const) {
        const samples = await inTurn(this.#rounds, {
          ssh: () => this.#spawned(directory, this.#ssh('true')),
          cosmos: () => this.#spawned(directory, far),
        })
        const what = `far-true from the shell${how}, ${where}; ssh ${duration(median(samples.ssh))}`
        figures.push(upTo(what, 1000 * median(samples.cosmos), goal))
      }
    }
    await this.#world.grantPrograms('exec-bare')
    return figures
  }

  async #jobs(): Promise<Figure[]> {
    const far = this.#world.program('far-true')
    const samples = await inTurn(Math.min(this.#rounds, 3), {
      parallel: () =>
        this.#timed(
          `seq ${JOBS} | parallel --will-cite -j8 --ssh "ssh -F ${this.#world.config}" -S b true >/dev/null 2>&1`,
        ),
      cosmos: () => this.#timed(`cd / && seq ${JOBS} | xargs -P8 -n1 ${far}`),
    })
    const what = `${JOBS} jobs by xargs -P8; GNU parallel ${duration(median(samples.parallel))}`
    return [upTo(what, 1000 * median(samples.cosmos), GOALS.jobs)]
  }

  async #stream(): Promise<Figure[]> {
    const far = this.#world.program('far-head')
    const cosmos = this.#world.a.cosmos.code('bin/cosmos')
    const samples = await inTurn(Math.min(this.#rounds, 5), {
      ssh: () => this.#timed(`ssh -F ${this.#world.config} b head -c ${STREAM_MIB}M /dev/zero >/dev/null`),
      file: () => this.#timed(`cd / && ${far} -c ${STREAM_MIB}M /dev/zero >/dev/null`),
      exec: () => this.#timed(`cd / && ${cosmos} exec --on me@b head -c ${STREAM_MIB}M /dev/zero >/dev/null`),
    })
    const rate = (times: number[]): number => STREAM_MIB / median(times)
    return [
      atLeast(`stdout, MiB a second; ssh ${digits(rate(samples.ssh))}`, rate(samples.file), GOALS.stream),
      atLeast('the same by cosmos exec --on', rate(samples.exec), GOALS.stream),
    ]
  }

  /** Memory of both daemons while nobody reads what a program writes. */
  async #stalled(): Promise<Figure[]> {
    const { a, b } = this.#world
    const daemons = [await a.cosmos.daemon(), await b.cosmos.daemon()]
    const before = daemons.map(resident)
    const child = await this.#world.spawn(a, [
      this.#world.program('far-head'),
      '-c',
      `${STREAM_MIB}M`,
      '/dev/zero',
    ])
    // Some has come, and nobody takes it.
    await once(child.stdout!, 'readable')
    let highest = daemons.map(() => 0)
    // As long as it takes for what goes on to be seen.
    for (let i = 0; i < 30; i++) {
      await pause(0.1)
      highest = daemons.map((pid, at) => Math.max(highest[at] ?? 0, resident(pid)))
    }
    child.kill('SIGKILL')
    await once(child, 'exit')
    return ['a', 'b'].map((name, at) => {
      const more = ((highest[at] ?? 0) - (before[at] ?? 0)) / MIB
      const what = `memory of ${name} with a reader that stalls`
      return bare(
        'mesh',
        what,
        `≤ ${GOALS.stalled} MiB more`,
        `${more.toFixed(0)} MiB`,
        more <= GOALS.stalled,
      )
    })
  }

  async #walk(goal: number): Promise<Figure[]> {
    const { files } = this.#world
    const { dirs, files: each, bytes } = tree
    for (let round = 0; round <= this.#rounds; round++) {
      const directory = join(files, `t${round}`)
      mkdirSync(directory)
      await succeed(this.#probe, ['tree', directory, `${dirs}`, `${each}`, `${bytes}`])
    }
    const warm: { ours: number[]; local: number[] } = { ours: [], local: [] }
    const cold = await inTurn(this.#rounds, {
      sshfs: async (round) => this.#walked(join(await this.#world.sshfs(), `t${round}`), 1),
      cosmos: async (round) => {
        const local = join(files, `t${round}`)
        const taken = await this.#walked(this.#world.onA(local), 1)
        // Later than what is told holds by itself.
        await pause(1.5)
        warm.ours.push(await this.#walked(this.#world.onA(local), 1))
        warm.local.push(await this.#walked(local, 5))
        return taken
      },
    })
    const away = goal === GOALS.cold ? '' : `, ${ROUND_TRIP} ms away`
    const name = 'mesh'
    const figures = [
      beside(
        { name, what: `lstat of 10,000 files, cold${away}`, of: 'sshfs', as: 'time', goal },
        cold.cosmos,
        cold.sshfs,
      ),
    ]
    if (away === '')
      figures.push(
        beside(
          { name, what: 'the same, warm', of: 'local', as: 'time', goal: GOALS.warm },
          warm.ours,
          warm.local,
        ),
      )
    return figures
  }

  async #read(): Promise<Figure[]> {
    const { files } = this.#world
    const large = join(files, 'large')
    const samples = await inTurn(this.#rounds, {
      sshfs: async () => {
        // Another file in each round: nothing of it is cached.
        rmSync(large, { force: true })
        writeFileSync(large, Buffer.alloc(READ_MIB * MIB, 'cosmos '))
        return this.#probed(['read', await this.#world.sshfs(), 'large', '1'])
      },
      cosmos: () => this.#probed(['read', this.#world.onA(files), 'large', '1']),
    })
    const what = `read of ${READ_MIB} MiB`
    return [
      beside(
        { name: 'mesh', what, of: 'sshfs', as: 'rate', goal: GOALS.read },
        samples.cosmos,
        samples.sshfs,
      ),
    ]
  }

  #ssh(...command: string[]): string[] {
    return ['/usr/bin/ssh', '-F', this.#world.config, 'b', ...command]
  }

  /** What a client of its own finds, with this grant. */
  async #askClient(grant: string, times: number): Promise<ClientFigures> {
    const { a } = this.#world
    const state = join(a.cosmos.base, `client-${grant.split(':')[0]}`)
    const program = join(import.meta.dirname, 'mesh-client.ts')
    const args = [program, await this.#world.invite(grant), state, 'true', String(times)]
    const { code, stdout, stderr } = await a.cosmos.run(process.execPath, args)
    if (code !== 0) throw new Error(`the client: exit ${code}\n${stderr}`)
    return JSON.parse(stdout) as ClientFigures
  }

  /** Seconds of posix_spawn and wait on a: the median. */
  #spawned(directory: string, command: readonly string[], times = SPAWNS): Promise<number> {
    return this.#probed(['spawn', directory, String(times), ...command])
  }

  async #walked(directory: string, passes: number): Promise<number> {
    const told = await this.#tell(this.#probe, ['walk', directory, String(passes)])
    const [time, count] = told.split(/\s/)
    const expected = tree.dirs * (tree.files + 1)
    if (Number(count) !== expected) throw new Error(`${directory} lists ${count} entries, not ${expected}`)
    return Number(time)
  }

  async #probed(args: readonly string[]): Promise<number> {
    return Number((await this.#tell(this.#probe, args)).split(/\s/)[0])
  }

  /** Seconds of a shell's command on a. */
  async #timed(script: string): Promise<number> {
    const start = performance.now()
    await this.#tell('/bin/sh', ['-c', script])
    return (performance.now() - start) / 1000
  }

  /** Runs on a what must succeed; its output. */
  async #tell(program: string, args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#world.a.cosmos.run(program, args, { timeout: 180_000 })
    if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${code}\n${stderr}`)
    return stdout
  }
}

/** A figure in milliseconds. */
function upTo(what: string, value: number, goal: number): Figure {
  return bare('mesh', what, `≤ ${goal} ms`, `${digits(value)} ms`, value <= goal)
}

function atLeast(what: string, value: number, goal: number): Figure {
  return bare('mesh', what, `≥ ${goal}`, digits(value), value >= goal)
}

/** Memory of a process that is its own, bytes. */
function resident(pid: number): number {
  const found = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(found?.[1]) * 1024
}
