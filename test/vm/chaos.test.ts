// VMs are killed at random under load: every call answers, or fails with a reason, and no process is left over.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dlopen } from '../../src/api/library.ts'
import { findInstance } from '../../src/daemon/instance.ts'
import { CosmosError } from '../../src/errors.ts'
import { CosmosInstance, isRunning, whyNoMount } from '../support/instance.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

/** Seconds of load; a long run has 60. */
const SECONDS = Number(process.env.COSMOS_VM_CHAOS_SECONDS ?? 8)
const KILL_EVERY_MS = 200
/** (module (func (export "_start"))): a WASI program that does nothing. */
const NOTHING = Buffer.from('0061736d0100000001040160000003020100070a01065f737461727400000a040102000b', 'hex')
const skip = whyNoMount()

describe.skipIf(skip)(`VMs that are killed under load${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  beforeAll(async () => {
    instance = await CosmosInstance.start()
    writeFileSync(join(instance.home, '.cosm/bin/nothing.wasm'), NOTHING)
  })
  afterAll(() => instance.stop())

  test(
    `for ${SECONDS} s`,
    async () => {
      const end = performance.now() + SECONDS * 1000
      const going = (): boolean => performance.now() < end
      const launcher = firstWord(join(instance.mount, '.cosm/bin/nothing.wasm'))
      const { controlSocket } = findInstance(instance.env)
      const count = { answered: 0, failed: 0 }
      const killed = new Set<number>()

      const programs = async (): Promise<void> => {
        while (going()) {
          const word = String(Math.random())
          const result = await run(launcher, [controlSocket, '/bin/echo', word], { env: instance.env })
          if (result.code === 0) expect(result.stdout).toBe(`${word}\n`)
          else expect(result).toMatchObject({ code: 125, stderr: expect.stringMatching(/^cosmos: .+\n$/) })
          count[result.code === 0 ? 'answered' : 'failed']++
        }
      }
      const modules = async (): Promise<void> => {
        while (going()) {
          const result = await run(join(instance.mount, '.cosm/bin/nothing.wasm'), [])
          if (result.code === 0) count.answered++
          else {
            expect(result.signal ?? result.code).toSatisfy((how) => how === 125 || how === 'SIGKILL')
            count.failed++
          }
        }
      }
      const functions = async (): Promise<void> => {
        const library = dlopen('libm.so.6', { instance: findInstance(instance.env) })
        const pow = library.dlsym<number>('double pow(double x, double y)')
        while (going()) {
          const calls = Array.from({ length: 16 }, (_, i) => pow(2, i))
          for (const [i, answer] of (await Promise.allSettled(calls)).entries()) {
            if (answer.status === 'fulfilled') expect(answer.value).toBe(2 ** i)
            else {
              expect(answer.reason).toBeInstanceOf(CosmosError)
              expect((answer.reason as Error).message).toMatch(/\S/)
            }
            count[answer.status === 'fulfilled' ? 'answered' : 'failed']++
          }
        }
        library.close()
      }
      const killer = async (): Promise<void> => {
        while (going()) {
          await delay(KILL_EVERY_MS)
          const pids = vmProcesses(instance)
          const pid = pids[Math.floor(Math.random() * pids.length)]
          if (pid === undefined) continue
          try {
            process.kill(pid, 'SIGKILL')
            killed.add(pid)
          } catch {
            // It has ended by itself.
          }
        }
      }
      await Promise.all([programs(), programs(), modules(), functions(), killer()])

      expect(count.answered).toBeGreaterThan(20)
      expect(killed.size).toBeGreaterThan(5)
      console.log(
        `${killed.size} VMs killed: ${count.answered} calls answered, ${count.failed} failed with a reason`,
      )
      await waitFor('the end of those that were killed', () => [...killed].every((pid) => !isRunning(pid)))
      await waitFor('no session', async () => {
        const all = JSON.parse(await instance.tell('vm', 'list', '--json')) as { sessions: number }[]
        return all.every((vm) => vm.sessions === 0)
      })
      expect((await instance.cosmos(['exec', '/bin/echo', 'after'])).stdout).toBe('after\n')
      await instance.tell('down')
      await waitFor('no process', () => instance.processes().length === 0)
    },
    SECONDS * 1000 + 60_000,
  )
})

/** The launcher that the kernel runs for a file. */
function firstWord(path: string): string {
  return /^#!(\S+)/.exec(readFileSync(path, 'utf8'))?.[1] as string
}

/** Processes of VMs, from the files that show them. */
function vmProcesses(instance: CosmosInstance): number[] {
  const vms = join(instance.mount, '.cosm/vm')
  return readdirSync(vms).flatMap((name) => {
    try {
      return [...readFileSync(join(vms, name, 'state'), 'utf8').matchAll(/^process (\d+)$/gm)].map((each) =>
        Number(each[1]),
      )
    } catch {
      // It was not needed yet.
      return []
    }
  })
}
