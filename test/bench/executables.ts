/**
 * What executing costs, beside plain spawn of the same program, in one run: `test/bench/probe.c` spawns and waits, in
 * turn, through cosmos and without it. Of an instance of its own, whose VMs are warm.
 */
import { spawn } from 'node:child_process'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dlopen } from '../../src/api/library.ts'
import { findInstance } from '../../src/daemon/instance.ts'
import { CosmosInstance } from '../support/instance.ts'
import { compareWithLddtree, elfPrograms, whyNoLddtree } from '../support/lddtree.ts'
import { succeed } from '../support/run.ts'
import { tiny } from '../wasi/tiny.ts'
import { bare, type Figure, measured, median } from './figures.ts'
import { functionFigures } from './functions.ts'

/** Goals of issue 3. */
const GOALS = {
  program: 1.1,
  script: 1.2,
  launch: 3,
  hello: 3,
  overBash: 2,
  call: 1,
  stream: 800,
  killed: 250,
  spare: 10,
}
/** Spawns of one sample, and before the first. */
const SPAWNS = 100
const WARM_UP = 500
const STREAM_MIB = 2048

/** A comparison: medians of ratios of samples that were taken in turn. */
interface Compared {
  readonly ratio: number
  readonly spread: string
  /** Milliseconds. */
  readonly ours: number
  readonly theirs: number
}

/** All figures; `probe` is the compiled probe.c, `say` tells progress. */
export async function executableFigures(
  probe: string,
  rounds: number,
  say: (text: string) => void,
): Promise<Figure[]> {
  const instance = await CosmosInstance.start()
  try {
    const bench = new Executables(instance, probe, rounds)
    const figures = await measured(bench.measures, (name) => say(`${name} …`))
    say('call …')
    figures.push(...(await functionFigures(rounds)))
    say('profiles …')
    figures.push(await profiles())
    return figures
  } finally {
    await instance.stop()
  }
}

class Executables {
  readonly #instance: CosmosInstance
  readonly #probe: string
  readonly #rounds: number
  readonly #bin: string
  readonly #shown: string

  constructor(instance: CosmosInstance, probe: string, rounds: number) {
    this.#instance = instance
    this.#probe = probe
    this.#rounds = rounds
    this.#bin = join(instance.home, '.cosm/bin')
    this.#shown = join(instance.mount, '.cosm/bin')
  }

  readonly measures = {
    'layer-program': () => this.#program(),
    'layer-script': () => this.#script(),
    launch: () => this.#launch(),
    'wasi-hello': () => this.#hello(),
    'wasi-call': () => this.#wasiCall(),
    stream: () => this.#stream(),
    'vm-killed': () => this.#killed(),
  }

  async #program(): Promise<Figure[]> {
    copyFileSync('/bin/true', join(this.#bin, 'program'))
    const found = await this.#compare([join(this.#shown, 'program')], [join(this.#bin, 'program')])
    return [
      ratio('layer-program', 'exec of a native program of a layer, by the disk’s', GOALS.program, found),
    ]
  }

  async #script(): Promise<Figure[]> {
    writeFileSync(join(this.#bin, 'script'), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
    const found = await this.#compare([join(this.#shown, 'script')], [join(this.#bin, 'script')])
    return [ratio('layer-script', 'the same of a script', GOALS.script, found)]
  }

  async #launch(): Promise<Figure[]> {
    const found = await this.#compare(this.#launched('/bin/true'), ['/bin/true'])
    return [ratio('launch', 'launcher → hostexec → exit of true, by posix_spawn + wait', GOALS.launch, found)]
  }

  async #hello(): Promise<Figure[]> {
    const path = join(this.#shown, 'hello.wasm')
    writeFileSync(join(this.#bin, 'hello.wasm'), tiny.nothing)
    const found = await this.#compare([path], ['/bin/bash', '-c', 'true'])
    const time = (value: number): string => `${value.toFixed(2)} ms`
    return [
      bare(
        'wasi-hello',
        'execve of a warm module to its exit',
        `≤ ${GOALS.hello} ms`,
        time(found.ours),
        found.ours <= GOALS.hello,
      ),
      bare(
        'wasi-hello',
        'beyond bash -c true',
        `≤ ${GOALS.overBash} ms`,
        time(found.ours - found.theirs),
        found.ours - found.theirs <= GOALS.overBash,
      ),
    ]
  }

  async #wasiCall(): Promise<Figure[]> {
    const path = join(this.#instance.home, '.cosm/lib/library.wasm')
    writeFileSync(path, tiny.library)
    const library = dlopen(path, { instance: findInstance(this.#instance.env) })
    const add = library.dlsym('add')
    const times: number[] = []
    for (let i = 0; i < 2000; i++) {
      const start = performance.now()
      await add(1, 2)
      times.push(performance.now() - start)
    }
    library.close()
    const time = median(times)
    return [
      bare(
        'wasi-call',
        'a function of a module',
        `≤ ${GOALS.call} ms`,
        `${time.toFixed(3)} ms`,
        time <= GOALS.call,
      ),
    ]
  }

  async #stream(): Promise<Figure[]> {
    const [program = '', ...args] = this.#launched('/bin/cat')
    const script = `head -c ${STREAM_MIB}M /dev/zero | "$@" | tail -c 1 | wc -c`
    const rates: number[] = []
    for (let round = 0; round < this.#rounds; round++) {
      const start = performance.now()
      const told = await succeed('/bin/sh', ['-c', script, 'sh', program, ...args], {
        env: this.#instance.env,
      })
      if (told.trim() !== '1') throw new Error(`the stream ended with ${told}`)
      rates.push((STREAM_MIB * 1.048576) / ((performance.now() - start) / 1000))
    }
    const rate = median(rates)
    return [
      bare(
        'stream',
        'through the launcher’s stdin and stdout',
        `≥ ${GOALS.stream} MB/s`,
        `${rate.toFixed(0)} MB/s`,
        rate >= GOALS.stream,
      ),
    ]
  }

  /** A VM is killed; the time until the next program has run. */
  async #killed(): Promise<Figure[]> {
    const withSpare: number[] = []
    const without: number[] = []
    for (let round = 0; round < this.#rounds; round++) {
      withSpare.push(await this.#afterKill(1))
      without.push(await this.#afterKill(Number.POSITIVE_INFINITY))
    }
    const usual: number[] = []
    for (let i = 0; i < 20; i++) usual.push(await this.#launchOnce())
    const once = median(usual)
    // What a launch costs anyway is not the replacement's.
    const [spare, none] = [median(withSpare) - once, median(without) - once]
    return [
      bare(
        'vm-killed',
        'VM killed to next answer, with a spare',
        `≤ ${GOALS.spare} ms`,
        `${spare.toFixed(1)} ms`,
        spare <= GOALS.spare,
      ),
      bare(
        'vm-killed',
        'the same without one',
        `≤ ${GOALS.killed} ms`,
        `${none.toFixed(0)} ms`,
        none <= GOALS.killed,
      ),
    ]
  }

  async #afterKill(count: number): Promise<number> {
    const pids = await this.#warmProcesses(2)
    for (const pid of pids.slice(0, count)) process.kill(pid, 'SIGKILL')
    return this.#launchOnce()
  }

  /** One launch, milliseconds. */
  async #launchOnce(): Promise<number> {
    const [program = '', ...args] = this.#launched('/bin/true')
    const start = performance.now()
    await new Promise<void>((resolve, reject) => {
      const child = spawn(program, args, { stdio: 'ignore', env: this.#instance.env })
      child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`exit ${code}`))))
    })
    return performance.now() - start
  }

  /** Processes of hostexec, once there are as many, and one of them has answered. */
  async #warmProcesses(count: number): Promise<number[]> {
    for (;;) {
      await this.#sample(this.#launched('/bin/true'), 3)
      const state = readFileSync(join(this.#instance.mount, '.cosm/vm/hostexec/state'), 'utf8')
      const pids = [...state.matchAll(/^process (\d+)$/gm)].map((each) => Number(each[1]))
      // A process that starts is busy for longer than it takes to be seen.
      if (pids.length >= count && pids.every(isIdle)) return pids
    }
  }

  #launched(...command: string[]): string[] {
    const line = join(this.#shown, 'line.wasm')
    writeFileSync(join(this.#bin, 'line.wasm'), tiny.write)
    const launcher = /^#!(\S+) (\S+)/.exec(readFileSync(line, 'utf8'))
    if (!launcher) throw new Error(`${line} names no launcher`)
    return [launcher[1] as string, launcher[2] as string, ...command]
  }

  /** Median times of spawning both, in turn, round by round. */
  async #compare(ours: string[], theirs: string[]): Promise<Compared> {
    const samples: { ours: number; theirs: number }[] = []
    // The daemon's code is compiled as it is used.
    await this.#sample(ours, WARM_UP)
    for (let round = 0; round < this.#rounds; round++) {
      const [one = 0] = await this.#sample(theirs)
      const [other = 0] = await this.#sample(ours)
      samples.push({ ours: other, theirs: one })
    }
    const ratios = samples.map((each) => each.ours / each.theirs)
    return {
      ratio: median(ratios),
      spread: `${Math.min(...ratios).toFixed(2)}…${Math.max(...ratios).toFixed(2)}`,
      ours: median(samples.map((each) => each.ours)),
      theirs: median(samples.map((each) => each.theirs)),
    }
  }

  /** The median of some spawns, milliseconds, as a list of one. */
  async #sample(command: string[], spawns = SPAWNS): Promise<number[]> {
    const out = await succeed(this.#probe, ['spawn', '/', `${spawns}`, ...command], {
      env: this.#instance.env,
    })
    return [1000 * Number(out)]
  }
}

/** Whether a process sleeps; one that has just been killed may be listed still. */
function isIdle(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) === 'S'
  } catch {
    return false
  }
}

function ratio(name: string, what: string, goal: number, found: Compared): Figure {
  return bare(
    name,
    what,
    `time ≤ ${goal}`,
    `${found.ratio.toFixed(2)} (${found.spread})`,
    found.ratio <= goal,
  )
}

/** How many programs of /usr/bin have the libraries that lddtree lists. */
async function profiles(): Promise<Figure> {
  const what = 'programs of /usr/bin whose libraries are as lddtree lists them'
  const missing = await whyNoLddtree()
  if (missing !== undefined) return bare('profiles', `${what} (left out: ${missing})`, 'all', '–', true)
  const { programs, agreeing, differences } = await compareWithLddtree(elfPrograms('/usr/bin'))
  for (const difference of differences) console.error(JSON.stringify(difference))
  return bare('profiles', what, 'all', `${agreeing} of ${programs}`, agreeing === programs)
}
