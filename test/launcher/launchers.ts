import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe } from 'vitest'
import { checkout } from '../support/instance.ts'
import { LaunchWorld } from '../support/launching.ts'
import { type Result, type RunOptions, run } from '../support/run.ts'

/** The two launchers; a case is told which one it is for. */
export type LauncherName = 'C' | 'Node'

const PATHS: Record<LauncherName, string> = {
  C: join(checkout, 'build/launcher'),
  Node: join(checkout, 'bin/cosmos-launcher'),
}

/** What the cases of one launcher use. */
export interface Subject {
  readonly name: LauncherName
  /** The launcher's file. */
  readonly file: string
  /** A daemon and a VM; those of the whole group. */
  readonly world: LaunchWorld
  /** Runs a program by the launcher. */
  launch(program: string, args: readonly string[], options?: RunOptions): Promise<Result>
  /** The same by `sh -c`. */
  shell(script: string, options?: RunOptions): Promise<Result>
}

/** Defines cases for both launchers, in a world of theirs; that in C is skipped where it cannot be built. */
export function forBothIn<World extends { stop(): Promise<void> }>(
  start: () => Promise<World>,
  title: string,
  define: (name: LauncherName, file: string, world: () => World) => void,
): void {
  describe.each(['C', 'Node'] as const)(`${title}, launcher in %s`, (name) => {
    const file = PATHS[name]
    let world: World | undefined
    let missing: string | undefined
    beforeAll(async () => {
      if (name === 'C') {
        const { stdout } = spawnSync(process.execPath, [join(checkout, 'scripts/build-launcher.mjs')])
        if (!existsSync(file)) missing = stdout.toString().trim()
      }
      world = await start()
    })
    beforeEach(({ skip }) => {
      if (missing !== undefined) skip(missing)
    })
    afterAll(() => world?.stop())
    define(name, file, () => {
      if (!world) throw new Error('the group has not begun')
      return world
    })
  })
}

/** The same with programs that a VM of this host runs. */
export function forBoth(title: string, define: (subject: Subject) => void): void {
  forBothIn(
    () => LaunchWorld.start(),
    title,
    (name, file, world) => {
      const subject: Subject = {
        name,
        file,
        get world() {
          return world()
        },
        launch: (program, args, options = {}) =>
          run(file, [subject.world.control, program, ...args], options),
        shell: (script, options) => subject.launch('/bin/sh', ['-c', script], options),
      }
      define(subject)
    },
  )
}

/** Numbers of a process's open files. */
export function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
}

/** The children of a process. */
export function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  )
}

/** A field of /proc/PID/status, such as `State` or `VmHWM`. */
export function statusOf(pid: number, field: string): string {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`${field}:`))
  return line?.slice(field.length + 1).trim() ?? ''
}
