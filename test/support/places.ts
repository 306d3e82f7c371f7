import { type ChildProcess, spawn } from 'node:child_process'
import { chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, test } from 'vitest'
import type { Cases, Outcome, PlaceName } from './cases.ts'
import { CosmosInstance, whyNoMount } from './instance.ts'
import { within } from './wait.ts'

/** How long the cases of one place may take from one to the next, milliseconds. */
const PATIENCE_MS = 30_000

const TITLES: Record<PlaceName, string> = {
  raw: 'the raw file system, which proves the cases',
  'me@host': 'me@host',
  merged: 'a merged directory',
  user: 'me@host of an ordinary user',
  'fuse-native': 'me@host through fuse-native',
}
const KERNEL_PLACES: readonly PlaceName[] = ['raw', 'me@host', 'merged', 'user']

/** Where the cases of a module run. */
export interface PlacesOptions {
  places?: readonly PlaceName[]
  /** The cases' directories are in the lower layer of a merged directory at first. */
  lower?: boolean
  /** Why a case is left out; undefined for those that run. */
  leaveOut?: (name: string) => string | undefined
  /** Told of each case that is skipped. */
  onSkipped?: (name: string, reason: string) => void
}

/**
 * Runs the cases of a module in each place: unless told otherwise the raw file system, the host's tree, a merged
 * directory, and the host's tree in an ordinary user's mount.
 */
export function describePlaces(cases: Cases, module: URL, options: PlacesOptions = {}): void {
  const { places = KERNEL_PLACES, lower = false, leaveOut, onSkipped } = options
  const names = Object.keys(cases)
  const leftOut = new Map(
    names.flatMap((name) => {
      const reason = leaveOut?.(name)
      return reason === undefined ? [] : [[name, reason] as const]
    }),
  )
  for (const place of places)
    describe(TITLES[place], () => {
      const driver = place === 'fuse-native' ? place : 'kernel'
      const missing = whyNoMount(driver)
      let instance: CosmosInstance
      let runner: Runner

      beforeAll(async () => {
        if (missing !== undefined) return
        const asUser = place === 'user'
        instance = place === 'raw' ? new CosmosInstance() : await CosmosInstance.start({ asUser, driver })
        const prepared = await prepare(instance, place, lower)
        runner = new Runner(instance, place, fileURLToPath(module), prepared, [...leftOut.keys()])
      })
      afterAll(async () => {
        runner?.stop()
        await instance?.stop()
      })

      for (const name of names)
        test(name, async ({ skip }) => {
          if (missing !== undefined) return skip(missing)
          const skipFor = (reason: string): never => {
            onSkipped?.(name, reason)
            return skip(reason)
          }
          const reason = leftOut.get(name)
          if (reason !== undefined) return skipFor(reason)
          const outcome = await within(PATIENCE_MS, name, runner.outcome(name)).catch((error: Error) => {
            runner.stop()
            throw new Error(`${error.message}\n${instance.log()}`)
          })
          if (outcome.skipped !== undefined) skipFor(outcome.skipped)
          if (outcome.error !== undefined) throw new Error(outcome.error)
        })
    })
}

interface Prepared {
  dir: string
  host: string
  outside: string
  lower: string
}

/** The directories of a place. */
async function prepare(instance: CosmosInstance, place: PlaceName, lower: boolean): Promise<Prepared> {
  const make = (name: string): string => {
    const path = join(instance.work, name)
    mkdirSync(path)
    if (instance.uid !== undefined) chownSync(path, instance.uid, instance.uid)
    return path
  }
  const host = make('dir')
  const outside = make('outside')
  if (place === 'raw') return { dir: host, host, outside, lower: '' }
  if (place !== 'merged') return { dir: instance.inMount('dir'), host, outside, lower: '' }
  // The cases lie in a directory that only the lower layer has at first.
  const inLower = join(make('lower'), 'in')
  mkdirSync(inLower)
  await instance.tell('bind', join(instance.work, 'lower'), instance.inMount('dir'))
  return { dir: instance.inMount('dir/in'), host: join(host, 'in'), outside, lower: lower ? inLower : '' }
}

/** The process that runs the cases. */
class Runner {
  readonly #child: ChildProcess
  readonly #outcomes = new Map<string, Outcome>()
  readonly #waiting = new Map<string, { resolve(outcome: Outcome): void; reject(error: Error): void }>()
  #ended: Error | undefined
  #errors = ''

  constructor(
    instance: CosmosInstance,
    place: PlaceName,
    file: string,
    { dir, host, outside, lower }: Prepared,
    leftOut: readonly string[],
  ) {
    const inCheckout = file.slice(fileURLToPath(new URL('../..', import.meta.url)).length)
    const args = [instance.code('test/support/case-runner.ts'), instance.code(inCheckout)]
    const identity = instance.uid === undefined ? {} : { uid: instance.uid, gid: instance.uid }
    this.#child = spawn(instance.node, [...args, place, dir, host, outside, lower, ...leftOut], {
      cwd: instance.base,
      env: instance.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...identity,
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors += chunk
    })
    if (this.#child.stdout)
      createInterface(this.#child.stdout).on('line', (line) => {
        const outcome = JSON.parse(line) as Outcome
        this.#outcomes.set(outcome.name, outcome)
        this.#waiting.get(outcome.name)?.resolve(outcome)
      })
    this.#child.on('close', (code, signal) => {
      this.#ended = new Error(`the cases' process ended (${signal ?? code}) before this one\n${this.#errors}`)
      for (const { reject } of this.#waiting.values()) reject(this.#ended)
    })
  }

  /** What a case came to. */
  outcome(name: string): Promise<Outcome> {
    const known = this.#outcomes.get(name)
    if (known) return Promise.resolve(known)
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => this.#waiting.set(name, { resolve, reject }))
  }

  stop(): void {
    this.#child.kill('SIGKILL')
  }
}
