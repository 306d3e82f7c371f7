// The daemon is killed, or replaced, again and again while programs use the mount: not one of their calls may fail.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdirSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { CosmosInstance, isRoot, whyNoMount } from '../support/instance.ts'
import { has } from '../support/run.ts'
import { waitFor, within } from '../support/wait.ts'
import { type WorkloadReport, workloads } from './workloads.ts'

const kills = Number(process.env.COSMOS_CHAOS_KILLS ?? 20)
const reloads = Math.ceil(kills / 4)
const size = bytes(process.env.COSMOS_CHAOS_SIZE ?? '96M')
/** From one kill to the next; but a daemon may serve for a while, however long it took to start on a busy machine. */
const INTERVAL_MS = 300
const SERVES_MS = 100
/**
 * No call may hang. How long the slowest took is said in the report: the goal is 1 s, but a busy machine, on which
 * a daemon takes as long to start as the kills are apart, says nothing of it.
 */
const LONGEST_CALL_MS = 30_000
const TIMEOUT_MS = 60_000 + kills * 2000 + size / 10_000

/** `1G`, `100M`: how many bytes. */
function bytes(text: string): number {
  const [, number = '0', unit = ''] = /^(\d+)([KMG]?)$/.exec(text) ?? []
  return Number(number) * 1024 ** ' KMG'.indexOf(unit || ' ')
}

/** Why the daemon cannot be replaced without a trace here; undefined when it can. */
function whyNoTakeover(): string | undefined {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  if (major < 6 || (major === 6 && minor < 9)) return `Linux ${release()} has no FUSE_NOTIFY_RESEND (6.9)`
  return whyNoMount()
}

/** The programs that use the mount. */
class Crowd {
  readonly #members: { name: string; report: Promise<WorkloadReport>; stop(): void; kill(): void }[] = []
  readonly #failed: string[] = []

  /** Starts every workload in a directory of its own; they work when it returns. */
  static async start(instance: CosmosInstance, names: string[]): Promise<Crowd> {
    const crowd = new Crowd()
    for (const name of names) {
      for (const directory of [join(instance.work, 'm', name), join(instance.work, 'raw', name)]) {
        mkdirSync(directory, { recursive: true })
        if (instance.uid !== undefined) chownSync(directory, instance.uid, instance.uid)
      }
    }
    await Promise.all(names.map((name) => crowd.#add(instance, name)))
    return crowd
  }

  async #add(instance: CosmosInstance, name: string): Promise<void> {
    const file = instance.code('test/chaos/workloads.ts')
    const args = [
      file,
      name,
      instance.inMount(join('m', name)),
      join(instance.work, 'raw', name),
      String(size),
    ]
    const child = spawn(instance.node, args, {
      cwd: instance.base,
      env: { ...instance.env, GIT_CONFIG_NOSYSTEM: '1', GIT_OPTIONAL_LOCKS: '0' },
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(instance.uid === undefined ? {} : { uid: instance.uid, gid: instance.uid }),
    })
    let complaint = ''
    child.stderr.on('data', (data: Buffer) => {
      complaint += data
    })
    const lines = createInterface(child.stdout)
    const ready = once(lines, 'line')
    let last = ''
    lines.on('line', (line) => {
      last = line
    })
    const report = once(child, 'close').then(([code, signal]): WorkloadReport => {
      try {
        const found = JSON.parse(last) as WorkloadReport
        if (found.error !== undefined) this.#failed.push(name)
        return found
      } catch {
        this.#failed.push(name)
        const error = `ended (${signal ?? code}) without a report\n${complaint}`
        const none = { milliseconds: 0, call: '' }
        return { name, rounds: 0, calls: 0, worst: none, raw: none, error }
      }
    })
    this.#members.push({
      name,
      report,
      stop: () => child.stdin.end(),
      kill: () => child.kill('SIGKILL'),
    })
    child.stdin.on('error', () => {})
    await Promise.race([ready, report])
  }

  /** Those that could not go on. */
  get failed(): readonly string[] {
    return this.#failed
  }

  /** Lets all finish their round; what they say. */
  async finish(): Promise<WorkloadReport[]> {
    for (const { stop } of this.#members) stop()
    return Promise.all(
      this.#members.map(async ({ name, report }) => within(40_000, `the last round of ${name}`, report)),
    )
  }

  kill(): void {
    for (const member of this.#members) member.kill()
  }
}

/** All workloads that this machine can run. */
async function available(): Promise<string[]> {
  const lacks = (await has('git')) ? [] : ['git']
  return Object.keys(workloads).filter((name) => !lacks.includes(name))
}

interface Way {
  title: string
  times: number
  disturb(instance: CosmosInstance, pid: number): Promise<void>
}

const killing = (times: number): Way => ({
  title: `kill -9 of the daemon, ${times} times`,
  times,
  async disturb(_instance, pid) {
    process.kill(pid, 'SIGKILL')
  },
})
const reloading: Way = {
  title: `cosmos reload, ${reloads} times`,
  times: reloads,
  async disturb(instance) {
    await instance.tell('reload')
  },
}

interface Setting {
  title: string
  root?: boolean
  asUser?: boolean
  env?: Record<string, string>
  ways: Way[]
}

const settings: Setting[] = [
  { title: 'as root, with passthrough', root: true, ways: [killing(kills), reloading] },
  {
    title: 'as root, the daemon does the I/O',
    root: true,
    env: { COSMOS_PASSTHROUGH: 'off' },
    ways: [killing(kills)],
  },
  { title: 'as an ordinary user', asUser: true, ways: [killing(Math.ceil(kills / 2))] },
]

const missing = whyNoTakeover()
let instance: CosmosInstance | undefined
let crowd: Crowd | undefined

afterEach(async () => {
  crowd?.kill()
  await instance?.stop()
  crowd = undefined
  instance = undefined
})

for (const { title, root = false, asUser = false, env = {}, ways } of settings)
  describe(title, () => {
    for (const way of ways)
      test(
        way.title,
        async ({ skip, annotate }) => {
          if (missing !== undefined) return skip(missing)
          if (root && !isRoot) return skip('needs root')
          const tried = await CosmosInstance.start({ asUser, env })
          instance = tried
          expect((await tried.status()).mounts[0]?.passthrough).toBe(
            root && env.COSMOS_PASSTHROUGH === undefined,
          )
          const names = await available()
          crowd = await Crowd.start(tried, names)
          let { pid } = await tried.status()
          let done = 0
          const absences: number[] = []
          while (done < way.times && crowd.failed.length === 0) {
            const started = performance.now()
            const former = pid
            await way.disturb(tried, former)
            done++
            pid = await waitFor('the next daemon', async () => {
              const found = await tried.daemon()
              return found !== former && found
            })
            const took = performance.now() - started
            absences.push(Math.round(took))
            await delay(Math.max(SERVES_MS, INTERVAL_MS - took))
          }
          const reports = await crowd.finish()
          const failures = reports.flatMap(({ name, rounds, error }) =>
            error === undefined ? [] : [`${name} after ${rounds} rounds and ${done} times: ${error}`],
          )
          expect(failures.join('\n\n'), tried.log()).toBe('')
          expect(done).toBe(way.times)
          for (const { name, rounds } of reports) expect(rounds, `rounds of ${name}`).toBeGreaterThan(0)
          const slowest = reports.toSorted((a, b) => b.worst.milliseconds - a.worst.milliseconds)
          const calls = reports.reduce((sum, report) => sum + report.calls, 0)
          const said = slowest
            .slice(0, 3)
            .map(({ name, worst }) => `${name} ${worst.call} ${Math.round(worst.milliseconds)} ms`)
          const disk = Math.max(...reports.map(({ raw }) => raw.milliseconds))
          absences.sort((a, b) => a - b)
          said.push(
            `the next daemon answered after ${absences[absences.length >> 1]} ms, at most ${absences.at(-1)} ms`,
          )
          said.push(`on the raw disk meanwhile ${Math.round(disk)} ms`)
          await annotate(`${calls} calls; the slowest: ${said.join(', ')}`)
          expect(slowest[0]?.worst.milliseconds, said.join(', ')).toBeLessThan(LONGEST_CALL_MS + disk)
        },
        TIMEOUT_MS,
      )
  })
